//! How a courier gets its connection, and what becomes of the job where there is none.

use super::job::{Courier, untried};
use crate::ground::clock;
use crate::mail::deliver::{Attempt, Connection};
use crate::mail::model::{Class, Message, MessageId, Outcome, Reply, Target};
use crate::mail::schedule::{Job, Stage, Standing};
use crate::mail::spool::Spool;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Why there is no connection.
pub(super) enum Unconnected {
    /// These hosts have all the connections that they may have, and no other one is ready: nothing
    /// is known of the destination.
    HostsFull(Vec<IpAddr>),
    /// Others needed the courier, or the relay stops and has no more time. Nobody says that the
    /// destination cannot be reached: it only takes its time.
    GivenUp(Outcome),
    /// The outcome, and whether the destination as a whole is to be left alone for a while.
    Failed(Outcome, bool),
}

impl<S: Spool> Courier<S> {
    /// As [`Courier::connect`], with a look at the clock.
    pub(super) async fn connected(&mut self) -> Result<(Connection, Attempt), Unconnected> {
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

    /// The destination's hosts have all the connections that they may have. Those of other couriers
    /// carry the job, or it waits for one; waiting mail whose sender must hear of it does.
    pub(super) async fn wait_for_host(&mut self, job: Job, hosts: &[IpAddr]) {
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
    pub(super) async fn given_up_connecting(
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
    pub(super) fn others_carry_on(&mut self, job: Job, outcome: &Outcome) -> bool {
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

    /// Nothing could be tried: the job hears it, and, when the destination is down, so does waiting
    /// mail whose sender must.
    pub(super) async fn unreachable(
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
}
