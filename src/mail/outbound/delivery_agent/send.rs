//! Sends one message over a connection, and over connections to further hosts when a host defers
//! recipients.

use super::job::{DeliveryAgent, quit_in_background};
use crate::ground::clock;
use crate::mail::deliver::{Connection, RecipientOutcomes, RouteAttempt};
use crate::mail::model::{
    MailEvent, Message, Outcome, Reply, ReplyClass, Target, TransactionReport,
};
use crate::mail::outbound::catch_panic::catch_panic;
use crate::mail::outbound::{redirect, seven_bit};
use crate::mail::schedule::{AgentStage, DestinationReputation, Job};
use crate::mail::spool::Spool;
use std::panic::resume_unwind;
use std::pin::pin;
use std::time::Instant;

/// Octets kept of the dialogue with hosts before the last one of an attempt.
const TALK_MAX: usize = 8 * 1024;

impl<S: Spool> DeliveryAgent<S> {
    /// Sends a message, and at once tries further hosts for recipients that one host has deferred
    /// (RFC 5321 §5.1). Gives back the connection to continue with, and the report of what is not
    /// recorded yet.
    pub(super) async fn carry(
        &mut self,
        open: (Connection, Instant),
        mut attempt: RouteAttempt,
        job: Job,
        message: &Message,
        targets: &[Target],
    ) -> (Option<(Connection, Instant)>, TransactionReport) {
        // From here on something is sent.
        (self.unused_permit, self.paid_transactions) = (None, 1);
        let (mut connection, mut since) = open;
        let mut kept = None;
        let mut talk = String::new();
        let mut report = self.send(&mut connection, job, message, targets).await;
        loop {
            let put_off = report.retryable_elsewhere();
            let may_go_on =
                !put_off.is_empty() && attempt.may_go_on() && !*self.outbound.stopping.borrow();
            let useful = put_off.len() < report.outcomes.len();
            let next = if may_go_on && !self.given_up && !self.watch.ends_after_attempt() {
                // A rejection is recorded together with the outcomes of the other recipients, so
                // that they share a bounce.
                self.record_final_outcomes(job, message, &mut report, &[ReplyClass::Success]).await;
                let next = self
                    .watch
                    .follow(self.reputation, AgentStage::Connecting, attempt.next())
                    .await;
                self.given_up = next.is_none();
                next.and_then(Result::ok)
            } else {
                None
            };
            let Some(next) = next else {
                if report.reusable && (useful || kept.is_none()) {
                    quit_in_background(kept.replace((connection, since)));
                } else if report.reusable {
                    quit_in_background(Some((connection, since)));
                }
                report.transcript.insert_str(0, &talk);
                return (kept, report);
            };
            self.emit_next_host(message, &report, next.relay());
            self.record_final_outcomes(job, message, &mut report, &[ReplyClass::Permanent]).await;
            talk.push_str(&report.transcript);
            talk.truncate(talk.floor_char_boundary(TALK_MAX));
            talk.push_str("* the next host\n");
            if report.reusable && useful && kept.is_none() {
                kept = Some((connection, since));
            } else if report.reusable {
                quit_in_background(Some((connection, since)));
            }
            (connection, since) = (next, Instant::now());
            report = self.send(&mut connection, job, message, &put_off).await;
        }
    }

    fn emit_next_host(&self, message: &Message, report: &TransactionReport, next: &str) {
        let put_off = || {
            report.outcomes.iter().filter(|(_, outcome)| outcome.class() == ReplyClass::Temporary)
        };
        let Some((_, outcome)) = put_off().next() else { return };
        let (relay, recipients) = (&*report.relay, put_off().count());
        self.outbound.events.emit(MailEvent::NextHost {
            message,
            relay,
            outcome,
            recipients,
            next,
        });
    }

