//! A fair queue: clients are served in turn, and within each client its senders.
//!
//! Purpose: neither a sender with ten thousand entries nor a client with ten thousand senders
//! delays others by more than one turn. Pure. In: entries with the tags of client and sender. Out:
//! the next one. Limits: none of its own; a caller with a limit frees a place by
//! [`FairQueue::displace`], which removes an entry of those that have the most.

use std::collections::VecDeque;

/// Memory for entries of one sender that is kept although it is empty.
const SPARE: usize = 1024;

/// The tags of a client and of a sender, by which they are distinguished.
pub type ShareMarks = (u8, u8);

/// The queue.
pub struct FairQueue<T> {
    clients: Ring<Ring<VecDeque<T>>>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { clients: Ring::default(), len: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Adds an entry at the end of its sender's queue.
    pub fn push(&mut self, (client, sender): ShareMarks, entry: T) {
        self.len += 1;
        self.clients.entry(client).entry(sender).push_back(entry);
    }

    /// Returns an entry to the front of it.
    pub fn push_front(&mut self, (client, sender): ShareMarks, entry: T) {
        self.len += 1;
        self.clients.entry(client).entry(sender).push_front(entry);
    }

    /// The next one whose client and sender `may` be served.
    pub fn pop(&mut self, mut may: impl FnMut(ShareMarks) -> bool) -> Option<(ShareMarks, T)> {
        let found = self.clients.find(|client, senders| {
            senders.find(|sender, waiting| {
                let marks = (client, sender);
                if may(marks) { pop(waiting).map(|entry| (marks, entry)) } else { None }
            })
        })?;
        self.len -= 1;
        Some(found)
    }

    /// The next one with these tags.
    pub fn pop_of(&mut self, (client, sender): ShareMarks) -> Option<T> {
        let entry = self.clients.ask(client, |senders| senders.ask(sender, pop))?;
        self.len -= 1;
        Some(entry)
    }

    /// How many with these tags wait.
    pub fn len_of(&self, (client, sender): ShareMarks) -> usize {
        let senders = self.clients.get(client);
        senders.and_then(|senders| senders.get(sender)).map_or(0, VecDeque::len)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.clients.members().flat_map(Ring::members).flatten()
    }

    /// Changes the entries of each sender; some may be removed.
    pub fn change(&mut self, mut change: impl FnMut(&mut VecDeque<T>)) {
        let mut len = 0;
        self.clients.change(|senders| {
            senders.change(|waiting| {
                change(waiting);
                len += waiting.len();
            });
        });
        self.len = len;
    }

    /// Removes the last entry of the client with the most, and of its sender with the most, in
    /// favour of one with these tags. `false`: none has more than this one would have then.
    pub fn displace(&mut self, (client, sender): ShareMarks) -> bool {
        let own = self.clients.get(client).map_or(0, Member::weight);
        let most =
            self.clients.members.iter().map(|(mark, senders)| (senders.weight(), *mark)).max();
        let from = most.filter(|(weight, _)| *weight > own + 1).map_or(client, |(_, mark)| mark);
        let Ok(place) = self.clients.place(from) else { return false };
        let senders = &mut self.clients.members[place].1;
        let own = if from == client { senders.get(sender).map_or(0, VecDeque::len) + 1 } else { 0 };
        let longest =
            senders.members.iter_mut().enumerate().max_by_key(|(_, (_, waiting))| waiting.len());
        let Some((place, (_, waiting))) = longest.filter(|(_, (_, waiting))| waiting.len() > own)
        else {
            return false;
        };
        self.len -= usize::from(waiting.pop_back().is_some());
        if waiting.is_empty() {
            senders.members.remove(place);
        }
        true
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T: PartialEq> FairQueue<T> {
    /// Whether an entry waits. Walks through all of them.
    pub fn contains(&self, entry: &T) -> bool {
        self.iter().any(|one| one == entry)
    }
}

fn pop<T>(waiting: &mut VecDeque<T>) -> Option<T> {
    let entry = waiting.pop_front();
    // Otherwise a queue that was long would keep its memory.
    if waiting.capacity() > SPARE && waiting.len() < waiting.capacity() / 4 {
        waiting.shrink_to(waiting.len() * 2);
    }
    entry
}

/// Members that are served in turn, in the order of their keys.
struct Ring<V> {
    /// The member served last.
    last: u8,
    members: Vec<(u8, V)>,
}

impl<V> Default for Ring<V> {
    fn default() -> Self {
        Self { last: u8::MAX, members: Vec::new() }
    }
}

/// A member of a ring: it is kept only while it is not empty.
trait Member {
    /// How many entries wait in it.
    fn weight(&self) -> usize;
    /// Whether none does.
    fn is_empty(&self) -> bool;
}

impl<V: Member + Default> Member for Ring<V> {
    fn weight(&self) -> usize {
        self.members().map(Member::weight).sum()
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl<T> Member for VecDeque<T> {
    fn weight(&self) -> usize {
        self.len()
    }

    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

impl<V: Member + Default> Ring<V> {
    fn place(&self, key: u8) -> Result<usize, usize> {
        self.members.binary_search_by_key(&key, |(key, _)| *key)
    }

    fn entry(&mut self, key: u8) -> &mut V {
        let place = self.place(key).unwrap_or_else(|place| {
            if self.members.is_empty() {
                // Most have one member.
                self.members.reserve_exact(1);
            }
            self.members.insert(place, (key, V::default()));
            place
        });
        &mut self.members[place].1
    }

    fn get(&self, key: u8) -> Option<&V> {
        self.place(key).ok().map(|place| &self.members[place].1)
    }

    fn members(&self) -> impl Iterator<Item = &V> {
        self.members.iter().map(|(_, member)| member)
    }

    /// Changes all members; those that are empty then are removed.
    fn change(&mut self, mut change: impl FnMut(&mut V)) {
        self.members.retain_mut(|(_, member)| {
            change(member);
            !member.is_empty()
        });
    }

    /// Asks one member; the next search begins after it when it `gives` something.
    fn ask<T>(&mut self, key: u8, gives: impl FnOnce(&mut V) -> Option<T>) -> Option<T> {
        let place = self.place(key).ok()?;
        let found = gives(&mut self.members[place].1)?;
        self.was_served(place);
        Some(found)
    }

    /// Asks the members in turn until one `gives` something; the next search begins after that one.
    fn find<T>(&mut self, mut gives: impl FnMut(u8, &mut V) -> Option<T>) -> Option<T> {
        let (all, first) =
            (self.members.len(), self.members.partition_point(|(key, _)| *key <= self.last));
        for place in (first..all).chain(0..first) {
            let (key, member) = &mut self.members[place];
            if let Some(found) = gives(*key, member) {
                self.was_served(place);
                return Some(found);
            }
        }
        None
    }

    fn was_served(&mut self, place: usize) {
        let (key, member) = &self.members[place];
        self.last = *key;
        if member.is_empty() {
            self.members.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_and_so_do_their_senders() {
        let mut turns = FairQueue::default();
        (0..1000).for_each(|id| turns.push((1, u8::try_from(id % 250).unwrap()), id));
        turns.push((1, 255), 1000);
        turns.push((2, 3), 1001);
        turns.push((2, 3), 1002);
        assert!(turns.contains(&999) && !turns.contains(&2000));
        let order: Vec<u32> =
            std::iter::from_fn(|| turns.pop(|_| true)).map(|(_, id)| id).collect();
        assert_eq!(order.len(), 1003);
        let place = |id| order.iter().position(|one| *one == id).unwrap();
        assert!(place(1001) <= 1 && place(1002) <= 3, "{:?}", &order[..5]);
        assert!(place(1000) <= 253, "{}", place(1000));
        assert!(turns.is_empty() && turns.clients.is_empty());
    }

    #[test]
    fn who_may_not_is_passed_over_and_keeps_his_place() {
        let mut turns = FairQueue::default();
        let (full, free) = ((1, 1), (2, 1));
        turns.push(full, 1);
        turns.push(free, 2);
        turns.push(free, 3);
        let next = |turns: &mut FairQueue<u32>, all| {
            turns.pop(|marks| all || marks != full).map(|(_, id)| id)
        };
        assert_eq!(
            [next(&mut turns, false), next(&mut turns, false), next(&mut turns, false)],
            [Some(2), Some(3), None]
        );
        assert_eq!((turns.len(), next(&mut turns, true)), (1, Some(1)));
    }

    #[test]
    fn who_has_the_most_makes_room_for_who_has_less() {
        let mut turns = FairQueue::default();
        (0..10).for_each(|id| turns.push((1, 1), id));
        turns.push((1, 2), 10);
        // Another client, and another sender of the same one, until each has as many.
        for (marks, taken) in [((2, 1), 5), ((1, 2), 2)] {
            let mut displaced = 0;
            while turns.displace(marks) {
                displaced += 1;
                turns.push(marks, 100 + displaced);
            }
            assert_eq!((displaced, turns.len()), (taken, 11), "{marks:?}");
        }
        assert!(turns.contains(&0) && !turns.contains(&9), "the last go first");
        assert!(!FairQueue::<u32>::default().displace((1, 1)));
    }
}
