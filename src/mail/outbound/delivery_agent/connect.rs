//! How a delivery agent gets its connection, and what happens to the job when it gets none.

use super::job::{DeliveryAgent, failure_report, quit_in_background};
use crate::ground::clock;
use crate::mail::deliver::{Connection, RouteAttempt};
use crate::mail::model::{Message, MessageId, Outcome, Reply, ReplyClass, Target};
use crate::mail::schedule::{AgentStage, DestinationReputation, Job};
use crate::mail::spool::Spool;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Why there is no connection.
pub(super) enum Unconnected {
    /// These hosts have all the connections that they may have, and no other host is available:
    /// nothing is known about the destination.
    HostsFull(Vec<IpAddr>),
    /// The agent was needed elsewhere, or the relay stops and its time is up. This does not mean
    /// that the destination cannot be reached: it is only slow.
    GivenUp(Outcome),
    /// The outcome, and whether the whole destination is to be suspended.
    Failed(Outcome, bool),
}

impl<S: Spool> DeliveryAgent<S> {
    /// As [`DeliveryAgent::connect`], measured.
    pub(super) async fn connected(&mut self) -> Result<(Connection, RouteAttempt), Unconnected> {
        let since = Instant::now();
        let mut attempt = None;
        let connected = self
            .watch
            .follow(self.reputation, AgentStage::Connecting, self.connect(&mut attempt))
            .await;
        self.times.connecting = since.elapsed();
        let outcome = match (connected, attempt) {
            (Some(Ok(connection)), Some(attempt)) => return Ok((connection, attempt)),
            // All that is not recorded waits until the next start.
            _ if self.is_out_of_time() => {
                return Err(Unconnected::GivenUp(self.gave_up_slow_host(&self.destination)));
            }
            (_, Some(attempt))
                if !attempt.full_hosts().is_empty() || attempt.is_upstream_full() =>
            {
                return Err(Unconnected::HostsFull(attempt.full_hosts().to_vec()));
            }
            (Some(Err(outcome)), _) => outcome,
            _ => return Err(Unconnected::GivenUp(self.gave_up_slow_host(&self.destination))),
        };
        let down = outcome.class() != ReplyClass::Permanent;
        Err(Unconnected::Failed(outcome, down))
    }

    /// Route and connection. The attempt is stored in `attempt`, so that it can be read even if the
    /// work is aborted.
    async fn connect(&self, attempt: &mut Option<RouteAttempt>) -> Result<Connection, Outcome> {
        let client = self
            .outbound
            .client
            .followed(self.watch.clone(), self.reputation == DestinationReputation::New);
        let route = Arc::new(
            self.outbound
                .router
                .route(&self.destination)
                .await
                .map_err(|error| Outcome::own(error.0))?,
        );
        let first = attempt.insert(RouteAttempt::new(&client, &route));
        let outcome = match first.next().await {
            Err(outcome) if first.full_hosts().is_empty() && !first.is_upstream_full() => outcome,
            connected => return connected,
        };
        // The address of a next hop may have changed since the lookup.
        match self.outbound.router.moved(&route).await {
            Some(route) => {
                attempt.insert(RouteAttempt::new(&client, &Arc::new(route))).next().await
            }
            None => Err(outcome),
        }
    }

    /// There is no connection for the job, which is dealt with. Whether the agent goes on with
    /// another one.
    pub(super) async fn goes_on_without_connection(
        &mut self,
        job: Job,
        message: &Message,
        targets: &[Target],
        why: Unconnected,
    ) -> bool {
        match why {
            Unconnected::HostsFull(hosts) => self.wait_for_host(job, &hosts).await,
            Unconnected::GivenUp(_) if self.is_out_of_time() => {}
            Unconnected::GivenUp(outcome) => {
                if !self.others_deliver(job, &outcome) {
                    self.given_up_connecting(job, message, targets, &outcome).await;
                }
            }
            Unconnected::Failed(outcome, down) => {
                if down && self.others_deliver(job, &outcome) {
                    return false;
                }
                self.unreachable(job, message, targets, &outcome, down).await;
                return !down;
            }
        }
        false
    }

    /// The destination's hosts have all the connections that they may have. Other agents'
    /// connections take the job, or it waits for one. Senders of waiting mail are notified where
    /// that is due.
    pub(super) async fn wait_for_host(&mut self, job: Job, hosts: &[IpAddr]) {
        self.outbound.counters.couriers_throttled_total.with_label_values(&["host"]).inc();
        let text = format!("the connection limit for {} is reached", self.destination);
        let outcome = Outcome::own(Reply::new(451, (4, 4, 5), text));
        if self.others_deliver(job, &outcome) {
            return;
        }
        self.in_hand = None;
        let (state, number) = (&self.outbound.state, self.id.number());
        self.to_warn = state.wait_for_host(self.id, job, &outcome, clock::steady());
        // Asked only now: an invitation that came before would have found no waiting destination.
        if self.outbound.client.wait_for_room(hosts, number, job.source.marks())
            && let Some(must_wake) = state.host_available(number, clock::steady())
        {
            self.outbound.wake_dispatcher(must_wake);
        }
        self.fail_waiting_jobs(&outcome).await;
    }

