//! Values that are computed on request: the state of the queue, of the data volume, of the process.
//!
//! Counters are always current; the gauges here are read from the queue, from `statvfs` and
//! from `/proc/self/statm` before each answer and each push.

use crate::mail::model::QueueSummary;
use crate::monitor::state::MonitorState;
use std::sync::Arc;

/// Updates all gauges and gives the queue's summary that they now show.
pub(crate) async fn refresh(monitor: &MonitorState) -> QueueSummary {
    let counters = &monitor.counters;
    if let Some(sight) = monitor.probe.look().await {
        if let Some((free, size)) = sight.disk {
            counters.spool.disk_free_bytes.set(signed(free));
            counters.spool.disk_size_bytes.set(signed(size));
        }
        if let Some(memory) = sight.memory {
            counters.monitor.memory_resident_bytes.set(signed(memory));
        }
    }
    let summary = monitor.admin.summary();
    counters.spool.mqueue_messages.set(signed(summary.messages));
    counters.spool.mqueue_kbytes.set(signed(summary.bytes.div_ceil(1024)));
    counters.spool.mqueue_deferred_messages.set(signed(summary.deferred));
    counters.spool.mqueue_held_messages.set(signed(summary.held));
    summary
}

/// All metrics in Prometheus' text format, updated.
///
/// # Errors
/// As [`super::counters::Counters::text`].
pub(crate) async fn text(monitor: &MonitorState) -> Result<String, prometheus::Error> {
    refresh(monitor).await;
    // Counting the ages of a million messages takes a while; mail must not wait for it.
    let counters = Arc::clone(&monitor.counters);
    let text = monitor.worker.run(move || counters.text()).await;
    text.unwrap_or_else(|| {
        Err(prometheus::Error::Msg(
            "the counting thread stopped or panicked; see the log".to_owned(),
        ))
    })
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
