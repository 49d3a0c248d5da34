//! Rates of the last hour, day and week, and live events for open pages.
//!
//! The task `core/sampling.rs` fills it. Limits: [`STREAMS_MAX`] streams; a slow reader misses
//! events, and nothing waits for it.

mod point;
mod series;
pub(crate) mod store;
mod totals;

use crate::ground::clock;
use crate::ground::disk::Disk;
use crate::ground::lock::{Guard, Lock};
use crate::monitor::alerts::alert_state::AlertWatch;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Semaphore, watch};

pub use point::RatePoint;
use series::Rates;
pub use series::{SPANS, Span};
pub use totals::Buckets;
pub(crate) use totals::Totals;

/// Event streams at the same time, at most.
pub const STREAMS_MAX: usize = 32;

/// One event for users with the right to read, and one for those without.
#[derive(Default)]
pub(crate) struct RateEvent {
    pub(crate) named: Bytes,
    pub(crate) nameless: Bytes,
}

impl RateEvent {
    /// The event for a user.
    pub(crate) fn of(&self, look: bool) -> Bytes {
        if look { self.named.clone() } else { self.nameless.clone() }
    }
}

/// The stored rates.
pub struct RateHistory {
    rates: Lock<Rates>,
    pub(crate) disk: Option<Arc<dyn Disk>>,
    pub(crate) events: watch::Sender<RateEvent>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) watch: AlertWatch,
    /// When alerts were last checked.
    pub(crate) looked: Lock<Option<Instant>>,
}

impl RateHistory {
    /// With the rates that the last run left on the data volume; without a volume they are lost at
    /// a stop.
    pub fn open(disk: Option<Arc<dyn Disk>>) -> Self {
        let now = clock::now();
        let rates =
            disk.as_ref().map_or_else(|| Rates::new(now), |disk| store::load(disk.as_ref(), now));
        Self {
            rates: Lock::leaf(rates),
            disk,
            events: watch::channel(RateEvent::default()).0,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            watch: AlertWatch::default(),
            looked: Lock::leaf(None),
        }
    }

    /// The points of a span by its name, oldest first, and when the last of them ended.
    pub fn points(&self, span: &str) -> Option<(Span, Vec<RatePoint>, u32)> {
        self.lock().points(span)
    }

    /// The events from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<RateEvent> {
        self.events.subscribe()
    }

    pub(crate) fn lock(&self) -> Guard<'_, Rates> {
        self.rates.lock()
    }
}
