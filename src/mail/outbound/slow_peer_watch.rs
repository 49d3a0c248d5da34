//! Watches the attempts of one delivery agent: notices when its next hop is slow or silent, and
//! aborts an attempt whose agent is needed elsewhere.

use super::Outbound;
use crate::ground::clock;
use crate::mail::deliver::AttemptObserver;
use crate::mail::schedule::{
    AgentStage, DestinationId, DestinationReputation, SlowOutcome, silent_after,
};
use crate::mail::spool::Spool;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// State of an agent's attempt.
pub(super) struct AgentWatch<S> {
    outbound: Arc<Outbound<S>>,
    /// Whether the relay stops and its time is up.
    out_of_time: watch::Receiver<bool>,
    destination: DestinationId,
    /// How often the next hop has sent or accepted something.
    heard: AtomicU32,
    /// When it last did, by the schedule's clock.
    heard_at: AtomicU32,
    /// When any agent of the destination last received anything.
    last_heard_at: Arc<AtomicU32>,
    /// Whether the end of data may have been sent.
    at_the_end: AtomicBool,
    /// The number of its entry as a slow agent in the schedule; 0 = it is not slow.
    ticket: AtomicU64,
    /// It works beyond the limit, and ends after this attempt.
    without_place: AtomicBool,
    /// It was asked to stop, though its work ended by itself.
    told_to_stop: AtomicBool,
    /// The stage, as its number plus one, in which the schedule counts it as silent; 0 = it is not
    /// silent.
    silent: AtomicU8,
}

impl<S: Spool> AgentWatch<S> {
    pub(super) fn new(outbound: Arc<Outbound<S>>, destination: DestinationId) -> Self {
        let (last_heard_at, out_of_time) =
            (outbound.state.last_heard_at(destination), outbound.out_of_time.subscribe());
        Self {
            outbound,
            out_of_time,
            destination,
            heard: AtomicU32::new(0),
            heard_at: AtomicU32::new(0),
            last_heard_at,
            at_the_end: AtomicBool::new(false),
            ticket: AtomicU64::new(0),
            without_place: AtomicBool::new(false),
            told_to_stop: AtomicBool::new(false),
            silent: AtomicU8::new(0),
        }
    }

    /// Waits for the end of `work`, which is `stage` of an attempt for a destination of this
    /// `reputation`. `None`: the agent is needed elsewhere, or the relay stops and its time is up;
    /// `work` is dropped.
    pub(super) async fn follow<T>(
        &self,
        reputation: DestinationReputation,
        stage: AgentStage,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut out_of_time = self.out_of_time.clone();
        tokio::select! {
            biased;
            done = self.follow_until_stop(reputation, stage, work) => done,
            _ = out_of_time.wait_for(|out_of_time| *out_of_time) => None,
        }
    }

    /// The same while there is time.
    async fn follow_until_stop<T>(
        &self,
        reputation: DestinationReputation,
        stage: AgentStage,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        self.at_the_end.store(false, Ordering::Relaxed);
        let begun = clock::steady();
        let slow_after = reputation.slow_after();
        let mut work = pin!(work);
        loop {
            let heard = self.heard.load(Ordering::Relaxed);
            if let Ok(done) = timeout(slow_after, &mut work).await {
                return Some(done);
            }
            if self.heard.load(Ordering::Relaxed) != heard {
                continue;
            }
            if self.without_place() {
                return Some(work.await);
            }
            let at_the_end = self.at_the_end.load(Ordering::Relaxed);
            let stage = if at_the_end { AgentStage::Final } else { stage };
            let (slow, must_wake) =
                self.outbound.state.note_slow(self.destination, stage, clock::steady());
            self.ticket.store(slow.ticket, Ordering::Relaxed);
            self.outbound.wake_dispatcher(must_wake);
            let silent_since = self.heard_at.load(Ordering::Relaxed).max(begun);
            let quiet = Duration::from_secs(clock::steady().saturating_sub(silent_since).into());
            let slow_since = Instant::now();
            let ended = loop {
                let at_the_end = self.at_the_end.load(Ordering::Relaxed);
                let stage = if at_the_end { AgentStage::Final } else { stage };
                let silent_at = slow_since + silent_after(stage).saturating_sub(quiet);
                tokio::select! {
                    biased;
                    done = &mut work => break Some(Some(done)),
                    () = slow.stop_notify.notified() => break Some(None),
                    () = sleep_until(silent_at), if !self.is_silent() => {
                        self.note_silence(stage, silent_since);
                    }
                    () = sleep(slow_after) => {}
                }
                if self.heard.load(Ordering::Relaxed) != heard {
                    break None;
                }
            };
            self.no_longer_silent();
            let fate = self.no_longer_slow();
            match ended {
                Some(done) => {
                    self.told_to_stop.fetch_or(fate == SlowOutcome::ToldToGo, Ordering::Relaxed);
                    return done;
                }
                None if fate == SlowOutcome::ToldToGo => return None,
                None => {}
            }
        }
    }

    /// Whether it works beyond the limit.
    pub(super) fn without_place(&self) -> bool {
        self.without_place.load(Ordering::Relaxed)
    }

    /// Whether it ends after this attempt and tries no further host in it, because its slot is
    /// needed elsewhere.
    pub(super) fn ends_after_attempt(&self) -> bool {
        self.without_place() || self.told_to_stop.load(Ordering::Relaxed)
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed) != 0
    }

    /// Nothing was received for so long that the schedule must know.
    fn note_silence(&self, stage: AgentStage, silent_since: u32) {
        self.silent.store(stage as u8 + 1, Ordering::Relaxed);
        let must_wake =
            self.outbound.state.note_silent(self.destination, stage, silent_since, clock::steady());
        self.outbound.wake_dispatcher(must_wake);
    }

    /// Reports to the schedule that the agent is not silent, in case it was.
    pub(super) fn no_longer_silent(&self) {
        let stage = match self.silent.swap(0, Ordering::Relaxed) {
            0 => return,
            1 => AgentStage::Connecting,
            2 => AgentStage::Talking,
            _ => AgentStage::Final,
        };
        self.outbound.state.no_longer_silent(self.destination, stage);
    }

    /// Reports to the schedule that the agent is not slow, in case it was.
    pub(super) fn no_longer_slow(&self) -> SlowOutcome {
        let ticket = self.ticket.swap(0, Ordering::Relaxed);
        if ticket == 0 {
            return SlowOutcome::Stayed;
        }
        let fate = self.outbound.state.no_longer_slow(self.destination, ticket);
        if fate == SlowOutcome::Overtime {
            self.without_place.store(true, Ordering::Relaxed);
        }
        fate
    }
}

impl<S: Spool> AttemptObserver for AgentWatch<S> {
    fn heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let now = clock::steady();
        self.heard_at.store(now, Ordering::Relaxed);
        // All agents of a destination share it: written once a second, it stays in the caches of
        // all threads.
        if self.last_heard_at.load(Ordering::Relaxed) != now {
            self.last_heard_at.store(now, Ordering::Relaxed);
        }
    }

    fn may_begin(&self) -> bool {
        self.at_the_end.store(false, Ordering::Relaxed);
        let ticket = self.ticket.load(Ordering::Relaxed);
        !self.without_place()
            && (ticket == 0 || self.outbound.state.advance(ticket, AgentStage::Talking))
    }

    fn may_end(&self) -> bool {
        self.at_the_end.store(true, Ordering::Relaxed);
        let ticket = self.ticket.load(Ordering::Relaxed);
        ticket == 0 || self.outbound.state.advance(ticket, AgentStage::Final)
    }
}
