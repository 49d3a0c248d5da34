//! Background tasks of a running core.

use crate::appliance::event::Severity;
use crate::appliance::supervise::status::StatusWriter;
use crate::ground::clock;
use crate::ground::gateway::default_gateways;
use crate::ground::memory::{Gauge, MemoryLimit, Pressure};
use crate::ground::sys;
use crate::mail::admit::Policy;
use crate::mail::spool::{self, SegmentLog, SpoolError};
use crate::monitor::counters::{Counters, MonitorCounters};
use crate::monitor::disk_alerts::DiskAlert;
use crate::monitor::state::{MonitorState, Readiness};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// How often the default routes are read.
const GATEWAYS_PACE: Duration = Duration::from_secs(5);

/// How often the clocks are compared.
const CLOCK_PACE: Duration = Duration::from_secs(1);

/// How often the free memory is checked.
const MEMORY_PACE: Duration = Duration::from_millis(500);

/// How often the state of the data volume is published to pages and the API.
const STORAGE_PACE: Duration = Duration::from_secs(1);

/// How long no mail must be accepted or delivered before the core counts as idle.
const REST_AFTER: Duration = Duration::from_secs(20);

/// Alerts of the data volume are sent to the supervisor, which writes them to the appliance log.
pub(super) fn report_to_supervisor(status: &Arc<StatusWriter>) -> impl Fn(DiskAlert) + use<> {
    let status = status.clone();
    move |alert| {
        let severity = match alert {
            DiskAlert::Below1 => Severity::Error,
            DiskAlert::Below5 => Severity::Warning,
            DiskAlert::RoomAgain => Severity::Info,
        };
        status.report(severity, alert.text());
    }
}

/// A relay whose volume is full or fails replies 452, and is not ready.
pub(super) async fn follow_storage(
    spool: Arc<SegmentLog>,
    readiness: Arc<watch::Sender<Readiness>>,
    monitor: Arc<MonitorState>,
) {
    let mut pace = tokio::time::interval(STORAGE_PACE);
    loop {
        pace.tick().await;
        let found = spool::Spool::ready(spool.as_ref());
        // A volume that does not answer is handled by the watchdog, which reports it to the
        // supervisor too: both must see its end at the same time.
        let is_slow = matches!(found, Err(SpoolError::Slow(_)));
        let code = if is_slow { 451 } else { 452 };
        let now = found.map_err(|error| format!("{error}; new mail is answered {code}"));
        monitor.note_data_volume(now.clone().err());
        let now = if is_slow { Ok(()) } else { now };
        readiness.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                *known = now;
            }
            changed
        });
    }
}

/// Counts the changes of the wall clock, and logs their effect: waiting mail does not depend on it.
pub(super) async fn follow_clock(counters: Arc<MonitorCounters>) {
    let mut pace = tokio::time::interval(CLOCK_PACE);
    loop {
        pace.tick().await;
        for jump in clock::jumps() {
            let direction = if jump.by > 0 { "forward" } else { "back" };
            counters.clock_jumps_total.with_label_values(&[direction]).inc();
            tracing::warn!(
                target: "mta",
                "the wall clock was set {direction} by {} s; delivery attempts and message ages \
                are not affected",
                jump.by.unsigned_abs()
            );
        }
    }
}

/// Checks the free memory; logs when it gets short, and when it is sufficient again.
pub(super) async fn follow_memory(ceiling: Option<MemoryLimit>, gauge: Arc<Gauge>) {
    let Some(ceiling) = ceiling else { return };
    let mut pace = tokio::time::interval(MEMORY_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let Some((used, pressure)) = gauge.look(&ceiling) else { continue };
        let (used, limit) = (used >> 20, ceiling.octets >> 20);
        match pressure {
            Pressure::Ample => {
                tracing::info!(target: "mta", "{used} MB of {limit} MB of memory are used; clients \
                are served as usual")
            }
            Pressure::Short => tracing::warn!(
                target: "mta",
                "memory is short: {used} MB of {limit} MB are used; unknown clients get no session \
                (421 4.3.2)"
            ),
            Pressure::Critical => tracing::warn!(
                target: "mta",
                "memory is nearly exhausted: {used} MB of {limit} MB; unknown clients get no \
                session (421 4.3.2), new mail is answered \
                 452 4.3.1, and so is mail of trusted clients when no session of an unknown client \
                 can be closed"
            ),
        }
    }
}

/// Default routes change with networks; a new gateway must not be trusted by accident.
pub(super) async fn follow_gateways(policy: Arc<Policy>) {
    let mut pace = tokio::time::interval(GATEWAYS_PACE);
    loop {
        pace.tick().await;
        policy.set_gateways(default_gateways());
    }
}

/// An idle relay releases the memory pages of its program: most were needed only for the start or
/// the last load.
pub(super) async fn release_memory_when_idle(counters: Arc<Counters>) {
    let mut pace = tokio::time::interval(REST_AFTER);
    let (mut before, mut rests) = (None, false);
    loop {
        pace.tick().await;
        let now = [
            counters.accept.smtp_sessions_total.get(),
            counters.accept.accepted_total.get(),
            counters.outbound.delivered_total.get(),
            counters.outbound.deferred_total.get(),
        ];
        let idle = before.replace(now) == Some(now);
        if idle && !rests {
            sys::give_back_program();
        }
        rests = idle;
    }
}
