//! Applies outcomes: to the record, the schedule, the sender, the counters and the log.

use super::Outbound;
use super::delivery_statistics::EndedAttempt;
use super::failure_notice;
use crate::ground::clock;
use crate::mail::bounce;
use crate::mail::hold;
use crate::mail::model::{
    AttemptRecord, Delays, Delivery, DeliveryAttempt, Destination, MailEvent, Message, MessageKind,
    NewMessage, NotificationKind, Outcome, Reply, ReplyClass, Target, TargetProgress, TargetStatus,
    TransactionReport,
};
use crate::mail::schedule::{DestinationId, Job};
use crate::mail::spool::{IncomingContent, QueueEntry, Spool, SpoolError};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Octets of an undeliverable bounce that the history keeps.
const UNDELIVERABLE_KEPT: usize = 4096;

/// How long an attempt took.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptTimes {
    /// When the job was taken.
    pub(super) begun: Instant,
    /// From then on until the connection was open or had failed; zero when one was open already.
    pub(super) connecting: Duration,
}

impl AttemptTimes {
    /// An attempt begins.
    pub(super) fn now() -> Self {
        Self { begun: Instant::now(), connecting: Duration::ZERO }
    }
}

impl<S: Spool> Outbound<S> {
    /// Records a report, and gives the job that must be attempted again and when. The order
    /// matters: first the bounce is made durable, then the failure is recorded, then (by the
    /// caller) the schedule is updated. A crash in between repeats a step and loses none.
    pub(super) async fn settle(
        &self,
        (id, destination): (DestinationId, &Destination),
        mut job: Job,
        message: &Message,
        report: TransactionReport,
        times: AttemptTimes,
    ) -> Option<(Job, u32)> {
        let (trying, now) = (times.begun.elapsed(), clock::now());
        let TransactionReport { mut outcomes, relay, tls, security, transcript, dsn, .. } = report;
        let (age, steady) = (clock::age(message.arrived), clock::steady());
        let expired: Vec<Target> =
            if self.is_over_age(age) { expire(&mut outcomes) } else { Vec::new() };
        if outcomes.iter().any(|(_, outcome)| outcome.class() == ReplyClass::Success) {
            self.state.note_success(id, steady);
        }
        if !self.bounce(message, &mut outcomes, &relay, now).await {
            log_unqueued_bounce(message);
        }
        self.report_relayed(message, dsn, &outcomes, &relay, now).await;
        let transcript = transcript + &self.note_undeliverable(message, &outcomes).await;
        let warn = self.config.schedule.delay_warning;
        let is_late = warn > 0 && age >= warn && !job.delay_warning_sent;
        if is_late && self.queue_delay_warning(message, &outcomes, now).await {
            job.delay_warning_sent = true;
        }
        let again = self.next_attempt((id, destination), job, &outcomes, steady);
        // On the volume by the wall clock, because the monotonic clock does not outlive the
        // process.
        let due = again.map_or(0, |(_, due)| clock::wall(due));
        let by_target: HashMap<Target, &Outcome> =
            outcomes.iter().map(|(target, outcome)| (*target, outcome)).collect();
        let change = |progress: &mut TargetProgress| {
            if let Some(outcome) = by_target.get(&progress.target) {
                advance(progress, outcome, self.to_store(destination), due);
            }
        };
        let progress = self
            .state
            .record(message.id, change, |progress| self.spool.settle(message.id, progress));
        let over = progress.as_ref().is_some_and(|progress| {
            progress.iter().all(|target| target.status != TargetStatus::Pending)
        });
        self.tell(
            &DeliveryAttempt {
                message,
                destination,
                outcomes: &outcomes,
                relay: &relay,
                tls,
                security: &security,
                transcript: &transcript,
                at: now,
                due,
                delays: Delays {
                    total: since_acceptance(message),
                    attempt: trying,
                    connecting: times.connecting,
                },
                progress: progress.as_deref(),
                over,
            },
            &expired,
        );
        again
    }

