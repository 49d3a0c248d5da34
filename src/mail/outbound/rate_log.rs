//! Writes to the log that mail waits because a rate is used up.
//!
//! In: once a second, the destinations that wait. Out: a line when one begins to wait, and no other
//! for it within [`PAUSE`]: a rate of so many in a second begins a wait each second. Limits:
//! [`TOLD_MAX`] destinations are remembered, and beyond these none is told.

use crate::ground::clock;
use crate::mail::model::{Destination, RateWait};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long no other line is written for a destination.
const PAUSE: Duration = Duration::from_secs(60);

/// Destinations that are remembered.
const TOLD_MAX: usize = 1000;

/// Which destinations were told, and when.
#[derive(Default)]
pub(super) struct RateLog(HashMap<Destination, Instant>);

impl RateLog {
    /// Tells the destinations that wait now; times by the monotonic clock.
    pub(super) fn tell(&mut self, limited: &[(Destination, RateWait)]) {
        if limited.is_empty() {
            return;
        }
        if self.0.len() >= TOLD_MAX {
            self.0.retain(|_, told| told.elapsed() < PAUSE);
        }
        for (destination, wait) in limited {
            if self.0.get(destination).is_some_and(|told| told.elapsed() < PAUSE) {
                continue;
            }
            if self.0.len() >= TOLD_MAX {
                return;
            }
            self.0.insert(destination.clone(), Instant::now());
            tracing::info!(
                target: "mta", destination = %destination, limit = &*wait.limit,
                next = clock::rfc3339(clock::wall(wait.until)),
                "rate-limited: mail waits for the next permit"
            );
        }
    }
}
