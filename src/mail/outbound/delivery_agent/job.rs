//! A delivery agent and its present job, from taking it from the schedule to returning it.

use crate::ground::clock::{self, Moment};
use crate::mail::deliver::Connection;
use crate::mail::model::{
    Destination, MailEvent, Message, MessageId, Outcome, Reply, Target, TargetProgress,
    TransactionReport,
};
use crate::mail::outbound::Outbound;
use crate::mail::outbound::outcomes::AttemptTimes;
use crate::mail::outbound::queue_state::AgentPause;
use crate::mail::outbound::signing::ContentForm;
use crate::mail::outbound::slow_peer_watch::AgentWatch;
use crate::mail::schedule::{DestinationId, DestinationReputation, Job};
use crate::mail::spool::{Spool, SpoolError};
use bytes::Bytes;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long an open connection stays idle, waiting for more mail.
const LINGER: Duration = Duration::from_secs(2);

/// The same while other destinations need its slot.
const LINGER_WANTED: Duration = Duration::from_millis(400);

/// The delivery agent as the schedule knows it. When it is dropped, even by a panic, the jobs it
/// has taken are returned.
pub(super) struct DeliveryAgent<S: Spool> {
    pub(super) outbound: Arc<Outbound<S>>,
    pub(super) id: DestinationId,
    pub(super) destination: Destination,
    pub(super) in_hand: Option<Job>,
    /// Jobs that were taken only to notify their senders that the destination cannot be reached.
    pub(super) to_warn: Vec<Job>,
    /// The present job, and when it must be attempted again although all that its last host replied
    /// is recorded.
    pub(super) again: Option<(Job, u32)>,
    /// When the present job was taken, until something is sent: its permit, if the destination has
    /// a rate, is not used yet.
    pub(super) unused_permit: Option<Moment>,
    /// Transactions of the present job that its permit covers still.
    pub(super) paid_transactions: u32,
    /// How long the present job takes.
    pub(super) times: AttemptTimes,
    /// Whether the schedule counts an open connection of this agent.
    pub(super) open: bool,
    /// The destination's reputation when the job was taken.
    pub(super) reputation: DestinationReputation,
    pub(super) watch: Arc<AgentWatch<S>>,
    /// The signatures of the present message.
    pub(super) prefix: Option<Bytes>,
    /// An attempt was aborted, because the agent is needed elsewhere, or because the relay stops
    /// and its time is up.
    pub(super) given_up: bool,
}

impl<S: Spool> DeliveryAgent<S> {
    /// A delivery agent without a job and without a connection.
    pub(super) fn new(
        outbound: Arc<Outbound<S>>,
        id: DestinationId,
        destination: Destination,
    ) -> Self {
        let watch = Arc::new(AgentWatch::new(outbound.clone(), id));
        Self {
            outbound,
            id,
            destination,
            in_hand: None,
            to_warn: Vec::new(),
            again: None,
            unused_permit: None,
            paid_transactions: 0,
            times: AttemptTimes::now(),
            open: false,
            reputation: DestinationReputation::New,
            watch,
            prefix: None,
            given_up: false,
        }
    }

    pub(super) async fn take(&mut self) -> Option<Job> {
        self.return_permit();
        self.outbound.disk_catches_up().await;
        // A delivery whose result cannot be recorded is better not made.
        if *self.outbound.stopping.borrow() || self.outbound.is_storage_failing() {
            return None;
        }
        self.times = AttemptTimes::now();
        self.again = None;
        let now = clock::steady_moment();
        (self.in_hand, self.reputation) = self.outbound.state.take(self.id, self.open, now);
        self.unused_permit = self.in_hand.map(|_| now);
        if self.outbound.has_rates.load(Ordering::Relaxed) {
            // With the last permit a wait has begun whose end the dispatcher does not know.
            self.outbound.wake_dispatcher(self.outbound.state.must_wake(now.second()));
        }
        self.in_hand
    }

    /// Returns the permit of a job that was taken and not sent.
    fn return_permit(&mut self) {
        if let Some(taken) = self.unused_permit.take() {
            let now = clock::steady_moment();
            let must_wake = self.outbound.state.return_permit(self.id, taken, now);
            self.outbound.wake_dispatcher(must_wake);
        }
    }

