//! One courier: a connection to a destination, and the jobs it carries.

use super::Outbound;
use super::caught::caught;
use super::outcomes::Times;
use super::queue_state::Pause;
use super::seven_bit;
use super::watch::Watch;
use crate::ground::clock;
use crate::mail::deliver::{Attempt, Connection, Known};
use crate::mail::model::{
    Class, Destination, MailEvent, Message, MessageId, Outcome, Progress, Reply, Report, Target,
};
use crate::mail::schedule::{DestinationId, Job, Stage, Standing};
use crate::mail::spool::{Spool, SpoolError};
use std::fmt::Display;
use std::net::IpAddr;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an open connection waits for more mail.
const LINGER: Duration = Duration::from_secs(2);

/// The same while others want its place.
const LINGER_WANTED: Duration = Duration::from_millis(400);

/// How long a connection is used at most while others wait for a place at its host.
const REUSE_WANTED: Duration = Duration::from_secs(10);

/// How long a connection is used at most: next hops move, and fairness among them wants new
/// choices.
const REUSE_MAX: Duration = Duration::from_secs(300);

/// Octets that are kept of what was said with hosts before the last one of a try.
const TALK_MAX: usize = 8 * 1024;

/// Carries jobs until there is nothing to do.
pub async fn run<S: Spool>(
    outbound: Arc<Outbound<S>>,
    id: DestinationId,
    destination: Destination,
) {
    let (in_hand, to_tell, again) = (None, Vec::new(), None);
    let (times, standing, watch) =
        (Times::now(), Standing::New, Arc::new(Watch::new(outbound.clone(), id)));
    let mut courier = Courier {
        outbound,
        id,
        destination,
        in_hand,
        to_tell,
        again,
        times,
        open: false,
        standing,
        watch,
        given_up: false,
    };
    let mut connection: Option<(Connection, Instant)> = None;
    loop {
        if connection.as_ref().is_some_and(|(_, since)| since.elapsed() > REUSE_MAX) {
            courier.quit(connection.take()).await;
        }
        let used_long = connection.as_ref().filter(|(_, since)| since.elapsed() > REUSE_WANTED);
        if used_long.is_some_and(|(connection, _)| connection.gives_way()) {
            break;
        }
        courier.note_open(connection.is_some());
        let Some(job) = courier.take().await else {
            match &connection {
                Some((connection, _)) if courier.wait_for_work(connection).await => continue,
                _ => break,
            }
        };
        let Some((message, targets)) = courier.begin(job).await else { continue };
        if connection.as_mut().is_some_and(|(connection, _)| connection.is_stale()) {
            connection = None;
            courier.note_open(false);
        }
        let (open, attempt) = match connection.take() {
            Some(open) => {
                let attempt = Attempt::beside(&open.0);
                (open, attempt)
            }
            None => match courier.connected().await {
                Ok((connection, attempt)) => ((connection, Instant::now()), attempt),
                Err(Unconnected::HostsFull(hosts)) => {
                    courier.wait_for_host(job, &hosts).await;
                    break;
                }
                Err(Unconnected::GivenUp(_)) if courier.is_cut_off() => break,
                Err(Unconnected::GivenUp(outcome)) => {
                    if !courier.others_carry_on(job, &outcome) {
                        courier.given_up_connecting(job, &message, &targets, &outcome).await;
                    }
                    break;
                }
                Err(Unconnected::Failed(outcome, down)) => {
                    if down && courier.others_carry_on(job, &outcome) {
                        break;
                    }
                    courier.unreachable(job, &message, &targets, &outcome, down).await;
                    if down {
                        break;
                    }
                    continue;
                }
            },
        };
        courier.note_open(true);
        let mut report;
        (connection, report) = courier.carry(open, attempt, job, &message, &targets).await;
        if courier.given_up && courier.is_cut_off() {
            courier.settle_ahead(job, &message, &mut report, &[Class::Success]).await;
            break;
        }
        courier.finish(job, &message, report).await;
        if courier.given_up || courier.watch.must_leave() {
            break;
        }
    }
    courier.quit(connection).await;
}

/// Why there is no connection.
enum Unconnected {
    /// These hosts have all the connections that they may have, and no other one is ready: nothing
    /// is known of the destination.
    HostsFull(Vec<IpAddr>),
    /// Others needed the courier, or the relay stops and has no more time. Nobody says that the
    /// destination cannot be reached: it only takes its time.
    GivenUp(Outcome),
    /// The outcome, and whether the destination as a whole is to be left alone for a while.
    Failed(Outcome, bool),
}