    /// The agent was needed elsewhere, and there was no connection yet. The job gets this as its
    /// outcome. If the destination is suspended for it, so does waiting mail whose sender must be
    /// notified.
    pub(super) async fn given_up_connecting(
        &mut self,
        job: Job,
        message: &Message,
        targets: &[Target],
        outcome: &Outcome,
    ) {
        // Without the time for the records and notifications of this attempt.
        let waited = self.times.begun.elapsed().as_secs();
        self.finish(job, message, failure_report(targets, outcome)).await;
        let (began, now) = (self.began(), clock::steady());
        let text = format!("{} was not ready for mail within {waited} s", self.destination);
        let not_ready = Outcome::own(Reply::new(451, (4, 4, 1), text));
        // After the end of the attempt, which stores its own reason as the last one.
        self.to_warn = self.outbound.state.given_up_connecting(self.id, began, &not_ready, now);
        self.fail_waiting_jobs(&not_ready).await;
    }

    /// Whether the destination accepts mail over other agents' connections and only refuses another
    /// connection: then those agents take the job.
    pub(super) fn others_deliver(&mut self, job: Job, outcome: &Outcome) -> bool {
        let others_deliver = self.outbound.state.return_untried(
            self.id,
            job,
            outcome,
            self.began(),
            clock::steady(),
        );
        if others_deliver {
            self.in_hand = None;
        }
        others_deliver
    }

    /// Nothing could be attempted. The job gets this as its outcome, and when the destination is
    /// down, so does waiting mail whose sender must be notified.
    pub(super) async fn unreachable(
        &mut self,
        job: Job,
        message: &Message,
        targets: &[Target],
        outcome: &Outcome,
        down: bool,
    ) {
        self.finish(job, message, failure_report(targets, outcome)).await;
        if !down {
            return;
        }
        let (to_warn, fresh) = self.outbound.state.suspend(self.id, outcome, clock::steady());
        if let Some((until, _)) = self.outbound.router.paused(&self.destination)
            && self.outbound.router.rate_wait(&self.destination).is_none()
        {
            self.outbound.state.suspend_until(self.id, outcome, until, clock::steady());
        }
        self.to_warn = to_warn;
        // They would wait for long, and others need the memory.
        let waits = |message: &Arc<Message>| self.targets_here(message).next().is_some();
        let waiting: Vec<MessageId> =
            fresh.iter().filter(|message| waits(message)).map(|message| message.id).collect();
        self.outbound.state.evict(&waiting);
        self.fail_waiting_jobs(outcome).await;
    }

    /// Whether the agent ends now that an attempt has ended.
    pub(super) async fn ends_after_attempt(&mut self) -> bool {
        self.waits_with_upstream().await || self.given_up || self.watch.ends_after_attempt()
    }

    /// Whether the next mail may go, as far as the rates of upstreams say: over the connection, or
    /// over another one. Else the destination waits, and the connection stays open for it. One to
    /// an upstream whose rate is used up is closed where another upstream takes the mail.
    pub(super) fn has_permit(&mut self, connection: &mut Option<(Connection, Instant)>) -> bool {
        let taken = connection.as_mut().map(|(open, _)| open.take_permit());
        if let Some(Ok(())) = taken {
            return true;
        }
        if let Some(wait) = self.outbound.router.rate_wait(&self.destination) {
            self.outbound.state.wait_for_rate(self.id, &wait);
            return false;
        }
        if connection.is_some() {
            self.count_open(false);
            quit_in_background(connection.take());
        }
        true
    }

    /// The present job, which was `begun` or not, was not attempted: it waits for its turn again.
    pub(super) fn put_back(&mut self, job: Job, begun: bool) {
        self.in_hand = None;
        self.outbound.state.put_back(self.id, job, begun);
    }

    /// Whether the destination's upstream refuses us or takes no more for now: then all of its mail
    /// waits, and senders are notified where that is due. While only its rate is used up nothing is
    /// wrong, and the connection may stay open until there is a permit.
    async fn waits_with_upstream(&mut self) -> bool {
        if let Some(wait) = self.outbound.router.rate_wait(&self.destination) {
            self.outbound.state.wait_for_rate(self.id, &wait);
            return false;
        }
        let Some((until, said)) = self.outbound.router.paused(&self.destination) else {
            return false;
        };
        let outcome = Outcome::own(Reply::new(451, (4, 7, 0), said));
        let now = clock::steady();
        self.to_warn = self.outbound.state.suspend_until(self.id, &outcome, until, now);
        self.fail_waiting_jobs(&outcome).await;
        true
    }

    /// Ends jobs that were taken only for this, as if they had been attempted. When the relay stops
    /// and its time is up, those that are left wait until the next start.
    async fn fail_waiting_jobs(&mut self, outcome: &Outcome) {
        while !self.is_out_of_time()
            && let Some(job) = self.to_warn.pop()
        {
            self.in_hand = Some(job);
            if let Some((message, targets)) = self.begin(job).await {
                self.finish(job, &message, failure_report(&targets, outcome)).await;
            }
        }
    }
}
