//! The heads of the queue's records: what an accept, a state and a done record say of a message.
//!
//! In: a message, its progress. Out: octets, as `docs/queue-format.md` has them; read back, `None`
//! where they are something else. Pure. What a later version adds to an accept head is a
//! supplement, which an earlier one passes over.

use super::byte_codec::{HeadReader, put_text, put_u16};
use super::{destination_codec, dsn_codec};
use crate::mail::model::{
    Address, BodyType, Destination, DsnRequest, Envelope, MessageId, MessageKind, Origin,
    RecipientDsn, Target, TargetProgress, TargetStatus,
};
use std::collections::HashMap;
use std::net::IpAddr;

/// The head of an accept record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptHead {
    /// Queue id.
    pub id: MessageId,
    /// Seconds since 1970.
    pub arrived: u32,
    /// From a client, or generated locally.
    pub kind: MessageKind,
    /// Whether a carbon copy goes to `cc_mta`.
    pub copy: bool,
    /// The destination of each target: the recipients in their order, then the copy. Fewer where
    /// nothing was decided.
    pub destinations: Vec<Destination>,
    /// Whether it was imported from another queue: then it counts only together with a state
    /// record.
    pub imported: bool,
    /// Where it came from: client, HELO name and the like.
    pub origin: Origin,
    /// Sender and recipients.
    pub envelope: Envelope,
    /// Length and CRC-32 of the content's own file; `None` when the content is in the frame.
    pub file: Option<(u64, u32)>,
}

impl AcceptHead {
    /// The targets of a message that was just accepted.
    pub fn targets(&self) -> Vec<TargetProgress> {
        let recipients =
            (0..self.envelope.recipients.len()).filter_map(|place| u16::try_from(place).ok());
        let targets = recipients.map(Target::Recipient).chain(self.copy.then_some(Target::Copy));
        let mut destinations = self.destinations.iter();
        let progress = |target| TargetProgress {
            destination: destinations.next().cloned(),
            ..TargetProgress::new(target)
        };
        targets.map(progress).collect()
    }

