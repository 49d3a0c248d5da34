//! When each message is tried, and how many at once.
//!
//! Purpose: decides which destination gets a delivery agent and which message an agent takes next.
//! Pure: the time is an argument, and nothing here waits, opens files or sends. All times are of
//! the monotonic clock ([`crate::ground::clock::steady`]); code that stores them converts them to
//! wall-clock time. In: jobs (a message's recipients at one destination), the results of attempts.
//! Out: the next job, the time of the next check.
//!
//! Strategies, by name:
//! * *Round robin*: destinations with work and a free slot are served in turn, so a million
//!   messages for one do not delay one message for another.
//! * *Slow start*: a destination begins with a concurrency of [`FIRST_WINDOW`] delivery agents;
//!   each delivery raises it by one up to the limit, a failed connection lowers it to one. A
//!   destination that refuses another connection while others are open gets no more than those for
//!   a while.
//! * *Freeing slots*: while all agents are in use and a destination waits for one, idle agents
//!   stop, even though their open connections might be used again.
//! * *Shares* (`shares.rs`): no destination, client, sender or reputation class holds all delivery
//!   agents. Destinations that have never answered share a part of them, and slow agents stop when
//!   others wait (`slow_agents.rs`). Mail that is throttled does not delay mail of other clients
//!   and senders to the same destination (`ready_jobs.rs`).
//! * *Suspension*: an unreachable destination is suspended for a while; its mail waits without an
//!   attempt for each message (`suspension.rs`). A destination that an operator configured is
//!   probed again soon, and so is one that is silent (`unresponsive.rs`). The first reply ends the
//!   suspension.
//! * *Rates*: a destination gets no more mail in a time than a property says. What is beyond waits
//!   for the next permit, without an attempt (`rates.rs`).
//! * *Exponential back-off with jitter*: 5 min, 10 min, … up to about an hour (a property). The
//!   jitter keeps retries from coming all at once (`backoff.rs`).
//!
//! Limits: delivery agents in total and per destination. Memory: one [`Job`] per message and
//! destination. Source: RFC 5321 §4.5.4.1 (retry at least 30 minutes apart on the long run, give up
//! after 4 to 5 days).

mod agent_assignment;
mod agent_slots;
mod backoff;
mod deferred_count;
mod deferred_jobs;
mod destination_queue;
mod destination_state;
mod idle_agents;
mod job;
mod job_source;
mod rate_state;
mod rates;
mod ready_jobs;
mod shares;
mod slow_agents;
mod summary;
mod suspension;
mod unresponsive;
mod untried;

use crate::ground::clock::Moment;
use crate::mail::model::{Destination, LastError, MessageId};
pub use agent_slots::{AgentSlots, ThrottleCounts};
use deferred_jobs::DeferredJobs;
use destination_state::DestinationState;
pub use idle_agents::IdleAgent;
use idle_agents::IdleAgents;
pub use job::{DestinationId, Job};
pub use job_source::FlowKey;
use rate_state::DestinationRates;
pub use rate_state::RateRules;
pub use shares::{DestinationReputation, Shares};
pub use slow_agents::{AgentStage, SlowAgent, SlowOutcome};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
pub use suspension::{PROBE_PAUSE, Suspension};
pub use unresponsive::silent_after;
pub use untried::Untried;

/// Initial concurrency: agents that a destination may have before anything is known about it.
pub const FIRST_WINDOW: u32 = 5;

/// How long an observed connection limit of a destination is assumed to hold, in seconds.
const CEILING_TIME: u32 = 60;

/// Above this number, destinations without work are forgotten.
const IDLE_DESTINATIONS_MAX: usize = 10_000;

/// Settings of the schedule; times in seconds.
#[derive(Debug, Clone, Copy)]
pub struct ScheduleConfig {
    /// Delivery agents per destination, at most.
    pub concurrency: u32,
    /// Delivery agents in total, at most.
    pub agents_max: u32,
    /// Delivery agents beyond these that only wait for the reply to the end of data, at most.
    pub overtime_max: u32,
    /// The first back-off, and how long an unreachable destination is suspended.
    pub minimal_backoff: u32,
    /// The longest back-off.
    pub maximal_backoff: u32,
    /// Age at which a message is returned as expired.
    pub lifetime: u32,
    /// Age at which the sender gets a delay warning; 0 = never.
    pub delay_warning: u32,
}