    /// The message of a job and the targets to attempt; `None` when nothing is left to do for it.
    pub(super) async fn begin(&mut self, job: Job) -> Option<(Arc<Message>, Vec<Target>)> {
        let outbound = self.outbound.clone();
        let mut claim = Claim { outbound: &outbound, id: job.id, open: true, gone: false };
        let message = match outbound.state.claim(job.id) {
            Some(message) => message,
            None => match outbound.spool.claim(job.id).await {
                Ok(message) => {
                    outbound.events.emit(MailEvent::Activated(&message));
                    outbound.state.loaded(Arc::new(message))
                }
                Err(SpoolError::Unknown) => {
                    self.drop_job();
                    return None;
                }
                Err(error) => {
                    tracing::error!(
                        target: "mta", queue_id = %job.id, cause = %error,
                        "the message cannot be read now; retrying later"
                    );
                    self.in_hand = None;
                    outbound.wake_dispatcher(outbound.state.postpone(
                        self.id,
                        job,
                        clock::steady(),
                    ));
                    return None;
                }
            },
        };
        // Held or deleted since the job was planned; a release plans it again.
        if outbound.spool.is_held(job.id) != Some(false) {
            claim.gone = true;
            self.drop_job();
            return None;
        }
        let here = self.targets_here(&message).collect::<Vec<_>>();
        claim.open = false;
        let begun = outbound.state.begin(job.id, self.id, &here);
        if begun.is_none() {
            self.in_hand = None;
            outbound.ended.notify_waiters();
        }
        begun.map(|targets| (message, targets))
    }

    /// The same for a message that is to be sent now, with its signatures in
    /// [`DeliveryAgent::prefix`]. Where it cannot be signed and must be, the job ends.
    pub(super) async fn begin_signed(&mut self, job: Job) -> Option<(Arc<Message>, Vec<Target>)> {
        let (message, targets) = self.begin(job).await?;
        let signer = self.outbound.signer.clone();
        match signer.prefix(&message, &message.body, ContentForm::Original).await {
            Ok(prefix) => {
                self.prefix = prefix;
                Some((message, targets))
            }
            Err(outcome) => {
                self.finish(job, &message, failure_report(&targets, &outcome)).await;
                None
            }
        }
    }

    /// The targets of a message that go to the agent's destination.
    pub(super) fn targets_here(&self, message: &Message) -> impl Iterator<Item = Target> {
        let here = |progress: &&TargetProgress| {
            self.outbound.destination(message, progress).as_ref() == Some(&self.destination)
        };
        message.progress.iter().filter(here).map(|progress| progress.target)
    }

    fn drop_job(&mut self) {
        self.in_hand = None;
        self.outbound.state.drop_job(self.id);
        self.outbound.ended.notify_waiters();
    }

    /// Whether the relay stops and its time is up. No other reason to abort an attempt matters
    /// then.
    pub(super) fn is_out_of_time(&self) -> bool {
        *self.outbound.out_of_time.borrow()
    }

    /// Sends QUIT if there is time for it.
    pub(super) async fn quit(&self, connection: Option<(Connection, Instant)>) {
        let mut out_of_time = self.outbound.out_of_time.subscribe();
        tokio::select! {
            biased;
            // The sender exists as long as the relay.
            _ = out_of_time.wait_for(|out_of_time| *out_of_time) => {}
            () = quit(connection) => {}
        }
    }

    /// The outcome of an attempt that was aborted because its slot was needed.
    pub(super) fn gave_up_slow_host(&self, whom: impl Display) -> Outcome {
        let waited = self.times.begun.elapsed().as_secs_f32();
        let text = format!(
            "{whom} took {waited:.1} s and was aborted, because other mail waited; the next \
             attempt gets more time"
        );
        Outcome::own(Reply::new(451, (4, 4, 1), text))
    }

    /// When the job in hand was taken, by the schedule's clock.
    pub(super) fn began(&self) -> u32 {
        let seconds = u32::try_from(self.times.begun.elapsed().as_secs()).unwrap_or(u32::MAX);
        clock::steady().saturating_sub(seconds)
    }

    /// The connection, if the next mail can go over it.
    pub(super) fn usable(
        &mut self,
        connection: Option<(Connection, Instant)>,
    ) -> Option<(Connection, Instant)> {
        let (mut open, since) = connection?;
        if open.is_stale() {
            self.count_open(false);
            return None;
        }
        if open.ends_turn() || open.is_used_up() {
            quit_in_background(Some((open, since)));
            self.count_open(false);
            return None;
        }
        Some((open, since))
    }