    /// What is stored after an attempt at a destination: nothing where that was the destination of
    /// `redirect_all_to`, because the decision for the real recipients stays.
    fn to_store<'a>(&self, tried: &'a Destination) -> Option<&'a Destination> {
        self.router.rules().redirect().is_none().then_some(tried)
    }

    /// When a job with a temporary failure is attempted again.
    fn next_attempt(
        &self,
        (id, destination): (DestinationId, &Destination),
        job: Job,
        outcomes: &[(Target, Outcome)],
        now: u32,
    ) -> Option<(Job, u32)> {
        let is_temporary = |outcome: &Outcome| outcome.class() == ReplyClass::Temporary;
        let (_, outcome) = outcomes.iter().find(|(_, outcome)| is_temporary(outcome))?;
        let due = self.state.plan_retry(id, job, outcome, now);
        // What a host said of this mail has its own back-off, whatever the rate of the upstream.
        if outcome.remote && self.router.rate_wait(destination).is_some() {
            return Some((job, due));
        }
        // The upstream waits, and not each mail by itself.
        let paused_until = self.router.paused(destination).map_or(due, |(until, _)| until);
        Some((job, due.min(paused_until)))
    }

    /// Counts the outcomes of an attempt, and emits events for it and for each of them.
    fn tell(&self, attempt: &DeliveryAttempt<'_>, expired: &[Target]) {
        let ended = EndedAttempt {
            outcomes: attempt.outcomes,
            relay: attempt.relay,
            tls: attempt.security,
            took: attempt.delays.attempt,
            at: attempt.at,
        };
        self.deliveries.lock().note(attempt.destination, &ended);
        self.events.emit(MailEvent::Attempted(*attempt));
        for (target, outcome) in attempt.outcomes {
            self.count(attempt.message, *target, outcome);
            let delivery = Delivery { attempt, target: *target, outcome };
            self.events.emit(delivery.event(expired.contains(target)));
        }
        if attempt.over {
            self.events.emit(MailEvent::Removed { id: attempt.message.id, by_operator: false });
        }
    }

    /// Whether a message of this age expires. After a start a message may look older than it is, if
    /// the clock is wrong: it first gets the longest pause between two attempts, in which the clock
    /// can be corrected.
    fn is_over_age(&self, age: u32) -> bool {
        let lifetime = self.config.schedule.lifetime;
        age >= lifetime && clock::uptime() >= self.config.schedule.longest_pause().min(lifetime)
    }

    /// Queues the bounce for recipients that failed permanently. When that is not possible, they
    /// count as temporary failures.
    async fn bounce(
        &self,
        message: &Message,
        outcomes: &mut [(Target, Outcome)],
        relay: &str,
        now: u32,
    ) -> bool {
        let failures: Vec<(Target, Outcome)> = outcomes
            .iter()
            .filter(|(target, outcome)| {
                *target != Target::Copy && outcome.class() == ReplyClass::Permanent
            })
            .cloned()
            .collect();
        if failures.is_empty() {
            return true;
        }
        let (original, host, hostname) =
            (message.clone(), relay.to_owned(), self.config.hostname.clone());
        let failed = failures.clone();
        let draft = compose_blocking(move || {
            failure_notice::compose(&original, &failed, &host, &hostname, now)
        })
        .await;
        let queued = match draft {
            Some(draft) => self.queue(draft, message, NotificationKind::Failed).await,
            None => self.report_undeliverable(message, &failures, relay, now).await,
        };
        if queued.is_ok() {
            return true;
        }
        for (target, outcome) in outcomes {
            if *target != Target::Copy && outcome.class() == ReplyClass::Permanent {
                outcome.reply = Reply::new(
                    451,
                    (4, 3, 0),
                    format!("the bounce could not be queued; was: {}", outcome.words()),
                );
                outcome.remote = false;
            }
        }
        false
    }

    /// Tells the sender of recipients that it asked about, whose mail went to a host without DSN.
    /// It is told before that is recorded: a crash in between repeats it and loses nothing.
    async fn report_relayed(
        &self,
        message: &Message,
        passed_on: bool,
        outcomes: &[(Target, Outcome)],
        relay: &str,
        now: u32,
    ) {
        if passed_on || message.envelope.dsn.is_none() {
            return;
        }
        let passed = |(_, outcome): &&(Target, Outcome)| outcome.class() == ReplyClass::Success;
        let successes: Vec<_> = outcomes.iter().filter(passed).cloned().collect();
        let (original, host) = (message.clone(), relay.to_owned());
        let hostname = self.config.hostname.clone();
        let draft =
            compose_blocking(move || bounce::relayed(&original, &successes, &host, &hostname, now));
        let Some(draft) = draft.await else { return };
        if let Err(error) = self.queue(draft, message, NotificationKind::Relayed).await {
            tracing::error!(
                target: "mta", queue_id = %message.id, %error,
                "the report of success that the sender asked for could not be queued"
            );
        }
    }

    /// A bounce has failed: only `bounce_address` is notified, and nobody when that is the address
    /// that failed.
    async fn report_undeliverable(
        &self,
        message: &Message,
        failures: &[(Target, Outcome)],
        relay: &str,
        now: u32,
    ) -> Result<(), SpoolError> {
        let Some(to) = self.config.bounce_address.clone() else { return Ok(()) };
        let (original, host, hostname) =
            (message.clone(), relay.to_owned(), self.config.hostname.clone());
        let failures = failures.to_vec();
        let draft = compose_blocking(move || {
            bounce::undeliverable(&original, &failures, &host, &to, &hostname, now)
        })
        .await;
        match draft {
            Some(draft) => self.queue(draft, message, NotificationKind::Undeliverable).await,
            None => Ok(()),
        }
    }

    /// Counts and logs an undeliverable bounce. Gives the beginning of its text for the history, if
    /// the relay generated it; mail that a client sent with the null sender is not shown in the
    /// history.
    pub(super) async fn note_undeliverable(
        &self,
        message: &Message,
        outcomes: &[(Target, Outcome)],
    ) -> String {
        let failed = |(target, outcome): &&(Target, Outcome)| {
            *target != Target::Copy && outcome.class() == ReplyClass::Permanent
        };
        let mut failures = outcomes.iter().filter(failed).peekable();
        if !bounce::is_bounce(message) || failures.peek().is_none() {
            return String::new();
        }
        for (_, outcome) in failures {
            self.counters.undeliverable_bounces_total.inc();
            self.events.emit(MailEvent::Undeliverable { message, outcome });
        }
        if message.kind != MessageKind::Notification {
            return String::new();
        }
        let body = message.body.clone();
        let head = tokio::task::spawn_blocking(move || body.head(UNDELIVERABLE_KEPT)).await;
        let head = head.ok().and_then(Result::ok).unwrap_or_default();
        format!(
            "{}\n{}\n",
            AttemptRecord::TEXT_MARK,
            String::from_utf8_lossy(&head).replace('\r', "")
        )
    }

    async fn queue_delay_warning(
        &self,
        message: &Message,
        outcomes: &[(Target, Outcome)],
        now: u32,
    ) -> bool {
        let delays: Vec<(Target, Outcome)> = outcomes
            .iter()
            .filter(|(target, outcome)| {
                *target != Target::Copy && outcome.class() == ReplyClass::Temporary
            })
            .cloned()
            .collect();
        if delays.is_empty() || !self.state.claim_delay_warning(message.id) {
            return false;
        }
        // By the present clock: it may have been set since the message was accepted.
        let left = self.config.schedule.lifetime.saturating_sub(clock::age(message.arrived));
        let give_up_at = now.saturating_add(left);
        let (original, hostname) = (message.clone(), self.config.hostname.clone());
        let draft = compose_blocking(move || {
            bounce::delayed(&original, &delays, give_up_at, &hostname, now)
        })
        .await;
        let Some(draft) = draft else { return false };
        let queued = self.queue(draft, message, NotificationKind::Delayed).await.is_ok();
        if queued {
            self.spool.note_delay_warning_sent(message.id);
        }
        queued
    }

    /// A generated notification enters the spool like any mail, and is then planned.
    async fn queue(
        &self,
        draft: NewMessage,
        about: &Message,
        kind: NotificationKind,
    ) -> Result<(), SpoolError> {
        let content =
            draft.body.head(usize::MAX).map_err(|error| SpoolError::Failed(error.to_string()))?;
        let mut writer = self.spool.begin();
        writer.write(&content).await?;
        let entry = QueueEntry {
            destinations: self.router.rules().decide(&draft.envelope, draft.copy),
            envelope: draft.envelope,
            origin: draft.origin,
            kind: draft.kind,
            copy: draft.copy,
        };
        let rules = &self.config.staging;
        let committing = hold::commit(&*self.spool, rules, entry, writer, std::future::pending());
        let (notification, _) = committing.await?;
        self.counters.notifications_total.with_label_values(&[kind.as_str()]).inc();
        self.events.emit(MailEvent::Notified {
            notification: &notification,
            about: about.id,
            kind,
            size: content.len() as u64,
        });
        self.enqueue(notification);
        Ok(())
    }

    fn count(&self, message: &Message, target: Target, outcome: &Outcome) {
        let counters = &self.counters;
        let class = outcome.class();
        if target == Target::Copy {
            // The label of a metric, which keeps its words.
            let status = match class {
                ReplyClass::Success => "delivered",
                ReplyClass::Temporary => "deferred",
                ReplyClass::Permanent => "failed",
            };
            counters.copies_total.with_label_values(&[status]).inc();
            return;
        }
        match class {
            ReplyClass::Success => {
                counters.delivered_total.inc();
                counters.last_delivery_time_seconds.set(clock::now().into());
                counters.delivery_latency_seconds.observe(since_acceptance(message).as_secs_f64());
            }
            ReplyClass::Temporary => counters.deferred_total.inc(),
            ReplyClass::Permanent => counters.bounced_total.inc(),
        }
    }
}

