//! At most one log line a second about something that strangers can cause as often as they like.

use std::sync::atomic::{AtomicU64, Ordering};
use tokio::time::Instant;

/// Counts how often something happened, and says when it is time for a line.
#[derive(Debug)]
pub struct Rarely {
    start: Instant,
    count: AtomicU64,
    told: AtomicU64,
}

impl Rarely {
    /// It has never happened.
    pub fn new() -> Self {
        Self { start: Instant::now(), count: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    /// It happened once more: how often by now, if that is to be told. One line a second tells a
    /// flood as well as a thousand.
    pub fn happened(&self) -> Option<u64> {
        self.happened_at(self.start.elapsed().as_secs())
    }

    fn happened_at(&self, second: u64) -> Option<u64> {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        (self.told.swap(second + 1, Ordering::Relaxed) != second + 1).then_some(count)
    }
}

impl Default for Rarely {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second() {
        let rarely = Rarely::new();
        assert_eq!(rarely.happened_at(0), Some(1));
        assert_eq!((2..=100).find_map(|_| rarely.happened_at(0)), None);
        assert_eq!(rarely.happened_at(1), Some(101));
    }
}
