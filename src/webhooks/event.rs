//! What is told, and in which shape.
//!
//! Source: Standard Webhooks, "Payload structure" (`type`, `timestamp`, `data`); Slack's incoming
//! webhooks (`text`, three characters escaped).

use crate::ground::clock;
use crate::ground::text::harmless_json;
use crate::ground::words::{harmless, shorten};
use crate::mail::model::{Class, DeliveryEvent};
use crate::monitor::alerts::AlertView;
use serde::Serialize;

/// Characters of a reply, an address or an alert in a line for people.
const SHOWN: usize = 300;

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// An event a request, as JSON, for programs.
    Plain,
    /// Lines of text for people, as Slack, Mattermost, Rocket.Chat and others take them.
    Slack,
}

/// Something that has happened.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    #[serde(skip)]
    pub(super) id: String,
    /// When, seconds since 1970.
    #[serde(skip)]
    pub(super) at: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Data {
    Mail(Mail),
    Alert(Alert),
}

#[derive(Debug, Serialize)]
struct Mail {
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

impl Event {
    pub(super) fn mail(id: String, hostname: &str, notice: DeliveryEvent) -> Self {
        let kind = match notice.class {
            Class::Success => "mail.delivered",
            Class::Temporary => "mail.deferred",
            Class::Permanent => "mail.bounced",
        };
        let data = Data::Mail(Mail {
            hostname: hostname.to_owned(),
            id: notice.id,
            sender: notice.sender,
            recipient: notice.to,
            destination: notice.destination,
            relay: notice.relay,
            reply: notice.reply,
            next_try: notice.next_try.map(clock::rfc3339),
        });
        Self { id, at: notice.at, kind, timestamp: clock::rfc3339(notice.at), data }
    }

    /// An alert has come up, or is over.
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
        let kind = if over { "alert.cleared" } else { "alert.raised" };
        Self { id, at: now, kind, timestamp: clock::rfc3339(now), data }
    }

    /// For a program.
    pub(super) fn json(&self) -> String {
        // Texts and numbers: nothing of it can fail to become JSON.
        harmless_json(serde_json::to_string(self).unwrap_or_default())
    }

    /// For a person.
    fn line(&self) -> String {
        match &self.data {
            Data::Mail(mail) => {
                let what = self.kind.trim_start_matches("mail.");
                let next =
                    mail.next_try.as_ref().map(|at| format!(", next try {at}")).unwrap_or_default();
                let (host, id) = (&mail.hostname, &mail.id);
                let sender = if mail.sender.is_empty() { "nobody" } else { &mail.sender };
                let (from, to, reply) =
                    (quoted(sender), quoted(&mail.recipient), quoted(&mail.reply));
                format!("*{host}*: mail {id} from {from} to {to} {what}: {reply}{next}")
            }
            Data::Alert(alert) => {
                let over = if self.kind == "alert.cleared" { "over: " } else { "" };
                format!("*{}*: {over}{}", alert.hostname, quoted(&alert.text))
            }
        }
    }
}

/// Several events for people, in one request.
pub(super) fn lines<'a>(events: impl Iterator<Item = &'a Event>) -> String {
    let text = events.map(Event::line).collect::<Vec<_>>().join("\n");
    serde_json::json!({ "text": text }).to_string()
}

/// Hostile text between back-ticks, where it calls nobody (`@channel`), is no link and no emphasis.
fn quoted(text: &str) -> String {
    let text = shorten(&harmless(text), SHOWN).replace('`', "'");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("`{text}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(class: Class, reply: &str) -> DeliveryEvent {
        DeliveryEvent {
            id: "001K1".into(),
            at: 1_700_000_000,
            class,
            sender: "shop@a.example".into(),
            to: "b@b.example".into(),
            destination: "b.example".into(),
            relay: "mx.b.example[192.0.2.1]:25".into(),
            reply: reply.into(),
            next_try: (class == Class::Temporary).then_some(1_700_000_300),
        }
    }

    #[test]
    fn a_program_reads_json() {
        let event =
            Event::mail("evt_1".into(), "mta.example", notice(Class::Temporary, "450 later"));
        let json: serde_json::Value = serde_json::from_str(&event.json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "mail.deferred",
                "timestamp": "2023-11-14T22:13:20+00:00",
                "data": {
                    "hostname": "mta.example",
                    "id": "001K1",
                    "sender": "shop@a.example",
                    "recipient": "b@b.example",
                    "destination": "b.example",
                    "relay": "mx.b.example[192.0.2.1]:25",
                    "reply": "450 later",
                    "next_try": "2023-11-14T22:18:20+00:00",
                }
            })
        );
    }

    #[test]
    fn hostile_text_calls_nobody_and_links_nowhere() {
        let hostile = "550 <!channel> `@all` <https://evil.example|click> \n*bold* & \u{202e}gnp";
        let event = Event::mail("evt_1".into(), "mta.example", notice(Class::Permanent, hostile));
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
