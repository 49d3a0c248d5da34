//! The outgoing half of the relay: from the schedule through route and delivery to the outcomes,
//! and the bounces that re-enter the queue.
//!
//! The dispatcher asks the schedule which destination may have one more delivery agent. An agent is
//! one connection: it takes job after job of its destination, waits a little for more, closes the
//! connection and ends. The outcome of each target is recorded in the spool; a bounce is durable in
//! the queue before the recipient it reports counts as failed.
//!
//! Limits: agents by the schedule; messages kept in memory between acceptance and first attempt by
//! [`FRESH_MAX`] octets (beyond that they are read back from the disk when they are attempted).

mod catch_panic;
pub mod counters;
mod delivery_agent;
#[cfg(test)]
mod delivery_agent_tests;
mod delivery_statistics;
mod dispatcher;
mod failure_notice;
mod in_memory_messages;
mod outcomes;
mod queue_state;
#[cfg(test)]
mod queue_tests;
mod rate_log;
mod redirect;
mod seven_bit;
mod signing;
mod slow_peer_watch;
mod suspension_log;

use super::admit::{HoldReason, StagingRules};
use super::deliver::SmtpClient;
use super::events::MailEvents;
use super::hold;
use super::model::{
    Address, Deliveries, Destination, Envelope, MailEvent, Message, MessageId, TargetProgress,
    TargetStatus,
};
use super::route::{RouteRules, Router};
use super::schedule::{self, Job};
use super::spool::{BACKLOG_MAX, IncomingContent, Spool, SpoolError};
use crate::ground::clock;
use crate::ground::lock::Lock;
use crate::mail::outbound::counters::OutboundCounters;
use delivery_statistics::DeliveryRecords;
pub use in_memory_messages::FRESH_MAX;
use queue_state::{NewJob, QueueState, WakeDispatcher};
pub use signing::{MailSigner, SigningConfig};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often it is checked whether a failing data volume works again.
const STORAGE_PAUSE: Duration = Duration::from_secs(1);

/// How often code that makes records checks whether the disk has caught up.
const BACKLOG_PAUSE: Duration = Duration::from_millis(20);

/// Delivery agents in total: outgoing connections at the same time.
pub const AGENTS_MAX: u32 = 500;

/// The outgoing half of the relay.
pub struct Outbound<S> {
    pub(super) spool: Arc<S>,
    pub(super) state: QueueState,
    /// Held while an operator action is applied to a page of messages, so that one action does not
    /// plan messages that another has just changed on disk.
    pub(super) ordering: tokio::sync::Mutex<()>,
    pub(super) router: Router,
    client: SmtpClient,
    pub(super) signer: Arc<MailSigner>,
    counters: Arc<OutboundCounters>,
    pub(super) events: Arc<MailEvents>,
    /// Recent deliveries, by destination.
    deliveries: Lock<DeliveryRecords>,
    config: OutboundConfig,
    /// Whether everything that was in the queue at start is on the schedule.
    planned: tokio::sync::watch::Sender<bool>,
    /// Wakes the dispatcher.
    dispatcher_notify: Notify,
    /// Whether destinations may have rates.
    has_rates: AtomicBool,
    /// Notified at the end of every attempt.
    ended: Notify,
    stopping: tokio::sync::watch::Sender<bool>,
    /// Whether the relay stops and the agents' time is up.
    out_of_time: tokio::sync::watch::Sender<bool>,
}

/// Settings of the outgoing half.
#[derive(Debug, Clone)]
pub struct OutboundConfig {
    /// The relay's host name in notifications.
    pub hostname: String,
    /// Which mail is held on a staging system.
    pub staging: Arc<StagingRules>,
    /// Recipient of notifications about bounces that failed; `None`: there is none.
    pub bounce_address: Option<Address>,
    /// Settings of the schedule; lifetime and delay warning are used here too.
    pub schedule: schedule::ScheduleConfig,
    /// Octets of new messages that may wait in memory for their first attempt, at most
    /// [`FRESH_MAX`].
    pub fresh_max: u64,
}

