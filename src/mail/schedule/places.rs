//! Who holds the couriers, and who gets the next one.

use super::shares::{RANKS, Rank, SLOW_PERCENT, STANDINGS, Shares, Standing};
use super::slow::{Fate, Relieved, Slow, Slowpokes, Stage};
use super::turn::{Source, TAGS, Turn};
use super::{DestinationId, Schedule};
use crate::ground::net::client_prefix;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

/// Names of destinations that are remembered as known after all else about them was forgotten.
const REMEMBERED_MAX: usize = 10_000;

/// How often each share made somebody wait since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttled {
    /// A kind of destination had all the couriers that it can have.
    pub standing: u64,
    /// A client had.
    pub client: u64,
    /// A sender had.
    pub sender: u64,
    /// Slow couriers were told to go.
    pub slow: u64,
}

/// The couriers' places.
pub struct Places {
    shares: Shares,
    turn: Turn,
    /// Places taken, by the standing of the destination.
    taken: [u32; STANDINGS],
    pub(super) clients: Box<[u32; TAGS]>,
    pub(super) senders: Box<[u32; TAGS]>,
    slow: Slowpokes,
    throttled: Throttled,
    /// Clients whose share, or a sender's of theirs, was what made their mail wait the last time;
    /// and how many couriers they have too many for one more, by the sender who needs the fewest to
    /// go.
    over_share: Vec<(u8, u32)>,
    /// Which rank is asked first next time.
    first: usize,
    remembered: HashSet<Arc<str>>,
    marks: RandomState,
}

