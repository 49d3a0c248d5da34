//! Messages that a retry cannot send, because they wait only for paused destinations.

use super::Schedule;
use super::deferred_count::EXACT_MAX;
use super::destination_state::DestinationState;
use crate::mail::model::MessageId;
use std::collections::HashSet;

/// What waits only for paused destinations.
#[derive(Debug, PartialEq, Eq)]
pub enum Untried {
    /// These messages.
    Messages(HashSet<MessageId>),
    /// So many jobs, of [`EXACT_MAX`] messages or more. A message counts once for each of its
    /// paused destinations, and also if it waits for others: to recognize jobs of one message would
    /// take memory that grows with the queue.
    Jobs(u64),
}

impl Schedule {
    /// Which of the `wanted` messages wait only for paused destinations. Walks through all jobs if
    /// any destination is paused.
    pub fn untried(&self, wanted: impl Fn(MessageId) -> bool) -> Untried {
        let (mut messages, mut jobs) = (HashSet::new(), 0);
        for id in self.waiting(true).filter(|id| wanted(*id)) {
            jobs += 1;
            if messages.len() < EXACT_MAX {
                messages.insert(id);
            }
        }
        if messages.len() >= EXACT_MAX {
            return Untried::Jobs(jobs);
        }
        if !messages.is_empty() {
            for id in self.waiting(false) {
                messages.remove(&id);
            }
        }
        Untried::Messages(messages)
    }

    /// The messages of all jobs that wait for paused destinations, or for the others.
    fn waiting(&self, paused: bool) -> impl Iterator<Item = MessageId> {
        let here = move |there: &&DestinationState| there.paused == paused;
        let ready = self
            .destinations
            .iter()
            .filter(here)
            .flat_map(|there| there.ready.iter())
            .map(|job| job.id);
        let any = self.destinations.iter().filter(here).any(|there| there.deferred > 0);
        let deferred = any.then(|| self.deferred.iter()).into_iter().flatten();
        let deferred =
            deferred.filter(move |(_, id, _)| self.destinations[id.0 as usize].paused == paused);
        ready.chain(deferred.map(|(_, _, job)| job.id))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CONFIG, at};
    use super::super::{FlowKey, Job};
    use super::*;

    const NOW: u32 = 1_000_000;

    fn schedule(jobs: impl IntoIterator<Item = (&'static str, u64, u32)>) -> Schedule {
        let mut schedule = Schedule::new(CONFIG);
        for (name, id, due) in jobs {
            let job = Job {
                id: MessageId(id),
                accepted_at: NOW,
                attempts: 0,
                delay_warning_sent: false,
                source: FlowKey::default(),
            };
            schedule.add(&at(name), job, due, NOW);
        }
        schedule
    }

    fn messages(ids: &[u64]) -> Untried {
        Untried::Messages(ids.iter().copied().map(MessageId).collect())
    }

    #[test]
    fn what_waits_for_paused_destinations_alone_is_counted_once() {
        let mut schedule = schedule([
            ("a.example", 1, 0),
            ("b.example", 1, NOW + 500),
            ("a.example", 2, 0),
            ("c.example", 3, 0),
        ]);
        assert_eq!(schedule.untried(|_| true), messages(&[]));
        schedule.pause(&at("a.example"), true);
        assert_eq!(
            schedule.untried(|_| true),
            messages(&[2]),
            "the first goes to b.example as well"
        );
        schedule.pause(&at("b.example"), true);
        assert_eq!(schedule.untried(|_| true), messages(&[1, 2]));
        assert_eq!(schedule.untried(|id| id == MessageId(2)), messages(&[2]));
    }

    #[test]
    fn a_long_queue_takes_no_memory_and_of_much_paused_mail_the_jobs_are_counted() {
        let many = EXACT_MAX as u64 + 10;
        let long =
            (0..many).map(|id| ("long.example", id, if id % 2 == 0 { 0 } else { NOW + 500 }));
        let mut schedule = schedule(long.chain([("a.example", many, 0)]));
        schedule.pause(&at("a.example"), true);
        assert_eq!(schedule.untried(|_| true), messages(&[many]));
        schedule.pause(&at("long.example"), true);
        assert_eq!(schedule.untried(|_| true), Untried::Jobs(many + 1));
        assert_eq!(schedule.untried(|id| id.0 < 3), messages(&[0, 1, 2]), "only what is wanted");
    }
}
