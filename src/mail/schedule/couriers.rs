//! Which destination gets the next delivery agent, and which agents stop to free a slot for it.

use super::Schedule;
use super::job::DestinationId;
use super::places::AgentSlots;
use super::shares::{DestinationReputation, Rank};
use super::slow::{AgentStage, RelievedAgent, SlowAgent, SlowOutcome};
use super::source::{FlowKey, TAGS};
use crate::ground::net::client_prefix;
use crate::mail::model::Destination;
use std::hash::BuildHasher;
use std::net::IpAddr;

impl Schedule {
    /// The next destination that should get one more delivery agent; that agent counts from now on.
    /// While there is no free slot, idle agents are asked to stop, and after them slow ones.
    pub fn start(&mut self, now: u32) -> Option<DestinationId> {
        self.tick(now);
        loop {
            while let Some((rank, source, id)) = self.places.next() {
                if self.sets_out(id, (rank, source), now) {
                    return Some(id);
                }
            }
            if !self.make_room(now) {
                return None;
            }
        }
    }

    /// Whether a destination that a flow was queued for gets an agent now.
    fn sets_out(&mut self, id: DestinationId, (rank, source): (Rank, FlowKey), now: u32) -> bool {
        let is_as_it_was = self.rank(id) == rank;
        let destination = &mut self.destinations[id.0 as usize];
        destination.ready.left_line(source);
        if !destination.wants_courier(now) {
            return false;
        }
        let sets_out = is_as_it_was && destination.ready.len_of(source) > 0;
        if sets_out {
            destination.couriers += 1;
            destination.sources.push(source);
            destination.coming.push(source);
            self.places.enter(rank.standing(), source);
        }
        self.offer(id);
        sets_out
    }

    /// In which queue a destination waits.
    pub(super) fn rank(&self, id: DestinationId) -> Rank {
        let destination = &self.destinations[id.0 as usize];
        destination.rank(self.named.contains(&destination.destination), self.looked)
    }

    /// Whether [`Schedule::start`] may find a destination, or free a slot for one.
    pub fn has_turn(&self, now: u32) -> bool {
        let places = &self.places;
        // Agents of one reputation class may have to stop for those of another.
        let may_start = |standing| {
            (places.lined_up(standing) > 0 && places.has_room(standing))
                || places.surplus(standing) > 0
        };
        let may_relieve_own = || {
            places
                .over_share
                .iter()
                .any(|(client, too_many)| places.surplus_of(*client, *too_many) > 0)
        };
        let may_relieve = places.are_short() && self.idlers.can_relieve(places.wanted(), now);
        !places.turn.is_empty()
            && (may_relieve
                || DestinationReputation::ALL.into_iter().any(may_start)
                || may_relieve_own())
    }

    /// The agents' slots.
    pub fn places(&self) -> &AgentSlots {
        &self.places
    }

    /// The flow key of a client and a sender. Mail that was generated locally has no client. An
    /// IPv6 client counts by its /64 prefix.
    pub fn source(&self, client: Option<IpAddr>, sender: &str) -> FlowKey {
        let network = client.map(client_prefix);
        let mark = |hash: u64| u8::try_from(hash % TAGS as u64).unwrap_or_default();
        FlowKey {
            client: mark(self.places.marks.hash_one(network)),
            sender: mark(self.places.marks.hash_one(sender)),
        }
    }

    /// A destination that an operator configured counts as known from the start.
    pub fn vouch_for(&mut self, destination: &Destination) {
        self.places.remember(destination.clone());
        self.named.insert(destination.clone());
        if let Some(id) = self.ids.get(destination).copied() {
            self.stands(id, DestinationReputation::Known);
        }
    }

    /// The destination's reputation: how its recent attempts went.
    pub fn standing(&self, id: DestinationId) -> DestinationReputation {
        self.destinations[id.0 as usize].standing
    }

    /// Destinations with mail that could not be reached at the last attempt.
    pub fn unreachable(&self) -> usize {
        self.destinations
            .iter()
            .filter(|one| one.down_since.is_some() && one.messages() > 0)
            .count()
    }

    /// The destination replied, whatever the reply was.
    pub fn answered(&mut self, id: DestinationId, now: u32) {
        let destination = &mut self.destinations[id.0 as usize];
        destination.answered_at = now;
        destination.down_since = None;
        // It waited for a host with a free connection. Now there is a connection, and its mail uses
        // that.
        let waited = std::mem::take(&mut destination.host_waits) > 0;
        if waited {
            destination.suspended_until = 0;
        }
        self.stands(id, DestinationReputation::Known);
        if waited {
            self.offer(id);
        }
    }