impl<S: Spool> Outbound<S> {
    /// The outgoing half, with an empty schedule.
    pub fn new(
        spool: Arc<S>,
        router: Router,
        client: SmtpClient,
        signer: Arc<MailSigner>,
        counters: Arc<OutboundCounters>,
        events: Arc<MailEvents>,
        config: OutboundConfig,
    ) -> Arc<Self> {
        let state = QueueState::new(config.schedule).with_fresh_max(config.fresh_max);
        for destination in router.rules().named() {
            state.mark_configured(&destination);
            if let Some(most) = router.connections_max(&destination) {
                state.limit_agents(&destination, most);
            }
        }
        Arc::new(Self {
            spool,
            state,
            ordering: tokio::sync::Mutex::default(),
            router,
            client,
            signer,
            counters,
            events,
            deliveries: Lock::leaf(DeliveryRecords::default()),
            config,
            planned: tokio::sync::watch::channel(false).0,
            dispatcher_notify: Notify::new(),
            has_rates: AtomicBool::new(false),
            ended: Notify::new(),
            stopping: tokio::sync::watch::channel(false).0,
            out_of_time: tokio::sync::watch::channel(false).0,
        })
    }

    /// From now on these rates of destinations hold; to be called before mail is planned.
    pub fn limit_rates(&self, rules: schedule::RateRules) {
        self.has_rates.store(!rules.is_empty(), Ordering::Relaxed);
        self.state.limit_rates(rules);
    }

    /// Recent deliveries by destination; those with the most attempts first.
    pub(in crate::mail) fn deliveries(&self, limit: usize) -> Vec<Deliveries> {
        self.deliveries.lock().all(limit, clock::now())
    }

    /// Why mail of another queue is held here.
    pub(super) fn holds(&self, envelope: &Envelope) -> Option<HoldReason> {
        self.config.staging.hold(envelope.recipients.iter())
    }

    /// The routing rules.
    pub fn route_rules(&self) -> &RouteRules {
        self.router.rules()
    }

    /// Puts every message that is in the queue at the time of this call on the schedule, while new
    /// mail is accepted and delivered; ends early at [`Outbound::stop`]. To be called once.
    /// Operator actions wait for its end, because they work on planned messages only. `tell`
    /// receives the progress.
    pub fn resume(
        self: Arc<Self>,
        tell: impl Fn(String) + Send + Sync,
    ) -> impl Future<Output = ()> + Send {
        const PAGE: usize = 1000;
        const BUNCH: usize = 100;
        // Mail accepted from now on has a higher id, and is planned by its intake.
        let (end, total) = (self.spool.begin().id(), self.spool.last_totals().0);
        async move {
            let planned = Planned(&self.planned);
            let (mut done, mut elsewhere, mut after) = (0, 0, None);
            let mut told = Instant::now();
            loop {
                let mut ids = match self.spool.ids(after, PAGE).await {
                    Ok(ids) => ids,
                    Err(_) if *self.stopping.borrow() => return,
                    Err(error) => {
                        tracing::error!(target: "mta", cause = %error, "the queue cannot be listed \
                        now; trying again");
                        tokio::time::sleep(STORAGE_PAUSE).await;
                        continue;
                    }
                };
                ids.retain(|id| *id < end);
                let Some(last) = ids.last().copied() else { break };
                after = Some(last);
                for bunch in ids.chunks(BUNCH) {
                    if *self.stopping.borrow() {
                        return;
                    }
                    elsewhere += self.plan_stored(bunch).await;
                    done += bunch.len();
                }
                if told.elapsed() >= Duration::from_secs(2) {
                    told = Instant::now();
                    tell(format!("scheduling the next attempts: {done} of {total} messages"));
                }
            }
            if elsewhere > 0 {
                tracing::info!(
                    target: "mta",
                    messages = elsewhere,
                    "the properties give waiting mail another destination than before the start"
                );
            }
            drop(planned);
        }
    }