/// Composes a notification where reading the original's header section from the disk may block. A
/// panic there costs the notification, not the record of the failure.
async fn compose_blocking(
    word: impl FnOnce() -> Option<NewMessage> + Send + 'static,
) -> Option<NewMessage> {
    tokio::task::spawn_blocking(word).await.unwrap_or_else(|error| {
        tracing::error!(target: "mta", cause = %error, "a notification could not be written");
        None
    })
}

fn log_unqueued_bounce(message: &Message) {
    tracing::error!(
        target: "mta", queue_id = %message.id,
        "the bounce could not be queued; the failed recipients are retried later"
    );
}

/// A temporary failure at the end of the lifetime is a permanent one (RFC 3463: X.4.7, delivery
/// time expired). Gives the targets concerned.
fn expire(outcomes: &mut [(Target, Outcome)]) -> Vec<Target> {
    let mut expired = Vec::new();
    for (target, outcome) in outcomes {
        if outcome.class() == ReplyClass::Temporary {
            outcome.reply = Reply::new(
                554,
                (5, 4, 7),
                format!("queue_lifetime expired; the last error was: {}", outcome.words()),
            );
            outcome.remote = false;
            expired.push(*target);
        }
    }
    expired
}

/// Changes the progress of a target to that after an attempt at `tried`; `None`: the decision that
/// is stored stays.
fn advance(
    progress: &mut TargetProgress,
    outcome: &Outcome,
    tried: Option<&Destination>,
    due: u32,
) {
    if let Some(tried) = tried {
        progress.destination = Some(tried.clone());
    }
    progress.reason = outcome.words();
    let mut end = progress.reason.len().min(TargetProgress::REASON_MAX);
    while !progress.reason.is_char_boundary(end) {
        end -= 1;
    }
    progress.reason.truncate(end);
    match outcome.class() {
        ReplyClass::Success => {
            progress.status = TargetStatus::Delivered;
            // Every later record of the message would repeat it.
            progress.reason.clear();
        }
        ReplyClass::Permanent => progress.status = TargetStatus::Bounced,
        ReplyClass::Temporary => {
            progress.attempts = progress.attempts.saturating_add(1);
            progress.due = due;
        }
    }
}