async fn quit(connection: Option<(Connection, Instant)>) {
    if let Some((connection, _)) = connection {
        connection.quit().await;
    }
}

/// Says good-bye beside the mail that goes on.
fn leave(connection: Option<(Connection, Instant)>) {
    if connection.is_some() {
        tokio::spawn(quit(connection));
    }
}

/// The courier's place in the schedule; dropping it, even by a panic, puts the jobs it has taken
/// back.
struct Courier<S: Spool> {
    outbound: Arc<Outbound<S>>,
    id: DestinationId,
    destination: Destination,
    in_hand: Option<Job>,
    /// Jobs that were taken only to tell their senders that the destination cannot be reached.
    to_tell: Vec<Job>,
    /// The job in hand, and when it must be tried again although all is recorded that its last host
    /// said.
    again: Option<(Job, u32)>,
    /// How long the job in hand takes.
    times: Times,
    /// Whether the schedule counts an open connection of this courier.
    open: bool,
    /// How the destination stood when the job was taken.
    standing: Standing,
    watch: Arc<Watch<S>>,
    /// A try was given up, because others need the courier, or because the relay stops and has no
    /// more time.
    given_up: bool,
}

impl<S: Spool> Courier<S> {
    async fn take(&mut self) -> Option<Job> {
        self.outbound.disk_catches_up().await;
        // What cannot be recorded had better not be done.
        if *self.outbound.stopping.borrow() || self.outbound.is_storage_failing() {
            return None;
        }
        self.times = Times::now();
        self.again = None;
        (self.in_hand, self.standing) =
            self.outbound.state.take(self.id, self.open, clock::steady());
        self.in_hand
    }

