//! Jobs of one destination that may be tried now, by whose hands they came.
//!
//! The clients take turns, and of each its senders, so that nobody's mail stops that of others
//! behind it. Each source with jobs stands in the schedule's turn for itself: one that has all the
//! couriers that it may have waits, and the next one goes on.

use super::job::Job;
use super::source::Source;
use crate::ground::turns::Turns;
use std::collections::BTreeSet;

/// The ready jobs.
#[derive(Default)]
pub struct Ready {
    jobs: Turns<Job>,
    /// Sources that stand in the turn or `apart`; among them those whose jobs have been taken
    /// meanwhile. There may be many, and many may be forgotten at once.
    noted: BTreeSet<Source>,
    /// Sources that do not stand in the turn and may have jobs.
    apart: Vec<Source>,
}

impl Ready {
    /// How many jobs there are.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// A job joins the end of its source's line.
    pub fn push_back(&mut self, job: Job) {
        self.note(job.source);
        self.jobs.push(job.source.marks(), job);
    }

    /// A job goes back to the front of it.
    pub fn push_front(&mut self, job: Job) {
        self.note(job.source);
        self.jobs.push_front(job.source.marks(), job);
    }

    fn note(&mut self, source: Source) {
        if self.noted.insert(source) {
            self.apart.push(source);
        }
    }

    /// The next job: that of the source whose turn it is.
    pub fn pop(&mut self) -> Option<Job> {
        self.jobs.pop(|_| true).map(|(_, job)| job)
    }

    /// The next job of this source.
    pub fn pop_of(&mut self, source: Source) -> Option<Job> {
        self.jobs.pop_of(source.marks())
    }

    /// How many jobs of a source there are.
    pub fn len_of(&self, source: Source) -> usize {
        self.jobs.len_of(source.marks())
    }

    /// Some source that has jobs.
    pub fn source(&self) -> Option<Source> {
        self.iter().next().map(|job| job.source)
    }

    /// Takes out the jobs that are `wanted`.
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

    /// Each source's oldest first.
    pub fn sort(&mut self) {
        self.jobs.change(|jobs| jobs.make_contiguous().sort_unstable());
    }

    /// A source that has jobs beyond those that couriers are `coming` for and does not stand in the
    /// turn; it does from now on.
    pub fn line_up(&mut self, coming: &[Source]) -> Option<Source> {
        let mut place = 0;
        while let Some(source) = self.apart.get(place).copied() {
            let jobs = self.len_of(source);
            if jobs == 0 {
                self.apart.swap_remove(place);
                self.noted.remove(&source);
            } else if jobs > coming.iter().filter(|one| **one == source).count() {
                self.apart.swap_remove(place);
                return Some(source);
            } else {
                place += 1;
            }
        }
        None
    }

    /// A source stands in the turn no more.
    pub fn left_line(&mut self, source: Source) {
        if self.len_of(source) > 0 {
            self.apart.push(source);
        } else {
            self.noted.remove(&source);
        }
    }

    /// Whether any source stands in the turn.
    pub fn is_in_turn(&self) -> bool {
        self.noted.len() > self.apart.len()
    }
}