/// All jobs that wait, and the destinations they wait for.
pub struct Schedule {
    config: ScheduleConfig,
    destinations: Vec<DestinationState>,
    ids: HashMap<Destination, DestinationId>,
    free: Vec<DestinationId>,
    /// Destinations paused by an operator, whether they have mail or not.
    paused: HashSet<Destination>,
    /// Destinations that an operator configured as a next hop.
    configured: HashSet<Destination>,
    /// Destinations with a limit of agents of their own.
    limits: HashMap<Destination, u32>,
    /// Jobs that wait for their due time.
    deferred: DeferredJobs,
    /// Suspended destinations with ready jobs, by the end of the suspension.
    suspended: BinaryHeap<Reverse<(u32, DestinationId)>>,
    rates: DestinationRates,
    /// The agents' slots, and the destinations that wait for one.
    slots: AgentSlots,
    idle_agents: IdleAgents,
    /// The last time a caller looked for work.
    last_check: u32,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(config: ScheduleConfig) -> Self {
        Self {
            config,
            destinations: Vec::new(),
            ids: HashMap::new(),
            free: Vec::new(),
            paused: HashSet::new(),
            configured: HashSet::new(),
            limits: HashMap::new(),
            deferred: DeferredJobs::default(),
            suspended: BinaryHeap::new(),
            rates: DestinationRates::default(),
            slots: AgentSlots::new(config.agents_max, config.overtime_max),
            idle_agents: IdleAgents::default(),
            last_check: 0,
        }
    }

    /// Adds a job for a destination, due at a time (at once when that has passed).
    pub fn add(&mut self, destination: &Destination, job: Job, due: u32, now: u32) {
        let id = self.intern(destination);
        if due > now {
            self.defer(id, job, due);
        } else {
            self.ready(id, job);
        }
    }

    /// The next job of a delivery agent that has a connection (`open`) or will make one; `None`
    /// when there is nothing to do, the destination is suspended or its rate used up, or it has
    /// more agents than it may have.
    pub fn take(&mut self, id: DestinationId, open: bool, now: impl Into<Moment>) -> Option<Job> {
        let now = now.into();
        let destination = &self.destinations[id.0 as usize];
        if destination.is_suspended(now.second()) || destination.has_too_many(open) {
            return None;
        }
        if destination.rate.is_some()
            && (destination.ready.is_empty() || !self.take_permit(id, now))
        {
            return None;
        }
        let destination = &mut self.destinations[id.0 as usize];
        let job = destination.pop(open)?;
        destination.active += 1;
        Some(job)
    }

    /// A taken job is finished: it will not be tried again.
    pub fn finished(&mut self, id: DestinationId) {
        let destination = &mut self.destinations[id.0 as usize];
        destination.active = destination.active.saturating_sub(1);
    }

    /// A taken job is returned unattempted, to the front of the queue.
    pub fn return_untried(&mut self, id: DestinationId, job: Job) {
        let destination = &mut self.destinations[id.0 as usize];
        destination.active = destination.active.saturating_sub(1);
        destination.ready.push_front(job);
        self.offer(id);
    }

    /// An agent has opened its connection, or closed it.
    pub fn connected(&mut self, id: DestinationId, open: bool) {
        let destination = &mut self.destinations[id.0 as usize];
        if !open {
            destination.connected = destination.connected.saturating_sub(1);
            return;
        }
        destination.connected += 1;
        // It was being opened when the destination refused another: the limit that was concluded
        // from the open ones alone was too low.
        let (open, ceiling) = (destination.heard_open(), &mut destination.ceiling.0);
        if open > *ceiling {
            if destination.window == *ceiling {
                destination.window = open;
            }
            *ceiling = open;
        }
    }

    /// A connection attempt that `began` then failed. `true`: other connections are open, so the
    /// destination is up and gets no more than these for a while; or it has answered since, so this
    /// failure says nothing new.
    pub fn is_reachable_otherwise(
        &mut self,
        id: DestinationId,
        error: impl Into<LastError>,
        began: u32,
        now: u32,
    ) -> bool {
        let destination = &mut self.destinations[id.0 as usize];
        if destination.has_answered_since(began, now) {
            return true;
        }
        let open = destination.heard_open();
        if open == 0 {
            return false;
        }
        destination.window = open;
        destination.ceiling = (open, now.saturating_add(CEILING_TIME));
        destination.last_error = error.into();
        true
    }

