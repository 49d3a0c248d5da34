//! Which destination gets the next delivery agent, and which agents stop to free a slot for it.

use super::Schedule;
use super::agent_slots::AgentSlots;
use super::job::DestinationId;
use super::job_source::{FlowKey, TAGS};
use super::shares::{DestinationReputation, Rank};
use super::slow_agents::{AgentStage, RelievedAgent, SlowAgent, SlowOutcome};
use crate::ground::clock::Moment;
use crate::ground::net::client_prefix;
use crate::mail::model::Destination;
use std::hash::BuildHasher;
use std::net::IpAddr;

impl Schedule {
    /// The next destination that should get one more delivery agent; that agent counts from now on.
    /// While there is no free slot, idle agents are asked to stop, and after them slow ones.
    pub fn start(&mut self, now: impl Into<Moment>) -> Option<DestinationId> {
        let moment = now.into();
        let now = moment.second();
        self.tick(moment);
        loop {
            while let Some((rank, source, id)) = self.slots.next() {
                if self.try_start(id, (rank, source), now) {
                    return Some(id);
                }
            }
            if !self.relieve_slow(now) {
                return None;
            }
        }
    }

    /// Whether a destination that a flow was queued for gets an agent now.
    fn try_start(&mut self, id: DestinationId, (rank, source): (Rank, FlowKey), now: u32) -> bool {
        let is_as_it_was = self.rank(id) == rank;
        let destination = &mut self.destinations[id.0 as usize];
        destination.ready.note_dequeued(source);
        if !destination.wants_agent(now) {
            return false;
        }
        let try_start = is_as_it_was && destination.ready.len_of(source) > 0;
        if try_start {
            destination.agents += 1;
            destination.sources.push(source);
            destination.starting_sources.push(source);
            self.slots.enter(rank.reputation(), source);
        }
        self.offer(id);
        try_start
    }

    /// In which queue a destination waits.
    pub(super) fn rank(&self, id: DestinationId) -> Rank {
        let destination = &self.destinations[id.0 as usize];
        let is_configured = self.is_configured(&destination.destination);
        destination.rank(is_configured, self.last_check)
    }

    /// Whether [`Schedule::start`] may find a destination, or free a slot for one.
    pub fn can_start(&self, now: u32) -> bool {
        let places = &self.slots;
        // Agents of one reputation class may have to stop for those of another.
        let may_start = |reputation| {
            (places.queued(reputation) > 0 && places.has_room(reputation))
                || places.slow_to_stop(reputation) > 0
        };
        let may_relieve_own = || {
            places
                .over_share
                .iter()
                .any(|(client, too_many)| places.slow_to_stop_of(*client, *too_many) > 0)
        };
        let may_relieve = places.are_wanted() && self.idle_agents.can_relieve(places.wanted(), now);
        !places.waiting.is_empty()
            && (may_relieve
                || DestinationReputation::ALL.into_iter().any(may_start)
                || may_relieve_own())
    }

    /// The agents' slots.
    pub fn slots(&self) -> &AgentSlots {
        &self.slots
    }

    /// The flow key of a client and a sender. Mail that was generated locally has no client. An
    /// IPv6 client counts by its /64 prefix.
    pub fn source(&self, client: Option<IpAddr>, sender: &str) -> FlowKey {
        let network = client.map(client_prefix);
        let mark = |hash: u64| u8::try_from(hash % TAGS as u64).unwrap_or_default();
        FlowKey {
            client: mark(self.slots.marks.hash_one(network)),
            sender: mark(self.slots.marks.hash_one(sender)),
        }
    }

    /// Whether an operator configured it. Which groups of upstreams mail goes to is known only
    /// when there is mail for them.
    pub(super) fn is_configured(&self, destination: &Destination) -> bool {
        matches!(destination, Destination::Upstreams(_)) || self.configured.contains(destination)
    }

    /// A destination that an operator configured counts as known from the start.
    pub fn mark_configured(&mut self, destination: &Destination) {
        self.slots.remember(destination.clone());
        self.configured.insert(destination.clone());
        if let Some(id) = self.ids.get(destination).copied() {
            self.set_reputation(id, DestinationReputation::Known);
        }
    }

    /// The destination never has more agents than this, whatever the general limit.
    pub fn limit_agents(&mut self, destination: &Destination, most: u32) {
        self.limits.insert(destination.clone(), most.max(1));
    }

    /// The destination's reputation: how its recent attempts went.
    pub fn reputation(&self, id: DestinationId) -> DestinationReputation {
        self.destinations[id.0 as usize].reputation
    }

    /// Destinations with mail that could not be reached at the last attempt.
    pub fn unreachable(&self) -> usize {
        self.destinations
            .iter()
            .filter(|one| one.unreachable_since.is_some() && one.messages() > 0)
            .count()
    }

    /// The destination replied, whatever the reply was.
    pub fn note_answer(&mut self, id: DestinationId, now: u32) {
        let destination = &mut self.destinations[id.0 as usize];
        destination.answered_at = now;
        destination.unreachable_since = None;
        // It waited for a host with a free connection. Now there is a connection, and its mail uses
        // that.
        let waited = std::mem::take(&mut destination.host_waits) > 0;
        if waited {
            destination.suspended_until = 0;
        }
        self.set_reputation(id, DestinationReputation::Known);
        if waited {
            self.offer(id);
        }
    }

