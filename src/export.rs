//! The format of an exported mail: `ID.eml`, the content exactly as it is sent, and `ID.json`,
//! everything else.
//!
//! The control socket and the files use the same format; docs/moving-mail.md documents it. Limits:
//! [`HEAD_MAX`] octets of JSON, [`Envelope::RECIPIENTS_MAX`] recipients. Security: files are
//! untrusted; every value is checked before it enters the queue.

use crate::ground::clock;
use crate::mail::model::{
    Address, BodyType, DsnNotify, DsnRequest, Envelope, ImportedMessage, Message, MessageId,
    MessageKind, Origin, RecipientDsn, ReturnedContent, Target, TargetProgress, TargetStatus,
    is_envelope_id, is_original_recipient,
};
use serde::{Deserialize, Serialize};

/// The version of the format; a higher one is refused.
pub const VERSION: u32 = 1;

/// Octets of the JSON of one mail, at most: a thousand recipients with their reasons fit.
pub const HEAD_MAX: usize = 4 << 20;

/// Octets of a HELO name, at most (RFC 5321 §4.5.3.1.2).
const HELO_MAX: usize = 255;

/// `ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedMessage {
    /// The version of this format: 1.
    pub postern_mail: u32,
    /// The queue id in the source queue; empty if it was in no queue of a Postern.
    #[serde(default)]
    pub id: String,
    /// When it was accepted there, RFC 3339; `queue_lifetime` counts from here.
    pub arrived: String,
    /// `mail`, or `notification` when a Postern generated it.
    #[serde(default = "mail")]
    pub kind: String,
    /// The reverse-path; empty for the null sender.
    pub sender: String,
    /// BODY of MAIL: `7bit` or `8bitmime`.
    pub body: String,
    /// SMTPUTF8 of MAIL.
    #[serde(default)]
    pub smtputf8: bool,
    /// RET and ENVID of MAIL (RFC 3461), as the client wrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// See [`ExportedMessage::ret`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envid: Option<String>,
    /// The client's address; `null` when generated locally.
    #[serde(default)]
    pub client: Option<String>,
    /// The client's HELO name.
    #[serde(default)]
    pub helo: String,
    /// Held by an operator.
    #[serde(default)]
    pub held: bool,
    /// Whether the delay warning was sent.
    #[serde(default)]
    pub delay_told: bool,
    /// All recipients, including those that have it already.
    pub recipients: Vec<ExportedTarget>,
    /// The carbon copy to `cc_mta`, if there is one; its address is `cc_mta`.
    #[serde(default)]
    pub copy: Option<ExportedTarget>,
    /// Size and checksum of `ID.eml`.
    pub content: ExportedContent,
}

/// The state of one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedTarget {
    /// The forward-path.
    pub address: String,
    /// `pending`, `delivered`, `failed` or `dropped`.
    #[serde(default = "pending", with = "status")]
    pub status: TargetStatus,
    /// Attempts that ended in a temporary failure.
    #[serde(default)]
    pub attempts: u16,
    /// When the next attempt is due, RFC 3339; `null`: at once.
    #[serde(default)]
    pub next_try: Option<String>,
    /// The error of the last attempt.
    #[serde(default)]
    pub last_reply: String,
    /// NOTIFY of RCPT (RFC 3461), as the client wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// ORCPT of RCPT (RFC 3461), as the client wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orcpt: Option<String>,
}

/// Size and checksum of the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedContent {
    /// Octets.
    pub size: u64,
    /// CRC-32 (IEEE, as in zlib and gzip) in eight hexadecimal digits.
    pub crc32: String,
}

fn mail() -> String {
    "mail".to_owned()
}

/// What the client asked about notifications for a recipient.
fn asked(envelope: &Envelope, target: Target) -> Option<&RecipientDsn> {
    let Target::Recipient(place) = target else { return None };
    envelope.dsn.as_ref()?.recipients.get(usize::from(place))
}

fn pending() -> TargetStatus {
    TargetStatus::Pending
}

