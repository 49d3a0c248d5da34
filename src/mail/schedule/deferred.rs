//! Jobs that wait for their time, by the second: 24 octets a job and little beside them.

use super::{DestinationId, Job};
use std::collections::BTreeMap;

/// The waiting jobs.
#[derive(Default)]
pub struct Deferred {
    /// By the second in which they are due; no list is empty.
    seconds: BTreeMap<u32, Vec<(DestinationId, Job)>>,
    len: usize,
}

impl Deferred {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A job waits until `due`.
    pub fn push(&mut self, due: u32, id: DestinationId, job: Job) {
        let jobs = self.seconds.entry(due).or_default();
        if jobs.len() == jobs.capacity() {
            // Lists that double would leave a third of their memory empty.
            jobs.reserve_exact((jobs.len() / 8).max(4));
        }
        jobs.push((id, job));
        self.len += 1;
    }

    /// When the first is due.
    pub fn next_due(&self) -> Option<u32> {
        self.seconds.first_key_value().map(|(due, _)| *due)
    }

    /// The jobs of the first second that has come, by destination and age; `None` when none has.
    pub fn pop_due(&mut self, now: u32) -> Option<Vec<(DestinationId, Job)>> {
        let first = self.seconds.first_entry().filter(|first| *first.key() <= now)?;
        let mut jobs = first.remove();
        self.len -= jobs.len();
        jobs.sort_unstable();
        Some(jobs)
    }

    /// Takes out the jobs that are `wanted`. The others stay where they are.
    pub fn extract(&mut self, wanted: impl Fn(DestinationId, &Job) -> bool) -> Vec<(DestinationId, Job)> {
        let mut taken = Vec::new();
        self.seconds.retain(|_, jobs| {
            let before = jobs.len();
            taken.extend(jobs.extract_if(.., |(id, job)| wanted(*id, job)));
            if jobs.len() < before {
                jobs.shrink_to_fit();
            }
            !jobs.is_empty()
        });
        self.len -= taken.len();
        taken
    }

    /// All of them, with the second in which they are due.
    pub fn iter(&self) -> impl Iterator<Item = (u32, DestinationId, &Job)> {
        self.seconds.iter().flat_map(|(due, jobs)| jobs.iter().map(|(id, job)| (*due, *id, job)))
    }
}