    /// The head of the record.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.arrived.to_le_bytes());
        let flags = u8::from(self.kind == MessageKind::Notification)
            | u8::from(self.copy) << 1
            | u8::from(self.envelope.smtputf8) << 2
            | u8::from(self.envelope.body == BodyType::EightBitMime) << 3
            | u8::from(self.file.is_some()) << 4
            | u8::from(self.envelope.sender.is_some()) << 5
            | u8::from(self.imported) << 6
            | u8::from(self.has_stored_destinations()) << 7;
        out.push(flags);
        match self.origin.peer {
            None => out.push(0),
            Some(IpAddr::V4(peer)) => {
                out.push(4);
                out.extend_from_slice(&peer.octets());
            }
            Some(IpAddr::V6(peer)) => {
                out.push(16);
                out.extend_from_slice(&peer.octets());
            }
        }
        put_text(&mut out, &self.origin.helo);
        if let Some(sender) = &self.envelope.sender {
            put_text(&mut out, sender.as_str());
        }
        put_u16(&mut out, self.envelope.recipients.len());
        for recipient in &self.envelope.recipients {
            put_text(&mut out, recipient.as_str());
        }
        if let Some((len, crc)) = self.file {
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(&crc.to_le_bytes());
        }
        if self.has_stored_destinations() {
            destination_codec::put(&mut out, self.destinations.iter().map(Some));
        }
        if self.origin.may_relay {
            put_supplement(&mut out, MAY_RELAY, &[]);
        }
        if let Some(dsn) = &self.envelope.dsn {
            put_supplement(&mut out, DSN_MAIL, &dsn_codec::mail(dsn));
            for (place, recipient) in dsn.recipients.iter().enumerate() {
                if *recipient != RecipientDsn::default() {
                    put_supplement(
                        &mut out,
                        DSN_RECIPIENT,
                        &dsn_codec::recipient(place, recipient),
                    );
                }
            }
        }
        out
    }

    /// Whether the destinations are written: all of them or none. Upstreams follow from the
    /// envelope, and other versions take a head for damaged in which one of several is missing.
    fn has_stored_destinations(&self) -> bool {
        let is_stored =
            |destination: &Destination| !matches!(destination, Destination::Upstreams(_));
        !self.destinations.is_empty() && self.destinations.iter().all(is_stored)
    }

    /// Reads a head; `None` when it is not one.
    pub fn decode(head: &[u8]) -> Option<Self> {
        let mut reader = HeadReader::new(head);
        let id = MessageId(reader.u64()?);
        let arrived = reader.u32()?;
        let flags = reader.u8()?;
        let peer = match reader.u8()? {
            0 => None,
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(reader.take(4)?).ok()?)),
            16 => Some(IpAddr::from(<[u8; 16]>::try_from(reader.take(16)?).ok()?)),
            _ => return None,
        };
        let helo = reader.text()?.into();
        let sender =
            if flags & 1 << 5 == 0 { None } else { Some(Address::parse(reader.text()?).ok()?) };
        let count = reader.u16()?;
        let recipients = (0..count)
            .map(|_| reader.text().and_then(|text| Address::parse(text).ok()))
            .collect::<Option<Vec<_>>>()?;
        let file = if flags & 1 << 4 == 0 { None } else { Some((reader.u64()?, reader.u32()?)) };
        let destinations = if flags & 1 << 7 == 0 {
            Vec::new()
        } else {
            destination_codec::read(&mut reader)?.into_iter().collect::<Option<_>>()?
        };
        let (mut may_relay, mut dsn) = (false, None::<Box<DsnRequest>>);
        while let Some((kind, octets)) = supplement(&mut reader)? {
            match kind {
                MAY_RELAY => may_relay = true,
                DSN_MAIL => dsn_codec::read_mail(octets, dsn.get_or_insert_default())?,
                DSN_RECIPIENT => {
                    let dsn = dsn.get_or_insert_default();
                    dsn_codec::read_recipient(octets, recipients.len(), dsn)?;
                }
                _ => {}
            }
        }
        Some(Self {
            id,
            arrived,
            kind: if flags & 1 == 0 { MessageKind::Mail } else { MessageKind::Notification },
            copy: flags & 1 << 1 != 0,
            destinations,
            imported: flags & 1 << 6 != 0,
            origin: Origin { peer, helo, may_relay },
            envelope: Envelope {
                sender,
                recipients,
                body: if flags & 1 << 3 == 0 { BodyType::SevenBit } else { BodyType::EightBitMime },
                smtputf8: flags & 1 << 2 != 0,
                dsn,
            },
            file,
        })
    }
}

/// The kind of a supplement without octets: the client was allowed to relay.
const MAY_RELAY: u8 = 1;

/// The kinds of supplements with what the client asked about notifications: for the mail, and for
/// one recipient.
const DSN_MAIL: u8 = 2;
const DSN_RECIPIENT: u8 = 3;

/// Appends a supplement: facts for which a head has no other place. A version that does not know
/// its kind passes over it.
fn put_supplement(out: &mut Vec<u8>, kind: u8, octets: &[u8]) {
    out.push(kind);
    put_u16(out, octets.len());
    out.extend_from_slice(octets);
}

/// The next supplement, kind and octets; `Some(None)` at the end of the head.
#[expect(clippy::option_option, reason = "a cut head is not the end of one")]
fn supplement<'a>(reader: &mut HeadReader<'a>) -> Option<Option<(u8, &'a [u8])>> {
    let Some(kind) = reader.u8() else { return Some(None) };
    let len = reader.u16()?;
    Some(Some((kind, reader.take(usize::from(len))?)))
}

/// The head of a state record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateHead {
    /// Queue id.
    pub id: MessageId,
    /// Whether it is held.
    pub held: HoldFlag,
    /// The delay warning was sent.
    pub delay_warning_sent: bool,
    /// All targets, recipients in the order of the envelope, then the copy.
    pub progress: Vec<TargetProgress>,
}