/// The words for a recipient's state in this shape. One differs from [`DeliveryStatus`]'s: format 1
/// says `failed`, which versions before this one expect, and mail is taken back to them by these
/// files.
mod status {
    use crate::mail::model::{DeliveryStatus, TargetStatus};
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub(super) fn serialize<S: Serializer>(
        status: &TargetStatus,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(match status {
            TargetStatus::Bounced => "failed",
            other => DeliveryStatus::from(*other).as_str(),
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<TargetStatus, D::Error> {
        let status = DeliveryStatus::deserialize(from)
            .and_then(|status| TargetStatus::try_from(status).map_err(D::Error::custom));
        status.map_err(|_| {
            D::Error::custom("status: pending, delivered, failed or dropped is expected")
        })
    }
}

impl ExportedMessage {
    /// The record of a message; the checksum of its content is computed by the code that reads it.
    pub fn of(message: &Message, crc: u32) -> Self {
        let envelope = &message.envelope;
        let target = |progress: &TargetProgress| ExportedTarget {
            address: target_name(envelope, progress.target),
            status: progress.status,
            attempts: progress.attempts,
            next_try: (progress.status == TargetStatus::Pending
                && progress.due > 0
                && progress.due != TargetProgress::PAUSED)
                .then(|| clock::rfc3339(progress.due)),
            last_reply: progress.reason.clone(),
            notify: asked(envelope, progress.target)
                .and_then(|recipient| recipient.notify.map(DsnNotify::to_text)),
            orcpt: asked(envelope, progress.target)
                .and_then(|recipient| recipient.original.as_deref().map(str::to_owned)),
        };
        Self {
            postern_mail: VERSION,
            id: message.id.to_string(),
            arrived: clock::rfc3339(message.arrived),
            kind: match message.kind {
                MessageKind::Mail => mail(),
                MessageKind::Notification => "notification".to_owned(),
            },
            sender: envelope.sender_text().to_owned(),
            body: match envelope.body {
                BodyType::SevenBit => "7bit".to_owned(),
                BodyType::EightBitMime => "8bitmime".to_owned(),
            },
            smtputf8: envelope.smtputf8,
            ret: envelope.dsn.as_ref().and_then(|dsn| dsn.ret).map(|ret| ret.as_str().to_owned()),
            envid: envelope
                .dsn
                .as_ref()
                .and_then(|dsn| dsn.envelope_id.as_deref().map(str::to_owned)),
            client: message.origin.peer.map(|peer| peer.to_string()),
            helo: message.origin.helo.to_string(),
            held: message.held,
            delay_told: message.delay_warning_sent,
            recipients: message
                .progress
                .iter()
                .filter(|progress| progress.target != Target::Copy)
                .map(target)
                .collect(),
            copy: message
                .progress
                .iter()
                .find(|progress| progress.target == Target::Copy)
                .map(target),
            content: ExportedContent { size: message.body.len(), crc32: crc_text(crc) },
        }
    }

    /// Reads the JSON of a mail.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn read(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            postern_mail: u32,
        }
        // Before everything else: a later version may have unknown fields.
        if let Ok(Version { postern_mail }) = serde_json::from_slice(json)
            && postern_mail != VERSION
        {
            return Err(format!(
                "it has version {postern_mail} of the format, this Postern knows {VERSION}; use a \
                later one"
            ));
        }
        serde_json::from_slice(json)
            .map_err(|fault| format!("its JSON is not that of a mail: {fault}"))
    }

    /// Where it came from, without the address. Whether that client was allowed to relay is not in
    /// the files, whose format older versions must be able to read.
    fn origin(&self) -> Origin {
        Origin { peer: None, helo: self.helo.as_str().into(), may_relay: false }
    }

    fn message_kind(&self) -> Result<MessageKind, String> {
        match self.kind.as_str() {
            "mail" => Ok(MessageKind::Mail),
            "notification" => Ok(MessageKind::Notification),
            _ => Err("kind: mail or notification is expected".to_owned()),
        }
    }

    /// What the client asked about notifications.
    fn dsn(&self) -> Result<Option<Box<DsnRequest>>, String> {
        let mut dsn = DsnRequest::default();
        if let Some(text) = &self.ret {
            let ret = ReturnedContent::parse(text).ok_or("ret: FULL or HDRS is expected")?;
            dsn.ret = Some(ret);
        }
        if let Some(text) = &self.envid {
            let id = Some(text.as_str()).filter(|text| is_envelope_id(text));
            dsn.envelope_id = Some(id.ok_or("envid: xtext is expected (RFC 3461)")?.into());
        }
        for (place, view) in self.recipients.iter().enumerate() {
            if view.notify.is_none() && view.orcpt.is_none() {
                continue;
            }
            let wrong = |what: &str| format!("recipient {}: {what}", place + 1);
            let notify = view.notify.as_deref().map(|text| {
                DsnNotify::parse(text).ok_or_else(|| wrong("notify: see RFC 3461 §4.1"))
            });
            let original = view.orcpt.as_deref().map(|text| {
                let original = Some(text).filter(|text| is_original_recipient(text));
                original.map(Into::into).ok_or_else(|| wrong("orcpt: see RFC 3461 §4.2"))
            });
            let recipient =
                RecipientDsn { notify: notify.transpose()?, original: original.transpose()? };
            dsn.note(place, recipient);
        }
        Ok((dsn != DsnRequest::default()).then(|| Box::new(dsn)))
    }

    /// The mail in the form for a queue.
    ///
    /// # Errors
    /// Which value is wrong, as text.
    pub fn imported(&self) -> Result<ImportedMessage, String> {
        let was = match self.id.as_str() {
            "" => None,
            id => Some(id.parse::<MessageId>().map_err(|()| "id: not a queue id".to_owned())?),
        };
        let arrived = clock::from_rfc3339(&self.arrived)
            .ok_or("arrived: a date and time of RFC 3339 is expected")?;
        let sender = match self.sender.as_str() {
            "" => None,
            text => Some(Address::parse(text).map_err(|error| format!("sender: {error}"))?),
        };
        if self.recipients.is_empty() || self.recipients.len() > Envelope::RECIPIENTS_MAX {
            return Err(format!("recipients: 1 to {} are expected", Envelope::RECIPIENTS_MAX));
        }
        let (mut recipients, mut progress) = (Vec::new(), Vec::new());
        let mut seen = std::collections::HashSet::new();
        for (place, view) in (0u16..).zip(&self.recipients) {
            let address = Address::parse(&view.address)
                .map_err(|error| format!("recipient {}: {error}", place + 1))?;
            if !seen.insert(address.clone()) {
                return Err(format!("recipient {} is listed twice", place + 1));
            }
            progress.push(view.progress(Target::Recipient(place))?);
            recipients.push(address);
        }
        if let Some(copy) = &self.copy {
            progress.push(copy.progress(Target::Copy)?);
        }
        if progress.iter().all(|progress| progress.status != TargetStatus::Pending) {
            return Err("nobody waits for it: no recipient is pending".to_owned());
        }
        if self.helo.len() > HELO_MAX {
            return Err(format!("helo: at most {HELO_MAX} octets are expected"));
        }
        let peer = self
            .client
            .as_ref()
            .map(|text| text.parse().map_err(|_| "client: this is not an IP address".to_owned()));
        Ok(ImportedMessage {
            was,
            arrived,
            kind: self.message_kind()?,
            envelope: Envelope {
                sender,
                recipients,
                body: match self.body.as_str() {
                    "7bit" => BodyType::SevenBit,
                    "8bitmime" => BodyType::EightBitMime,
                    _ => return Err("body: 7bit or 8bitmime is expected".to_owned()),
                },
                smtputf8: self.smtputf8,
                dsn: self.dsn()?,
            },
            origin: Origin { peer: peer.transpose()?, ..self.origin() },
            progress,
            held: self.held,
            delay_warning_sent: self.delay_told,
            size: self.content.size,
            crc: crc_of(&self.content.crc32)
                .ok_or("content.crc32: eight hexadecimal digits are expected")?,
        })
    }
}

impl ExportedTarget {
    fn progress(&self, target: Target) -> Result<TargetProgress, String> {
        let wrong = |field: &str, wanted: &str| {
            format!("{field} of <{}>: {wanted} is expected", self.address)
        };
        let due = match &self.next_try {
            None => 0,
            Some(text) => clock::from_rfc3339(text)
                .ok_or_else(|| wrong("next_try", "a date and time of RFC 3339"))?,
        };
        let reason = self.last_reply
            [..self.last_reply.floor_char_boundary(TargetProgress::REASON_MAX)]
            .to_owned();
        Ok(TargetProgress {
            status: self.status,
            attempts: self.attempts,
            due,
            reason,
            ..TargetProgress::new(target)
        })
    }
}

/// The text form of a checksum.
pub fn crc_text(crc: u32) -> String {
    format!("{crc:08x}")
}

fn crc_of(text: &str) -> Option<u32> {
    (text.len() == 8 && text.bytes().all(|octet| octet.is_ascii_hexdigit()))
        .then(|| u32::from_str_radix(text, 16).ok())?
}

/// The address of a target, or the property that contains it.
pub fn target_name(envelope: &Envelope, target: Target) -> String {
    match target {
        Target::Recipient(place) => envelope
            .recipients
            .get(usize::from(place))
            .map_or_else(String::new, |address| address.as_str().to_owned()),
        Target::Copy => "cc_mta".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::Body;

    fn message() -> Message {
        let mut progress: Vec<TargetProgress> =
            [Target::Recipient(0), Target::Recipient(1), Target::Copy]
                .map(TargetProgress::new)
                .into();
        progress[0].status = TargetStatus::Delivered;
        progress[1].attempts = 3;
        progress[1].due = 1_763_800_300;
        progress[1].reason = "450 4.2.0 later \"quoted\"\u{1}".to_owned();
        Message {
            id: MessageId(1_763_800_000_000_001),
            arrived: 1_763_800_000,
            envelope: Envelope {
                sender: Address::parse("\"a b\"@x.example").ok(),
                recipients: ["x@y.example", "ü@bücher.example"]
                    .map(|text| Address::parse(text).unwrap())
                    .into(),
                body: BodyType::EightBitMime,
                smtputf8: true,
                dsn: None,
            },
            origin: Origin {
                peer: Some("2001:db8::1".parse().unwrap()),
                helo: "client\u{7}".into(),
                may_relay: false,
            },
            kind: MessageKind::Notification,
            progress,
            held: true,
            delay_warning_sent: true,
            body: Body::Memory("x\r\n".into()),
        }
    }

    #[test]
    fn what_goes_out_comes_in() {
        let message = message();
        let json = serde_json::to_vec(&ExportedMessage::of(&message, 0x00ab_cdef)).unwrap();
        let imported = ExportedMessage::read(&json).unwrap().imported().unwrap();
        assert_eq!(imported.was, Some(message.id));
        assert_eq!(imported.arrived, message.arrived);
        assert_eq!(imported.envelope, message.envelope);
        assert_eq!(imported.origin, message.origin);
        assert_eq!(imported.kind, message.kind);
        assert_eq!(imported.progress, message.progress);
        assert_eq!((imported.held, imported.delay_warning_sent), (true, true));
        assert_eq!((imported.size, imported.crc), (3, 0x00ab_cdef));
    }

    /// Versions that do not support this queue format read its exported mail, and reject unknown
    /// fields: export and import are the way back to an older version.
    #[test]
    fn earlier_versions_read_what_goes_out() {
        let mut message = message();
        message.progress[1].destination = crate::mail::model::Destination::domain("y.example");
        let json = serde_json::to_value(ExportedMessage::of(&message, 1)).unwrap();
        let names = |json: &serde_json::Value| {
            let mut names: Vec<String> = json.as_object().unwrap().keys().cloned().collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!((VERSION, &json["postern_mail"]), (1, &1.into()));
        assert_eq!(
            names(&json),
            "arrived body client content copy delay_told held helo id kind postern_mail recipients \
            sender smtputf8"
        );
        assert_eq!(names(&json["content"]), "crc32 size");
        for target in [&json["recipients"][0], &json["recipients"][1], &json["copy"]] {
            assert_eq!(names(target), "address attempts last_reply next_try status");
        }
    }

    #[test]
    fn a_stranger_s_json_is_checked() {
        type Change = fn(&mut serde_json::Value);
        let changes: [(Change, &str); 21] = [
            (|json| json["postern_mail"] = 2.into(), "version 2"),
            (|json| json["postern_mail"] = "1".into(), "JSON"),
            (|json| json["surprise"] = 2.into(), "surprise"),
            (|json| json["id"] = "../../etc".into(), "id"),
            (|json| json["arrived"] = "yesterday".into(), "arrived"),
            (|json| json["sender"] = "x\r\nRCPT TO:<y@z.example>".into(), "sender"),
            (|json| json["recipients"] = serde_json::json!([]), "recipients"),
            (|json| json["recipients"][0]["address"] = "x".into(), "recipient 1"),
            (|json| json["recipients"][1]["address"] = "x@y.example".into(), "twice"),
            (|json| json["recipients"][1]["status"] = "gone".into(), "status"),
            (|json| json["recipients"][1]["attempts"] = (-1).into(), "JSON"),
            (|json| json["recipients"][1]["next_try"] = "soon".into(), "next_try"),
            (|json| json["recipients"] = vec![json["recipients"][1].clone(); 1001].into(), "1000"),
            (|json| json["body"] = "9bit".into(), "body"),
            (|json| json["kind"] = "spam".into(), "kind"),
            (|json| json["client"] = "localhost".into(), "client"),
            (|json| json["helo"] = "h".repeat(256).into(), "helo"),
            (|json| json["content"]["crc32"] = "+0abcde1".into(), "crc32"),
            (|json| json["content"]["size"] = (-3).into(), "JSON"),
            (|json| drop(json.as_object_mut().unwrap().remove("content")), "content"),
            (
                |json| {
                    json["recipients"][1]["status"] = "failed".into();
                    json["copy"]["status"] = "dropped".into();
                },
                "pending",
            ),
        ];
        for (change, word) in changes {
            let mut json = serde_json::to_value(ExportedMessage::of(&message(), 1)).unwrap();
            change(&mut json);
            let fault = ExportedMessage::read(json.to_string().as_bytes())
                .and_then(|view| view.imported())
                .unwrap_err();
            assert!(fault.contains(word), "{word}: {fault}");
        }
    }

    #[test]
    fn a_reason_without_end_is_cut() {
        let mut view = ExportedMessage::of(&message(), 1);
        view.recipients[1].last_reply = "é".repeat(9999);
        assert_eq!(view.imported().unwrap().progress[1].reason.len(), TargetProgress::REASON_MAX);
    }
}
