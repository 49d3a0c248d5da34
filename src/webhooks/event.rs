//! The events, and their formats.
//!
//! Source: Standard Webhooks, "Payload structure" (`type`, `timestamp`, `data`); Slack's incoming
//! webhooks (`text`, three characters escaped).

use crate::ground::clock;
use crate::ground::display_text::{harmless, shorten};
use crate::ground::text::harmless_json;
use crate::mail::model::{Address, AddressMask, Delivery, DeliveryStatus};
use crate::monitor::alerts::AlertView;
use serde::{Serialize, Serializer};
use std::fmt;

/// Characters of a reply, an address or an alert in a line for people.
const SHOWN: usize = 300;

/// The format of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// One event for each request, as JSON, for programs.
    Plain,
    /// Lines of text for people, in the format of Slack, Mattermost, Rocket.Chat and others.
    Slack,
}

/// An event.
#[derive(Debug, Serialize)]
pub(super) struct WebhookPayload {
    #[serde(skip)]
    pub(super) id: String,
    /// When, seconds since 1970.
    #[serde(skip)]
    pub(super) at: u32,
    #[serde(rename = "type")]
    kind: EventType,
    timestamp: String,
    data: Data,
}

/// The type of an event: `mail.` with what became of a recipient, or what became of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventType {
    Mail(DeliveryStatus),
    AlertRaised,
    AlertCleared,
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(status) => write!(f, "mail.{status}"),
            Self::AlertRaised => f.write_str("alert.raised"),
            Self::AlertCleared => f.write_str("alert.cleared"),
        }
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Data {
    Mail(Mail),
    Alert(Alert),
}

#[derive(Debug, Serialize)]
struct Mail {
    /// As the type of the event has it.
    #[serde(skip)]
    status: DeliveryStatus,
    hostname: String,
    id: String,
    sender: String,
    recipient: String,
    destination: String,
    relay: String,
    reply: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<String>,
}

#[derive(Debug, Serialize)]
struct Alert {
    hostname: String,
    key: String,
    grave: bool,
    text: String,
    since: String,
}

impl WebhookPayload {
    pub(super) fn mail(
        id: String,
        hostname: &str,
        delivery: &Delivery<'_>,
        mask: &dyn AddressMask,
    ) -> Self {
        let kind = EventType::Mail(delivery.status());
        let attempt = delivery.attempt;
        let data = Data::Mail(Mail {
            status: delivery.status(),
            hostname: hostname.to_owned(),
            id: attempt.message.id.to_string(),
            sender: mask.address(attempt.message.envelope.sender_text()),
            recipient: mask.address(delivery.to().map_or("", Address::as_str)),
            destination: attempt.destination.to_string(),
            relay: attempt.relay.to_owned(),
            reply: mask.text(&delivery.outcome.words()),
            next_try: delivery.next_attempt_time().map(clock::rfc3339),
        });
        Self { id, at: attempt.at, kind, timestamp: clock::rfc3339(attempt.at), data }
    }

    /// An alert has begun or ended.
    pub(super) fn alert(
        id: String,
        hostname: &str,
        alert: &AlertView,
        over: bool,
        now: u32,
    ) -> Self {
        let data = Data::Alert(Alert {
            hostname: hostname.to_owned(),
            key: alert.key.clone(),
            grave: alert.grave,
            text: alert.text.clone(),
            since: alert.since.clone(),
        });
        let kind = if over { EventType::AlertCleared } else { EventType::AlertRaised };
        Self { id, at: now, kind, timestamp: clock::rfc3339(now), data }
    }

    /// For a program.
    pub(super) fn json(&self) -> String {
        // Only texts and numbers: they can always be written as JSON.
        harmless_json(serde_json::to_string(self).unwrap_or_default())
    }