    /// Waits until [`Outbound::resume`] has ended.
    pub(super) async fn planned(&self) {
        // The sender exists as long as this.
        let _ = self.planned.subscribe().wait_for(|planned| *planned).await;
    }

    /// Plans messages as they are read from the disk. Gives how many have another destination now
    /// than when they were last planned.
    async fn plan_stored(&self, ids: &[MessageId]) -> u64 {
        let mut elsewhere = 0;
        match self.spool.peek_all(ids.to_vec()).await {
            // Damaged ones are quarantined with a line in the log.
            Ok(messages) => {
                for message in &messages {
                    elsewhere += u64::from(self.decide_anew(message));
                    self.plan_or_hold(message).await;
                }
                self.disk_catches_up().await;
            }
            Err(error) => {
                tracing::error!(
                    target: "mta", first = ?ids.first(), cause = %error,
                    "messages cannot be read now; retrying later"
                );
                self.state.note_unread(ids);
            }
        }
        elsewhere
    }

    /// Plans a message that was in the queue before, unless a mode for staging holds it.
    async fn plan_or_hold(&self, message: &Message) {
        let Some(reason) = hold::reason(&*self.spool, &self.config.staging, message) else {
            return self.plan(message, false);
        };
        match hold::hold_queued(&*self.spool, message, &reason).await {
            Ok(()) => self.events.emit(MailEvent::Held(message.id)),
            Err(SpoolError::Unknown) => {}
            Err(error) => {
                tracing::error!(
                    target: "mta", queue_id = %message.id, cause = %error,
                    "the message cannot be held now; retrying later"
                );
                self.state.note_unread(&[message.id]);
            }
        }
    }

    /// Waits while too many records wait for the disk.
    async fn disk_catches_up(&self) {
        while self.spool.backlog() > BACKLOG_MAX && !*self.stopping.borrow() {
            tokio::time::sleep(BACKLOG_PAUSE).await;
        }
    }

    /// Plans a message that is durable, unless it is held.
    pub fn enqueue(&self, message: Message) {
        if message.held {
            return self.events.emit(MailEvent::Held(message.id));
        }
        self.decide_anew(&message);
        let jobs = self.jobs(&message, false);
        self.log_suspension(&message);
        let must_wake = self.state.enter(Arc::new(message), &jobs, clock::steady());
        self.wake_dispatcher(must_wake);
    }

