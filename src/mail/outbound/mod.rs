//! The corridor's second half: from the schedule through route and delivery to the outcomes, and the one way back.
//!
//! The dispatcher asks the schedule which destination may have one more courier. A courier is one connection: it takes job
//! after job of its destination, waits a little for more, and goes home. What became of each target is recorded through the
//! spool's door; a bounce is durable in the queue before the recipient it speaks of counts as failed.
//!
//! Limits: couriers by the schedule; messages kept in memory between acceptance and first try by [`FRESH_MAX`] octets (beyond
//! that they are read back from the disk when their turn comes).

mod courier;
mod history;
mod outcomes;
mod table;

use super::deliver::Client;
use super::journal::Journal;
use super::model::{Herald, Message, MessageId, Status, Target};
use super::route::Router;
use super::schedule::{self, DestinationId, Job, Schedule};
use super::spool::{Spool, SpoolError, Writer};
use crate::appliance::counter::Counters;
use crate::ground::clock;
use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use table::Table;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Octets of fresh messages that may wait in memory for their first try.
pub const FRESH_MAX: u64 = 16 << 20;

/// Couriers in all: connections out at the same time.
pub const COURIERS_MAX: u32 = 500;

/// How often the dispatcher looks around although nothing was to happen.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How often it looks whether a failing data volume is well again.
const STORAGE_PAUSE: Duration = Duration::from_secs(1);

/// The outgoing half of the relay.
pub struct Outbound<S> {
    pub(super) spool: Arc<S>,
    schedule: Mutex<Schedule>,
    table: Mutex<Table>,
    router: Router,
    client: Client,
    counters: Arc<Counters>,
    pub(super) journal: Arc<Journal>,
    herald: Option<Arc<dyn Herald>>,
    config: Config,
    /// Messages that could not be read when they were to be planned.
    unread: Mutex<Vec<MessageId>>,
    /// Whether what was in the queue at start is on the schedule.
    planned: tokio::sync::watch::Sender<bool>,
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
    pub fn new(
        spool: Arc<S>,
        router: Router,
        client: Client,
        counters: Arc<Counters>,
        journal: Arc<Journal>,
        herald: Option<Arc<dyn Herald>>,
        config: Config,
    ) -> Arc<Self> {
        Arc::new(Self {
            spool,
            schedule: Mutex::new(Schedule::new(config.schedule)),
            table: Mutex::default(),
            router,
            client,
            counters,
            journal,
            herald,
            config,
            unread: Mutex::default(),
            planned: tokio::sync::watch::channel(false).0,
            bell: Notify::new(),
            ended: Notify::new(),
            stopping: tokio::sync::watch::channel(false).0,
        })
    }

    /// Puts every message that is in the queue at the time of this call on the schedule, while new mail comes and goes; ends
    /// early at [`Outbound::stop`]. To be called once. An operator's orders wait for its end: what is not planned yet can be
    /// neither hurried nor released. `tell` hears the progress.
    pub fn resume(self: Arc<Self>, tell: impl Fn(String) + Send + Sync) -> impl Future<Output = ()> + Send {
        const PAGE: usize = 1000;
        const BUNCH: usize = 100;
        // What comes in from now on has a higher id, and is planned by whoever brings it.
        let (end, total) = (self.spool.begin().id(), self.spool.totals().0);
        async move {
            let planned = Planned(&self.planned);
            let (mut done, mut after) = (0, None);
            let mut told = Instant::now();
            loop {
                let mut ids = self.spool.ids(after, PAGE);
                ids.retain(|id| *id < end);
                let Some(last) = ids.last().copied() else { break };
                after = Some(last);
                for bunch in ids.chunks(BUNCH) {
                    if *self.stopping.borrow() {
                        return;
                    }
                    self.plan_stored(bunch).await;
                    done += bunch.len();
                }
                self.ring();
                if told.elapsed() >= Duration::from_secs(2) {
                    told = Instant::now();
                    tell(format!("planning the next tries: {done} of {total} messages"));
                }
            }
            drop(planned);
        }
    }

    /// Waits until [`Outbound::resume`] has ended.
    pub(super) async fn planned(&self) {
        // The sender lives as long as this.
        let _ = self.planned.subscribe().wait_for(|planned| *planned).await;
    }