impl StateHead {
    /// The head of the record. Equal reasons, the usual case, are written once.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.id.0.to_le_bytes());
        let is_decided = self.progress.iter().any(|progress| progress.destination.is_some());
        out.push(
            self.held.bits() | u8::from(self.delay_warning_sent) << 1 | u8::from(is_decided) << 2,
        );
        let mut reasons: Vec<&str> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        put_u16(&mut out, self.progress.len());
        for progress in &self.progress {
            let status = match progress.status {
                TargetStatus::Pending => 0u8,
                TargetStatus::Delivered => 1,
                TargetStatus::Bounced => 2,
                TargetStatus::Dropped => 3,
            };
            out.push(status | u8::from(progress.target == Target::Copy) << 7);
            out.extend_from_slice(&progress.attempts.to_le_bytes());
            out.extend_from_slice(&progress.due.to_le_bytes());
            let place = *places.entry(&progress.reason).or_insert_with(|| {
                reasons.push(&progress.reason);
                reasons.len() - 1
            });
            put_u16(&mut out, place);
        }
        put_u16(&mut out, reasons.len());
        for reason in reasons {
            put_text(&mut out, reason);
        }
        if is_decided {
            let decided = self.progress.iter().map(|progress| progress.destination.as_ref());
            destination_codec::put(&mut out, decided);
        }
        out
    }

    /// Reads a head; `None` when it is not one.
    pub fn decode(head: &[u8]) -> Option<Self> {
        let mut reader = HeadReader::new(head);
        let id = MessageId(reader.u64()?);
        let flags = reader.u8()?;
        let count = reader.u16()?;
        let mut rows = Vec::new();
        for place in 0..count {
            let status = reader.u8()?;
            let target = if status & 0x80 == 0 { Target::Recipient(place) } else { Target::Copy };
            let status = match status & 0x7f {
                0 => TargetStatus::Pending,
                1 => TargetStatus::Delivered,
                2 => TargetStatus::Bounced,
                3 => TargetStatus::Dropped,
                _ => return None,
            };
            rows.push((target, status, reader.u16()?, reader.u32()?, reader.u16()?));
        }
        let count = reader.u16()?;
        let reasons = (0..count).map(|_| reader.text()).collect::<Option<Vec<_>>>()?;
        let decided =
            if flags & 4 == 0 { Vec::new() } else { destination_codec::read(&mut reader)? };
        let mut decided = decided.into_iter();
        let progress = rows
            .into_iter()
            .map(|(target, status, attempts, due, reason)| {
                let reason = (*reasons.get(usize::from(reason))?).to_owned();
                let destination = decided.next().flatten();
                Some(TargetProgress { target, destination, status, attempts, due, reason })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Self { id, held: HoldFlag::of(flags), delay_warning_sent: flags & 2 != 0, progress })
    }
}

/// Whether a message is held, in the flags of its state record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldFlag {
    /// It never was.
    Free,
    /// It is.
    Held,
    /// It was, and an operator has released it: a mode that holds mail does not hold it again.
    Released,
}

impl HoldFlag {
    /// After it was held, or released.
    pub fn new(held: bool) -> Self {
        if held { Self::Held } else { Self::Released }
    }

    /// Whether it is held now.
    pub fn is_held(self) -> bool {
        self == Self::Held
    }

    fn bits(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Held => 1,
            Self::Released => 8,
        }
    }

    fn of(flags: u8) -> Self {
        match (flags & 1, flags & 8) {
            (0, 0) => Self::Free,
            (0, _) => Self::Released,
            _ => Self::Held,
        }
    }
}

/// The head of a done record.
pub fn encode_done(id: MessageId) -> Vec<u8> {
    id.0.to_le_bytes().to_vec()
}

