//! Due jobs of one destination, by client and sender.
//!
//! Clients are served in turn, and within each client its senders, so that no mail blocks that of
//! others behind it. Each client and sender with jobs is queued for agents separately: one that has
//! all the agents that it may have waits, and the next one continues.

use super::job::Job;
use super::job_source::FlowKey;
use crate::ground::fair_queue::FairQueue;
use std::collections::BTreeSet;

/// The ready jobs.
#[derive(Default)]
pub struct ReadyJobs {
    jobs: FairQueue<Job>,
    /// Flows that are queued for an agent or listed in `apart`, including those whose jobs have
    /// been taken meanwhile. There may be many, and many may be removed at once.
    noted: BTreeSet<FlowKey>,
    /// Flows that are not queued for an agent and may have jobs.
    unqueued_sources: Vec<FlowKey>,
}

impl ReadyJobs {
    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// Adds a job at the end of its flow's queue.
    pub fn push_back(&mut self, job: Job) {
        self.note(job.source);
        self.jobs.push(job.source.marks(), job);
    }

    /// Returns a job to the front of it.
    pub fn push_front(&mut self, job: Job) {
        self.note(job.source);
        self.jobs.push_front(job.source.marks(), job);
    }

    fn note(&mut self, source: FlowKey) {
        if self.noted.insert(source) {
            self.unqueued_sources.push(source);
        }
    }

    /// The next job: of the flow whose turn it is.
    pub fn pop(&mut self) -> Option<Job> {
        self.jobs.pop(|_| true).map(|(_, job)| job)
    }

    /// The next job of this flow.
    pub fn pop_of(&mut self, source: FlowKey) -> Option<Job> {
        self.jobs.pop_of(source.marks())
    }

    /// How many jobs a flow has.
    pub fn len_of(&self, source: FlowKey) -> usize {
        self.jobs.len_of(source.marks())
    }

    /// Any flow that has jobs.
    pub fn source(&self) -> Option<FlowKey> {
        self.iter().next().map(|job| job.source)
    }

    /// Removes the jobs that are `wanted`.
    pub fn extract(&mut self, wanted: impl Fn(&Job) -> bool) -> Vec<Job> {
        let mut out = Vec::new();
        self.jobs.change(|jobs| {
            jobs.retain(|job| {
                let goes = wanted(job);
                out.extend(goes.then_some(*job));
                !goes
            });
        });
        out
    }

    /// Sorts each flow's jobs, oldest first.
    pub fn sort(&mut self) {
        self.jobs.change(|jobs| jobs.make_contiguous().sort_unstable());
    }

    /// A flow that has more jobs than agents start for (`starting_sources`) and is not queued for
    /// an agent; it is queued from now on.
    pub fn enqueue(&mut self, starting_sources: &[FlowKey]) -> Option<FlowKey> {
        let mut place = 0;
        while let Some(source) = self.unqueued_sources.get(place).copied() {
            let jobs = self.len_of(source);
            if jobs == 0 {
                self.unqueued_sources.swap_remove(place);
                self.noted.remove(&source);
            } else if jobs > starting_sources.iter().filter(|one| **one == source).count() {
                self.unqueued_sources.swap_remove(place);
                return Some(source);
            } else {
                place += 1;
            }
        }
        None
    }

    /// A flow is not queued for an agent any more.
    pub fn note_dequeued(&mut self, source: FlowKey) {
        if self.len_of(source) > 0 {
            self.unqueued_sources.push(source);
        } else {
            self.noted.remove(&source);
        }
    }

    /// Whether any flow is queued for an agent.
    pub fn is_queued(&self) -> bool {
        self.noted.len() > self.unqueued_sources.len()
    }
}
