//! The dispatcher: starts delivery agents for the destinations that the schedule names.

use super::courier;
use super::{Outbound, STORAGE_PAUSE};
use crate::ground::clock;
use crate::mail::spool::{Spool, SpoolError};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the dispatcher checks although nothing is due.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How often the metrics of the agents' slots are updated.
const TELL_PLACES: Duration = Duration::from_secs(1);

impl<S: Spool> Outbound<S> {
    /// Starts agents until [`Outbound::stop`]; returns when the last one has ended.
    pub async fn run(self: Arc<Self>) {
        let mut couriers = tokio::task::JoinSet::new();
        let mut stopping = self.stopping.subscribe();
        let mut told: Option<Instant> = None;
        // Runs beside the dispatcher: a failing volume is slow, and a busy relay has no idle
        // moment.
        let mut unread = pin!(self.plan_unread());
        while !*stopping.borrow_and_update() {
            let mut pause =
                if self.is_storage_failing() { STORAGE_PAUSE } else { self.start(&mut couriers) };
            // It walks through all destinations: not at every wake-up.
            if told.is_none_or(|told| told.elapsed() >= TELL_PLACES) {
                told = Some(Instant::now());
                self.state.places().tell(&self.counters);
            } else {
                pause = pause.min(TELL_PLACES);
            }
            tokio::select! {
                () = self.bell.notified() => {}
                () = self.client.freed() => self.invite(),
                () = tokio::time::sleep(pause) => {}
                () = &mut unread => {}
                _ = stopping.changed() => {}
                Some(ended) = couriers.join_next(), if !couriers.is_empty() => {
                    self.note_panic(&ended);
                }
            }
        }
        while let Some(ended) = couriers.join_next().await {
            self.note_panic(&ended);
        }
    }

    /// Hosts have free connections again: as many of the destinations that wait for one try again.
    fn invite(&self) {
        while let Some(invitation) = self.client.invite() {
            match self.state.invited(invitation.who, clock::steady()) {
                Some(must_ring) => self.ring(must_ring),
                None => self.client.decline(invitation),
            }
        }
    }

    /// Starts the agents that are wanted; gives how long nothing more is due, unless the dispatcher
    /// is woken.
    fn start(self: &Arc<Self>, couriers: &mut tokio::task::JoinSet<()>) -> Duration {
        loop {
            match self.state.start(clock::steady()) {
                Ok((id, destination)) => {
                    drop(couriers.spawn(courier::run(self.clone(), id, destination)))
                }
                Err(Some(wake)) => {
                    return Duration::from_secs(wake.saturating_sub(clock::steady()).into())
                        .min(LOOK_AGAIN);
                }
                Err(None) => return LOOK_AGAIN,
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
                        self.plan(&message, false);
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
                "a courier panicked; its message will be retried until its lifetime ends. This is \
                a defect, please report it"
            );
        }
    }
}
