//! What the corridor tells the log: who asked for what, and how a message calls itself.
//!
//! Texts are given as the client wrote them; the log escapes what is hostile.
//! Limits: [`PATHS_MAX`] recipients of a line, [`HEADER_MAX`] octets of a header section,
//! [`MESSAGE_ID_MAX`] of its Message-ID.
//! Source: RFC 5322 §2.2.3 (folding), §3.6.4 (Message-ID).

use super::model::{Address, Body, Class, Envelope, Message, Report};
use super::parse::{Command, CommandError, Recipient};
use std::fmt;
use std::net::IpAddr;
use tracing::Level;

/// Recipients that one line names.
const PATHS_MAX: usize = 5;

/// Octets of the header section in which Message-ID is looked for.
const HEADER_MAX: usize = 8192;

/// Octets of a Message-ID that are told.
const MESSAGE_ID_MAX: usize = 250;

/// What a client wants, for the case that it is refused.
#[derive(Debug, Clone)]
pub struct RequestSummary {
    /// The command, or `END-OF-MESSAGE`, or `UNKNOWN`.
    pub command: &'static str,
    /// The reverse-path that it names.
    pub from: Option<Address>,
    /// The forward-path that it names.
    pub to: Option<Address>,
}

impl RequestSummary {
    /// By a command; `verb` is what its line begins with, for one that makes no sense.
    pub fn by(command: &Result<Command, CommandError>, verb: Option<&'static str>) -> Self {
        let asked = |command| Self { command, from: None, to: None };
        match command {
            Ok(Command::Mail(mail)) => Self { from: mail.sender.clone(), ..asked("MAIL") },
            Ok(Command::Recipient(Recipient::Mailbox(to))) => {
                Self { to: Some(to.clone()), ..asked("RCPT") }
            }
            Ok(Command::Recipient(Recipient::Postmaster)) => asked("RCPT"),
            Ok(Command::Data) => asked("DATA"),
            Ok(Command::Hello { extended, .. }) => asked(if *extended { "EHLO" } else { "HELO" }),
            Ok(Command::Help) => asked("HELP"),
            Ok(Command::Noop) => asked("NOOP"),
            Ok(Command::Quit) => asked("QUIT"),
            Ok(Command::Reset) => asked("RSET"),
            Ok(Command::StartTls) => asked("STARTTLS"),
            Ok(Command::Verify) => asked("VRFY"),
            Err(_) => asked(verb.unwrap_or("UNKNOWN")),
        }
    }

    /// By the end of its content.
    pub fn at_the_end(envelope: &Envelope) -> Self {
        let to = match &envelope.recipients[..] {
            [only] => Some(only.clone()),
            _ => None,
        };
        Self { command: "END-OF-MESSAGE", from: envelope.sender.clone(), to }
    }
}

/// A host has put recipients off, and the next one is asked at once.
pub fn put_off(message: &Message, report: &Report, next: &str) {
    let put_off =
        || report.outcomes.iter().filter(|(_, outcome)| outcome.class() == Class::Temporary);
    let Some((_, outcome)) = put_off().next() else { return };
    tracing::info!(
        target: "mta",
        queue_id = %message.id,
        relay = report.relay,
        recipients = put_off().count(),
        reply = outcome.words(),
        next,
        "put off, asking the next host"
    );
}

/// A path; the null path where there is none.
pub struct Path<'a>(pub Option<&'a Address>);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0.map_or("", Address::as_str))
    }
}

/// The first few forward-paths.
pub struct Paths<'a>(pub &'a Envelope);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, recipient) in self.0.recipients.iter().take(PATHS_MAX).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}<{recipient}>")?;
        }
        if self.0.recipients.len() > PATHS_MAX { f.write_str(",…") } else { Ok(()) }
    }
}

/// Whether there is a mail log, which hears more than others.
pub fn is_followed() -> bool {
    tracing::event_enabled!(target: "mta", Level::DEBUG)
}

/// Tells the mail log of a recipient that is not tried now, because nothing goes to its
/// destination; `to` is `None` for the carbon copy. `dsn` is for a reason that has no code of its
/// own.
pub fn suspended(message: &Message, to: Option<&Address>, delay: f64, (dsn, why): (&str, &str)) {
    tracing::debug!(
        target: "mta",
        queue_id = %message.id,
        to = to.map(|to| format!("<{to}>")),
        delay = format_args!("{delay:.3}"),
        dsn,
        reply = why,
        "suspended"
    );
}

