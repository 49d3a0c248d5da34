//! The state that the threads of outgoing mail share: when each message is attempted, and the
//! messages in memory.
//!
//! One lock guards it, because it changes together. Each method is one complete step, calls nothing
//! that may block while it has the lock, and is short: what must be computed from a message's
//! recipients is computed by the caller, outside. So the lock's holder never waits. `tests/model`
//! runs this code in every order of threads.
//!
//! A job and its message: an agent takes the job ([`QueueState::take`]), claims the message
//! ([`QueueState::claim`]), so that it stays in memory, reads it from the disk if it is not there,
//! and begins the attempt ([`QueueState::begin`]), which ends the claim. It ends the attempt with
//! [`QueueState::end`] or [`QueueState::return_untried`].

use super::in_memory_messages::MessageTable;
use crate::ground::clock::Moment;
use crate::ground::lock::{Guard, Level, Lock};
use crate::mail::model::{
    Destination, DestinationStatus, DestinationSummary, LastError, Message, MessageId, RateWait,
    Target, TargetProgress, UpstreamRateWait,
};
use crate::mail::outbound::counters::OutboundCounters;
use crate::mail::schedule::{
    self, AgentStage, DestinationId, DestinationReputation, FlowKey, IdleAgent, Job, Schedule,
    SlowAgent, SlowOutcome, Suspension, ThrottleCounts, Untried,
};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// Messages whose progress can be recorded at the same time, if their ids fall into different
/// slots.
const RECORDS: usize = 32;

/// What is shared, behind its lock.
pub struct QueueState {
    inner: Lock<Inner>,
    /// Held from a change of a message's progress until its record is handed to the spool: one lock
    /// for every so many messages, by id.
    records: [Lock<()>; RECORDS],
}

struct Inner {
    schedule: Schedule,
    table: MessageTable,
    /// Messages that could not be read when they were to be planned.
    unread: Vec<MessageId>,
    /// When the dispatcher checks again by itself.
    wake: Moment,
}

/// A job for a destination, and when it is due.
pub type NewJob = (Destination, Job, u32);

/// Whether the dispatcher must be woken: there is work for another agent, or something is due
/// before it wakes by itself.
#[must_use = "somebody must ring for the dispatcher"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WakeDispatcher(pub bool);

/// What an agent without a job does.
pub enum AgentPause {
    /// It asks again: there is work.
    Work,
    /// It waits for work, or until its slot is needed elsewhere.
    Wait(IdleAgent),
    /// It closes its connection and ends.
    Home,
}

/// The use of the agents' slots, for the metrics.
pub struct AgentCounts {
    taken: [(DestinationReputation, u32); 3],
    overtime: usize,
    unreachable: usize,
    throttled: ThrottleCounts,
    rate_limited: Vec<(Destination, RateWait)>,
}

impl AgentCounts {
    /// Destinations whose mail waits for a rate; times by the monotonic clock.
    pub fn rate_limited(&self) -> &[(Destination, RateWait)] {
        &self.rate_limited
    }

    /// Sets the metrics.
    pub fn tell(&self, counters: &OutboundCounters) {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let active = &counters.couriers_active;
        self.taken.iter().for_each(|(reputation, taken)| {
            active.with_label_values(&[reputation.name()]).set((*taken).into())
        });
        active.with_label_values(&["overtime"]).set(whole(self.overtime));
        counters.destinations_unreachable.set(whole(self.unreachable));
        counters.rate_limited_destinations.set(whole(self.rate_limited.len()));
        let ThrottleCounts { reputation, client, sender, slow } = self.throttled;
        for (share, total) in
            [("standing", reputation), ("client", client), ("sender", sender), ("slow", slow)]
        {
            let counter = counters.couriers_throttled_total.with_label_values(&[share]);
            counter.inc_by(total.saturating_sub(counter.get()));
        }
    }
}