    /// A message was delivered: the concurrency rises.
    pub fn note_success(&mut self, id: DestinationId, now: u32) {
        let allowed = self.limit(&self.destinations[id.0 as usize].destination);
        let destination = &mut self.destinations[id.0 as usize];
        let (ceiling, until) = destination.ceiling;
        let limit = if until > now { allowed.min(ceiling) } else { allowed };
        destination.window = (destination.window + 1).min(limit);
        destination.last_error = LastError::default();
        destination.suspended_until = 0;
        self.note_answer(id, now);
        self.offer(id);
    }

    /// The destination was reached and rejects this relay, whatever the mail, after so many earlier
    /// attempts of the job. It is not suspended, since other mail may be accepted. If it has
    /// accepted other mail since the attempt before, the rejection was about this message after
    /// all.
    pub fn note_session_refused(
        &mut self,
        id: DestinationId,
        attempts: u8,
        error: impl Into<LastError>,
        now: u32,
    ) {
        let pause = self.backoff_without_chance(attempts);
        let longest = pause.saturating_add(pause / 4);
        let destination = &mut self.destinations[id.0 as usize];
        destination.last_error = error.into();
        if destination.answered_at == 0 || now.saturating_sub(destination.answered_at) > longest {
            destination.unreachable_since = destination.unreachable_since.or(Some(now));
        }
    }

    /// An agent with an open connection becomes idle.
    pub fn wait(&mut self, id: DestinationId) -> IdleAgent {
        let destination = &mut self.destinations[id.0 as usize];
        destination.idle += 1;
        self.idle_agents.add(id, destination.work_notify.clone())
    }

    /// It has been idle for a while: whether it stops, because its slot is needed elsewhere.
    pub fn yields_slot(&mut self, id: DestinationId, waiting: &IdleAgent) -> bool {
        let goes =
            self.slots.are_wanted() && self.idle_agents.yield_slot(waiting, self.slots.wanted());
        if goes {
            let destination = &mut self.destinations[id.0 as usize];
            destination.idle = destination.idle.saturating_sub(1);
        }
        goes
    }

    /// It is idle no more; gives whether there is work for it now.
    pub fn stop_waiting(
        &mut self,
        id: DestinationId,
        waiting: &IdleAgent,
        was_woken: bool,
        now: u32,
    ) -> bool {
        let was_told_to_stop = !self.idle_agents.remove(waiting);
        if !was_told_to_stop {
            let destination = &mut self.destinations[id.0 as usize];
            destination.idle = destination.idle.saturating_sub(1);
        }
        let stays = (was_woken && !was_told_to_stop) || self.has_ready(id, now);
        if stays && was_told_to_stop {
            self.idle_agents.has_left();
        }
        stays
    }

    /// The destination of this handle.
    pub fn destination(&self, id: DestinationId) -> Destination {
        self.destinations[id.0 as usize].destination.clone()
    }

    /// Messages that wait for a destination.
    pub fn waiting_for(&self, destination: &Destination) -> u64 {
        let id = self.ids.get(destination);
        id.map_or(0, |id| self.destinations[id.0 as usize].messages())
    }

    /// When to check again although nothing happens.
    pub fn next_wake(&self) -> Option<Moment> {
        let due = self.deferred.next_due();
        let awake = self.suspended.peek().map(|Reverse((until, _))| *until);
        let permit = self.rates.waiting.peek().map(|Reverse((until, _))| *until);
        due.into_iter().chain(awake).min().map(Moment::from).into_iter().chain(permit).min()
    }

    /// Makes the `wanted` jobs due now and ends the suspension of their destinations. Gives the
    /// number of jobs.
    pub fn retry(&mut self, wanted: impl Fn(MessageId) -> bool) -> u64 {
        let mut hit = 0;
        for destination in &mut self.destinations {
            let ready = destination.ready.iter().filter(|job| wanted(job.id)).count() as u64;
            if ready > 0 {
                hit += ready;
                destination.suspended_until = 0;
            }
        }
        let mut touched = HashSet::new();
        let destinations = &mut self.destinations;
        self.deferred.extract(
            |_, job| wanted(job.id),
            |id, job| {
                hit += 1;
                touched.insert(id);
                let destination = &mut destinations[id.0 as usize];
                destination.deferred -= 1;
                destination.suspended_until = 0;
                destination.ready.push_back(job);
            },
        );
        for id in touched {
            // The oldest first.
            self.destinations[id.0 as usize].ready.sort();
        }
        for place in 0..self.destinations.len() {
            self.offer(DestinationId(u32::try_from(place).unwrap_or(u32::MAX)));
        }
        hit
    }