/// Tells the mail log of a message that is in the queue now, with the client that brought it and
/// its port. Without a mail log this costs a glance.
pub fn queued(message: &Message, client: Option<(IpAddr, u16)>, size: u64) {
    if !is_followed() {
        return;
    }
    let message_id = message_id(&message.body);
    tracing::debug!(
        target: "mta",
        queue_id = %message.id,
        client = client.map(|(address, _)| address.to_string()),
        port = client.map(|(_, port)| port),
        from = %Path(message.envelope.sender.as_ref()),
        recipients = message.envelope.recipients.len(),
        size,
        message_id,
        "queued"
    );
}

/// Tells the mail log of a message whose turn has come again.
pub fn active(message: &Message) {
    tracing::debug!(
        target: "mta",
        queue_id = %message.id,
        from = %Path(message.envelope.sender.as_ref()),
        recipients = message.envelope.recipients.len(),
        size = message.body.len(),
        "active"
    );
}

/// What stands in the field Message-ID; empty where there is none. Content at rest has just been
/// written, so its start is in the kernel's memory: a wait here would leave a mail that is durable
/// without the hands that carry it on.
fn message_id(body: &Body) -> String {
    // For the log alone: without it the line is shorter, and the mail goes on.
    find_message_id(&body.head(HEADER_MAX).unwrap_or_default())
}

fn find_message_id(head: &[u8]) -> String {
    const NAME: &[u8] = b"message-id:";
    let mut rest = head;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let line = &rest[..end];
        rest = &rest[end + 1..];
        if line.trim_ascii().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_at_checked(NAME.len()) else { continue };
        if name.eq_ignore_ascii_case(NAME) {
            // Folded behind the name: the value stands on the next line.
            let folded = rest
                .split(|byte| *byte == b'\n')
                .next()
                .filter(|next| next.starts_with(b" ") || next.starts_with(b"\t"));
            let value =
                if value.trim_ascii().is_empty() { folded.unwrap_or_default() } else { value };
            let text = String::from_utf8_lossy(value.trim_ascii());
            return text[..text.floor_char_boundary(MESSAGE_ID_MAX)].to_owned();
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::BodyType;

    #[test]
    fn a_message_id_is_found_in_the_header_alone() {
        for (content, expected) in [
            ("Subject: x\r\nMessage-ID: <a@b>\r\n\r\n", "<a@b>"),
            ("message-id:<a@b>  \r\n\r\n", "<a@b>"),
            ("Message-Id:\r\n <folded@b>\r\nX: y\r\n\r\n", "<folded@b>"),
            ("Message-Id:\r\nX: y\r\n\r\n", ""),
            ("Subject: x\r\n\r\nMessage-ID: <a@b>\r\n", ""),
            ("X-Message-ID: <a@b>\r\n\r\n", ""),
            ("", ""),
        ] {
            assert_eq!(find_message_id(content.as_bytes()), expected, "{content:?}");
        }
        assert_eq!(
            find_message_id(format!("Message-ID: {}\r\n", "é".repeat(300)).as_bytes()).len(),
            MESSAGE_ID_MAX
        );
    }

    #[test]
    fn a_line_names_a_few_recipients() {
        let recipients = (0..50)
            .map(|number| Address::parse(&format!("r{number}@b.example")).unwrap())
            .collect();
        let envelope =
            Envelope { sender: None, recipients, body: BodyType::SevenBit, smtputf8: false };
        let shown = Paths(&envelope).to_string();
        assert!(
            shown.starts_with("<r0@b.example>,<r1@b.example>,")
                && shown.ends_with("<r4@b.example>,…"),
            "{shown}"
        );
        assert_eq!(Path(None).to_string(), "<>");
    }

    #[test]
    fn a_refused_recipient_is_named() {
        let by = |line: &[u8]| RequestSummary::by(&Command::parse(line), Command::verb(line));
        let asked = by(b"RCPT TO:<a@b.example>");
        assert_eq!(
            (asked.command, asked.to.map(|to| to.to_string()).as_deref()),
            ("RCPT", Some("a@b.example"))
        );
        assert_eq!(by(b"RCPT TO:<a@@b>").command, "RCPT");
        assert_eq!(by(b"GET / HTTP/1.1").command, "UNKNOWN");
    }

    #[test]
    fn a_command_that_makes_no_sense_keeps_its_verb() {
        let by = |line: &'static str| {
            RequestSummary::by(&Command::parse(line.as_bytes()), Command::verb(line.as_bytes()))
                .command
        };
        assert_eq!(
            ["EHLO", "helo ", "Mail a@b", "RCPT\tx", "QUIT now", "AUTH PLAIN x"].map(by),
            ["EHLO", "HELO", "MAIL", "RCPT", "QUIT", "AUTH"]
        );
        assert_eq!(["", "EHLOx y", "EXPLODE"].map(by), ["UNKNOWN"; 3]);
    }
}