/// Seconds by which the age of a message by its queue id may differ from its age in whole seconds.
const ID_BELIEVED: f64 = 2.0;

/// The queue id has the microsecond of acceptance, by the monotonic clock of the process that
/// accepted the message. After a start with another wall clock that is a different time base, and
/// an id is always higher than all before it. Where it disagrees with the message's age, the age
/// counts.
pub(super) fn since_acceptance(message: &Message) -> Duration {
    let seconds = exact_age(clock::steady_micros(), message.id.0, clock::age(message.arrived));
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn exact_age(now: u64, id: u64, age: u32) -> f64 {
    let (by_id, age) = ((now as f64 - id as f64) / 1e6, f64::from(age));
    if (by_id - age).abs() <= ID_BELIEVED { by_id.max(0.0) } else { age }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_exact_where_the_id_can_be_believed() {
        let now = 1_800_000_000_000_000;
        assert!((exact_age(now, now - 9_000, 0) - 0.009).abs() < 1e-6);
        assert!((exact_age(now, now - 61_500_000, 61) - 61.5).abs() < 1e-6);
        // Accepted by a process whose clock was two days behind, or 80 years ahead; an id that had
        // to be higher than one of those.
        for id in [now - 172_800_000_000, now + 2_500_000_000_000_000, now + 60_000_000] {
            assert!((exact_age(now, id, 7) - 7.0).abs() < 1e-6, "{id}");
        }
    }
}