    /// Plans messages as the disk tells them.
    async fn plan_stored(&self, ids: &[MessageId]) {
        match self.spool.peek_all(ids.to_vec()).await {
            // Those that are damaged are set aside with a line in the log.
            Ok(messages) => messages.iter().for_each(|message| self.plan(message, false)),
            Err(error) => {
                tracing::error!(target: "mta", first = ?ids.first(), cause = %error, "messages cannot be read now; trying again later");
                lock(&self.unread).extend_from_slice(ids);
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
            let failing = self.is_storage_failing();
            while !failing && let Some(destination) = self.start() {
                couriers.spawn(courier::run(self.clone(), destination));
            }
            let wake = self.lock_schedule().next_wake();
            let until = |at: u32| Duration::from_secs(at.saturating_sub(clock::now()).into()).min(LOOK_AGAIN);
            let pause = if failing { STORAGE_PAUSE } else { wake.map_or(LOOK_AGAIN, until) };
            tokio::select! {
                () = self.bell.notified() => {}
                () = tokio::time::sleep(pause) => self.plan_unread().await,
                _ = stopping.changed() => {}
                Some(ended) = couriers.join_next(), if !couriers.is_empty() => self.note_panic(&ended),
            }
        }
        while let Some(ended) = couriers.join_next().await {
            self.note_panic(&ended);
        }
    }

    fn start(&self) -> Option<DestinationId> {
        self.lock_schedule().start(clock::now())
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

    /// Puts the pending targets of a message on the schedule, one job for each destination; with `at_once` whenever they are
    /// due.
    pub(super) fn plan(&self, message: &Message, at_once: bool) {
        if message.held {
            return;
        }
        self.drop_homeless(message);
        let destinations = self.destinations(message);
        let now = clock::now();
        let mut schedule = self.lock_schedule();
        let latest = now.saturating_add(schedule.longest_pause());
        for (destination, (due, attempts)) in destinations {
            let due = due.min(latest);
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

    /// Ends targets that lead nowhere any more: a copy whose `cc_mta` is not set since a restart.
    fn drop_homeless(&self, message: &Message) {
        let mut progress = message.progress.clone();
        let mut homeless = false;
        for target in progress.iter_mut().filter(|target| target.status == Status::Pending) {
            if self.destination(message, target.target).is_none() {
                target.status = Status::Dropped;
                homeless = true;
            }
        }
        if homeless {
            self.spool.settle(message.id, progress);
        }
    }

    /// Tries again to plan what could not be read.
    async fn plan_unread(&self) {
        let unread = std::mem::take(&mut *lock(&self.unread));
        for id in unread {
            match self.spool.peek(id).await {
                Ok(message) => self.plan(&message, false),
                Err(SpoolError::Unknown | SpoolError::Damaged) => {}
                Err(_) => lock(&self.unread).push(id),
            }
        }
    }

    /// Whether the data volume takes no records: then nothing is delivered either, because it could not be noted.
    fn is_storage_failing(&self) -> bool {
        matches!(self.spool.ready(), Err(SpoolError::Failed(_)))
    }

    /// Forgets what waits in memory for messages; a try in progress ends by itself.
    pub(super) fn forget(&self, ids: &HashSet<MessageId>) {
        self.lock_schedule().remove(ids);
        let mut table = lock(&self.table);
        ids.iter().for_each(|id| table.evict(*id));
    }

    /// Waits until no courier has a message in hand; `false` when that took longer than `patience`.
    pub(super) async fn still(&self, id: MessageId, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !lock(&self.table).is_in_hand(id) {
                return true;
            }
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                return false;
            }
        }
    }

    /// Whether a courier has a message in hand.
    pub(super) fn is_being_tried(&self, id: MessageId) -> bool {
        lock(&self.table).is_being_tried(id)
    }

    /// Rings for the dispatcher when there may be work for a new courier.
    pub(super) fn ring(&self) {
        if self.lock_schedule().has_turn(clock::now()) {
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

/// Says at its end, however that comes, that nothing more will be planned.
struct Planned<'a>(&'a tokio::sync::watch::Sender<bool>);

impl Drop for Planned<'_> {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// A panic elsewhere leaves what these locks guard usable: all changes under them are single steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
