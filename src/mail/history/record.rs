//! Makes history entries of events: attempts and ends.

use super::{HistoryLog, content};
use crate::mail::model::{
    AttemptRecord, Deletion, DeliveryAttempt, FinishedMessage, MailEvent, MailEventSink, Message,
    MessageId, Outcome, RecipientResult, ReplyClass, Target, TargetProgress, TargetStatus,
};

impl MailEventSink for HistoryLog {
    fn take(&self, event: &MailEvent<'_>) {
        if !self.is_wanted() {
            return;
        }
        match event {
            MailEvent::Attempted(attempt) => self.keep_attempt(attempt),
            MailEvent::Deleted { message, deletion, at } => {
                self.finished(deleted(message, *deletion, *at));
            }
            MailEvent::Resent { message, of, recipients, principal, at } => {
                let by = &principal.user;
                let to = match *recipients {
                    1 => "1 recipient".to_owned(),
                    more => format!("{more} recipients"),
                };
                self.attempt(note(*of, *at, &format!("sent again as {message} by {by}, to {to}")));
                self.attempt(note(*message, *at, &format!("sent again from {of} by {by}")));
            }
            _ => {}
        }
    }
}

impl HistoryLog {
    /// Records an attempt, unless the end of the message says the same, and records that end.
    fn keep_attempt(&self, attempt: &DeliveryAttempt<'_>) {
        let Some(progress) = attempt.progress else { return };
        let all_well =
            attempt.outcomes.iter().all(|(_, outcome)| outcome.class() == ReplyClass::Success);
        if !(all_well && attempt.over) {
            self.attempt(tried(attempt));
        }
        if attempt.over {
            self.finished(finished(attempt, progress));
            self.keep(|| content::Draft::new(attempt.message, progress, attempt.at));
        }
    }
}

/// A remark about a message.
fn note(id: MessageId, at: u32, words: &str) -> AttemptRecord {
    AttemptRecord {
        id: id.to_string(),
        at,
        destination: String::new(),
        relay: String::new(),
        tls: String::new(),
        took_ms: 0,
        outcomes: Vec::new(),
        transcript: format!("* {words}\n"),
    }
}

fn tried(attempt: &DeliveryAttempt<'_>) -> AttemptRecord {
    let outcomes = attempt.outcomes.iter();
    AttemptRecord {
        id: attempt.message.id.to_string(),
        at: attempt.at,
        destination: attempt.destination.to_string(),
        relay: attempt.relay.to_owned(),
        tls: attempt.security.to_owned(),
        took_ms: u64::try_from(attempt.delays.attempt.as_millis()).unwrap_or(u64::MAX),
        outcomes: outcomes
            .map(|(target, outcome)| ending(attempt.message, *target, outcome))
            .collect(),
        transcript: attempt.transcript.to_owned(),
    }
}

fn finished(attempt: &DeliveryAttempt<'_>, progress: &[TargetProgress]) -> FinishedMessage {
    let said = |target: Target| {
        attempt
            .outcomes
            .iter()
            .find(|(other, _)| *other == target)
            .map(|(_, outcome)| outcome.words())
    };
    let recipients = progress.iter().map(|progress| RecipientResult {
        to: name(attempt.message, progress.target),
        status: progress.status.into(),
        reply: said(progress.target).unwrap_or_else(|| elsewhere(progress)),
    });
    FinishedMessage {
        recipients: recipients.collect(),
        relay: attempt.relay.to_owned(),
        tls: attempt.security.to_owned(),
        ..base(attempt.message, attempt.at)
    }
}

/// The entry of a message that an operator removed from the queue.
fn deleted(message: &Message, deletion: Deletion<'_>, at: u32) -> FinishedMessage {
    let mark = match deletion {
        Deletion::Deleted => "",
        Deletion::Moved(mark) => mark,
    };
    let recipients = message.progress.iter().map(|progress| RecipientResult {
        to: name(message, progress.target),
        status: match progress.status {
            TargetStatus::Pending => deletion.status(),
            ended => ended.into(),
        },
        reply: progress.reason.clone(),
    });
    FinishedMessage { recipients: recipients.collect(), mark: mark.to_owned(), ..base(message, at) }
}

/// The text for a recipient that was not part of the last attempt: each destination has its own
/// attempts, with their replies.
fn elsewhere(progress: &TargetProgress) -> String {
    if progress.reason.is_empty() { "in another try".to_owned() } else { progress.reason.clone() }
}

/// The fields that do not depend on the result.
fn base(message: &Message, at: u32) -> FinishedMessage {
    FinishedMessage {
        id: message.id.to_string(),
        arrived: message.arrived,
        at,
        sender: message.envelope.sender_text().to_owned(),
        size: message.body.len(),
        client: message.origin.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        relay: String::new(),
        tls: String::new(),
        recipients: Vec::new(),
        mark: String::new(),
    }
}

fn ending(message: &Message, target: Target, outcome: &Outcome) -> RecipientResult {
    RecipientResult {
        to: name(message, target),
        status: outcome.class().into(),
        reply: outcome.words(),
    }
}

fn name(message: &Message, target: Target) -> String {
    match (target, message.recipient(target)) {
        (Target::Copy, _) => "(copy)".to_owned(),
        (_, recipient) => recipient.map(ToString::to_string).unwrap_or_default(),
    }
}