    /// Forgets the waiting jobs of these messages. A job that is being attempted is not stopped.
    pub fn remove(&mut self, messages: &HashSet<MessageId>) {
        let destinations = &mut self.destinations;
        self.deferred.extract(
            |_, job| messages.contains(&job.id),
            |id, _| destinations[id.0 as usize].deferred -= 1,
        );
        for destination in &mut self.destinations {
            destination.ready.extract(|job| messages.contains(&job.id));
        }
    }

    /// Whether an agent of this destination that has a connection would get a job now.
    pub fn has_ready(&self, id: DestinationId, now: u32) -> bool {
        let destination = &self.destinations[id.0 as usize];
        self.may_wait(id, now) && destination.rate_pause.is_none() && !destination.ready.is_empty()
    }

    /// Whether an idle agent may stay for more work here: the destination is not suspended, its
    /// next permit is near, and the concurrency allows it. An agent too many must stop; otherwise
    /// it would be woken for work and get none again and again.
    pub fn may_wait(&self, id: DestinationId, now: u32) -> bool {
        let destination = &self.destinations[id.0 as usize];
        !destination.is_blocked(now)
            && !destination.has_too_many(true)
            && self.has_permit_soon(id, now)
    }

    /// Jobs that are being attempted or could be now.
    pub fn deliverable_now(&self, now: u32) -> u64 {
        let work = |destination: &DestinationState| {
            let ready =
                if destination.is_suspended(now) { 0 } else { destination.ready.len() as u64 };
            ready + u64::from(destination.active)
        };
        self.destinations.iter().map(work).sum()
    }

    /// Moves jobs that have become due.
    fn tick(&mut self, moment: Moment) {
        let now = moment.second();
        self.last_check = now;
        while let Some(jobs) = self.deferred.pop_due(now) {
            for (id, job) in jobs {
                self.destinations[id.0 as usize].deferred -= 1;
                self.ready(id, job);
            }
        }
        self.end_suspensions(now);
        self.end_rate_waits(moment);
    }

    fn ready(&mut self, id: DestinationId, job: Job) {
        self.destinations[id.0 as usize].ready.push_back(job);
        self.offer(id);
    }

    fn defer(&mut self, id: DestinationId, job: Job, due: u32) {
        self.destinations[id.0 as usize].deferred += 1;
        self.deferred.push(due, id, job);
    }

    /// Queues a destination for an agent, or wakes one of its idle agents.
    fn offer(&mut self, id: DestinationId) {
        let destination = &mut self.destinations[id.0 as usize];
        if destination.ready.is_empty() || destination.paused || destination.rate_pause.is_some() {
            return;
        }
        if destination.idle > 0 {
            destination.work_notify.notify_one();
        }
        if !destination.could_use_agent() {
            return;
        }
        while let Some(source) = self.destinations[id.0 as usize].enqueue() {
            let rank = self.rank(id);
            self.slots.enqueue(rank, source, id);
        }
    }

    fn intern(&mut self, destination: &Destination) -> DestinationId {
        if let Some(id) = self.ids.get(destination) {
            return *id;
        }
        let window = FIRST_WINDOW.min(self.limit(destination));
        let mut state = DestinationState::new(destination.clone(), window);
        state.paused = self.paused.contains(destination);
        state.rate = self.rates.of(destination);
        if self.slots.is_remembered(destination) {
            state.reputation = DestinationReputation::Known;
        }
        let id = match self.free.pop() {
            Some(id) => {
                self.destinations[id.0 as usize] = state;
                id
            }
            None => {
                self.destinations.push(state);
                DestinationId(u32::try_from(self.destinations.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.ids.insert(destination.clone(), id);
        id
    }

    /// The state of a destination without work is kept only while there are few of them.
    fn forget_if_idle(&mut self, id: DestinationId) {
        let destination = &self.destinations[id.0 as usize];
        let idle = destination.messages() == 0
            && destination.agents == 0
            && !destination.ready.is_queued();
        if idle
            && self.ids.len() > IDLE_DESTINATIONS_MAX
            && self.ids.remove(&destination.destination).is_some()
        {
            if destination.reputation == DestinationReputation::Known {
                self.slots.remember(destination.destination.clone());
            }
            let destination = &mut self.destinations[id.0 as usize];
            destination.rate_pause = None;
            self.rates.keep(&destination.destination, destination.rate.take(), self.last_check);
            self.free.push(id);
        }
    }
}

#[cfg(test)]
mod fairness_tests;
#[cfg(test)]
mod tests;