    /// The message of a job and the targets to try; `None` when there is nothing to do for it any
    /// more.
    async fn begin(&mut self, job: Job) -> Option<(Arc<Message>, Vec<Target>)> {
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
                    outbound.ring(outbound.state.put_off(self.id, job, clock::steady()));
                    return None;
                }
            },
        };
        // Held or deleted since the job was planned; a release plans it anew.
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

    /// The targets of a message that go to the courier's destination.
    fn targets_here(&self, message: &Message) -> impl Iterator<Item = Target> {
        let here = |progress: &&Progress| {
            self.outbound.destination(message, progress).as_ref() == Some(&self.destination)
        };
        message.progress.iter().filter(here).map(|progress| progress.target)
    }

    fn drop_job(&mut self) {
        self.in_hand = None;
        self.outbound.state.drop_job(self.id);
        self.outbound.ended.notify_waiters();
    }

    /// Sends a message, and asks further hosts at once about recipients that one has put off (RFC
    /// 5321 §5.1). Gives back the connection to go on with, and the report on what is not recorded
    /// yet.
    async fn carry(
        &mut self,
        open: (Connection, Instant),
        mut attempt: Attempt,
        job: Job,
        message: &Message,
        targets: &[Target],
    ) -> (Option<(Connection, Instant)>, Report) {
        let (mut connection, mut since) = open;
        let mut kept = None;
        let mut talk = String::new();
        let mut report = self.send(&mut connection, job, message, targets).await;
        loop {
            let put_off = report.put_off();
            let may_go_on =
                !put_off.is_empty() && attempt.may_go_on() && !*self.outbound.stopping.borrow();
            let useful = put_off.len() < report.outcomes.len();
            let next = if may_go_on && !self.given_up && !self.watch.must_leave() {
                // A refusal is recorded with what the others come to, so that they share a bounce.
                self.settle_ahead(job, message, &mut report, &[Class::Success]).await;
                let next =
                    self.watch.follow(self.standing, Stage::Connecting, attempt.next()).await;
                self.given_up = next.is_none();
                next.and_then(Result::ok)
            } else {
                None
            };
            let Some(next) = next else {
                if report.reusable && (useful || kept.is_none()) {
                    leave(kept.replace((connection, since)));
                } else if report.reusable {
                    leave(Some((connection, since)));
                }
                report.transcript.insert_str(0, &talk);
                return (kept, report);
            };
            self.tell_of_next_host(message, &report, next.relay());
            self.settle_ahead(job, message, &mut report, &[Class::Permanent]).await;
            talk.push_str(&report.transcript);
            talk.truncate(talk.floor_char_boundary(TALK_MAX));
            talk.push_str("* the next host\n");
            if report.reusable && useful && kept.is_none() {
                kept = Some((connection, since));
            } else if report.reusable {
                leave(Some((connection, since)));
            }
            (connection, since) = (next, Instant::now());
            report = self.send(&mut connection, job, message, &put_off).await;
        }
    }

    fn tell_of_next_host(&self, message: &Message, report: &Report, next: &str) {
        let put_off =
            || report.outcomes.iter().filter(|(_, outcome)| outcome.class() == Class::Temporary);
        let Some((_, outcome)) = put_off().next() else { return };
        let (relay, recipients) = (&*report.relay, put_off().count());
        self.outbound.events.emit(MailEvent::NextHost {
            message,
            relay,
            outcome,
            recipients,
            next,
        });
    }

    /// Records ahead of the end of the try what is known for good: that end may be minutes away, or
    /// not come, and who got the message must not get it again. The rest stays in the report.
    async fn settle_ahead(
        &mut self,
        job: Job,
        message: &Message,
        report: &mut Report,
        which: &[Class],
    ) {
        let outcomes = std::mem::take(&mut report.outcomes).into_iter();
        let (ahead, rest): (Vec<_>, Vec<_>) =
            outcomes.partition(|(_, outcome)| which.contains(&outcome.class()));
        if !ahead.is_empty() {
            let ahead = Report { outcomes: ahead, ..report.clone() };
            let again = self
                .outbound
                .settle((self.id, &self.destination), job, message, ahead, self.times)
                .await;
            self.again = again.or(self.again.take());
        }
        report.outcomes = rest;
    }

    /// Whether the relay stops and has no more time: no other reason to give a try up matters then.
    fn is_cut_off(&self) -> bool {
        *self.outbound.cut_off.borrow()
    }

    /// Says good-bye while there is time for it.
    async fn quit(&self, connection: Option<(Connection, Instant)>) {
        let mut cut_off = self.outbound.cut_off.subscribe();
        tokio::select! {
            biased;
            // The sender lives as long as the relay.
            _ = cut_off.wait_for(|cut_off| *cut_off) => {}
            () = quit(connection) => {}
        }
    }

    /// As [`Courier::connect`], with a look at the clock.
    async fn connected(&mut self) -> Result<(Connection, Attempt), Unconnected> {
        let since = Instant::now();
        let mut attempt = None;
        let connected =
            self.watch.follow(self.standing, Stage::Connecting, self.connect(&mut attempt)).await;
        self.times.connecting = since.elapsed();
        let outcome = match (connected, attempt) {
            (Some(Ok(connection)), Some(attempt)) => return Ok((connection, attempt)),
            // All that is not recorded has time until the next start.
            _ if self.is_cut_off() => {
                return Err(Unconnected::GivenUp(self.too_slow(&self.destination)));
            }
            (_, Some(attempt)) if !attempt.full_hosts().is_empty() => {
                return Err(Unconnected::HostsFull(attempt.full_hosts().to_vec()));
            }
            (Some(Err(outcome)), _) => outcome,
            _ => return Err(Unconnected::GivenUp(self.too_slow(&self.destination))),
        };
        let down = outcome.class() != Class::Permanent;
        Err(Unconnected::Failed(outcome, down))
    }

    /// Route and connection. The attempt is put where it can be looked at even when this is given
    /// up.
    async fn connect(&self, attempt: &mut Option<Attempt>) -> Result<Connection, Outcome> {
        let client =
            self.outbound.client.followed(self.watch.clone(), self.standing == Standing::New);
        let route = Arc::new(
            self.outbound
                .router
                .route(&self.destination)
                .await
                .map_err(|error| Outcome::own(error.0))?,
        );
        let first = attempt.insert(Attempt::new(&client, &route));
        let outcome = match first.next().await {
            Err(outcome) if first.full_hosts().is_empty() => outcome,
            connected => return connected,
        };
        // A next hop may have moved since its name was looked up.
        match self.outbound.router.moved(&route).await {
            Some(route) => attempt.insert(Attempt::new(&client, &Arc::new(route))).next().await,
            None => Err(outcome),
        }
    }

    /// Sends a message over a connection; a peer that takes its time is given up when others need
    /// the courier. What it has answered by then counts: those who got the message must not get it
    /// again. Nor must they where a defect ends the try.
    async fn send(
        &mut self,
        connection: &mut Connection,
        job: Job,
        message: &Message,
        targets: &[Target],
    ) -> Report {
        if self.standing != Standing::New {
            connection.use_full_timeouts();
        }
        let counters = self.outbound.counters.clone();
        let mut known = Known::default();
        let sent = {
            // Where it is: it is too large to be moved for each mail.
            let sending =
                pin!(seven_bit::send(connection, message, targets, &counters, &mut known));
            self.watch.follow(self.standing, Stage::Talking, caught(sending)).await
        };
        self.given_up = sent.is_none();
        let report = match sent {
            Some(Ok(report)) => report,
            Some(Err(panic)) => {
                let rest = Outcome::own(Reply::new(
                    451,
                    (4, 3, 0),
                    "a defect of the relay ended the attempt",
                ));
                // As any try: what panics each time must end with its lifetime, and its sender must
                // hear of it.
                self.finish(job, message, connection.given_up(&mut known, &rest)).await;
                resume_unwind(panic)
            }
            None => connection.given_up(&mut known, &self.too_slow(connection.relay())),
        };
        self.judge(&report, connection);
        report
    }

    /// The outcome of a try that was given up for others.
    fn too_slow(&self, whom: impl Display) -> Outcome {
        let waited = self.times.begun.elapsed().as_secs_f32();
        let text = format!(
            "{whom} took {waited:.1} s and was given up, because others waited; it gets more time \
            the next time"
        );
        Outcome::own(Reply::new(451, (4, 4, 1), text))
    }

    /// What a try says about the destination: it answers, or it only takes time.
    fn judge(&self, report: &Report, connection: &mut Connection) {
        if report.outcomes.iter().any(|(_, outcome)| outcome.class() == Class::Success) {
            connection.use_full_timeouts();
            return;
        }
        if report.outcomes.iter().any(|(_, outcome)| outcome.remote) {
            self.outbound.state.answered(self.id, clock::steady());
        } else if let Some(words) = &report.refused_us {
            let attempts = self.in_hand.map_or(0, |job| job.attempts);
            self.outbound.state.refused_us(self.id, attempts, words, clock::steady());
        } else if !report.reusable
            && (self.given_up || self.times.begun.elapsed() >= self.standing.dawdles_after())
        {
            self.outbound.state.dawdled(self.id, self.began(), clock::steady());
        }
    }

    /// The destination's hosts have all the connections that they may have. Those of other couriers
    /// carry the job, or it waits for one; waiting mail whose sender must hear of it does.
    async fn wait_for_host(&mut self, job: Job, hosts: &[IpAddr]) {
        self.outbound.counters.couriers_throttled_total.with_label_values(&["host"]).inc();
        let text = format!("the connection limit for the hosts of {} is reached", self.destination);
        let outcome = Outcome::own(Reply::new(451, (4, 4, 5), text));
        if self.others_carry_on(job, &outcome) {
            return;
        }
        self.in_hand = None;
        let (state, number) = (&self.outbound.state, self.id.number());
        self.to_tell = state.wait_for_host(self.id, job, &outcome.words(), clock::steady());
        // Asked only now: an invitation that came before would have found nobody who waits.
        if self.outbound.client.wait_for_room(hosts, number, job.source.marks())
            && let Some(must_ring) = state.invited(number, clock::steady())
        {
            self.outbound.ring(must_ring);
        }
        self.tell_waiting(&outcome).await;
    }

    /// Others need the courier, and there was no connection yet. The job hears it; where the
    /// destination is left alone for that, so does waiting mail whose sender must.
    async fn given_up_connecting(
        &mut self,
        job: Job,
        message: &Message,
        targets: &[Target],
        outcome: &Outcome,
    ) {
        // Without the records and notices of this try.
        let waited = self.times.begun.elapsed().as_secs();
        self.finish(job, message, untried(targets, outcome)).await;
        let (began, now) = (self.began(), clock::steady());
        let text = format!("{} was not ready for mail within {waited} s", self.destination);
        let not_ready = Outcome::own(Reply::new(451, (4, 4, 1), text));
        // Behind the end of the try, which names its own reason as the last one.
        self.to_tell =
            self.outbound.state.given_up_connecting(self.id, began, &not_ready.words(), now);
        self.tell_waiting(&not_ready).await;
    }

    /// Whether the destination takes mail over other couriers' connections and only refuses one
    /// more: then they carry the job.
    fn others_carry_on(&mut self, job: Job, outcome: &Outcome) -> bool {
        let others_carry_on = self.outbound.state.give_back(
            self.id,
            job,
            &outcome.words(),
            self.began(),
            clock::steady(),
        );
        if others_carry_on {
            self.in_hand = None;
        }
        others_carry_on
    }

    /// When the job in hand was taken, by the schedule's clock.
    fn began(&self) -> u32 {
        let seconds = u32::try_from(self.times.begun.elapsed().as_secs()).unwrap_or(u32::MAX);
        clock::steady().saturating_sub(seconds)
    }

    fn note_open(&mut self, open: bool) {
        if self.open != open {
            self.open = open;
            self.outbound.state.connected(self.id, open);
        }
    }

    /// Nothing could be tried: the job hears it, and, when the destination is down, so does waiting
    /// mail whose sender must.
    async fn unreachable(
        &mut self,
        job: Job,
        message: &Message,
        targets: &[Target],
        outcome: &Outcome,
        down: bool,
    ) {
        self.finish(job, message, untried(targets, outcome)).await;
        if !down {
            return;
        }
        let (to_tell, fresh) = self.outbound.state.down(self.id, &outcome.words(), clock::steady());
        self.to_tell = to_tell;
        // They would wait long, and others need the room.
        let waits = |message: &Arc<Message>| self.targets_here(message).next().is_some();
        let waiting: Vec<MessageId> =
            fresh.iter().filter(|message| waits(message)).map(|message| message.id).collect();
        self.outbound.state.evict(&waiting);
        self.tell_waiting(outcome).await;
    }

    /// Jobs that were taken only for this end as if they had been tried. When the relay stops and
    /// has no more time, those that are left have time until the next start.
    async fn tell_waiting(&mut self, outcome: &Outcome) {
        while !self.is_cut_off()
            && let Some(job) = self.to_tell.pop()
        {
            self.in_hand = Some(job);
            if let Some((message, targets)) = self.begin(job).await {
                self.finish(job, &message, untried(&targets, outcome)).await;
            }
        }
    }

    /// Records what became of a job, and gives it back to the schedule where it must be tried
    /// again.
    async fn finish(&mut self, job: Job, message: &Message, report: Report) {
        let again = self
            .outbound
            .settle((self.id, &self.destination), job, message, report, self.times)
            .await;
        let again = again.or(self.again.take());
        self.in_hand = None;
        let must_ring = self.outbound.state.end(message.id, self.id, again, clock::steady());
        self.outbound.ended.notify_waiters();
        self.outbound.ring(must_ring);
    }

    /// Whether to ask again: work came, as opposed to time up, a place that others need more, or
    /// the end of the appliance.
    async fn wait_for_work(&self, connection: &Connection) -> bool {
        // At the end, and while nothing can be recorded, there is no work, whatever the schedule
        // says.
        if *self.outbound.stopping.borrow() || self.outbound.is_storage_failing() {
            return false;
        }
        let state = &self.outbound.state;
        let waiting = match state.pause(self.id, clock::steady()) {
            Pause::Home => return false,
            Pause::Work => return true,
            Pause::Wait(waiting) => waiting,
        };
        // Somebody else may wait for a place.
        self.outbound.ring(state.must_ring(clock::steady()));
        let mut stopping = self.outbound.stopping.subscribe();
        let until = Instant::now() + LINGER;
        let rung = loop {
            // Behind the first look at the schedule: who has work has no time for others.
            if connection.gives_way() {
                break false;
            }
            tokio::select! {
                () = waiting.bell.notified() => break true,
                () = waiting.home.notified() => break false,
                _ = stopping.wait_for(|stopping| *stopping) => break false,
                () = tokio::time::sleep(LINGER_WANTED) => {}
            }
            if Instant::now() >= until || state.gives_way(self.id, &waiting) {
                break false;
            }
        };
        let stays = state.waited(self.id, &waiting, rung, clock::steady());
        if stays {
            connection.stays();
        }
        stays
    }
}

/// The report of a try that came to nothing.
fn untried(targets: &[Target], outcome: &Outcome) -> Report {
    Report {
        outcomes: targets.iter().map(|target| (*target, outcome.clone())).collect(),
        relay: String::new(),
        tls: false,
        security: String::new(),
        transcript: String::new(),
        reusable: false,
        elsewhere: false,
        refused_us: None,
        eight_bit_refused: Vec::new(),
    }
}

/// A message that stays in memory until its try begins, or does not.
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

impl<S: Spool> Drop for Courier<S> {
    fn drop(&mut self) {
        let (in_hand, to_tell) = (self.in_hand.take(), std::mem::take(&mut self.to_tell));
        self.watch.slow_no_more();
        self.watch.silent_no_more();
        let state = &self.outbound.state;
        let place = !self.watch.without_place();
        let must_ring =
            state.courier_ended(self.id, (self.open, place), in_hand, &to_tell, clock::steady());
        self.outbound.ended.notify_waiters();
        self.outbound.ring(must_ring);
    }
}