/// The id at the start of every head.
pub fn decode_id(head: &[u8]) -> Option<MessageId> {
    HeadReader::new(head).u64().map(MessageId)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn destinations() -> Vec<Destination> {
        let host = |text: &str| Arc::new(text.parse().unwrap());
        vec![
            Destination::SmartRelay(host("[hub.example]:26")),
            Destination::domain("bücher.example").unwrap(),
            Destination::Copy(host("[2001:db8::1]")),
        ]
    }

    fn accepted() -> AcceptHead {
        AcceptHead {
            id: MessageId(7),
            arrived: 9,
            kind: MessageKind::Mail,
            copy: true,
            destinations: destinations(),
            imported: true,
            origin: Origin {
                peer: Some("2001:db8::1".parse().unwrap()),
                helo: "client.example".into(),
                may_relay: true,
            },
            envelope: Envelope {
                sender: Address::parse("a@b.example").ok(),
                recipients: ["x@y.example", "ü@bücher.example"]
                    .iter()
                    .map(|text| Address::parse(text).unwrap())
                    .collect(),
                body: BodyType::EightBitMime,
                smtputf8: true,
                dsn: None,
            },
            file: Some((1 << 33, 5)),
        }
    }

    #[test]
    fn heads_come_back_as_written() {
        let full = accepted();
        assert_eq!(AcceptHead::decode(&full.encode()), Some(full.clone()));
        let mut asked = full.clone();
        let mut dsn = DsnRequest {
            ret: Some(crate::mail::model::ReturnedContent::Headers),
            envelope_id: Some("QQ+2B1".into()),
            recipients: Vec::new(),
        };
        let notify = crate::mail::model::DsnNotify::parse("NEVER");
        dsn.note(1, RecipientDsn { notify, original: Some("rfc822;x@y".into()) });
        asked.envelope.dsn = Some(Box::new(dsn));
        assert_eq!(AcceptHead::decode(&asked.encode()), Some(asked.clone()));
        assert!(asked.encode().starts_with(&full.encode()), "nothing else has another place");
        let mut bare = full.clone();
        bare.origin.peer = None;
        bare.origin.may_relay = false;
        bare.envelope.sender = None;
        bare.file = None;
        bare.imported = false;
        bare.destinations.clear();
        assert_eq!(AcceptHead::decode(&bare.encode()), Some(bare));
        let mut progress = full.targets();
        let decided = progress.iter().map(|progress| progress.destination.clone());
        assert_eq!(
            decided.collect::<Vec<_>>(),
            destinations().into_iter().map(Some).collect::<Vec<_>>()
        );
        progress[1].destination = progress[0].destination.clone();
        progress[2].destination = None;
        progress[1].status = TargetStatus::Bounced;
        progress[1].reason = "550 no".to_owned();
        progress[2].due = 77;
        progress[2].attempts = 3;
        let state = StateHead {
            id: MessageId(7),
            held: HoldFlag::Held,
            delay_warning_sent: false,
            progress,
        };
        assert_eq!(StateHead::decode(&state.encode()), Some(state));
        assert_eq!(decode_id(&encode_done(MessageId(3))), Some(MessageId(3)));
    }

    #[test]
    fn upstreams_are_decided_from_the_envelope_and_not_stored() {
        let group = crate::mail::model::UpstreamGroup::parse("upstream:a+b").unwrap();
        let mut head = accepted();
        head.destinations[1] = Destination::Upstreams(Arc::new(group));
        let read = AcceptHead::decode(&head.encode()).unwrap();
        assert_eq!(read, AcceptHead { destinations: Vec::new(), ..head.clone() });
        let undecided = read.targets();
        assert!(undecided.iter().all(|target| target.destination.is_none()));
        let progress = head.targets();
        let state =
            StateHead { id: head.id, held: HoldFlag::Held, delay_warning_sent: false, progress };
        let progress = StateHead::decode(&state.encode()).unwrap().progress;
        assert_eq!(progress[1].destination, None);
        assert_eq!(progress[0].destination, state.progress[0].destination);
    }

    #[test]
    fn cut_heads_are_no_heads() {
        let head = accepted().encode();
        // A head without its supplements is one, of a version that had none.
        let without = head.len() - 3;
        for len in (0..head.len()).filter(|len| *len != without) {
            assert_eq!(AcceptHead::decode(&head[..len]), None, "{len}");
        }
        let mut older = accepted();
        older.origin.may_relay = false;
        assert_eq!(AcceptHead::decode(&head[..without]), Some(older));
    }

    #[test]
    fn a_supplement_of_a_later_version_is_passed_over() {
        let mut head = accepted().encode();
        put_supplement(&mut head, 200, b"what is to come");
        assert_eq!(AcceptHead::decode(&head), Some(accepted()));
    }
}