    /// For a person.
    fn line(&self) -> String {
        match &self.data {
            Data::Mail(mail) => {
                let what = mail.status;
                let next =
                    mail.next_try.as_ref().map(|at| format!(", next try {at}")).unwrap_or_default();
                let (host, id) = (&mail.hostname, &mail.id);
                let sender = if mail.sender.is_empty() { "nobody" } else { &mail.sender };
                let (from, to, reply) =
                    (quoted(sender), quoted(&mail.recipient), quoted(&mail.reply));
                format!("*{host}*: mail {id} from {from} to {to} {what}: {reply}{next}")
            }
            Data::Alert(alert) => {
                let over = if self.kind == EventType::AlertCleared { "over: " } else { "" };
                format!("*{}*: {over}{}", alert.hostname, quoted(&alert.text))
            }
        }
    }
}

/// Several events for people, in one request.
pub(super) fn lines<'a>(events: impl Iterator<Item = &'a WebhookPayload>) -> String {
    let text = events.map(WebhookPayload::line).collect::<Vec<_>>().join("\n");
    serde_json::json!({ "text": text }).to_string()
}

/// Untrusted text between back-ticks, where it mentions nobody (`@channel`), and is no link and no
/// emphasis.
fn quoted(text: &str) -> String {
    let text = shorten(&harmless(text), SHOWN).replace('`', "'");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::{
        Body, BodyType, Delays, DeliveryAttempt, Destination, Envelope, Message, MessageId,
        MessageKind, Origin, Outcome, Reply, Target,
    };

    /// A mask that replaces only the local part.
    struct Stars;

    impl AddressMask for Stars {
        fn address(&self, address: &str) -> String {
            address.rsplit_once('@').map_or_else(String::new, |(_, domain)| format!("*@{domain}"))
        }

        fn text(&self, text: &str) -> String {
            text.replace("b@b", "*@b")
        }
    }

    fn event(code: u16, reply: &'static str) -> WebhookPayload {
        let message = Message {
            id: MessageId(7),
            arrived: 0,
            envelope: Envelope {
                sender: Address::parse("shop@a.example").ok(),
                recipients: vec![Address::parse("b@b.example").unwrap()],
                body: BodyType::SevenBit,
                smtputf8: false,
                dsn: None,
            },
            origin: Origin { peer: None, helo: "".into(), may_relay: false },
            kind: MessageKind::Mail,
            progress: Vec::new(),
            held: false,
            delay_warning_sent: false,
            body: Body::Memory(Default::default()),
        };
        let outcome = Outcome::said(Reply::plain(code, reply));
        let target = Target::Recipient(0);
        let attempt = DeliveryAttempt {
            message: &message,
            destination: &Destination::domain("b.example").unwrap(),
            outcomes: &[(target, outcome.clone())],
            relay: "mx.b.example[192.0.2.1]:25",
            tls: false,
            security: "",
            transcript: "",
            at: 1_700_000_000,
            due: 1_700_000_300,
            delays: Delays::default(),
            progress: None,
            over: false,
        };
        let delivery = Delivery { attempt: &attempt, target, outcome: &outcome };
        WebhookPayload::mail("evt_1".into(), "mta.example", &delivery, &Stars)
    }

    #[test]
    fn a_program_reads_json() {
        let event = event(450, "later, b@b.example");
        let json: serde_json::Value = serde_json::from_str(&event.json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "mail.deferred",
                "timestamp": "2023-11-14T22:13:20+00:00",
                "data": {
                    "hostname": "mta.example",
                    "id": MessageId(7).to_string(),
                    "sender": "*@a.example",
                    "recipient": "*@b.example",
                    "destination": "b.example",
                    "relay": "mx.b.example[192.0.2.1]:25",
                    "reply": "450 later, *@b.example",
                    "next_try": "2023-11-14T22:18:20+00:00",
                }
            })
        );
    }

    #[test]
    fn hostile_text_calls_nobody_and_links_nowhere() {
        let hostile = "<!channel> `@all` <https://evil.example|click> \n*bold* & \u{202e}gnp";
        let event = event(550, hostile);
        let text = lines([&event, &event].into_iter());
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let text = json["text"].as_str().unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains(['<', '>', '\u{202e}']), "{text}");
        let reply = text.lines().next().unwrap().split("bounced: ").nth(1).unwrap();
        assert!(
            reply.starts_with("`550 &lt;!channel&gt; '@all'") && reply.matches('`').count() == 2,
            "{reply}"
        );
    }
}
