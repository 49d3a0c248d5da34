//! A running relay, and its stop: the start in reverse, limited by `drain_time`.

use super::process_resources::ProcessResources;
use super::start_failures::joined;
use crate::mail::outbound::Outbound;
use crate::mail::spool::SegmentLog;
use crate::monitor::state::Readiness;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

/// How long aborted deliveries may take to record their results. The supervisor waits longer than
/// this beyond the drain time, also for the queue to close.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// The part of the drain time for open sessions; the rest is for the mail that they left in the
/// queue.
const SESSIONS_SHARE: f64 = 0.8;

/// Everything that runs. Its fields are dropped in their order.
pub(super) struct Running {
    pub(super) sessions: JoinHandle<()>,
    pub(super) agents: JoinHandle<()>,
    /// Puts the mail that was found in the queue on the schedule.
    pub(super) planning: JoinHandle<()>,
    /// Withdraws readiness while the data volume accepts no mail.
    pub(super) storage: JoinHandle<()>,
    /// Monitors the machine.
    pub(super) background: JoinSet<()>,
    /// The thread of the HTTP server.
    pub(super) http: std::thread::JoinHandle<()>,
    pub(super) readiness: Arc<watch::Sender<Readiness>>,
    /// Until when open sessions may continue, once there are no new ones.
    pub(super) stop: watch::Sender<Option<Instant>>,
    /// Closes the HTTP server.
    pub(super) close: watch::Sender<bool>,
    pub(super) outbound: Arc<Outbound<SegmentLog>>,
    pub(super) spool: Arc<SegmentLog>,
    /// The supervisor requests the stop.
    pub(super) told_to_stop: Arc<Notify>,
    pub(super) process: ProcessResources,
}

impl Running {
    /// Serves until SIGTERM, or until the supervisor requests the stop.
    pub(super) async fn run_until_stop(&mut self) {
        let signals = &mut self.process.signals;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => break,
                () = self.told_to_stop.notified() => break,
                _ = signals.hangup.recv() => tracing::info!(target: "mta", "SIGHUP: nothing to \
                reload; properties are read at start"),
            }
        }
    }

    /// Stops regularly: all accepted mail is on the data volume, and what could be delivered within
    /// `drain_time` is delivered.
    pub(super) async fn stop(mut self) {
        let drain_time = self.process.settings.drain_time;
        let deadline = Instant::now() + drain_time;
        tracing::info!(target: "mta", seconds = drain_time.as_secs(), "stopping: no new \
        sessions, open ones may finish");
        self.storage.abort();
        let _ = (&mut self.storage).await;
        drop(self.readiness.send_replace(Err("stopping".to_owned())));
        self.stop.send_replace(Some(Instant::now() + drain_time.mul_f64(SESSIONS_SHARE)));
        joined((&mut self.sessions).await, "sessions");
        self.outbound.flush(deadline).await;
        self.outbound.stop();
        joined((&mut self.planning).await, "planning");
        self.end_deliveries(deadline).await;
        self.background.abort_all();
        self.close().await;
    }

    /// Waits for the deliveries in progress, at most until `deadline`.
    async fn end_deliveries(&mut self, deadline: Instant) {
        let deadline = deadline.max(Instant::now() + Duration::from_secs(1));
        if let Ok(ended) = timeout_at(deadline, &mut self.agents).await {
            return joined(ended, "delivery agents");
        }
        tracing::warn!(target: "mta", "deliveries were cut off at the end of drain_time; they are \
        retried at the next start");
        // Before the queue closes: later deliveries could not be recorded.
        self.outbound.end_now();
        if let Ok(ended) = timeout(LAST_RECORDS, &mut self.agents).await {
            return joined(ended, "delivery agents");
        }
        self.agents.abort();
        let _ = (&mut self.agents).await;
    }

    /// Closes the HTTP server, which deletes its group at the monitor, and then the queue.
    async fn close(self) {
        self.close.send_replace(true);
        let http = self.http;
        if tokio::task::spawn_blocking(move || http.join()).await.is_err() {
            tracing::warn!(target: "mta", "the HTTP server did not stop in order");
        }
        let (left, spool) = (self.spool.totals().0, self.spool);
        match tokio::task::spawn_blocking(move || spool.close()).await {
            Ok(true) => {
                tracing::info!(target: "mta", messages = left, "stopped; the queue is synced");
            }
            Ok(false) | Err(_) => tracing::warn!(
                target: "mta",
                "the queue did not close in order; a restart recovers it"
            ),
        }
    }
}
