//! A filter for messages of the queue, for listings and orders.

use super::{Address, Destination, Message, MessageId, TargetStatus};
use std::fmt;

/// The state of a message, in operators' terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageState {
    /// In an attempt now.
    Active,
    /// Waiting for another attempt after a temporary failure.
    Deferred,
    /// Held by an operator.
    Held,
    /// Waiting for its first attempt.
    Waiting,
}

impl MessageState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Active, Self::Deferred, Self::Held, Self::Waiting];

    /// The word for programs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Waiting => "waiting",
        }
    }
}

/// Conditions that must all hold. Texts are searched anywhere in the field, without regard to case;
/// an empty text always matches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// In any of the fields below, or in the subject.
    pub search: String,
    /// In a pending recipient.
    pub recipient: String,
    /// In the reverse-path; `<>` = the null reverse-path.
    pub sender: String,
    /// The start of the queue id.
    pub id: String,
    /// The whole name of the destination of a pending recipient.
    pub destination: String,
    /// In the error of a recipient's last attempt.
    pub error: String,
    /// In the decoded subject. The only condition that needs the content.
    pub subject: String,
    /// Its state.
    pub standing: Option<MessageState>,
    /// Its age in seconds, at least.
    pub older: Option<u32>,
    /// Its size in octets, at least.
    pub larger: Option<u64>,
}

impl Filter {
    /// Whether every message matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the subject is needed of messages that match all other conditions.
    pub fn asks_for_subjects(&self) -> bool {
        !self.search.is_empty() || !self.subject.is_empty()
    }

    /// The lowest and the highest id that can match.
    pub fn ids(&self) -> (MessageId, MessageId) {
        MessageId::beginning_with(&self.id)
    }

    /// Whether a message matches; `subject` is its decoded subject, used only if
    /// [`Filter::asks_for_subjects`] is true.
    pub fn passes(
        &self,
        message: &Message,
        seen: &MessageContext<'_>,
        subject: &str,
        now: u32,
    ) -> bool {
        self.passes_without_subject(message, seen, now)
            && is_in(subject, &self.subject)
            && (self.search.is_empty() || is_in(subject, &self.search) || self.finds(message, seen))
    }

    /// Whether a message matches all conditions other than those on the subject: if not, its
    /// content need not be read.
    pub fn passes_without_subject(
        &self,
        message: &Message,
        seen: &MessageContext<'_>,
        now: u32,
    ) -> bool {
        is_in(sender(message), &self.sender)
            && (self.recipient.is_empty()
                || recipients(message).any(|address| is_in(address.as_str(), &self.recipient)))
            && is_in(&message.id.to_string()[..self.id.len().min(13)], &self.id)
            && (self.destination.is_empty()
                || seen
                    .destinations
                    .iter()
                    .any(|destination| destination.has_name(&self.destination)))
            && (self.error.is_empty()
                || message.progress.iter().any(|progress| is_in(&progress.reason, &self.error)))
            && self.standing.is_none_or(|wanted| wanted == seen.standing)
            && self.older.is_none_or(|older| now.saturating_sub(message.arrived) >= older)
            && self.larger.is_none_or(|larger| message.body.len() >= larger)
    }

    /// Whether [`Filter::search`] is in the envelope, the id, a destination or an error.
    fn finds(&self, message: &Message, seen: &MessageContext<'_>) -> bool {
        is_in(sender(message), &self.search)
            || recipients(message).any(|address| is_in(address.as_str(), &self.search))
            || is_in(&message.id.to_string(), &self.search)
            || seen.destinations.iter().any(|destination| is_in(&destination.name(), &self.search))
            || message.progress.iter().any(|progress| is_in(&progress.reason, &self.search))
    }
}

/// For the audit log.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [
            ("search", &self.search),
            ("recipient", &self.recipient),
            ("sender", &self.sender),
            ("id", &self.id),
            ("destination", &self.destination),
            ("error", &self.error),
            ("subject", &self.subject),
        ];
        let texts = texts
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| format!("{name}={text:?}"));
        let standing = self.standing.map(|standing| format!("state={}", standing.as_str()));
        let older = self.older.map(|seconds| format!("older={seconds}s"));
        let larger = self.larger.map(|octets| format!("larger={octets}"));
        let all: Vec<String> = texts.chain(standing).chain(older).chain(larger).collect();
        f.write_str(if all.is_empty() { "everything" } else { "" })?;
        f.write_str(&all.join(" "))
    }
}

