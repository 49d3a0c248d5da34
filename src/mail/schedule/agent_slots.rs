//! The delivery agents' slots, and which destination gets the next one.

use super::destination_queue::DestinationQueue;
use super::job::DestinationId;
use super::job_source::{FlowKey, TAGS};
use super::shares::{DestinationReputation, RANKS, Rank, SLOW_PERCENT, STANDINGS, Shares};
use super::slow_agents::SlowAgents;
use crate::mail::model::Destination;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;

/// Names of destinations that are remembered as known after the rest of their state was forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// How often each limit delayed mail since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThrottleCounts {
    /// A reputation class had all the agents that it can have.
    pub reputation: u64,
    /// A client had.
    pub client: u64,
    /// A sender had.
    pub sender: u64,
    /// Slow agents were asked to stop.
    pub slow: u64,
}

/// The agents' slots.
pub struct AgentSlots {
    pub(super) shares: Shares,
    pub(super) waiting: DestinationQueue,
    /// Slots in use, by the reputation of the destination.
    pub(super) taken: [u32; STANDINGS],
    pub(super) clients: Box<[u32; TAGS]>,
    pub(super) senders: Box<[u32; TAGS]>,
    pub(super) slow: SlowAgents,
    pub(super) throttled: ThrottleCounts,
    /// Clients that were throttled the last time, by their own share or by a sender's; and by how
    /// many agents the client is above the limit for one more, counted for the sender that needs
    /// the fewest to stop.
    pub(super) over_share: Vec<(u8, u32)>,
    /// Which rank is asked first next time.
    first: usize,
    remembered: HashSet<Destination>,
    pub(super) marks: RandomState,
}

impl AgentSlots {
    pub(super) fn new(all: u32, overtime: u32) -> Self {
        Self {
            shares: Shares::of(all, overtime),
            waiting: DestinationQueue::default(),
            taken: [0; STANDINGS],
            clients: Box::new([0; TAGS]),
            senders: Box::new([0; TAGS]),
            slow: SlowAgents::default(),
            throttled: ThrottleCounts::default(),
            over_share: Vec::new(),
            first: 0,
            remembered: HashSet::new(),
            marks: RandomState::new(),
        }
    }

    /// The limits.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Agents for destinations of this reputation.
    pub fn taken(&self, reputation: DestinationReputation) -> u32 {
        self.taken[reputation as usize]
    }

    /// Agents beyond all shares, which wait for the reply to the end of data.
    pub fn overtime(&self) -> usize {
        self.slow.overtime()
    }

    /// Destinations that wait for an agent.
    pub fn waiting(&self, reputation: DestinationReputation) -> usize {
        self.queued(reputation)
    }

    /// How often each limit delayed mail.
    pub fn throttled(&self) -> ThrottleCounts {
        self.throttled
    }

    /// Whether all slots are in use.
    fn are_taken(&self) -> bool {
        self.all_taken() >= self.shares.all
    }

    /// Whether a freed slot helps a waiting destination: all are in use, or a share grows with the
    /// free ones.
    pub(super) fn are_wanted(&self) -> bool {
        !self.over_share.is_empty() || self.are_taken()
    }

    /// How many destinations want an agent.
    pub(super) fn wanted(&self) -> usize {
        Rank::ALL.into_iter().map(|rank| self.waiting.len(rank)).sum()
    }

    /// The same, of this reputation.
    pub(super) fn queued(&self, reputation: DestinationReputation) -> usize {
        Rank::ALL
            .into_iter()
            .filter(|rank| rank.reputation() == reputation)
            .map(|rank| self.waiting.len(rank))
            .sum()
    }

    pub(super) fn enqueue(&mut self, rank: Rank, source: FlowKey, id: DestinationId) {
        self.waiting.push(rank, source, id);
    }

    pub(super) fn remember(&mut self, destination: Destination) {
        if self.remembered.len() >= REMEMBERED_MAX
            && let Some(other) = self.remembered.iter().next().cloned()
        {
            self.remembered.remove(&other);
        }
        self.remembered.insert(destination);
    }

    pub(super) fn is_remembered(&self, destination: &Destination) -> bool {
        self.remembered.contains(destination)
    }

    pub(super) fn enter(&mut self, reputation: DestinationReputation, source: FlowKey) {
        self.taken[reputation as usize] += 1;
        self.clients[usize::from(source.client)] += 1;
        self.senders[usize::from(source.sender)] += 1;
    }

    pub(super) fn leave(&mut self, reputation: DestinationReputation, source: FlowKey) {
        let one_less = |count: &mut u32| *count = count.saturating_sub(1);
        one_less(&mut self.taken[reputation as usize]);
        one_less(&mut self.clients[usize::from(source.client)]);
        one_less(&mut self.senders[usize::from(source.sender)]);
    }

    fn all_taken(&self) -> u32 {
        self.taken.iter().sum()
    }