    pub(super) fn count_open(&mut self, open: bool) {
        if self.open != open {
            self.open = open;
            self.outbound.state.connected(self.id, open);
        }
    }

    /// Records the outcome of a job, and returns it to the schedule if it must be attempted again.
    pub(super) async fn finish(&mut self, job: Job, message: &Message, report: TransactionReport) {
        let again = self
            .outbound
            .settle((self.id, &self.destination), job, message, report, self.times)
            .await;
        let again = again.or(self.again.take());
        self.in_hand = None;
        let must_wake = self.outbound.state.end(message.id, self.id, again, clock::steady());
        self.outbound.ended.notify_waiters();
        self.outbound.wake_dispatcher(must_wake);
    }

    /// Whether to ask the schedule again: work came. Otherwise the time is up, the slot is needed
    /// elsewhere, or the relay stops.
    pub(super) async fn wait_for_work(&self, connection: &Connection) -> bool {
        // While the relay stops or nothing can be recorded there is no work, whatever the schedule
        // has.
        if *self.outbound.stopping.borrow() || self.outbound.is_storage_failing() {
            return false;
        }
        let state = &self.outbound.state;
        let waiting = match state.pause(self.id, clock::steady()) {
            AgentPause::Home => return false,
            AgentPause::Work => return true,
            AgentPause::Wait(waiting) => waiting,
        };
        // Another destination may wait for a slot.
        self.outbound.wake_dispatcher(state.must_wake(clock::steady()));
        let mut stopping = self.outbound.stopping.subscribe();
        let until = Instant::now() + LINGER;
        let was_woken = loop {
            // After the first look at the schedule: an agent with work does not check whether it is
            // needed elsewhere.
            if connection.yields_slot() {
                break false;
            }
            tokio::select! {
                () = waiting.work_notify.notified() => break true,
                () = waiting.stop_notify.notified() => break false,
                _ = stopping.wait_for(|stopping| *stopping) => break false,
                () = tokio::time::sleep(LINGER_WANTED) => {}
            }
            if Instant::now() >= until || state.yields_slot(self.id, &waiting) {
                break false;
            }
        };
        let stays = state.stop_waiting(self.id, &waiting, was_woken, clock::steady());
        if stays {
            connection.keeps_slot();
        }
        stays
    }
}

/// The report of an attempt that delivered nothing.
pub(super) fn failure_report(targets: &[Target], outcome: &Outcome) -> TransactionReport {
    TransactionReport {
        outcomes: targets.iter().map(|target| (*target, outcome.clone())).collect(),
        relay: String::new(),
        tls: false,
        security: String::new(),
        transcript: String::new(),
        reusable: false,
        elsewhere: false,
        refused_session: None,
        eight_bit_refused: Vec::new(),
        dsn: false,
    }
}

/// A message that stays in memory until its attempt begins or is abandoned.
struct Claim<'a, S: Spool> {
    outbound: &'a Outbound<S>,
    id: MessageId,
    /// It has not ended.
    open: bool,
    /// The message is held, or has left the queue.
    gone: bool,
}

impl<S: Spool> Drop for Claim<'_, S> {
    fn drop(&mut self) {
        if self.open {
            self.outbound.state.unclaim(self.id, self.gone);
        }
    }
}

impl<S: Spool> Drop for DeliveryAgent<S> {
    fn drop(&mut self) {
        self.return_permit();
        let (in_hand, to_warn) = (self.in_hand.take(), std::mem::take(&mut self.to_warn));
        self.watch.no_longer_slow();
        self.watch.no_longer_silent();
        let state = &self.outbound.state;
        let place = !self.watch.without_place();
        let must_wake =
            state.agent_ended(self.id, (self.open, place), in_hand, &to_warn, clock::steady());
        self.outbound.ended.notify_waiters();
        self.outbound.wake_dispatcher(must_wake);
    }
}

async fn quit(connection: Option<(Connection, Instant)>) {
    if let Some((connection, _)) = connection {
        connection.quit().await;
    }
}

/// Sends QUIT in the background, so that mail does not wait for it.
pub(super) fn quit_in_background(connection: Option<(Connection, Instant)>) {
    if connection.is_some() {
        tokio::spawn(quit(connection));
    }
}