impl Places {
    pub(super) fn new(all: u32, overtime: u32) -> Self {
        Self {
            shares: Shares::of(all, overtime),
            turn: Turn::default(),
            taken: [0; STANDINGS],
            clients: Box::new([0; TAGS]),
            senders: Box::new([0; TAGS]),
            slow: Slowpokes::default(),
            throttled: Throttled::default(),
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

    /// Couriers for destinations of this standing.
    pub fn taken(&self, standing: Standing) -> u32 {
        self.taken[standing as usize]
    }

    /// Couriers beyond all shares, which wait for the answer to the end of data.
    pub fn overtime(&self) -> usize {
        self.slow.overtime()
    }

    /// Destinations that wait for a courier.
    pub fn waiting(&self, standing: Standing) -> usize {
        self.lined_up(standing)
    }

    /// How often who was held back.
    pub fn throttled(&self) -> Throttled {
        self.throttled
    }

    /// Whether all places are taken.
    fn are_taken(&self) -> bool {
        self.all_taken() >= self.shares.all
    }

    /// Whether a place that is given up helps somebody who waits: all are taken, or a share grows
    /// with those that are free.
    pub(super) fn are_short(&self) -> bool {
        !self.over_share.is_empty() || self.are_taken()
    }

    /// How many destinations want a courier.
    pub(super) fn wanted(&self) -> usize {
        Rank::ALL.into_iter().map(|rank| self.turn.len(rank)).sum()
    }

    /// The same, of this standing.
    fn lined_up(&self, standing: Standing) -> usize {
        Rank::ALL
            .into_iter()
            .filter(|rank| rank.standing() == standing)
            .map(|rank| self.turn.len(rank))
            .sum()
    }

    pub(super) fn line_up(&mut self, rank: Rank, source: Source, id: DestinationId) {
        self.turn.push(rank, source, id);
    }

    pub(super) fn remember(&mut self, name: Arc<str>) {
        if self.remembered.len() >= REMEMBERED_MAX
            && let Some(other) = self.remembered.iter().next().cloned()
        {
            self.remembered.remove(&other);
        }
        self.remembered.insert(name);
    }

    pub(super) fn is_remembered(&self, name: &str) -> bool {
        self.remembered.contains(name)
    }

    fn enter(&mut self, standing: Standing, source: Source) {
        self.taken[standing as usize] += 1;
        self.clients[usize::from(source.client)] += 1;
        self.senders[usize::from(source.sender)] += 1;
    }

    fn leave(&mut self, standing: Standing, source: Source) {
        let one_less = |count: &mut u32| *count = count.saturating_sub(1);
        one_less(&mut self.taken[standing as usize]);
        one_less(&mut self.clients[usize::from(source.client)]);
        one_less(&mut self.senders[usize::from(source.sender)]);
    }

    fn all_taken(&self) -> u32 {
        self.taken.iter().sum()
    }

    /// Whether a destination of this standing may have one courier more.
    fn has_room(&self, standing: Standing) -> bool {
        self.free(standing) > 0
    }

    /// Couriers that destinations of this standing may have beyond those that they have.
    fn free(&self, standing: Standing) -> u32 {
        let unproven = self.taken(Standing::New) + self.taken(Standing::Suspect);
        let reserved = if standing == Standing::Known {
            u32::MAX
        } else {
            self.shares.unproven.saturating_sub(unproven)
        };
        let own = self.shares.standing[standing as usize].saturating_sub(self.taken(standing));
        self.shares.all.saturating_sub(self.all_taken()).min(own).min(reserved)
    }

    /// The next in turn that its shares allow one courier more, and by whose hands its job came.
    fn next(&mut self) -> Option<(Rank, Source, DestinationId)> {
        self.over_share.clear();
        for step in 0..RANKS {
            let rank = Rank::ALL[(self.first + step) % RANKS];
            if self.turn.len(rank) == 0 {
                continue;
            }
            if !self.has_room(rank.standing()) {
                self.throttled.standing += 1;
                continue;
            }
            let (mut by_client, mut by_sender) = (false, false);
            let (free, (client_times, sender_times)) =
                (self.free(rank.standing()), rank.times_free());
            let (clients, senders, over_share) =
                (&self.clients, &self.senders, &mut self.over_share);
            let beyond =
                |count: u32, times: u32| (count + 1).saturating_sub(times.saturating_mul(free));
            let next = self.turn.pop(rank, |source| {
                let client = beyond(clients[usize::from(source.client)], client_times);
                let sender = beyond(senders[usize::from(source.sender)], sender_times);
                by_client |= client > 0;
                by_sender |= sender > 0;
                let too_many = client.max(sender);
                // One after the other: the turn asks all senders of a client before the next one.
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

    /// How many slow couriers should go of a client that has so many `too_many` for more of its
    /// mail to go.
    fn surplus_of(&self, client: u8, too_many: u32) -> u32 {
        let leaving = self.slow.leaving_of(client);
        let waiting = self.turn.waiting(client);
        if waiting == 0 || !self.slow.can_relieve(client, &self.shares) {
            return 0;
        }
        let wanted = (waiting - 1 + too_many).saturating_sub(leaving);
        let couriers = self.clients[usize::from(client)].saturating_sub(leaving);
        let left_alone = (couriers * SLOW_PERCENT).div_ceil(100);
        wanted.min(self.slow.len_of(client).saturating_sub(left_alone))
    }

    /// How many slow couriers of this standing should go, so that those that wait get their turn.
    fn surplus(&self, standing: Standing) -> usize {
        let leaving = self.slow.leaving(standing);
        let own = self.lined_up(standing).saturating_sub(leaving);
        let beyond = self.slow.len(standing).saturating_sub(self.shares.slow[standing as usize]);
        // Known destinations that wait count for more than new ones that are slow.
        let urgent = match standing {
            Standing::Known => 0,
            _ if self.has_room(Standing::Known) => 0,
            // They have all that they may have: no place that is given up would be theirs.
            _ if self.taken(Standing::Known) >= self.shares.standing[Standing::Known as usize] => 0,
            _ => {
                self.lined_up(Standing::Known).saturating_sub(leaving).min(self.slow.len(standing))
            }
        };
        own.min(beyond).max(urgent)
    }
}

impl Schedule {
    /// The next destination that should get one more courier; it counts from now on. While there is
    /// no room, those without work are told to go home, and then those that are slow.
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

    /// Whether a destination that stood in line for a source gets a courier now.
    fn sets_out(&mut self, id: DestinationId, (rank, source): (Rank, Source), now: u32) -> bool {
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

    /// In which line a destination waits.
    pub(super) fn rank(&self, id: DestinationId) -> Rank {
        let destination = &self.destinations[id.0 as usize];
        destination.rank(self.named.contains(&destination.name), self.looked)
    }

    /// Whether [`Schedule::start`] may find something, or make room for it.
    pub fn has_turn(&self, now: u32) -> bool {
        let places = &self.places;
        // Those of one standing may have to go for those of another.
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
            && (may_relieve || Standing::ALL.into_iter().any(may_start) || may_relieve_own())
    }

    /// Who holds the couriers.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// The mark of a client and a sender; mail that was made here has no client. An IPv6 client is
    /// its /64.
    pub fn source(&self, client: Option<IpAddr>, sender: &str) -> Source {
        let network = client.map(client_prefix);
        let mark = |hash: u64| u8::try_from(hash % TAGS as u64).unwrap_or_default();
        Source {
            client: mark(self.places.marks.hash_one(network)),
            sender: mark(self.places.marks.hash_one(sender)),
        }
    }

    /// A destination that an operator named is known from the start.
    pub fn vouch_for(&mut self, name: &str) {
        self.places.remember(name.into());
        self.named.insert(name.into());
        if let Some(id) = self.names.get(name).copied() {
            self.stands(id, Standing::Known);
        }
    }

    /// How a destination has been lately.
    pub fn standing(&self, id: DestinationId) -> Standing {
        self.destinations[id.0 as usize].standing
    }

    /// Destinations with mail that could not be reached the last time.
    pub fn unreachable(&self) -> usize {
        self.destinations
            .iter()
            .filter(|one| one.down_since.is_some() && one.messages() > 0)
            .count()
    }

    /// The destination answered, whatever it was.
    pub fn answered(&mut self, id: DestinationId, now: u32) {
        let destination = &mut self.destinations[id.0 as usize];
        destination.answered_at = now;
        destination.down_since = None;
        // It waited for a host with room: now there is a connection, and its mail goes over that.
        let waited = std::mem::take(&mut destination.host_waits) > 0;
        if waited {
            destination.suspended_until = 0;
        }
        self.stands(id, Standing::Known);
        if waited {
            self.offer(id);
        }
    }

    /// A try that `began` then took long and came to nothing; nobody says that the destination is
    /// down.
    pub fn dawdled(&mut self, id: DestinationId, began: u32, now: u32) {
        let destination = &mut self.destinations[id.0 as usize];
        if destination.has_answered_since(began, now) {
            return;
        }
        destination.window = (destination.window / 2).max(1);
        self.stands(id, Standing::Suspect);
    }

    /// A courier turns out to be slow; it makes room when it must.
    pub fn slow(&mut self, id: DestinationId, stage: Stage) -> Slow {
        let destination = &mut self.destinations[id.0 as usize];
        let payer = destination.payer();
        destination.slow += 1;
        self.places.slow.add(id, destination.standing, payer, stage)
    }

    /// A slow courier has come to another stage. `false`: it was told to go, or works without a
    /// place and must begin nothing.
    pub fn advance(&mut self, ticket: u64, stage: Stage) -> bool {
        self.places.slow.advance(ticket, stage)
    }

    /// A slow courier's try has ended. One that worked without a place must go home, unless there
    /// is a place for it.
    pub fn slow_no_more(&mut self, id: DestinationId, ticket: u64) -> Fate {
        let fate = self.places.slow.remove(ticket);
        let destination = &mut self.destinations[id.0 as usize];
        destination.slow = destination.slow.saturating_sub(1);
        if fate != Fate::Overtime {
            return fate;
        }
        if !self.places.has_room(destination.standing) {
            return fate;
        }
        destination.overtime -= 1;
        let source = destination.ready.source().unwrap_or_default();
        destination.sources.push(source);
        self.places.enter(destination.standing, source);
        Fate::Stayed
    }

    /// A courier has gone home; one `without_place` was on overtime.
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

    /// Couriers that one destination may have.
    pub(super) fn limit(&self) -> u32 {
        self.config.concurrency.min(self.places.shares.destination)
    }

    /// A destination is taken for something else from now on, and so are its couriers.
    pub(super) fn stands(&mut self, id: DestinationId, standing: Standing) {
        let destination = &mut self.destinations[id.0 as usize];
        let placed = destination.placed();
        let taken = &mut self.places.taken;
        taken[destination.standing as usize] =
            taken[destination.standing as usize].saturating_sub(placed);
        taken[standing as usize] += placed;
        destination.standing = standing;
    }

    /// Tells those to go that must. `true`: there is a place already.
    fn make_room(&mut self, now: u32) -> bool {
        let mut freed = false;
        while self.places.are_short()
            && self.idlers.can_relieve(self.places.wanted(), now)
            && let Some(id) = self.idlers.relieve(now)
        {
            let destination = &mut self.destinations[id.0 as usize];
            destination.idle = destination.idle.saturating_sub(1);
        }
        for standing in Standing::ALL {
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

    /// Notes who has made room. `true`: there is a place already.
    fn has_made_room(&mut self, relieved: &Relieved) -> bool {
        match *relieved {
            Relieved::Goes => {
                self.places.throttled.slow += 1;
                false
            }
            Relieved::Overtime(id, client) => {
                let destination = &mut self.destinations[id.0 as usize];
                destination.overtime += 1;
                let source = destination.give_up_place(client);
                self.places.leave(destination.standing, source);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its next mail needs as many places as are wanted for one of its senders, whichever was asked
    /// first.
    #[test]
    fn of_a_client_that_waits_no_more_should_go_than_its_next_mail_needs() {
        let (busy, other) = (Source { client: 1, sender: 1 }, Source { client: 1, sender: 2 });
        for [first, second] in [[busy, other], [other, busy]] {
            let mut places = Places::new(100, 0);
            (0..70).for_each(|_| places.enter(Standing::New, busy));
            (0..8).for_each(|_| places.enter(Standing::New, other));
            places.line_up(Rank::New, first, DestinationId(0));
            places.line_up(Rank::New, second, DestinationId(1));
            assert!(places.next().is_none());
            assert_eq!(places.over_share, [(1, 7)]);
        }
    }
}
