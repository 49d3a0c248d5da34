//! The schedule's summary of its destinations.

use super::deferred_count::deferred_among_ready;
use super::destination_state::DestinationState;
use super::{FIRST_WINDOW, Job, Schedule};
use crate::mail::model::{Destination, DestinationStatus, DestinationSummary};

/// What a walk through the waiting jobs of a destination finds.
#[derive(Default, Clone)]
struct Waiting {
    due: Option<u32>,
    accepted_at: Option<u32>,
    ages: [u64; 6],
}

impl Waiting {
    fn count(&mut self, job: &Job, now: u32) {
        let age = now.saturating_sub(job.accepted_at);
        let place = DestinationSummary::AGES
            .iter()
            .position(|bound| age <= *bound)
            .unwrap_or(DestinationSummary::AGES.len());
        self.ages[place] += 1;
        self.accepted_at = Some(
            self.accepted_at
                .map_or(job.accepted_at, |accepted_at| accepted_at.min(job.accepted_at)),
        );
    }
}

impl Schedule {
    /// The present state of deliveries to a destination; times by the schedule's clock.
    pub fn status_of(&self, destination: &Destination, now: u32) -> DestinationStatus {
        let limit = self.limit(destination);
        let Some(id) = self.ids.get(destination) else {
            let (paused, window) = (self.paused.contains(destination), FIRST_WINDOW.min(limit));
            return DestinationStatus { paused, window, limit, ..DestinationStatus::default() };
        };
        let state = &self.destinations[id.0 as usize];
        DestinationStatus {
            paused: state.paused,
            rate_wait: state.rate_wait(),
            suspended_until: (state.suspended_until > now).then_some(state.suspended_until),
            unreachable_since: state.unreachable_since,
            messages: state.messages(),
            active: u64::from(state.active),
            deferred: deferred(state, now),
            agents: state.agents,
            idle: state.idle,
            window: state.window,
            limit,
            last_error: state.last_error.words(),
        }
    }

    /// The destinations that have work or are paused, those with the most messages first. All times
    /// are of the schedule's clock. Walks through all jobs.
    pub fn summaries(&self, limit: usize, now: u32) -> Vec<DestinationSummary> {
        let mut waiting = vec![Waiting::default(); self.destinations.len()];
        for (due, id, job) in self.deferred.iter() {
            let waiting = &mut waiting[id.0 as usize];
            waiting.due = Some(waiting.due.map_or(due, |first| first.min(due)));
            waiting.count(&job, now);
        }
        for (waiting, destination) in waiting.iter_mut().zip(&self.destinations) {
            destination.ready.iter().for_each(|job| waiting.count(job, now));
        }
        let known = waiting.into_iter().zip(&self.destinations);
        let mut rows: Vec<DestinationSummary> = known
            .filter(|(_, destination)| destination.messages() > 0)
            .map(|(waiting, destination)| row(&waiting, destination, now))
            .collect();
        let idle = |paused: &&Destination| {
            self.ids.get(paused).is_none_or(|id| self.destinations[id.0 as usize].messages() == 0)
        };
        rows.extend(self.paused.iter().filter(idle).map(paused_without_mail));
        rows.sort_by(|a, b| {
            b.messages
                .cmp(&a.messages)
                .then_with(|| a.destination.name().cmp(&b.destination.name()))
        });
        rows.truncate(limit);
        rows
    }
}

fn row(waiting: &Waiting, destination: &DestinationState, now: u32) -> DestinationSummary {
    let goes = !destination.paused && !destination.ready.is_empty();
    let rate_wait = destination.rate_wait();
    let waits_until =
        destination.suspended_until.max(rate_wait.as_ref().map_or(0, |wait| wait.until));
    let ready_at = goes.then(|| waits_until.max(now));
    // A mail that becomes due while the destination is suspended waits for the end of the
    // suspension.
    let due = waiting.due.filter(|_| !destination.paused).map(|due| due.max(waits_until));
    DestinationSummary {
        destination: destination.destination.clone(),
        messages: destination.messages(),
        active: u64::from(destination.active),
        oldest: waiting.accepted_at,
        next_attempt: ready_at.into_iter().chain(due).min(),
        last_error: destination.last_error.words(),
        deferred: deferred(destination, now),
        agents: destination.agents,
        idle: destination.idle,
        window: destination.window,
        suspended_until: (destination.suspended_until > now).then_some(destination.suspended_until),
        unreachable_since: destination.unreachable_since,
        rate_wait,
        paused: destination.paused,
        ages: waiting.ages,
    }
}

/// Messages that wait for another attempt; walks through the ready jobs of the destination.
fn deferred(destination: &DestinationState, now: u32) -> u64 {
    let ready = deferred_among_ready(destination, now).count();
    u64::from(destination.deferred) + ready as u64
}

fn paused_without_mail(destination: &Destination) -> DestinationSummary {
    DestinationSummary {
        destination: destination.clone(),
        messages: 0,
        active: 0,
        oldest: None,
        next_attempt: None,
        last_error: String::new(),
        deferred: 0,
        agents: 0,
        idle: 0,
        window: 0,
        suspended_until: None,
        unreachable_since: None,
        rate_wait: None,
        paused: true,
        ages: [0; 6],
    }
}
