//! The founding document's two alerts about the data volume.
//!
//! In: the gauges of free space and size, which the committer keeps fresh. Out: one log line when a mark is passed, one when
//! there is room again. What follows from a full volume is the spool's business.

use crate::appliance::counter::Counters;
use std::sync::Arc;
use std::time::Duration;

const PACE: Duration = Duration::from_secs(2);

/// How alarming the space is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Enough,
    Below5,
    Below1,
}

/// Watches until it is aborted.
pub async fn watch_over(counters: Arc<Counters>) {
    let mut pace = tokio::time::interval(PACE);
    let mut level = Level::Enough;
    loop {
        pace.tick().await;
        let next = judge(level, counters.disk_free_bytes.get(), counters.disk_size_bytes.get());
        if next > level {
            match next {
                Level::Below1 => tracing::error!(target: "mta", "Data volume has less than 1% of free disk space"),
                Level::Below5 | Level::Enough => {
                    tracing::warn!(target: "mta", "Data volume has less than 5% of free disk space")
                }
            }
        } else if next == Level::Enough && level != Level::Enough {
            tracing::info!(target: "mta", "the data volume has room again");
        }
        level = next;
    }
}

/// A mark that was passed counts until there is a fifth more than it, so that an alert does not flutter.
fn judge(level: Level, free: i64, size: i64) -> Level {
    let below = |mark: Level, percent: i64| {
        let percent_times_ten = if level >= mark { percent * 12 } else { percent * 10 };
        size > 0 && i128::from(free) * 1000 < i128::from(size) * i128::from(percent_times_ten)
    };
    if below(Level::Below1, 1) {
        Level::Below1
    } else if below(Level::Below5, 5) {
        Level::Below5
    } else {
        Level::Enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_have_a_little_room_above() {
        use Level::{Below1, Below5, Enough};
        for (level, free, expected) in [
            (Enough, 100, Enough),
            (Enough, 50, Enough),
            (Enough, 49, Below5),
            (Below5, 55, Below5),
            (Below5, 60, Enough),
            (Below5, 9, Below1),
            (Below1, 11, Below1),
            (Below1, 12, Below5),
            (Enough, 5, Below1),
        ] {
            assert_eq!(judge(level, free, 1000), expected, "{level:?} {free}");
        }
        assert_eq!(judge(Enough, 0, 0), Enough, "nothing is known yet");
    }
}
