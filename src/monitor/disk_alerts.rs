//! The founding document's two alerts about the data volume.
//!
//! In: the gauges of free space and size, which the committer updates. Out: an [`DiskAlert`] for
//! each limit that is crossed, and one when there is space again. The effect of a full volume (452
//! for new mail) is in the spool.

use crate::mail::spool::counters::SpoolCounters;
use std::sync::Arc;
use std::time::Duration;

const PACE: Duration = Duration::from_secs(2);

/// The alerts about the data volume; the first two are literally those of 2011.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskAlert {
    /// Less than five percent are free.
    Below5,
    /// New mail is refused.
    Below1,
    /// Above both limits again.
    RoomAgain,
}

impl DiskAlert {
    /// The line.
    pub fn text(self) -> &'static str {
        match self {
            Self::Below5 => "Data volume has less than 5% of free disk space",
            Self::Below1 => "Data volume has less than 1% of free disk space",
            Self::RoomAgain => "the data volume has free space again",
        }
    }
}

/// The state of the free space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Enough,
    Below5,
    Below1,
}

/// Runs until it is aborted, and reports each alert once.
pub async fn watch_over(counters: Arc<SpoolCounters>, tell: impl Fn(DiskAlert)) {
    let mut pace = tokio::time::interval(PACE);
    let mut level = Level::Enough;
    loop {
        pace.tick().await;
        let next = judge(level, counters.disk_free_bytes.get(), counters.disk_size_bytes.get());
        alerts(level, next).iter().copied().for_each(&tell);
        level = next;
    }
}

/// If both limits are crossed between two checks, both alerts are sent: some tools wait for one,
/// some for the other.
fn alerts(level: Level, next: Level) -> &'static [DiskAlert] {
    match (level, next) {
        (Level::Enough, Level::Below5) => &[DiskAlert::Below5],
        (Level::Enough, Level::Below1) => &[DiskAlert::Below5, DiskAlert::Below1],
        (Level::Below5, Level::Below1) => &[DiskAlert::Below1],
        (Level::Below5 | Level::Below1, Level::Enough) => &[DiskAlert::RoomAgain],
        (Level::Enough, Level::Enough)
        | (Level::Below5 | Level::Below1, Level::Below5)
        | (Level::Below1, Level::Below1) => &[],
    }
}

/// A limit that was crossed stays in effect until there is a fifth more than it, so that an alert
/// does not flap.
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

    #[test]
    fn each_mark_is_told_once_on_the_way_down() {
        let mut level = Level::Enough;
        let mut told = Vec::new();
        for free in [100, 40, 45, 8, 8, 11, 20, 9, 100, 0] {
            let next = judge(level, free, 1000);
            told.push(alerts(level, next).to_vec());
            level = next;
        }
        use DiskAlert::{Below1, Below5, RoomAgain};
        let expected: [&[DiskAlert]; 10] = [
            &[],
            &[Below5],
            &[],
            &[Below1],
            &[],
            &[],
            &[],
            &[Below1],
            &[RoomAgain],
            &[Below5, Below1],
        ];
        assert_eq!(told, expected);
    }
}
