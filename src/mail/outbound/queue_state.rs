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
//! [`QueueState::end`] or [`QueueState::give_back`].

use super::table::MessageTable;
use crate::ground::lock::{Guard, Level, Lock};
use crate::mail::model::{
    Destination, DestinationStatus, DestinationSummary, LastError, Message, MessageId, Target,
    TargetProgress,
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
    /// When the dispatcher checks again by itself, in seconds of the monotonic clock.
    wake: u32,
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
}

impl AgentCounts {
    /// Sets the metrics.
    pub fn tell(&self, counters: &OutboundCounters) {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let active = &counters.couriers_active;
        self.taken.iter().for_each(|(standing, taken)| {
            active.with_label_values(&[standing.name()]).set((*taken).into())
        });
        active.with_label_values(&["overtime"]).set(whole(self.overtime));
        counters.destinations_unreachable.set(whole(self.unreachable));
        let ThrottleCounts { standing, client, sender, slow } = self.throttled;
        for (share, total) in
            [("standing", standing), ("client", client), ("sender", sender), ("slow", slow)]
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
            inner: Lock::leaf(Inner { schedule: Schedule::new(config), table, unread, wake: 0 }),
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
    pub fn touch(&self) {
        drop(self.lock());
    }

    /// Runs `work` while the lock is held. Only a test of the watchdog may do this.
    #[cfg(debug_assertions)]
    pub fn while_held(&self, work: impl FnOnce()) {
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
    pub fn vouch_for(&self, destination: &Destination) {
        self.lock().schedule.vouch_for(destination);
    }

    // The dispatcher.

    /// The use of the agents' slots.
    pub fn places(&self) -> AgentCounts {
        let state = self.lock();
        let places = state.schedule.places();
        AgentCounts {
            taken: DestinationReputation::ALL.map(|standing| (standing, places.taken(standing))),
            overtime: places.overtime(),
            unreachable: state.schedule.unreachable(),
            throttled: places.throttled(),
        }
    }

    /// The next destination that gets another agent, and its name. Otherwise when to check again
    /// although nothing happens.
    pub fn start(&self, now: u32) -> Result<(DestinationId, Destination), Option<u32>> {
        let mut state = self.lock();
        match state.schedule.start(now) {
            Some(id) => Ok((id, state.schedule.destination(id))),
            None => {
                let wake = state.schedule.next_wake();
                state.wake = wake.unwrap_or(u32::MAX);
                Err(wake)
            }
        }
    }

    /// Whether the dispatcher must be woken.
    pub fn must_ring(&self, now: u32) -> WakeDispatcher {
        self.lock().must_ring(now)
    }

    /// Jobs that are being attempted or could be now.
    pub fn flushable(&self, now: u32) -> u64 {
        self.lock().schedule.flushable(now)
    }

    // Couriers.

    /// The next job of an agent that has a connection (`open`) or will make one, and its
    /// destination's reputation.
    pub fn take(
        &self,
        id: DestinationId,
        open: bool,
        now: u32,
    ) -> (Option<Job>, DestinationReputation) {
        let mut state = self.lock();
        (state.schedule.take(id, open, now), state.schedule.standing(id))
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
    pub fn invited(&self, number: u32, now: u32) -> Option<WakeDispatcher> {
        let mut state = self.lock();
        state.schedule.invited(number).then(|| state.must_ring(now))
    }

    /// A delivery agent has become slow.
    pub fn slow(
        &self,
        destination: DestinationId,
        stage: AgentStage,
        now: u32,
    ) -> (SlowAgent, WakeDispatcher) {
        let mut state = self.lock();
        let slow = state.schedule.slow(destination, stage);
        (slow, state.must_ring(now))
    }

    /// A slow agent has reached another stage. `false`: it was asked to stop, or works without a
    /// slot and must begin nothing.
    pub fn advance(&self, ticket: u64, stage: AgentStage) -> bool {
        self.lock().schedule.advance(ticket, stage)
    }

    /// A slow agent's attempt has ended.
    pub fn slow_no_more(&self, destination: DestinationId, ticket: u64) -> SlowOutcome {
        self.lock().schedule.slow_no_more(destination, ticket)
    }

    /// A destination replied, whatever the reply was.
    pub fn answered(&self, destination: DestinationId, now: u32) {
        self.lock().schedule.answered(destination, now);
    }

    /// An attempt that `began` then took long and failed.
    pub fn dawdled(&self, destination: DestinationId, began: u32, now: u32) {
        self.lock().schedule.dawdled(destination, began, now);
    }

    /// Where agents record the time at which they last received anything from this destination.
    pub fn ear(&self, destination: DestinationId) -> Arc<AtomicU32> {
        self.lock().schedule.ear(destination)
    }

    /// An agent has received nothing since that time.
    pub fn silent(
        &self,
        destination: DestinationId,
        stage: AgentStage,
        quiet_since: u32,
        now: u32,
    ) -> WakeDispatcher {
        let mut state = self.lock();
        state.schedule.silent(destination, stage, quiet_since, now);
        state.must_ring(now)
    }

    /// A silent agent has received something, or its attempt has ended.
    pub fn silent_no_more(&self, destination: DestinationId, stage: AgentStage) {
        self.lock().schedule.silent_no_more(destination, stage);
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
    pub fn put_off(&self, destination: DestinationId, job: Job, now: u32) -> WakeDispatcher {
        let mut state = self.lock();
        state.put_off(destination, job, now);
        state.must_ring(now)
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
    pub fn claim_delay_notice(&self, id: MessageId) -> bool {
        self.lock().table.claim_delay_notice(id)
    }

    /// A message was delivered to a destination.
    pub fn reached(&self, destination: DestinationId, now: u32) {
        self.lock().schedule.reached(destination, now);
    }

    /// The destination was reached and rejects this relay, whatever the mail; it is not suspended.
    /// The job was attempted so many times before.
    pub fn refused_us(
        &self,
        destination: DestinationId,
        attempts: u8,
        error: impl Into<LastError>,
        now: u32,
    ) {
        self.lock().schedule.refused_us(destination, attempts, error, now);
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
    pub fn complained(
        &self,
        destination: DestinationId,
        job: Job,
        error: impl Into<LastError>,
        now: u32,
    ) -> u32 {
        let mut state = self.lock();
        state.schedule.complained(destination, error);
        state.schedule.next_try(job, now)
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
            Some((job, due)) => state.schedule.later(destination, job, due),
            None => state.schedule.finished(destination),
        }
        state.must_ring(now)
    }

    /// A connection attempt that `began` then failed. `true`: the destination is up; other agents
    /// take the job, and its attempt here has ended.
    pub fn give_back(
        &self,
        destination: DestinationId,
        job: Job,
        error: impl Into<LastError>,
        began: u32,
        now: u32,
    ) -> bool {
        let mut state = self.lock();
        let others_carry_on = state.schedule.is_well_otherwise(destination, error, began, now);
        if others_carry_on {
            state.table.end(job.id, destination);
            state.schedule.give_back(destination, job);
        }
        others_carry_on
    }

    /// The destination cannot be reached and is suspended. Gives back waiting jobs whose senders
    /// must be notified, which count as taken; and the messages that wait in memory for a first
    /// attempt.
    pub fn down(
        &self,
        destination: DestinationId,
        error: impl Into<LastError>,
        now: u32,
    ) -> (Vec<Job>, Vec<Arc<Message>>) {
        let mut state = self.lock();
        let told = state.schedule.down(destination, error, now);
        (told, state.table.fresh())
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
    pub fn gives_way(&self, destination: DestinationId, waiting: &IdleAgent) -> bool {
        self.lock().schedule.gives_way(destination, waiting)
    }

    /// It is idle no more; gives whether there is work for it now.
    pub fn waited(
        &self,
        destination: DestinationId,
        waiting: &IdleAgent,
        rung: bool,
        now: u32,
    ) -> bool {
        self.lock().schedule.waited(destination, waiting, rung, now)
    }

    /// An agent has ended, for any reason: the jobs it still had, of which `tried` is in an
    /// attempt, wait for another agent.
    pub fn courier_ended(
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
        tried.iter().chain(untried).for_each(|job| state.put_off(destination, *job, now));
        if connected {
            state.schedule.connected(destination, false);
        }
        state.schedule.courier_ended(destination, !has_place);
        state.must_ring(now)
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
    pub fn is_in_hand(&self, id: MessageId) -> bool {
        self.lock().table.is_in_hand(id)
    }

    /// Whether agents are attempting a message.
    pub fn is_being_tried(&self, id: MessageId) -> bool {
        self.lock().table.is_being_tried(id)
    }

    /// The messages that are being attempted, and how many others are deferred (see
    /// `schedule::standing`).
    pub fn standings(&self, now: u32) -> (HashSet<MessageId>, u64) {
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
    pub fn rests(
        &self,
        destinations: &[Option<Destination>],
        now: u32,
    ) -> Vec<Option<Suspension<LastError>>> {
        let state = self.lock();
        let rest = |destination: &Option<Destination>| {
            Some(match state.schedule.rest_of(destination.as_ref()?, now)? {
                Suspension::Paused => Suspension::Paused,
                Suspension::Until(until, error) => Suspension::Until(until, error.clone()),
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
        self.must_ring(now)
    }

    fn put_off(&mut self, destination: DestinationId, job: Job, now: u32) {
        let due = self.schedule.next_try(job, now);
        self.schedule.later(destination, job, due);
    }

    fn must_ring(&self, now: u32) -> WakeDispatcher {
        let sooner = self.schedule.next_wake().is_some_and(|wake| wake < self.wake);
        WakeDispatcher(sooner || self.schedule.has_turn(now))
    }
}
