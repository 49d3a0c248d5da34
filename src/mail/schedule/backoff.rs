//! Exponential back-off with jitter: when a message that failed temporarily is tried again.
//!
//! In: a job and how often it has failed (4xx replies, and destinations that could not be reached).
//! Out: the time of its next attempt: the first back-off, doubled with each failure up to the
//! longest one, and up to a quarter shorter or longer at random. The jitter keeps retries from
//! coming all at once.
//!
//! Source: RFC 5321 §4.5.4.1 (retry at least 30 minutes apart on the long run).

use super::{DestinationId, Job, Schedule, ScheduleConfig};
use crate::mail::model::LastError;

impl ScheduleConfig {
    /// The longest pause between two attempts.
    pub fn longest_pause(&self) -> u32 {
        self.maximal_backoff.saturating_add(self.maximal_backoff / 4)
    }
}

impl Schedule {
    /// An attempt failed in a way that concerns the destination but does not mean that it is down.
    pub fn note_temporary_failure(&mut self, id: DestinationId, error: impl Into<LastError>) {
        self.destinations[id.0 as usize].last_error = error.into();
    }

    /// When a job that has just failed temporarily is tried again.
    pub fn next_attempt_time(&self, job: Job, now: u32) -> u32 {
        now.saturating_add(self.backoff(job.attempts.saturating_add(1)))
    }

    /// A taken job is deferred until its next attempt.
    pub fn retry_later(&mut self, id: DestinationId, mut job: Job, due: u32) {
        job.attempts = job.attempts.saturating_add(1);
        self.finished(id);
        self.defer(id, job, due);
    }

    /// The longest delay that [`Schedule::next_attempt_time`] can give; a due time beyond it was
    /// written when the clock was different.
    pub fn longest_pause(&self) -> u32 {
        self.config.longest_pause()
    }

    /// The back-off after so many failures: it doubles up to the limit, and jitter makes it up to a
    /// quarter shorter or longer.
    pub(super) fn backoff(&self, attempts: u8) -> u32 {
        let base = self.backoff_without_chance(attempts);
        fastrand::u32(base - base / 4..=base.saturating_add(base / 4))
    }

    pub(super) fn backoff_without_chance(&self, attempts: u8) -> u32 {
        let doublings = u32::from(attempts.saturating_sub(1)).min(16);
        let base = u64::from(self.config.minimal_backoff) << doublings;
        u32::try_from(base).unwrap_or(u32::MAX).min(self.config.maximal_backoff).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, at, job, schedule};

    #[test]
    fn backoff_doubles_with_jitter_and_has_an_end() {
        let mut schedule = schedule();
        schedule.add(&at("a.example"), job(1), 0, NOW);
        let id = schedule.start(NOW).unwrap();
        let mut now = NOW;
        let mut taken = schedule.take(id, false, now).unwrap();
        for expected in [300, 600, 1200, 2400, 3600, 3600] {
            let due = schedule.next_attempt_time(taken, now);
            schedule.retry_later(id, taken, due);
            let pause = due - now;
            assert!(
                pause >= expected * 3 / 4 && pause <= expected * 5 / 4,
                "{pause} for {expected}"
            );
            assert_eq!(schedule.next_wake(), Some(due.into()));
            assert_eq!(schedule.take(id, false, now), None);
            now = due;
            schedule.tick(now.into());
            taken = schedule.take(id, false, now).unwrap();
        }
        assert_eq!(taken.attempts, 6);
    }
}