    /// Waits until nothing more can be attempted, at most until `deadline`.
    pub async fn flush(&self, deadline: Instant) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state.deliverable_now(clock::steady()) == 0
                || tokio::time::timeout_at(deadline, ended).await.is_err()
            {
                return;
            }
        }
    }

    /// Delivery agents finish the present message and end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ends the attempts that are still in progress. They record which recipients have the message,
    /// and nothing else: all others are attempted again at the next start.
    pub fn end_now(&self) {
        self.out_of_time.send_replace(true);
    }

    /// Puts the pending targets of a message on the schedule, one job for each destination; with
    /// `at_once` without regard to their due time.
    pub(super) fn plan(&self, message: &Message, at_once: bool) {
        if message.held {
            return;
        }
        let must_wake = self.state.plan(&self.jobs(message, at_once), clock::steady());
        self.wake_dispatcher(must_wake);
    }

    fn jobs(&self, message: &Message, at_once: bool) -> Vec<NewJob> {
        let arrived = clock::steady().saturating_sub(clock::age(message.arrived));
        let source = self.state.source(message.origin.peer, message.envelope.sender_text());
        let job = |attempts| {
            let attempts = u8::try_from(attempts).unwrap_or(u8::MAX);
            Job {
                id: message.id,
                accepted_at: arrived,
                attempts,
                delay_warning_sent: message.delay_warning_sent,
                source,
            }
        };
        let due = |due| if at_once { 0 } else { clock::steady_due(due) };
        let destinations = self.destinations(message).into_iter();
        destinations
            .map(|(destination, (at, attempts))| (destination, job(attempts), due(at)))
            .collect()
    }

    /// The destinations of a message's pending targets, when the first of them is due, and how many
    /// attempts were made.
    pub(super) fn destinations(&self, message: &Message) -> BTreeMap<Destination, (u32, u16)> {
        let mut destinations = BTreeMap::new();
        for progress in
            message.progress.iter().filter(|progress| progress.status == TargetStatus::Pending)
        {
            let Some(destination) = self.destination(message, progress) else { continue };
            let entry = destinations.entry(destination).or_insert((u32::MAX, 0));
            *entry = (entry.0.min(progress.due), entry.1.max(progress.attempts));
        }
        destinations
    }

    /// The destination of a target.
    pub(super) fn destination(
        &self,
        message: &Message,
        progress: &TargetProgress,
    ) -> Option<Destination> {
        self.router.rules().destination(&message.envelope, progress)
    }

    /// Decides the destination again for pending targets whose destination was decided under other
    /// properties, and fails those that have none any more: a copy whose `cc_mta` is not set since
    /// a restart. Tells whether any destination changed. For mail stored by a version that recorded
    /// no decision nothing is recorded: it goes to the destination decided now, and whether that is
    /// a change is not known.
    pub(super) fn decide_anew(&self, message: &Message) -> bool {
        let rules = self.router.rules();
        let mut progress = message.progress.clone();
        let (mut moved, mut homeless) = (false, false);
        for one in progress.iter_mut().filter(|one| one.status == TargetStatus::Pending) {
            let now = rules.decided(&message.envelope, one);
            match &one.destination {
                // An operator may configure a host again before it is released.
                _ if now.is_none() && message.held => continue,
                _ if now.is_none() => (one.status, homeless) = (TargetStatus::Dropped, true),
                Some(decided) => moved |= now.as_ref() != Some(decided),
                None => continue,
            }
            one.destination = now;
        }
        // Each such record needs memory until the volume takes it; without it the next start
        // decides again.
        if homeless || (moved && self.spool.ready().is_ok()) {
            self.spool.settle(message.id, progress);
        }
        moved
    }

    /// Whether the data volume takes no records: then nothing is delivered, because the result
    /// could not be recorded.
    fn is_storage_failing(&self) -> bool {
        matches!(self.spool.ready(), Err(SpoolError::Failed(_) | SpoolError::Slow(_)))
    }

    /// Waits until no agent is attempting a message; `false` when that took longer than `patience`.
    pub(super) async fn still(&self, id: MessageId, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if !self.state.is_in_memory(id) {
                return true;
            }
            if tokio::time::timeout_at(deadline, ended).await.is_err() {
                return false;
            }
        }
    }

    /// Wakes the dispatcher if it must check again.
    pub(super) fn wake_dispatcher(&self, must_wake: WakeDispatcher) {
        if must_wake.0 {
            self.dispatcher_notify.notify_one();
        }
    }

    /// Takes the queue's lock once and releases it: the watchdog's test whether the lock is free.
    pub fn probe_lock(&self) {
        self.state.probe_lock();
    }

    /// Makes a deadlock of two threads, one of which holds the queue's lock, for tests of the
    /// watchdog.
    #[cfg(debug_assertions)]
    pub fn plant_deadlock(self: Arc<Self>) {
        use std::sync::{Barrier, Mutex};
        let (other, met) = (Arc::new(Mutex::new(())), Arc::new(Barrier::new(2)));
        let (mine, meet, outbound) = (other.clone(), met.clone(), self.clone());
        std::thread::spawn(move || {
            outbound.state.while_locked(|| {
                meet.wait();
                drop(mine.lock());
            });
        });
        std::thread::spawn(move || {
            let other = other.lock();
            met.wait();
            self.state.while_locked(|| drop(other));
        });
    }
}

/// Reports on drop, however that comes, that nothing more will be planned.
struct Planned<'a>(&'a tokio::sync::watch::Sender<bool>);

impl Drop for Planned<'_> {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