    /// Records final outcomes before the end of the attempt: that end may be minutes away, or may
    /// not come, and recipients that have the message must not get it again. The rest stays in the
    /// report.
    pub(super) async fn record_final_outcomes(
        &mut self,
        job: Job,
        message: &Message,
        report: &mut TransactionReport,
        which: &[ReplyClass],
    ) {
        let outcomes = std::mem::take(&mut report.outcomes).into_iter();
        let (ahead, rest): (Vec<_>, Vec<_>) =
            outcomes.partition(|(_, outcome)| which.contains(&outcome.class()));
        if !ahead.is_empty() {
            let ahead = TransactionReport { outcomes: ahead, ..report.clone() };
            let again = self
                .outbound
                .settle((self.id, &self.destination), job, message, ahead, self.times)
                .await;
            self.again = again.or(self.again.take());
        }
        report.outcomes = rest;
    }

    /// Sends a message over a connection. A slow peer is aborted when the agent is needed
    /// elsewhere. Replies received until then count, because recipients that have the message must
    /// not get it again. The same holds where a panic ends the attempt.
    async fn send(
        &mut self,
        connection: &mut Connection,
        job: Job,
        message: &Message,
        targets: &[Target],
    ) -> TransactionReport {
        if self.reputation != DestinationReputation::New {
            connection.use_full_timeouts();
        }
        let counters = self.outbound.counters.clone();
        let to = self.outbound.router.rules().redirect();
        let redirected = to.map(|to| redirect::redirected(message, targets, to));
        let form = redirected.as_ref().map_or((message, targets), |form| (form, &redirect::ONLY));
        let share = |mut report: TransactionReport| {
            to.into_iter().for_each(|to| redirect::share(&mut report, targets, to));
            report
        };
        let mut known = RecipientOutcomes::default();
        let before = connection.transactions();
        let sent = {
            // Pinned where it is: it is too large to be moved for each mail.
            let signatures = (&*self.outbound.signer, self.prefix.as_ref());
            let sending = pin!(seven_bit::send(
                connection, form.0, form.1, signatures, &counters, &mut known
            ));
            self.watch.follow(self.reputation, AgentStage::Talking, catch_panic(sending)).await
        };
        self.given_up = sent.is_none();
        let report = match sent {
            Some(Ok(report)) => share(report),
            Some(Err(panic)) => {
                let rest = Outcome::own(Reply::new(
                    451,
                    (4, 3, 0),
                    "a defect of the relay ended the attempt",
                ));
                // Like any attempt: a message that panics each time must end with its lifetime, and
                // its sender must be notified.
                self.finish(job, message, share(connection.given_up(&mut known, &rest))).await;
                resume_unwind(panic)
            }
            None => {
                let outcome = self.gave_up_slow_host(connection.relay());
                share(connection.given_up(&mut known, &outcome))
            }
        };
        self.charge(connection.transactions().saturating_sub(before));
        self.update_destination(&report, connection);
        report
    }

    /// Transactions of the present mail beyond the one for which there was a permit count for the
    /// destination's rate too.
    fn charge(&mut self, transactions: u32) {
        let more = transactions.saturating_sub(self.paid_transactions);
        self.paid_transactions = self.paid_transactions.saturating_sub(transactions);
        if more > 0 {
            self.outbound.state.charge_rate(self.id, more, clock::steady_moment());
        }
    }

    /// What an attempt shows about the destination: it answers, or it is slow.
    fn update_destination(&self, report: &TransactionReport, connection: &mut Connection) {
        if report.outcomes.iter().any(|(_, outcome)| outcome.class() == ReplyClass::Success) {
            connection.use_full_timeouts();
            return;
        }
        if report.outcomes.iter().any(|(_, outcome)| outcome.remote) {
            self.outbound.state.note_answer(self.id, clock::steady());
        } else if let Some(outcome) = &report.refused_session {
            let attempts = self.in_hand.map_or(0, |job| job.attempts);
            self.outbound.state.note_session_refused(self.id, attempts, outcome, clock::steady());
        } else if !report.reusable
            && (self.given_up || self.times.begun.elapsed() >= self.reputation.slow_failure_after())
        {
            self.outbound.state.note_slow_failure(self.id, self.began(), clock::steady());
        }
    }
}
