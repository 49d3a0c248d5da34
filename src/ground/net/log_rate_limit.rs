//! Limits log lines to one a second for events that untrusted clients can cause in any number.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Counts an event, and decides when it is logged.
#[derive(Debug)]
pub struct LogRateLimit {
    start: Instant,
    count: AtomicU64,
    told: AtomicU64,
}

impl LogRateLimit {
    /// It has never happened.
    pub fn new() -> Self {
        Self { start: Instant::now(), count: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    /// The event happened once more; gives the number so far if it is to be logged, at most once a
    /// second.
    pub fn happened(&self) -> Option<u64> {
        self.happened_at(self.start.elapsed().as_secs())
    }

    fn happened_at(&self, second: u64) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        (self.told.swap(second + 1, Ordering::Relaxed) != second + 1).then_some(count)
    }
}

impl Default for LogRateLimit {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second() {
        let limit = LogRateLimit::new();
        assert_eq!(limit.happened_at(0), Some(1));
        assert_eq!((2..=100).find_map(|_| limit.happened_at(0)), None);
        assert_eq!(limit.happened_at(1), Some(101));
    }
}
