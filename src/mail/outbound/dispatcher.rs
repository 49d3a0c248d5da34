//! The dispatcher: starts delivery agents for the destinations that the schedule names.

use super::delivery_agent;
use super::rate_log::RateLog;
use super::{Outbound, STORAGE_PAUSE};
use crate::ground::clock;
use crate::mail::spool::{Spool, SpoolError};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the dispatcher checks although nothing is due.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// How often the metrics of the agents' slots are updated.
const COUNT_AGENTS_EVERY: Duration = Duration::from_secs(1);

impl<S: Spool> Outbound<S> {
    /// Starts agents until [`Outbound::stop`]; returns when the last one has ended.
    pub async fn run(self: Arc<Self>) {
        let mut agents = tokio::task::JoinSet::new();
        let mut stopping = self.stopping.subscribe();
        let mut told: Option<Instant> = None;
        let mut rate_log = RateLog::default();
        // Runs beside the dispatcher: a failing volume is slow, and a busy relay has no idle
        // moment.
        let mut unread = pin!(self.plan_unread());
        while !*stopping.borrow_and_update() {
            let mut pause =
                if self.is_storage_failing() { STORAGE_PAUSE } else { self.start(&mut agents) };
            // It walks through all destinations: not at every wake-up.
            if told.is_none_or(|told| told.elapsed() >= COUNT_AGENTS_EVERY) {
                told = Some(Instant::now());
                let counts = self.state.agent_counts();
                counts.tell(&self.counters);
                rate_log.tell(counts.rate_limited());
            } else {
                pause = pause.min(COUNT_AGENTS_EVERY);
            }
            tokio::select! {
                () = self.dispatcher_notify.notified() => {}
                () = self.client.wait_for_vacancy() => self.next_vacancy(),
                () = tokio::time::sleep(pause) => {}
                () = &mut unread => {}
                _ = stopping.changed() => {}
                Some(ended) = agents.join_next(), if !agents.is_empty() => {
                    self.note_panic(&ended);
                }
            }
        }
        while let Some(ended) = agents.join_next().await {
            self.note_panic(&ended);
        }
    }

    /// Hosts have free connections again: as many of the destinations that wait for one try again.
    fn next_vacancy(&self) {
        while let Some(invitation) = self.client.next_vacancy() {
            match self.state.host_available(invitation.who, clock::steady()) {
                Some(must_wake) => self.wake_dispatcher(must_wake),
                None => self.client.pass_vacancy_on(invitation),
            }
        }
    }

    /// Starts the agents that are wanted; gives how long nothing more is due, unless the dispatcher
    /// is woken.
    fn start(self: &Arc<Self>, agents: &mut tokio::task::JoinSet<()>) -> Duration {
        loop {
            match self.state.start(clock::steady_moment()) {
                Ok((id, destination)) => {
                    drop(agents.spawn(delivery_agent::run(self.clone(), id, destination)))
                }
                Err(Some(wake)) => {
                    let pause = wake.millis().saturating_sub(clock::steady_moment().millis());
                    return Duration::from_millis(pause).min(CHECK_EVERY);
                }
                Err(None) => return CHECK_EVERY,
            }
        }
    }

    /// Repeats until the messages that could not be read are planned.
    async fn plan_unread(&self) {
        loop {
            tokio::time::sleep(STORAGE_PAUSE).await;
            for id in self.state.take_unread() {
                match self.spool.peek(id).await {
                    Ok(message) => {
                        self.decide_anew(&message);
                        self.plan_or_hold(&message).await;
                    }
                    Err(SpoolError::Unknown | SpoolError::Damaged) => {}
                    Err(_) => self.state.note_unread(&[id]),
                }
            }
        }
    }

    fn note_panic(&self, ended: &Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.counters.panics_total.inc();
            tracing::error!(
                target: "mta",
                "a delivery agent panicked; its message will be retried until its lifetime ends. \
                This is a defect, please report it"
            );
        }
    }
}