    /// Whether a destination of this reputation may have another agent.
    pub(super) fn has_room(&self, reputation: DestinationReputation) -> bool {
        self.free(reputation) > 0
    }

    /// Further agents that destinations of this reputation may have.
    fn free(&self, reputation: DestinationReputation) -> u32 {
        let unproven =
            self.taken(DestinationReputation::New) + self.taken(DestinationReputation::Suspect);
        let reserved = if reputation == DestinationReputation::Known {
            u32::MAX
        } else {
            self.shares.unproven.saturating_sub(unproven)
        };
        let own =
            self.shares.reputation[reputation as usize].saturating_sub(self.taken(reputation));
        self.shares.all.saturating_sub(self.all_taken()).min(own).min(reserved)
    }

    /// The next queued destination whose shares allow it another agent, with the client and sender
    /// of its job.
    pub(super) fn next(&mut self) -> Option<(Rank, FlowKey, DestinationId)> {
        self.over_share.clear();
        for step in 0..RANKS {
            let rank = Rank::ALL[(self.first + step) % RANKS];
            if self.waiting.len(rank) == 0 {
                continue;
            }
            if !self.has_room(rank.reputation()) {
                self.throttled.reputation += 1;
                continue;
            }
            let (mut by_client, mut by_sender) = (false, false);
            let (free, (client_times, sender_times)) =
                (self.free(rank.reputation()), rank.times_free());
            let (clients, senders, over_share) =
                (&self.clients, &self.senders, &mut self.over_share);
            let beyond =
                |count: u32, times: u32| (count + 1).saturating_sub(times.saturating_mul(free));
            let next = self.waiting.pop(rank, |source| {
                let client = beyond(clients[usize::from(source.client)], client_times);
                let sender = beyond(senders[usize::from(source.sender)], sender_times);
                by_client |= client > 0;
                by_sender |= sender > 0;
                let too_many = client.max(sender);
                // One after the other: the queue asks all senders of a client before the next
                // client.
                match over_share.last_mut() {
                    _ if too_many == 0 => return true,
                    Some((last, least)) if *last == source.client => *least = too_many.min(*least),
                    _ => over_share.push((source.client, too_many)),
                }
                false
            });
            self.throttled.client += u64::from(by_client);
            self.throttled.sender += u64::from(by_sender);
            if let Some((source, id)) = next {
                self.first = (rank as usize + 1) % RANKS;
                return Some((rank, source, id));
            }
        }
        None
    }

    /// How many slow agents of a client should stop to let more of its mail be sent, when it is
    /// above its limit by `too_many`.
    pub(super) fn slow_to_stop_of(&self, client: u8, too_many: u32) -> u32 {
        let leaving = self.slow.leaving_of(client);
        let waiting = self.waiting.waiting(client);
        if waiting == 0 || !self.slow.can_relieve(client, &self.shares) {
            return 0;
        }
        let wanted = (waiting - 1 + too_many).saturating_sub(leaving);
        let agents = self.clients[usize::from(client)].saturating_sub(leaving);
        let left_alone = (agents * SLOW_PERCENT).div_ceil(100);
        wanted.min(self.slow.len_of(client).saturating_sub(left_alone))
    }

    /// How many slow agents of this reputation should stop so that waiting destinations are served.
    pub(super) fn slow_to_stop(&self, reputation: DestinationReputation) -> usize {
        let leaving = self.slow.leaving(reputation);
        let own = self.queued(reputation).saturating_sub(leaving);
        let beyond =
            self.slow.len(reputation).saturating_sub(self.shares.slow[reputation as usize]);
        // Waiting known destinations are more urgent than slow agents of new ones.
        let urgent = match reputation {
            DestinationReputation::Known => 0,
            _ if self.has_room(DestinationReputation::Known) => 0,
            // They have all that they may have and could not use a freed slot.
            _ if self.taken(DestinationReputation::Known)
                >= self.shares.reputation[DestinationReputation::Known as usize] =>
            {
                0
            }
            _ => self
                .queued(DestinationReputation::Known)
                .saturating_sub(leaving)
                .min(self.slow.len(reputation)),
        };
        own.min(beyond).max(urgent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slots needed are those of the sender that needs the fewest, whichever was asked first.
    #[test]
    fn of_a_client_that_waits_no_more_should_go_than_its_next_mail_needs() {
        let (busy, other) = (FlowKey { client: 1, sender: 1 }, FlowKey { client: 1, sender: 2 });
        for [first, second] in [[busy, other], [other, busy]] {
            let mut places = AgentSlots::new(100, 0);
            (0..70).for_each(|_| places.enter(DestinationReputation::New, busy));
            (0..8).for_each(|_| places.enter(DestinationReputation::New, other));
            places.enqueue(Rank::New, first, DestinationId(0));
            places.enqueue(Rank::New, second, DestinationId(1));
            assert!(places.next().is_none());
            assert_eq!(places.over_share, [(1, 7)]);
        }
    }
}