/// What is not stored in the message itself.
#[derive(Debug, Clone, Copy)]
pub struct MessageContext<'a> {
    /// Its state.
    pub standing: MessageState,
    /// The destinations of the pending recipients.
    pub destinations: &'a [Destination],
}

fn sender(message: &Message) -> &str {
    message.envelope.sender.as_ref().map_or("<>", Address::as_str)
}

fn recipients(message: &Message) -> impl Iterator<Item = &Address> {
    let all = message.envelope.recipients.iter().zip(&message.progress);
    all.filter(|(_, progress)| progress.status == TargetStatus::Pending).map(|(address, _)| address)
}

/// Whether a text contains another, whatever the case of either.
fn is_in(text: &str, wanted: &str) -> bool {
    if wanted.is_empty() {
        return true;
    }
    if text.is_ascii() && wanted.is_ascii() {
        let (text, wanted) = (text.as_bytes(), wanted.as_bytes());
        return text.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted));
    }
    text.to_lowercase().contains(&wanted.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::{
        Body, BodyType, Envelope, MessageKind, Origin, Target, TargetProgress,
    };

    fn message() -> Message {
        let recipients =
            ["anna@one.example", "bert@two.example"].map(|text| Address::parse(text).unwrap());
        let mut progress =
            [TargetProgress::new(Target::Recipient(0)), TargetProgress::new(Target::Recipient(1))];
        progress[0].status = TargetStatus::Delivered;
        progress[1].reason = "450 4.2.1 Mailbox is BUSY".to_owned();
        Message {
            id: MessageId(1 << 40),
            arrived: 1000,
            envelope: Envelope {
                sender: Some(Address::parse("Shop@web.example").unwrap()),
                recipients: recipients.to_vec(),
                body: BodyType::SevenBit,
                smtputf8: false,
                dsn: None,
            },
            origin: Origin { peer: None, helo: "".into(), may_relay: false },
            kind: MessageKind::Mail,
            progress: progress.to_vec(),
            held: false,
            delay_warning_sent: false,
            body: Body::Memory(vec![0; 500].into()),
        }
    }

    fn passes(filter: &Filter) -> bool {
        let destinations = [Destination::domain("two.example").unwrap()];
        let seen = MessageContext { standing: MessageState::Deferred, destinations: &destinations };
        filter.passes(&message(), &seen, "Grüße aus Köln", 4600)
    }

    #[test]
    fn every_condition_lets_through_and_holds_back() {
        let text = |set: fn(&mut Filter, String), text: &str| {
            let mut filter = Filter::default();
            set(&mut filter, text.to_owned());
            passes(&filter)
        };
        let id = message().id.to_string();
        assert!(text(|f, t| f.recipient = t, "BERT@") && text(|f, t| f.sender = t, "shop@WEB"));
        assert!(!text(|f, t| f.recipient = t, "anna"), "she has her mail");
        assert!(!text(|f, t| f.sender = t, "bert") && !text(|f, t| f.sender = t, "<>"));
        assert!(text(|f, t| f.id = t, &id[..9].to_lowercase()) && !text(|f, t| f.id = t, &id[3..]));
        assert!(
            text(|f, t| f.destination = t, "TWO.example") && !text(|f, t| f.destination = t, "two")
        );
        assert!(text(|f, t| f.error = t, "mailbox is busy") && !text(|f, t| f.error = t, "550"));
        assert!(text(|f, t| f.subject = t, "KÖLN") && !text(|f, t| f.subject = t, "Bonn"));
        for found in ["shop", "bert", "two.ex", "4.2.1", "grüße", &id[2..]] {
            assert!(text(|f, t| f.search = t, found), "{found}");
        }
        assert!(!text(|f, t| f.search = t, "anna"));
        let deferred = Filter {
            standing: Some(MessageState::Deferred),
            older: Some(3600),
            larger: Some(500),
            ..Filter::default()
        };
        assert!(passes(&deferred));
        assert!(!passes(&Filter { standing: Some(MessageState::Held), ..deferred.clone() }));
        assert!(!passes(&Filter { older: Some(3601), ..deferred.clone() }));
        assert!(!passes(&Filter { larger: Some(501), ..deferred }));
    }
}
