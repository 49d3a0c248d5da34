//! A line in which clients take turns, and of each client its senders.
//!
//! Purpose: neither a sender with ten thousand entries nor a client with ten thousand senders makes others wait for more than
//! one turn. Pure.
//! In: entries with the marks of client and sender. Out: the next one.
//! Limits: none of its own; who has one makes room by [`Turns::displace`], which takes from those that have the most.

use std::collections::{BTreeMap, VecDeque};

/// The marks of a client and of a sender, by which they are told apart.
pub type Marks = (u8, u8);

/// The line.
pub struct Turns<T> {
    clients: Ring<Ring<VecDeque<T>>>,
    len: usize,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { clients: Ring::default(), len: 0 }
    }
}

impl<T> Turns<T> {
    /// An entry joins the end of its sender's line.
    pub fn push(&mut self, (client, sender): Marks, entry: T) {
        self.len += 1;
        self.clients.entry(client).entry(sender).push_back(entry);
    }

    /// The next one whose client and sender `may`.
    pub fn pop(&mut self, mut may: impl FnMut(Marks) -> bool) -> Option<(Marks, T)> {
        let found = self.clients.find(|client, senders| {
            senders.find(|sender, waiting| {
                let marks = (client, sender);
                if may(marks) { waiting.pop_front().map(|entry| (marks, entry)) } else { None }
            })
        })?;
        self.len -= 1;
        Some(found)
    }

    /// Drops the last entry of those that have the most, client first and then sender, in favour of one with these marks.
    /// `false`: nobody has more than that one would have then.
    pub fn displace(&mut self, (client, sender): Marks) -> bool {
        let clients = &mut self.clients.members;
        let own = clients.get(&client).map_or(0, Member::weight);
        let most = clients.iter().map(|(mark, senders)| (senders.weight(), *mark)).max();
        let from = most.filter(|(weight, _)| *weight > own + 1).map_or(client, |(_, mark)| mark);
        let Some(senders) = clients.get_mut(&from).map(|senders| &mut senders.members) else { return false };
        let own = if from == client { senders.get(&sender).map_or(0, VecDeque::len) + 1 } else { 0 };
        let longest = senders.iter_mut().max_by_key(|(_, waiting)| waiting.len()).filter(|(_, waiting)| waiting.len() > own);
        let Some((sender, waiting)) = longest else { return false };
        self.len -= usize::from(waiting.pop_back().is_some());
        if waiting.is_empty() {
            let sender = *sender;
            senders.remove(&sender);
        }
        true
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<T: PartialEq> Turns<T> {
    /// Whether an entry waits. Walks through all.
    pub fn contains(&self, entry: &T) -> bool {
        self.clients.members.values().flat_map(|senders| senders.members.values()).any(|waiting| waiting.contains(entry))
    }
}

/// Members that take turns.
struct Ring<V> {
    /// Who was served last.
    last: u8,
    members: BTreeMap<u8, V>,
}

impl<V> Default for Ring<V> {
    fn default() -> Self {
        Self { last: u8::MAX, members: BTreeMap::new() }
    }
}

/// What a ring holds: worth its place only while it is not empty.
trait Member {
    /// How many wait in it.
    fn weight(&self) -> usize;
    /// Whether none does.
    fn is_empty(&self) -> bool;
}

impl<V: Member> Member for Ring<V> {
    fn weight(&self) -> usize {
        self.members.values().map(Member::weight).sum()
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
    fn entry(&mut self, key: u8) -> &mut V {
        self.members.entry(key).or_default()
    }

    /// Asks the members in turn until one `gives` something; the next search begins behind that one.
    fn find<T>(&mut self, mut gives: impl FnMut(u8, &mut V) -> Option<T>) -> Option<T> {
        let last = self.last;
        let behind = |key: &u8| *key > last;
        for wanted in [true, false] {
            for (key, member) in self.members.iter_mut().filter(|(key, _)| behind(key) == wanted) {
                if let Some(found) = gives(*key, member) {
                    let (key, empty) = (*key, member.is_empty());
                    self.last = key;
                    if empty {
                        self.members.remove(&key);
                    }
                    return Some(found);
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_take_turns_and_so_do_their_senders() {
        let mut turns = Turns::default();
        (0..1000).for_each(|id| turns.push((1, u8::try_from(id % 250).unwrap()), id));
        turns.push((1, 255), 1000);
        turns.push((2, 3), 1001);
        turns.push((2, 3), 1002);
        assert!(turns.contains(&999) && !turns.contains(&2000));
        let order: Vec<u32> = std::iter::from_fn(|| turns.pop(|_| true)).map(|(_, id)| id).collect();
        assert_eq!(order.len(), 1003);
        let place = |id| order.iter().position(|one| *one == id).unwrap();
        assert!(place(1001) <= 1 && place(1002) <= 3, "{:?}", &order[..5]);
        assert!(place(1000) <= 253, "{}", place(1000));
        assert!(turns.is_empty() && turns.clients.is_empty());
    }

    #[test]
    fn who_may_not_is_passed_over_and_keeps_his_place() {
        let mut turns = Turns::default();
        let (full, free) = ((1, 1), (2, 1));
        turns.push(full, 1);
        turns.push(free, 2);
        turns.push(free, 3);
        let next = |turns: &mut Turns<u32>, all| turns.pop(|marks| all || marks != full).map(|(_, id)| id);
        assert_eq!([next(&mut turns, false), next(&mut turns, false), next(&mut turns, false)], [Some(2), Some(3), None]);
        assert_eq!((turns.len(), next(&mut turns, true)), (1, Some(1)));
    }

    #[test]
    fn who_has_the_most_makes_room_for_who_has_less() {
        let mut turns = Turns::default();
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
        assert!(!Turns::<u32>::default().displace((1, 1)));
    }
}
