//! The state kept between two checks for alerts.

use super::alert_log::NotifiedAlerts;
use super::counter_growth::RecentSamples;
use crate::ground::lock::Lock;
use crate::monitor::counters::Counters;
use std::collections::HashMap;
use std::time::Instant;

/// Since when each alert exists, and how the counters grew recently.
pub struct AlertWatch {
    pub(super) since: Lock<HashMap<String, u32>>,
    pub(super) told: Lock<NotifiedAlerts>,
    pub(super) recent: Lock<RecentSamples>,
    /// The number of alerts at the last check, and how many of them were critical.
    pub(super) last: Lock<(usize, usize)>,
    pub(super) begun: Instant,
}

impl Default for AlertWatch {
    fn default() -> Self {
        let (since, recent, told) = (
            Lock::leaf(HashMap::new()),
            Lock::leaf(RecentSamples::default()),
            Lock::leaf(NotifiedAlerts::default()),
        );
        Self { since, told, recent, last: Lock::leaf((0, 0)), begun: Instant::now() }
    }
}

impl AlertWatch {
    /// Samples the counters; to be called every few seconds.
    pub(crate) fn note(&self, counters: &Counters) {
        let now = self.begun.elapsed().as_secs();
        self.recent.lock().note(counters, now);
    }

    /// The number of alerts at the last check, and how many of them are critical.
    pub(crate) fn last(&self) -> (usize, usize) {
        *self.last.lock()
    }
}