impl QueueState {
    /// No message, and an empty schedule.
    pub fn new(config: schedule::ScheduleConfig) -> Self {
        let (table, unread) = (MessageTable::default(), Vec::new());
        Self {
            inner: Lock::leaf(Inner {
                schedule: Schedule::new(config),
                table,
                unread,
                wake: Moment::default(),
            }),
            records: std::array::from_fn(|_| Lock::new(Level::Outer, ())),
        }
    }

    /// The same, keeping so many octets of new messages in memory.
    pub fn with_fresh_max(self, octets: u64) -> Self {
        self.lock().table.fresh_max = octets;
        self
    }

    fn lock(&self) -> Guard<'_, Inner> {
        self.inner.lock()
    }

    /// Takes the lock and releases it: the watchdog's test whether the lock is free.
    pub fn probe_lock(&self) {
        drop(self.lock());
    }

    /// Runs `work` while the lock is held. Only a test of the watchdog may do this.
    #[cfg(debug_assertions)]
    pub fn while_locked(&self, work: impl FnOnce()) {
        let _held = self.lock();
        work();
    }

    // Intake and planning.

    /// Adds the jobs of a new message, which stays in memory for its first attempts if there is
    /// room.
    pub fn enter(&self, message: Arc<Message>, jobs: &[NewJob], now: u32) -> WakeDispatcher {
        let mut state = self.lock();
        state.table.keep_fresh(message, u32::try_from(jobs.len()).unwrap_or(u32::MAX));
        state.plan(jobs, now)
    }

    /// Adds the jobs of a message that is on the disk. A due time beyond the longest pause was
    /// written when the clock was different.
    pub fn plan(&self, jobs: &[NewJob], now: u32) -> WakeDispatcher {
        self.lock().plan(jobs, now)
    }

    /// Records messages that could not be read; they are planned later.
    pub fn note_unread(&self, ids: &[MessageId]) {
        self.lock().unread.extend_from_slice(ids);
    }

    /// Takes all that could not be read.
    pub fn take_unread(&self) -> Vec<MessageId> {
        std::mem::take(&mut self.lock().unread)
    }

    /// The flow key of a client and a sender.
    pub fn source(&self, client: Option<IpAddr>, sender: &str) -> FlowKey {
        self.lock().schedule.source(client, sender)
    }

    /// A destination that an operator configured.
    pub fn mark_configured(&self, destination: &Destination) {
        self.lock().schedule.mark_configured(destination);
    }

    /// The destination never has more delivery agents than this.
    pub fn limit_agents(&self, destination: &Destination, most: u32) {
        self.lock().schedule.limit_agents(destination, most);
    }

    /// From now on these rates hold; to be called before any mail is planned.
    pub fn limit_rates(&self, rules: schedule::RateRules) {
        self.lock().schedule.limit_rates(rules);
    }

    // The dispatcher.

    /// The use of the agents' slots.
    pub fn agent_counts(&self) -> AgentCounts {
        let state = self.lock();
        let places = state.schedule.slots();
        AgentCounts {
            taken: DestinationReputation::ALL
                .map(|reputation| (reputation, places.taken(reputation))),
            overtime: places.overtime(),
            unreachable: state.schedule.unreachable(),
            throttled: places.throttled(),
            rate_limited: state.schedule.rate_limited(),
        }
    }

    /// The next destination that gets another agent, and its name. Otherwise when to check again
    /// although nothing happens.
    pub fn start(
        &self,
        now: impl Into<Moment>,
    ) -> Result<(DestinationId, Destination), Option<Moment>> {
        let mut state = self.lock();
        match state.schedule.start(now) {
            Some(id) => Ok((id, state.schedule.destination(id))),
            None => {
                let wake = state.schedule.next_wake();
                state.wake = wake.unwrap_or(Moment::from(u32::MAX));
                Err(wake)
            }
        }
    }

    /// Whether the dispatcher must be woken.
    pub fn must_wake(&self, now: u32) -> WakeDispatcher {
        self.lock().must_wake(now)
    }

    /// Jobs that are being attempted or could be now.
    pub fn deliverable_now(&self, now: u32) -> u64 {
        self.lock().schedule.deliverable_now(now)
    }

    // Delivery agents.

    /// The next job of an agent that has a connection (`open`) or will make one, and its
    /// destination's reputation.
    pub fn take(
        &self,
        id: DestinationId,
        open: bool,
        now: impl Into<Moment>,
    ) -> (Option<Job>, DestinationReputation) {
        let mut state = self.lock();
        (state.schedule.take(id, open, now), state.schedule.reputation(id))
    }

    /// A job that was taken at this moment was not sent: its permit is there again.
    pub fn return_permit(
        &self,
        destination: DestinationId,
        taken: Moment,
        now: Moment,
    ) -> WakeDispatcher {
        let mut state = self.lock();
        state.schedule.return_permit(destination, taken, now);
        state.must_wake(now.second())
    }

    /// The rate of the destination's upstream is used up: it waits until then.
    pub fn wait_for_rate(&self, destination: DestinationId, wait: &UpstreamRateWait) {
        let until = Moment::from_millis(wait.until_millis);
        self.lock().schedule.wait_for_rate(destination, until, wait.limit.clone());
    }

    /// A job that was taken, and perhaps `begun`, goes back without an attempt.
    pub fn put_back(&self, destination: DestinationId, job: Job, begun: bool) {
        let mut state = self.lock();
        if begun {
            state.table.end(job.id, destination);
        }
        state.schedule.return_untried(destination, job);
    }

    /// A mail went in so many more transactions than one, which count for the destination's rate.
    pub fn charge_rate(&self, destination: DestinationId, more: u32, now: Moment) {
        self.lock().schedule.charge_rate(destination, more, now);
    }

    /// Nothing was attempted, because the hosts have all the connections that they may have; the
    /// job's attempt has ended. Gives back jobs whose senders must be notified, which count as
    /// taken.
    pub fn wait_for_host(
        &self,
        destination: DestinationId,
        job: Job,
        error: impl Into<LastError>,
        now: u32,
    ) -> Vec<Job> {
        let mut state = self.lock();
        state.table.end(job.id, destination);
        state.schedule.wait_for_host(destination, job, error, now)
    }

    /// A host has a free connection again, perhaps for the destination of this number. `None`: it
    /// does not wait for one, or cannot use another agent now.
    pub fn host_available(&self, number: u32, now: u32) -> Option<WakeDispatcher> {
        let mut state = self.lock();
        state.schedule.host_available(number).then(|| state.must_wake(now))
    }

    /// A delivery agent has become slow.
    pub fn note_slow(
        &self,
        destination: DestinationId,
        stage: AgentStage,
        now: u32,
    ) -> (SlowAgent, WakeDispatcher) {
        let mut state = self.lock();
        let slow = state.schedule.note_slow(destination, stage);
        (slow, state.must_wake(now))
    }

    /// A slow agent has reached another stage. `false`: it was asked to stop, or works without a
    /// slot and must begin nothing.
    pub fn advance(&self, ticket: u64, stage: AgentStage) -> bool {
        self.lock().schedule.advance(ticket, stage)
    }

    /// A slow agent's attempt has ended.
    pub fn no_longer_slow(&self, destination: DestinationId, ticket: u64) -> SlowOutcome {
        self.lock().schedule.no_longer_slow(destination, ticket)
    }

    /// A destination replied, whatever the reply was.
    pub fn note_answer(&self, destination: DestinationId, now: u32) {
        self.lock().schedule.note_answer(destination, now);
    }

    /// An attempt that `began` then took long and failed.
    pub fn note_slow_failure(&self, destination: DestinationId, began: u32, now: u32) {
        self.lock().schedule.note_slow_failure(destination, began, now);
    }

    /// Where agents record the time at which they last received anything from this destination.
    pub fn last_heard_at(&self, destination: DestinationId) -> Arc<AtomicU32> {
        self.lock().schedule.last_heard_at(destination)
    }

    /// An agent has received nothing since that time.
    pub fn note_silent(
        &self,
        destination: DestinationId,
        stage: AgentStage,
        silent_since: u32,
        now: u32,
    ) -> WakeDispatcher {
        let mut state = self.lock();
        state.schedule.note_silent(destination, stage, silent_since, now);
        state.must_wake(now)
    }

    /// A silent agent has received something, or its attempt has ended.
    pub fn no_longer_silent(&self, destination: DestinationId, stage: AgentStage) {
        self.lock().schedule.no_longer_silent(destination, stage);
    }

    /// Keeps a message in memory until [`QueueState::begin`] or [`QueueState::unclaim`]; one that
    /// is not there must be passed to [`QueueState::loaded`]. A message that is there is given
    /// back; the caller determines the destinations of its targets.
    pub fn claim(&self, id: MessageId) -> Option<Arc<Message>> {
        self.lock().table.claim(id)
    }

    /// A claimed message was read from the disk. It is used only if no other thread was quicker;
    /// the one in use is given back.
    pub fn loaded(&self, message: Arc<Message>) -> Arc<Message> {
        self.lock().table.loaded(message)
    }

    /// Ends a claim without an attempt. `gone`: the message is held or has left the queue, and is
    /// forgotten.
    pub fn unclaim(&self, id: MessageId, gone: bool) {
        let mut state = self.lock();
        state.table.unclaim(id);
        if gone {
            state.table.evict(id);
        }
    }

    /// Ends a claim and begins an attempt: gives the pending targets among those `here`, in their
    /// order. `None`: there is nothing to do, because all is done or another agent of this
    /// destination does it; the job has ended.
    pub fn begin(
        &self,
        id: MessageId,
        destination: DestinationId,
        here: &[Target],
    ) -> Option<Vec<Target>> {
        let mut state = self.lock();
        let begun = state.table.begin(id, destination, here);
        if begun.is_none() {
            state.schedule.finished(destination);
        }
        begun
    }

    /// Ends a job whose message has left the queue or is held.
    pub fn drop_job(&self, destination: DestinationId) {
        self.lock().schedule.finished(destination);
    }

    /// A job that could not be attempted is deferred.
    pub fn postpone(&self, destination: DestinationId, job: Job, now: u32) -> WakeDispatcher {
        let mut state = self.lock();
        state.postpone(destination, job, now);
        state.must_wake(now)
    }

    /// Changes the progress of a message that is being attempted, and passes the whole progress to
    /// `record`; gives it back, too. Records of a message are made one after the other, so that an
    /// older progress never overwrites a newer one.
    pub fn record(
        &self,
        id: MessageId,
        change: impl Fn(&mut TargetProgress),
        record: impl FnOnce(Vec<TargetProgress>),
    ) -> Option<Vec<TargetProgress>> {
        let _order =
            self.records[usize::try_from(id.0 % RECORDS as u64).unwrap_or_default()].lock();
        let progress = self.lock().table.update(id, change)?;
        record(progress.clone());
        Some(progress)
    }

    /// Whether the delay warning is yet to be sent; `true` only once, because the caller then sends
    /// it.
    pub fn claim_delay_warning(&self, id: MessageId) -> bool {
        self.lock().table.claim_delay_warning(id)
    }

    /// A message was delivered to a destination.
    pub fn note_success(&self, destination: DestinationId, now: u32) {
        self.lock().schedule.note_success(destination, now);
    }

    /// The destination was reached and rejects this relay, whatever the mail; it is not suspended.
    /// The job was attempted so many times before.
    pub fn note_session_refused(
        &self,
        destination: DestinationId,
        attempts: u8,
        error: impl Into<LastError>,
        now: u32,
    ) {
        self.lock().schedule.note_session_refused(destination, attempts, error, now);
    }

    /// See [`crate::mail::schedule::Schedule::given_up_connecting`].
    pub fn given_up_connecting(
        &self,
        destination: DestinationId,
        began: u32,
        error: impl Into<LastError>,
        now: u32,
    ) -> Vec<Job> {
        self.lock().schedule.given_up_connecting(destination, began, error, now)
    }

    /// An attempt failed temporarily in a way that concerns the destination; gives when the next
    /// one is due.
    pub fn plan_retry(
        &self,
        destination: DestinationId,
        job: Job,
        error: impl Into<LastError>,
        now: u32,
    ) -> u32 {
        let mut state = self.lock();
        state.schedule.note_temporary_failure(destination, error);
        state.schedule.next_attempt_time(job, now)
    }

    /// The end of an attempt: the job is attempted `again` at that time, or has ended.
    pub fn end(
        &self,
        id: MessageId,
        destination: DestinationId,
        again: Option<(Job, u32)>,
        now: u32,
    ) -> WakeDispatcher {
        let mut state = self.lock();
        state.table.end(id, destination);
        match again {
            Some((job, due)) => state.schedule.retry_later(destination, job, due),
            None => state.schedule.finished(destination),
        }
        state.must_wake(now)
    }

    /// A connection attempt that `began` then failed. `true`: the destination is up; other agents
    /// take the job, and its attempt here has ended.
    pub fn return_untried(
        &self,
        destination: DestinationId,
        job: Job,
        error: impl Into<LastError>,
        began: u32,
        now: u32,
    ) -> bool {
        let mut state = self.lock();
        let others_deliver = state.schedule.is_reachable_otherwise(destination, error, began, now);
        if others_deliver {
            state.table.end(job.id, destination);
            state.schedule.return_untried(destination, job);
        }
        others_deliver
    }

    /// The destination cannot be reached and is suspended. Gives back waiting jobs whose senders
    /// must be notified, which count as taken; and the messages that wait in memory for a first
    /// attempt.
    pub fn suspend(
        &self,
        destination: DestinationId,
        error: impl Into<LastError>,
        now: u32,
    ) -> (Vec<Job>, Vec<Arc<Message>>) {
        let mut state = self.lock();
        let told = state.schedule.suspend(destination, error, now);
        (told, state.table.fresh())
    }

    /// See [`crate::mail::schedule::Schedule::suspend_until`].
    pub fn suspend_until(
        &self,
        destination: DestinationId,
        error: impl Into<LastError>,
        until: u32,
        now: u32,
    ) -> Vec<Job> {
        self.lock().schedule.suspend_until(destination, error, until, now)
    }

    /// Frees the memory of messages that will wait longer than others; they are read from the disk
    /// when they are attempted.
    pub fn evict(&self, ids: &[MessageId]) {
        let mut state = self.lock();
        ids.iter().for_each(|id| state.table.evict(*id));
    }

    /// An agent has opened its connection, or closed it.
    pub fn connected(&self, destination: DestinationId, open: bool) {
        self.lock().schedule.connected(destination, open);
    }

    /// What an agent with an open connection and without a job does.
    pub fn pause(&self, destination: DestinationId, now: u32) -> AgentPause {
        let mut state = self.lock();
        if !state.schedule.may_wait(destination, now) {
            AgentPause::Home
        } else if state.schedule.has_ready(destination, now) {
            AgentPause::Work
        } else {
            AgentPause::Wait(state.schedule.wait(destination))
        }
    }

    /// It has been idle for a while: whether it ends, because its slot is needed elsewhere.
    pub fn yields_slot(&self, destination: DestinationId, waiting: &IdleAgent) -> bool {
        self.lock().schedule.yields_slot(destination, waiting)
    }

    /// It is idle no more; gives whether there is work for it now.
    pub fn stop_waiting(
        &self,
        destination: DestinationId,
        waiting: &IdleAgent,
        was_woken: bool,
        now: u32,
    ) -> bool {
        self.lock().schedule.stop_waiting(destination, waiting, was_woken, now)
    }

    /// An agent has ended, for any reason: the jobs it still had, of which `tried` is in an
    /// attempt, wait for another agent.
    pub fn agent_ended(
        &self,
        destination: DestinationId,
        (connected, has_place): (bool, bool),
        tried: Option<Job>,
        untried: &[Job],
        now: u32,
    ) -> WakeDispatcher {
        let mut state = self.lock();
        if let Some(job) = tried {
            state.table.end(job.id, destination);
        }
        tried.iter().chain(untried).for_each(|job| state.postpone(destination, *job, now));
        if connected {
            state.schedule.connected(destination, false);
        }
        state.schedule.agent_ended(destination, !has_place);
        state.must_wake(now)
    }

    // Orders, pages and the API.

    /// Forgets what waits for messages that are held or have left the queue; an attempt in progress
    /// is not stopped.
    pub fn forget(&self, ids: &HashSet<MessageId>) {
        let mut state = self.lock();
        state.schedule.remove(ids);
        ids.iter().for_each(|id| state.table.evict(*id));
    }

    /// Makes the jobs of the `wanted` messages due now. Gives those that are not attempted all the
    /// same, because they wait only for paused destinations; a message that is being attempted is
    /// none of these.
    pub fn retry(&self, wanted: impl Fn(MessageId) -> bool) -> Untried {
        let mut state = self.lock();
        // First: a due job may be taken by an agent a moment later.
        let untried = state.schedule.untried(|id| wanted(id) && !state.table.is_being_tried(id));
        state.schedule.retry(wanted);
        untried
    }

    /// Pauses or resumes a destination.
    pub fn pause_destination(&self, destination: &Destination, paused: bool) {
        self.lock().schedule.pause(destination, paused);
    }

    /// Whether a message is in memory, new or in an attempt.
    pub fn is_in_memory(&self, id: MessageId) -> bool {
        self.lock().table.is_in_memory(id)
    }

    /// Whether agents are attempting a message.
    pub fn is_being_tried(&self, id: MessageId) -> bool {
        self.lock().table.is_being_tried(id)
    }

    /// The messages that are being attempted, and how many others are deferred (see
    /// `schedule::deferred_count`).
    pub fn active_and_deferred(&self, now: u32) -> (HashSet<MessageId>, u64) {
        let state = self.lock();
        let active = state.table.being_tried();
        let deferred = state.schedule.deferred_messages(&active, now);
        (active, deferred)
    }

    /// The destinations with work or a pause, those with the most messages first. Walks through all
    /// jobs.
    pub fn summaries(&self, limit: usize, now: u32) -> Vec<DestinationSummary> {
        self.lock().schedule.summaries(limit, now)
    }

    /// Why nothing is sent to each of these destinations now.
    pub fn suspensions(
        &self,
        destinations: &[Option<Destination>],
        now: u32,
    ) -> Vec<Option<Suspension<LastError>>> {
        let state = self.lock();
        let rest = |destination: &Option<Destination>| {
            Some(match state.schedule.suspension_of(destination.as_ref()?, now)? {
                Suspension::Paused => Suspension::Paused,
                Suspension::Until(until, error) => Suspension::Until(until, error.clone()),
                Suspension::Rate(wait) => Suspension::Rate(wait),
            })
        };
        destinations.iter().map(rest).collect()
    }

    /// The present state of deliveries to a destination; times by the monotonic clock.
    pub fn status_of(&self, destination: &Destination, now: u32) -> DestinationStatus {
        self.lock().schedule.status_of(destination, now)
    }

    /// Messages that wait for a destination.
    pub fn waiting_for(&self, destination: &Destination) -> u64 {
        self.lock().schedule.waiting_for(destination)
    }
}

impl Inner {
    fn plan(&mut self, jobs: &[NewJob], now: u32) -> WakeDispatcher {
        let latest = now.saturating_add(self.schedule.longest_pause());
        for (destination, job, due) in jobs {
            self.schedule.add(destination, *job, (*due).min(latest), now);
        }
        self.must_wake(now)
    }

    fn postpone(&mut self, destination: DestinationId, job: Job, now: u32) {
        let due = self.schedule.next_attempt_time(job, now);
        self.schedule.retry_later(destination, job, due);
    }

    fn must_wake(&self, now: u32) -> WakeDispatcher {
        let sooner = self.schedule.next_wake().is_some_and(|wake| wake < self.wake);
        WakeDispatcher(sooner || self.schedule.can_start(now))
    }
}