    /// An attempt that `began` then took long and failed, without a proof that the destination is
    /// down.
    pub fn dawdled(&mut self, id: DestinationId, began: u32, now: u32) {
        let destination = &mut self.destinations[id.0 as usize];
        if destination.has_answered_since(began, now) {
            return;
        }
        destination.window = (destination.window / 2).max(1);
        self.stands(id, DestinationReputation::Suspect);
    }

    /// A delivery agent has become slow: it may be asked to stop when others need its slot.
    pub fn slow(&mut self, id: DestinationId, stage: AgentStage) -> SlowAgent {
        let destination = &mut self.destinations[id.0 as usize];
        let payer = destination.payer();
        destination.slow += 1;
        self.places.slow.add(id, destination.standing, payer, stage)
    }

    /// A slow agent has reached another stage. `false`: it was asked to stop, or works without a
    /// slot and must not begin anything new.
    pub fn advance(&mut self, ticket: u64, stage: AgentStage) -> bool {
        self.places.slow.advance(ticket, stage)
    }

    /// A slow agent's attempt has ended. An agent without a slot must stop, unless a slot is free
    /// for it.
    pub fn slow_no_more(&mut self, id: DestinationId, ticket: u64) -> SlowOutcome {
        let fate = self.places.slow.remove(ticket);
        let destination = &mut self.destinations[id.0 as usize];
        destination.slow = destination.slow.saturating_sub(1);
        if fate != SlowOutcome::Overtime {
            return fate;
        }
        if !self.places.has_room(destination.standing) {
            return fate;
        }
        destination.overtime -= 1;
        let source = destination.ready.source().unwrap_or_default();
        destination.sources.push(source);
        self.places.enter(destination.standing, source);
        SlowOutcome::Stayed
    }

    /// A delivery agent has ended; one `without_place` was beyond the limit (overtime).
    pub fn courier_ended(&mut self, id: DestinationId, without_place: bool) {
        self.idlers.has_left();
        let destination = &mut self.destinations[id.0 as usize];
        destination.couriers = destination.couriers.saturating_sub(1);
        if without_place {
            destination.overtime = destination.overtime.saturating_sub(1);
        } else if let Some(source) = destination.sources.pop() {
            self.places.leave(destination.standing, source);
        }
        self.offer(id);
        self.forget_if_idle(id);
    }

    /// Delivery agents that one destination may have.
    pub(super) fn limit(&self) -> u32 {
        self.config.concurrency.min(self.places.shares.destination)
    }

    /// The reputation of a destination changes, and its agents count for the new class.
    pub(super) fn stands(&mut self, id: DestinationId, standing: DestinationReputation) {
        let destination = &mut self.destinations[id.0 as usize];
        let placed = destination.placed();
        let taken = &mut self.places.taken;
        taken[destination.standing as usize] =
            taken[destination.standing as usize].saturating_sub(placed);
        taken[standing as usize] += placed;
        destination.standing = standing;
    }

    /// Asks agents to stop to free a slot. `true`: there is a free slot already.
    fn make_room(&mut self, now: u32) -> bool {
        let mut freed = false;
        while self.places.are_short()
            && self.idlers.can_relieve(self.places.wanted(), now)
            && let Some(id) = self.idlers.relieve(now)
        {
            let destination = &mut self.destinations[id.0 as usize];
            destination.idle = destination.idle.saturating_sub(1);
        }
        for standing in DestinationReputation::ALL {
            for _ in 0..self.places.surplus(standing) {
                let relieved = self.places.slow.relieve(standing, &self.places.shares);
                let Some(relieved) = relieved else { break };
                freed |= self.has_made_room(&relieved);
            }
        }
        for place in 0..self.places.over_share.len() {
            let (client, too_many) = self.places.over_share[place];
            for _ in 0..self.places.surplus_of(client, too_many) {
                let relieved = self.places.slow.relieve_of(client, &self.places.shares);
                let Some(relieved) = relieved else { break };
                freed |= self.has_made_room(&relieved);
            }
        }
        freed
    }

    /// Records that an agent frees its slot. `true`: the slot is free already.
    fn has_made_room(&mut self, relieved: &RelievedAgent) -> bool {
        match *relieved {
            RelievedAgent::Goes => {
                self.places.throttled.slow += 1;
                false
            }
            RelievedAgent::Overtime(id, client) => {
                let destination = &mut self.destinations[id.0 as usize];
                destination.overtime += 1;
                let source = destination.give_up_place(client);
                self.places.leave(destination.standing, source);
                true
            }
        }
    }
}
