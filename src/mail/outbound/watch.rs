//! Follows the tries of one courier: notices when its next hop takes its time, and ends a try whose courier others need more.

use super::Outbound;
use crate::ground::clock;
use crate::mail::deliver::Witness;
use crate::mail::schedule::{DestinationId, Fate, Stage, Standing};
use crate::mail::spool::Spool;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use tokio::time::{sleep, timeout};

/// What is known of a courier's try.
pub(super) struct Watch<S> {
    outbound: Arc<Outbound<S>>,
    destination: DestinationId,
    /// How often the next hop has said or taken something.
    heard: AtomicU32,
    /// Whether the end of data may have been sent.
    at_the_end: AtomicBool,
    /// The number under which the schedule knows it as slow; 0 = it is not.
    ticket: AtomicU64,
    /// It works beyond the others, and goes home after this try.
    without_place: AtomicBool,
    /// It was told to go, though its work ended by itself.
    told_to_go: AtomicBool,
}

impl<S: Spool> Watch<S> {
    pub(super) fn new(outbound: Arc<Outbound<S>>, destination: DestinationId) -> Self {
        Self {
            outbound,
            destination,
            heard: AtomicU32::new(0),
            at_the_end: AtomicBool::new(false),
            ticket: AtomicU64::new(0),
            without_place: AtomicBool::new(false),
            told_to_go: AtomicBool::new(false),
        }
    }

    /// Waits for the end of `work`, which is `stage` of a try for a destination of this `standing`. `None`: others need the
    /// courier more, and `work` is dropped.
    pub(super) async fn follow<T>(&self, standing: Standing, stage: Stage, work: impl Future<Output = T>) -> Option<T> {
        self.at_the_end.store(false, Ordering::Relaxed);
        let slow_after = standing.slow_after();
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
            let stage = if at_the_end { Stage::Final } else { stage };
            let (slow, must_ring) = self.outbound.state.slow(self.destination, stage, clock::steady());
            self.ticket.store(slow.ticket, Ordering::Relaxed);
            self.outbound.ring(must_ring);
            let ended = loop {
                let heard = self.heard.load(Ordering::Relaxed);
                tokio::select! {
                    biased;
                    done = &mut work => break Some(Some(done)),
                    () = slow.home.notified() => break Some(None),
                    () = sleep(slow_after) => {}
                }
                if self.heard.load(Ordering::Relaxed) != heard {
                    break None;
                }
            };
            let fate = self.slow_no_more();
            match ended {
                Some(done) => {
                    self.told_to_go.fetch_or(fate == Fate::ToldToGo, Ordering::Relaxed);
                    return done;
                }
                None if fate == Fate::ToldToGo => return None,
                None => {}
            }
        }
    }

    /// Whether it works beyond the others.
    pub(super) fn without_place(&self) -> bool {
        self.without_place.load(Ordering::Relaxed)
    }

    /// Whether it goes home after this try, and asks no further host in it: others need its place.
    pub(super) fn must_leave(&self) -> bool {
        self.without_place() || self.told_to_go.load(Ordering::Relaxed)
    }

    /// Tells the schedule that the courier is not slow, in case it was.
    pub(super) fn slow_no_more(&self) -> Fate {
        let ticket = self.ticket.swap(0, Ordering::Relaxed);
        if ticket == 0 {
            return Fate::Stayed;
        }
        let fate = self.outbound.state.slow_no_more(self.destination, ticket);
        if fate == Fate::Overtime {
            self.without_place.store(true, Ordering::Relaxed);
        }
        fate
    }
}

impl<S: Spool> Witness for Watch<S> {
    fn heard(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
    }

    fn may_end(&self) -> bool {
        self.at_the_end.store(true, Ordering::Relaxed);
        let ticket = self.ticket.load(Ordering::Relaxed);
        ticket == 0 || self.outbound.state.advance(ticket, Stage::Final)
    }
}