    /// An attempt that `began` then took long and failed, without a proof that the destination is
    /// down.
    pub fn note_slow_failure(&mut self, id: DestinationId, began: u32, now: u32) {
        let destination = &mut self.destinations[id.0 as usize];
        if destination.has_answered_since(began, now) {
            return;
        }
        destination.window = (destination.window / 2).max(1);
        self.set_reputation(id, DestinationReputation::Suspect);
    }

    /// A delivery agent has become slow: it may be asked to stop when others need its slot.
    pub fn note_slow(&mut self, id: DestinationId, stage: AgentStage) -> SlowAgent {
        let destination = &mut self.destinations[id.0 as usize];
        let charged_client = destination.charged_client();
        destination.slow += 1;
        self.slots.slow.add(id, destination.reputation, charged_client, stage)
    }

    /// A slow agent has reached another stage. `false`: it was asked to stop, or works without a
    /// slot and must not begin anything new.
    pub fn advance(&mut self, ticket: u64, stage: AgentStage) -> bool {
        self.slots.slow.advance(ticket, stage)
    }

    /// A slow agent's attempt has ended. An agent without a slot must stop, unless a slot is free
    /// for it.
    pub fn no_longer_slow(&mut self, id: DestinationId, ticket: u64) -> SlowOutcome {
        let fate = self.slots.slow.remove(ticket);
        let destination = &mut self.destinations[id.0 as usize];
        destination.slow = destination.slow.saturating_sub(1);
        if fate != SlowOutcome::Overtime {
            return fate;
        }
        if !self.slots.has_room(destination.reputation) {
            return fate;
        }
        destination.overtime -= 1;
        let source = destination.ready.source().unwrap_or_default();
        destination.sources.push(source);
        self.slots.enter(destination.reputation, source);
        SlowOutcome::Stayed
    }

    /// A delivery agent has ended; one `without_place` was beyond the limit (overtime).
    pub fn agent_ended(&mut self, id: DestinationId, without_place: bool) {
        self.idle_agents.has_left();
        let destination = &mut self.destinations[id.0 as usize];
        destination.agents = destination.agents.saturating_sub(1);
        if without_place {
            destination.overtime = destination.overtime.saturating_sub(1);
        } else if let Some(source) = destination.sources.pop() {
            self.slots.leave(destination.reputation, source);
        }
        self.offer(id);
        self.forget_if_idle(id);
    }

    /// Delivery agents that this destination may have.
    pub(super) fn limit(&self, destination: &Destination) -> u32 {
        let limit = self.config.concurrency.min(self.slots.shares.destination);
        // Most relays have no destination with a limit of its own.
        match self.limits.is_empty() {
            true => limit,
            false => self.limits.get(destination).map_or(limit, |most| limit.min(*most)),
        }
    }

    /// The reputation of a destination changes, and its agents count for the new class.
    pub(super) fn set_reputation(&mut self, id: DestinationId, reputation: DestinationReputation) {
        let destination = &mut self.destinations[id.0 as usize];
        let placed = destination.slots_held();
        let taken = &mut self.slots.taken;
        taken[destination.reputation as usize] =
            taken[destination.reputation as usize].saturating_sub(placed);
        taken[reputation as usize] += placed;
        destination.reputation = reputation;
    }

    /// Asks agents to stop to free a slot. `true`: there is a free slot already.
    fn relieve_slow(&mut self, now: u32) -> bool {
        let mut freed = false;
        while self.slots.are_wanted()
            && self.idle_agents.can_relieve(self.slots.wanted(), now)
            && let Some(id) = self.idle_agents.relieve(now)
        {
            let destination = &mut self.destinations[id.0 as usize];
            destination.idle = destination.idle.saturating_sub(1);
        }
        for reputation in DestinationReputation::ALL {
            for _ in 0..self.slots.slow_to_stop(reputation) {
                let relieved = self.slots.slow.relieve(reputation, &self.slots.shares);
                let Some(relieved) = relieved else { break };
                freed |= self.note_relieved(&relieved);
            }
        }
        for place in 0..self.slots.over_share.len() {
            let (client, too_many) = self.slots.over_share[place];
            for _ in 0..self.slots.slow_to_stop_of(client, too_many) {
                let relieved = self.slots.slow.relieve_of(client, &self.slots.shares);
                let Some(relieved) = relieved else { break };
                freed |= self.note_relieved(&relieved);
            }
        }
        freed
    }

    /// Records that an agent frees its slot. `true`: the slot is free already.
    fn note_relieved(&mut self, relieved: &RelievedAgent) -> bool {
        match *relieved {
            RelievedAgent::Goes => {
                self.slots.throttled.slow += 1;
                false
            }
            RelievedAgent::Overtime(id, client) => {
                let destination = &mut self.destinations[id.0 as usize];
                destination.overtime += 1;
                let source = destination.release_slot(client);
                self.slots.leave(destination.reputation, source);
                true
            }
        }
    }
}
