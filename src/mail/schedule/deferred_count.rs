//! How many messages are deferred: attempted without success, or for a suspended destination.
//!
//! The same definition as for a single message (`Standing` of the model), so that the overview and
//! a list of the queue give the same number.

use super::destination_state::DestinationState;
use super::{Job, Schedule};
use crate::mail::model::MessageId;
use std::collections::HashSet;

/// Jobs up to which messages with several destinations are counted once. Above it each of their
/// jobs counts: to recognize jobs of one message would take memory that grows with the queue.
pub const EXACT_MAX: usize = 20_000;

impl Schedule {
    /// Deferred messages, without those in `active`. Walks through the ready jobs, and through all
    /// jobs while they are at most [`EXACT_MAX`].
    pub fn deferred_messages(&self, active: &HashSet<MessageId>, now: u32) -> u64 {
        let ready = || {
            self.destinations
                .iter()
                .flat_map(move |destination| deferred_among_ready(destination, now))
        };
        let jobs = self.deferred.len()
            + self.destinations.iter().map(|destination| destination.ready.len()).sum::<usize>();
        if jobs > EXACT_MAX {
            return (self.deferred.len() + ready().count()) as u64;
        }
        let waiting = self.deferred.iter().map(|(_, _, job)| job.id);
        let messages: HashSet<MessageId> = waiting.chain(ready().map(|job| job.id)).collect();
        messages.difference(active).count() as u64
    }
}

/// Jobs that could be attempted at once if their destination were not suspended, or that were
/// attempted before.
pub(super) fn deferred_among_ready(
    destination: &DestinationState,
    now: u32,
) -> impl Iterator<Item = &Job> {
    let suspended = destination.suspended_until > now;
    destination.ready.iter().filter(move |job| suspended || job.attempts > 0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CONFIG, at};
    use super::super::{DestinationId, FlowKey};
    use super::*;

    const NOW: u32 = 1_000_000;

    fn schedule(jobs: &[(&str, u64, u8)]) -> Schedule {
        let mut schedule = Schedule::new(CONFIG);
        for (destination, id, attempts) in jobs {
            let job = Job {
                id: MessageId(*id),
                accepted_at: NOW,
                attempts: *attempts,
                delay_warning_sent: false,
                source: FlowKey::default(),
            };
            schedule.add(&at(destination), job, 0, NOW);
        }
        schedule
    }

    fn deferred(schedule: &Schedule) -> u64 {
        schedule.deferred_messages(&HashSet::new(), NOW)
    }

    #[test]
    fn mail_behind_a_destination_that_is_down_is_deferred() {
        let mut schedule = schedule(&[
            ("a.example", 1, 0),
            ("a.example", 2, 0),
            ("a.example", 3, 0),
            ("b.example", 4, 0),
        ]);
        assert_eq!(deferred(&schedule), 0, "all wait for their first try");
        let id: DestinationId = schedule.start(NOW).unwrap();
        let job = schedule.take(id, false, NOW).unwrap();
        schedule.suspend(id, "refused", NOW);
        schedule.retry_later(id, job, NOW + 300);
        assert_eq!(deferred(&schedule), 3, "the one that was tried, and those that wait with it");
        assert_eq!(schedule.summaries(1, NOW)[0].deferred, 3);
        assert_eq!(schedule.deferred_messages(&HashSet::from([MessageId(2)]), NOW), 2);
    }

    #[test]
    fn a_message_for_several_destinations_counts_once() {
        let schedule = schedule(&[
            ("a.example", 1, 1),
            ("b.example", 1, 1),
            ("c.example", 1, 0),
            ("c.example", 2, 0),
        ]);
        assert_eq!(deferred(&schedule), 1);
    }
}
