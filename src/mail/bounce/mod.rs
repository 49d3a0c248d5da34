//! Notifications to the sender about failed and delayed mail.
//!
//! Purpose: makes a delivery status notification of outcomes, or none. In: a message with the
//! outcomes of some targets. Out: a [`NewMessage`] from the null sender to the message's sender.
//! The operator's address (`bounce_address`), where one is set, gets a notification about bounces
//! that failed; if that one fails, it ends there. No notification: for a message from the null
//! sender, for the relay's own notifications (never a bounce of a bounce, RFC 5321 §6.1), and for
//! the carbon copy, whose failure concerns only the operator. Form: multipart/report (RFC 6522) of
//! a text for people, a message/delivery-status (RFC 3464) for programs, and the header section of
//! the original, or with RET=FULL a small one whole. All else is ASCII on the wire, whatever the
//! original was, so that no next hop can reject it for its form; an original in 8 bits that is
//! returned whole is converted where the next hop has no 8BITMIME, as any mail (the caller looks
//! whether it can be), and only an internationalised sender needs SMTPUTF8. A client that used DSN
//! (RFC 3461) hears of the events that it asked for, and finds its ENVID and ORCPT in the report.
//! Limits: [`HEADERS_MAX`] of the original's headers, [`CONTENT_MAX`] of an original that is
//! returned whole, [`DIAGNOSTIC_MAX`] of a server's reply; with [`Envelope::RECIPIENTS_MAX`]
//! recipients a report stays below two megabytes. Security: replies and headers are untrusted. No
//! control character of a reply reaches the report, no line of it can begin a header field or a
//! part, and the boundary between parts cannot be guessed. Source: RFC 3464, RFC 6522, RFC 6533,
//! RFC 3834 (Auto-Submitted), RFC 5321 §4.5.5.

mod encode;
mod report;

use crate::mail::model::{
    Address, Envelope, Message, MessageKind, NewMessage, Origin, Outcome, Target,
};
pub use report::{CONTENT_MAX, DIAGNOSTIC_MAX, HEADERS_MAX};
use report::{ReportKind, ReportedRecipient, StatusNotification};

/// The notification that the message failed permanently for some recipients. A temporary outcome
/// among `failures` means that the lifetime has ended. `relay` is the last host, as in
/// [`crate::mail::model::TransactionReport::relay`]. Reads the start of the content, which blocks
/// when it is on the disk.
///
/// `None` when no notification is due.
pub fn failed(
    message: &Message,
    failures: &[(Target, Outcome)],
    relay: &str,
    hostname: &str,
    now: u32,
) -> Option<NewMessage> {
    let sender = message.envelope.sender.as_ref().filter(|_| !is_bounce(message))?;
    draft(message, sender, failures, relay, ReportKind::Failed, hostname, now)
}

/// The notification that the message was passed on to a host without DSN, for those recipients
/// whose client asked to hear of success (RFC 3461 §4.1, §5.2.2). Reads the start of the content,
/// which blocks when it is on the disk.
///
/// `None` when no notification is due.
pub fn relayed(
    message: &Message,
    successes: &[(Target, Outcome)],
    relay: &str,
    hostname: &str,
    now: u32,
) -> Option<NewMessage> {
    let sender = message.envelope.sender.as_ref().filter(|_| !is_bounce(message))?;
    draft(message, sender, successes, relay, ReportKind::Relayed, hostname, now)
}

/// The notification to the operator's address `to` that a bounce has failed permanently. Reads the
/// start of the content, which blocks when it is on the disk.
///
/// `None` when the message is not a bounce, or was itself for `to`: it ends there.
pub fn undeliverable(
    message: &Message,
    failures: &[(Target, Outcome)],
    relay: &str,
    to: &Address,
    hostname: &str,
    now: u32,
) -> Option<NewMessage> {
    let is_there = |recipient: &Address| recipient.as_str().eq_ignore_ascii_case(to.as_str());
    if !is_bounce(message) || message.envelope.recipients.iter().any(is_there) {
        return None;
    }
    draft(message, to, failures, relay, ReportKind::Undeliverable, hostname, now)
}

/// Whether nobody is notified when the message fails: it is a notification of the relay, or has the
/// null sender.
pub fn is_bounce(message: &Message) -> bool {
    message.envelope.sender.is_none() || message.kind == MessageKind::Notification
}

/// The delay warning: the message is still pending for some recipients and will be attempted until
/// `give_up_at` (seconds since 1970). It is sent once. Reads the start of the content, which blocks
/// when it is on the disk.
///
/// `None` when no notification is due.
pub fn delayed(
    message: &Message,
    delays: &[(Target, Outcome)],
    give_up_at: u32,
    hostname: &str,
    now: u32,
) -> Option<NewMessage> {
    let sender = message.envelope.sender.as_ref().filter(|_| !is_bounce(message))?;
    draft(message, sender, delays, "", ReportKind::Delayed { give_up_at }, hostname, now)
}

fn draft(
    message: &Message,
    sender: &Address,
    outcomes: &[(Target, Outcome)],
    relay: &str,
    fate: ReportKind,
    hostname: &str,
    now: u32,
) -> Option<NewMessage> {
    let entries: Vec<ReportedRecipient<'_>> = outcomes
        .iter()
        .filter_map(|(target, outcome)| match target {
            Target::Recipient(place) => {
                let place = usize::from(*place);
                let recipient = message.envelope.recipients.get(place)?;
                let asked = fate.event().is_none_or(|event| message.envelope.wants(place, event));
                asked.then_some(ReportedRecipient { recipient, place, outcome })
            }
            Target::Copy => None,
        })
        .collect();
    if entries.is_empty() {
        return None;
    }
    let report = StatusNotification { message, sender, entries, relay, fate, hostname, now };
    let (content, body) = report.body(&unguessable(message));
    let envelope = Envelope {
        sender: None,
        recipients: vec![sender.clone()],
        body,
        smtputf8: !sender.is_ascii(),
        dsn: None,
    };
    Some(NewMessage {
        envelope,
        origin: Origin { peer: None, helo: "".into(), may_relay: false },
        kind: MessageKind::Notification,
        copy: false,
        body: content,
    })
}

/// A token for the boundary and the Message-ID: the standard library keys each hasher from the
/// system's random numbers.
fn unguessable(message: &Message) -> String {
    use std::hash::{BuildHasher, RandomState};
    let hash = |salt: u8| RandomState::new().hash_one((salt, message.id));
    format!("{:016x}{:016x}", hash(0), hash(1))
}

#[cfg(test)]
mod tests;
