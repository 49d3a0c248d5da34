//! The task that samples the counters every [`TICK`]: it updates the rates, writes them to the data
//! volume every [`KEPT`] and at the end, and makes one event for all open streams.

use crate::api;
use crate::api::state::AppState;
use crate::ground::clock;
use crate::ground::stop::stopped;
use crate::monitor::alerts;
use crate::monitor::rates::{RateEvent, Totals, store};
use crate::monitor::state::MonitorState;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often the counters are sampled and sent.
const TICK: Duration = Duration::from_secs(2);

/// How often alerts are checked although nobody asks.
const LOOK: Duration = Duration::from_secs(10);

/// How often the rates are written to the data volume.
const KEPT: Duration = Duration::from_secs(60);

/// Runs until `stop` is true.
pub(super) async fn run(app: Arc<AppState>, mut stop: watch::Receiver<bool>) {
    let rate_history = &app.monitor.rate_history;
    let mut pace = interval(TICK);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = Instant::now();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            _ = pace.tick() => {}
        }
        tick(&app.monitor);
        if rate_history.events.receiver_count() > 0 {
            let view = api::status_view(&app, true).await;
            let named = api::event(&view);
            rate_history
                .events
                .send_replace(RateEvent { named, nameless: api::event(&api::without_names(view)) });
        }
        if kept.elapsed() >= KEPT {
            kept = Instant::now();
            keep(&app.monitor).await;
        }
    }
    keep(&app.monitor).await;
}

fn tick(monitor: &MonitorState) {
    let history = &monitor.rate_history;
    monitor.look_at_log();
    history.watch.note(&monitor.counters);
    let summary = monitor.admin.summary();
    let totals = Totals::of(&monitor.counters, summary.messages);
    history.lock().tick(&totals, clock::now());
    // For the header of every page, with or without the right to read.
    let mut looked = history.looked.lock();
    if looked.is_none_or(|at| at.elapsed() >= LOOK) {
        *looked = Some(Instant::now());
        drop(looked);
        alerts::look(monitor, &summary);
    }
}

async fn keep(monitor: &Arc<MonitorState>) {
    let monitor = Arc::clone(monitor);
    let kept = tokio::task::spawn_blocking(move || {
        let Some(disk) = &monitor.rate_history.disk else { return Ok(()) };
        // The last percent is reserved for mail.
        let space = disk.space()?;
        if space.free < space.size / 100 {
            return Ok(());
        }
        // The lock must not be held while a slow disk is written.
        let octets = monitor.rate_history.lock().encode();
        store::save(disk.as_ref(), octets)
    });
    match kept.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(cause = %error, "the history of rates could not be kept"),
        Err(error) => tracing::debug!(cause = %error, "the history of rates could not be kept"),
    }
}
