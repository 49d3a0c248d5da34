//! The appliance's rate_history: what its numbers were, and what they are, for those who watch.
//!
//! A task ticks every [`TICK`]: it keeps the [`Rates`] of the last hour, day and week, writes them to the data volume every
//! [`KEPT`] and at the end, and makes one event for all who watch a stream.
//! Limits: [`STREAMS_MAX`] streams; one that reads slowly misses events, and none waits for it.

mod series;
mod store;
mod totals;

use crate::api;
use crate::api::redact;
use crate::ground::clock;
use crate::ground::disk::Disk;
use crate::ground::lock::{Guard, Lock};
use crate::ground::text::harmless_json;
use crate::http::server::{Window, stopped};
use crate::monitor::alerts::Watch;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};
use tokio::time::{MissedTickBehavior, interval};

use series::Rates;
pub use series::{Point, SPANS, Span};
pub use totals::Buckets;
use totals::Totals;

/// How often the numbers are looked at, and told.
const TICK: Duration = Duration::from_secs(2);

/// How often it is looked for alerts although nobody asks.
const LOOK: Duration = Duration::from_secs(10);

/// How often the rates are written to the data volume.
const KEPT: Duration = Duration::from_secs(60);

/// The most streams at once.
pub const STREAMS_MAX: usize = 32;

/// One event for those who may look, and one for those who may not.
#[derive(Default)]
pub(crate) struct Events {
    named: Bytes,
    nameless: Bytes,
}

impl Events {
    /// The event for somebody.
    pub(crate) fn of(&self, look: bool) -> Bytes {
        if look { self.named.clone() } else { self.nameless.clone() }
    }
}

/// The numbers' keeper.
pub struct RateHistory {
    rates: Lock<Rates>,
    disk: Option<Arc<dyn Disk>>,
    events: watch::Sender<Events>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) watch: Watch,
    /// When it was last looked for alerts.
    looked: Lock<Option<Instant>>,
}

impl RateHistory {
    /// With what the last run left on the data volume; without a volume nothing outlives this one.
    pub fn open(disk: Option<Arc<dyn Disk>>) -> Self {
        let now = clock::now();
        let rates = disk.as_ref().map_or_else(|| Rates::new(now), |disk| store::load(disk.as_ref(), now));
        Self {
            rates: Lock::leaf(rates),
            disk,
            events: watch::channel(Events::default()).0,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            watch: Watch::default(),
            looked: Lock::leaf(None),
        }
    }

    /// The points of a span by its name, the oldest first, and when the last of them ended.
    pub fn points(&self, span: &str) -> Option<(Span, Vec<Point>, u32)> {
        self.lock().points(span)
    }

    /// The events from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Events> {
        self.events.subscribe()
    }

    fn lock(&self) -> Guard<'_, Rates> {
        self.rates.lock()
    }

    fn tick(&self, window: &Window) {
        window.look_at_log();
        self.watch.note(&window.counters);
        let summary = window.views.admin.summary();
        let totals = Totals::of(&window.counters, summary.messages);
        self.lock().tick(&totals, clock::now());
        // For the head of every page, whoever looks or does not.
        let mut looked = self.looked.lock();
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            *looked = Some(Instant::now());
            drop(looked);
            self.watch.look(window, &summary);
        }
    }
}

/// Ticks until `stop` says true.
pub async fn run(window: Arc<Window>, mut stop: watch::Receiver<bool>) {
    let rate_history = &window.views.rate_history;
    let mut pace = interval(TICK);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = Instant::now();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            _ = pace.tick() => {}
        }
        rate_history.tick(&window);
        if rate_history.events.receiver_count() > 0 {
            let view = api::status_view(&window, true).await;
            let named = event(&view);
            rate_history.events.send_replace(Events { named, nameless: event(&redact::status(view)) });
        }
        if kept.elapsed() >= KEPT {
            kept = Instant::now();
            keep(&window).await;
        }
    }
    keep(&window).await;
}

/// An event of the stream (WHATWG HTML §9.2).
pub(crate) fn event(status: &api::StatusView) -> Bytes {
    let json = harmless_json(serde_json::to_string(status).unwrap_or_default());
    Bytes::from(format!("event: status\ndata: {json}\n\n"))
}

async fn keep(window: &Arc<Window>) {
    let window = Arc::clone(window);
    let kept = tokio::task::spawn_blocking(move || {
        let Some(disk) = &window.views.rate_history.disk else { return Ok(()) };
        // The last percent is for mail.
        let space = disk.space()?;
        if space.free < space.size / 100 {
            return Ok(());
        }
        // A disk that is slow must not hold the lock.
        let octets = window.views.rate_history.lock().encode();
        store::save(disk.as_ref(), octets)
    });
    match kept.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(cause = %error, "the history of rates could not be kept"),
        Err(error) => tracing::debug!(cause = %error, "the history of rates could not be kept"),
    }
}
