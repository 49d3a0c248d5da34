//! The corridor's second half: from the schedule through route and delivery to the outcomes, and the one way back.
//!
//! The dispatcher asks the schedule which destination may have one more courier. A courier is one connection: it takes job after
//! job of its destination, waits a little for more, and goes home. What became of each target is recorded through the spool's
//! door; a bounce is durable in the queue before the recipient it speaks of counts as failed.
//!
//! Limits: couriers by the schedule; messages kept in memory between acceptance and first try by [`FRESH_MAX`] octets (beyond
//! that they are read back from the disk when their turn comes).

mod courier;
mod outcomes;
mod table;

use super::deliver::Client;
use super::model::{Message, MessageId, Status, Target};
use super::route::Router;
use super::schedule::{self, Job, Schedule};
use super::spool::{Spool, SpoolError};
use crate::appliance::counter::Counters;
use crate::ground::clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Octets of fresh messages that may wait in memory for their first try.
pub const FRESH_MAX: u64 = 16 << 20;

/// Couriers in all: connections out at the same time.
pub const COURIERS_MAX: u32 = 500;

/// The outgoing half of the relay.
pub struct Outbound<S> {
    pub(super) spool: Arc<S>,
    schedule: Mutex<Schedule>,
    table: Mutex<Table>,
    router: Router,
    client: Client,
    counters: Arc<Counters>,
    config: Config,
    /// Rings for the dispatcher.
    bell: Notify,
    /// Rings at the end of every try.
    ended: Notify,
    stopping: tokio::sync::watch::Sender<bool>,
}

/// What the outgoing half needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our name in notifications.
    pub hostname: String,
    /// The schedule's knobs; lifetime and delay warning are used here too.
    pub schedule: schedule::Config,
}

impl<S: Spool> Outbound<S> {
    /// The outgoing half, with an empty schedule.
    pub fn new(spool: Arc<S>, router: Router, client: Client, counters: Arc<Counters>, config: Config) -> Arc<Self> {
        Arc::new(Self {
            spool,
            schedule: Mutex::new(Schedule::new(config.schedule)),
            table: Mutex::default(),
            router,
            client,
            counters,
            config,
            bell: Notify::new(),
            ended: Notify::new(),
            stopping: tokio::sync::watch::channel(false).0,
        })
    }

    /// Puts every message that was in the queue at start on the schedule. `tell` hears the progress.
    ///
    /// # Errors
    /// The data volume cannot be read.
    pub async fn resume(&self, tell: &(dyn Fn(String) + Sync)) -> Result<(), SpoolError> {
        const PAGE: usize = 1000;
        let (total, mut done, mut after) = (self.spool.totals().0, 0, None);
        let mut told = Instant::now();
        loop {
            let ids = self.spool.ids(after, PAGE);
            let Some(last) = ids.last().copied() else { return Ok(()) };
            after = Some(last);
            for id in ids {
                match self.spool.peek(id).await {
                    Ok(message) => {
                        self.plan(&message, false);
                    }
                    // Damaged, and set aside with a line in the log.
                    Err(SpoolError::Unknown) => {}
                    Err(error) => return Err(error),
                }
                done += 1;
            }
            if told.elapsed() >= Duration::from_secs(2) {
                told = Instant::now();
                tell(format!("planning the next tries: {done} of {total} messages"));
            }
        }
    }

    /// A message that is durable begins its way out.
    pub fn enqueue(&self, message: &Message) {
        // Into the table first: a courier may ask for it as soon as it is on the schedule.
        let jobs = self.destinations(message).len();
        lock(&self.table).keep_fresh(message, u32::try_from(jobs).unwrap_or(u32::MAX));
        self.plan(message, false);
        self.ring();
    }

    /// Starts couriers until [`Outbound::stop`]; returns when the last one has gone home.
    pub async fn run(self: Arc<Self>) {
        let mut couriers = tokio::task::JoinSet::new();
        let mut stopping = self.stopping.subscribe();
        while !*stopping.borrow_and_update() {
            loop {
                let next = self.lock_schedule().start(clock::now());
                let Some(destination) = next else { break };
                couriers.spawn(courier::run(self.clone(), destination));
            }
            let wake = self.lock_schedule().next_wake();
            let pause =
                wake.map_or(Duration::from_secs(3600), |at| Duration::from_secs(at.saturating_sub(clock::now()).into()));
            tokio::select! {
                () = self.bell.notified() => {}
                () = tokio::time::sleep(pause) => {}
                _ = stopping.changed() => {}
                Some(ended) = couriers.join_next(), if !couriers.is_empty() => self.note_panic(&ended),
            }
        }
        while let Some(ended) = couriers.join_next().await {
            self.note_panic(&ended);
        }
    }

    /// Waits until nothing can be tried any more, at most until `deadline`.
    pub async fn flush(&self, deadline: Instant) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.lock_schedule().flushable(clock::now()) == 0 || tokio::time::timeout_at(deadline, ended).await.is_err() {
                return;
            }
        }
    }

    /// Couriers finish the message in hand and go home.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Puts the pending targets of a message on the schedule, one job for each destination; with `at_once` whenever they are due.
    pub(super) fn plan(&self, message: &Message, at_once: bool) {
        if message.held {
            return;
        }
        let destinations = self.destinations(message);
        if destinations.is_empty() {
            // Only a copy was left, and cc_mta is not set any more.
            return self.drop_rest(message);
        }
        let now = clock::now();
        let mut schedule = self.lock_schedule();
        for (destination, (due, attempts)) in destinations {
            let job = Job { id: message.id, arrived: message.arrived, attempts, told: message.delay_told };
            schedule.add(&destination, job, if at_once { 0 } else { due }, now);
        }
    }

    /// Where the pending targets of a message lead, when the first of them is due, and how often it was tried.
    pub(super) fn destinations(&self, message: &Message) -> BTreeMap<String, (u32, u16)> {
        let mut destinations = BTreeMap::new();
        for progress in message.progress.iter().filter(|progress| progress.status == Status::Pending) {
            let Some(destination) = self.destination(message, progress.target) else { continue };
            let entry = destinations.entry(destination).or_insert((u32::MAX, 0));
            *entry = (entry.0.min(progress.due), entry.1.max(progress.attempts));
        }
        destinations
    }

    /// Where a target's way leads.
    pub(super) fn destination(&self, message: &Message, target: Target) -> Option<String> {
        match target {
            Target::Recipient(place) => {
                message.envelope.recipients.get(usize::from(place)).map(|recipient| self.router.destination(recipient))
            }
            Target::Copy => self.router.copy_destination(),
        }
    }

    fn drop_rest(&self, message: &Message) {
        let mut progress = message.progress.clone();
        for target in progress.iter_mut().filter(|target| target.status == Status::Pending) {
            target.status = Status::Dropped;
        }
        self.spool.settle(message.id, progress);
    }

    /// Forgets what waits in memory for a message; a try in progress ends by itself.
    pub(super) fn forget(&self, id: MessageId) {
        self.lock_schedule().remove(id);
        lock(&self.table).evict(id);
    }

    /// Rings for the dispatcher when there may be work for a new courier.
    pub(super) fn ring(&self) {
        if self.lock_schedule().has_turn() {
            self.bell.notify_one();
        }
    }

    /// The schedule; only for moments, never across an await.
    pub(super) fn lock_schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    fn note_panic(&self, ended: &Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.counters.panics_total.inc();
            tracing::error!(target: "mta", "a courier panicked; its message will be tried again. This is a defect, please report it");
        }
    }
}

/// A panic elsewhere leaves what these locks guard usable: all changes under them are single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
