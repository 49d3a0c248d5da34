//! What the history and the event sink hear of a try and of an end.

use super::Outbound;
use super::deliveries::Ended;
use crate::mail::model::{
    Attempt, Class, DeliveryEvent, DeliveryEventSink, Ending, Finished, Message, Outcome, Progress,
    Status, Target,
};
use crate::mail::spool::Spool;
use std::time::Duration;

/// A try that has just ended.
pub(super) struct Tried<'a> {
    pub(super) message: &'a Message,
    pub(super) outcomes: &'a [(Target, Outcome)],
    pub(super) relay: &'a str,
    pub(super) security: String,
    pub(super) transcript: String,
    pub(super) took: Duration,
}

impl Tried<'_> {
    /// What counts for the destination; `at` = now.
    pub(super) fn ended(&self, at: u32) -> Ended<'_> {
        let Self { outcomes, relay, security, took, .. } = self;
        Ended { outcomes, relay, tls: security, took: *took, at }
    }
}

impl<S: Spool> Outbound<S> {
    /// Tells the history of a try, unless the end of the message says the same, and of that end.
    pub(super) fn remember(
        &self,
        destination: &str,
        tried: Tried<'_>,
        progress: &[Progress],
        over: bool,
        now: u32,
    ) {
        let all_well = tried.outcomes.iter().all(|(_, outcome)| outcome.class() == Class::Success);
        let end = over.then(|| finished(&tried, progress, now));
        if !(all_well && over) {
            self.history.attempt(Attempt {
                id: tried.message.id.to_string(),
                at: now,
                destination: destination.to_owned(),
                relay: tried.relay.to_owned(),
                tls: tried.security,
                took_ms: u64::try_from(tried.took.as_millis()).unwrap_or(u64::MAX),
                outcomes: tried
                    .outcomes
                    .iter()
                    .map(|(target, outcome)| ending(tried.message, *target, outcome))
                    .collect(),
                transcript: tried.transcript,
            });
        }
        if let Some(end) = end {
            self.history.finished(end);
        }
    }

    /// Tells the event sink what became of each recipient in a try; `due` is when those that were
    /// deferred have their next one.
    pub(super) fn announce(
        &self,
        event_sink: &dyn DeliveryEventSink,
        destination: &str,
        message: &Message,
        outcomes: &[(Target, Outcome)],
        relay: &str,
        (now, due): (u32, u32),
    ) {
        let recipients = outcomes.iter().filter(|(target, _)| *target != Target::Copy);
        for (target, outcome) in recipients.filter(|(_, outcome)| event_sink.wants(outcome.class()))
        {
            event_sink.tell(DeliveryEvent {
                id: message.id.to_string(),
                at: now,
                class: outcome.class(),
                sender: message.envelope.sender_text().to_owned(),
                to: name(message, *target),
                destination: destination.to_owned(),
                relay: relay.to_owned(),
                reply: outcome.words(),
                next_try: (outcome.class() == Class::Temporary).then_some(due),
            });
        }
    }

    /// Tells the history that an operator has deleted a message, or moved it elsewhere: `status` is
    /// the word for it, `mark` that of the move.
    pub(in crate::mail) fn remember_deleted(
        &self,
        message: &Message,
        status: &str,
        mark: &str,
        now: u32,
    ) {
        let recipients = message.progress.iter().map(|progress| Ending {
            to: name(message, progress.target),
            status: if progress.status == Status::Pending { status } else { word(progress.status) }
                .to_owned(),
            reply: progress.reason.clone(),
        });
        let (recipients, relay) = (recipients.collect(), String::new());
        self.history.finished(Finished {
            recipients,
            relay,
            mark: mark.to_owned(),
            ..base(message, now)
        });
    }
}

fn finished(tried: &Tried<'_>, progress: &[Progress], now: u32) -> Finished {
    let said = |target: Target| {
        tried
            .outcomes
            .iter()
            .find(|(other, _)| *other == target)
            .map(|(_, outcome)| outcome.words())
    };
    let recipients = progress.iter().map(|progress| Ending {
        to: name(tried.message, progress.target),
        status: word(progress.status).to_owned(),
        reply: said(progress.target).unwrap_or_else(|| elsewhere(progress)),
    });
    Finished {
        recipients: recipients.collect(),
        relay: tried.relay.to_owned(),
        tls: tried.security.clone(),
        ..base(tried.message, now)
    }
}

/// What is told of a recipient that the last try was not about: each destination has tries of its
/// own. Their replies stand with them.
fn elsewhere(progress: &Progress) -> String {
    if progress.reason.is_empty() { "in another try".to_owned() } else { progress.reason.clone() }
}

/// What is known of a message whatever became of it.
fn base(message: &Message, now: u32) -> Finished {
    Finished {
        id: message.id.to_string(),
        arrived: message.arrived,
        at: now,
        sender: message.envelope.sender_text().to_owned(),
        size: message.body.len(),
        client: message.origin.peer.map(|peer| peer.to_string()).unwrap_or_default(),
        relay: String::new(),
        tls: String::new(),
        recipients: Vec::new(),
        mark: String::new(),
    }
}

fn ending(message: &Message, target: Target, outcome: &Outcome) -> Ending {
    let status = match outcome.class() {
        Class::Success => "delivered",
        Class::Temporary => "deferred",
        Class::Permanent => "bounced",
    };
    Ending { to: name(message, target), status: status.to_owned(), reply: outcome.words() }
}

fn name(message: &Message, target: Target) -> String {
    match target {
        Target::Recipient(place) => message
            .envelope
            .recipients
            .get(usize::from(place))
            .map(ToString::to_string)
            .unwrap_or_default(),
        Target::Copy => "(copy)".to_owned(),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Delivered => "delivered",
        Status::Failed => "bounced",
        Status::Dropped => "dropped",
    }
}
