//! Destinations that want one more courier, and in which order they get it.
//!
//! One line for each standing; in each the clients take turns, and of each client its senders. So neither a sender with ten
//! thousand destinations nor a client with ten thousand senders makes others wait for more than one turn.
//!
//! Clients and senders are told apart by [`TAGS`] marks each, drawn by a hash whose key changes with every start. Two that
//! share a mark share a turn; nobody can choose with whom.

use super::DestinationId;
use super::shares::{STANDINGS, Standing};
use std::collections::{BTreeMap, VecDeque};

/// Marks for clients, and for senders.
pub const TAGS: usize = 256;

/// By whose hands a job came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Source {
    /// The client's mark.
    pub client: u8,
    /// The sender's mark.
    pub sender: u8,
}

/// All that wait for a courier.
#[derive(Default)]
pub struct Turn {
    lines: [Line; STANDINGS],
}

#[derive(Default)]
struct Line {
    clients: Ring<Ring<VecDeque<DestinationId>>>,
    len: usize,
}

impl Turn {
    /// A destination joins the end of its sender's line.
    pub fn push(&mut self, standing: Standing, source: Source, id: DestinationId) {
        let line = &mut self.lines[standing as usize];
        line.len += 1;
        line.clients.entry(source.client).entry(source.sender).push_back(id);
    }

    /// The next of this standing whose client and sender `may` have one more courier.
    pub fn pop(&mut self, standing: Standing, mut may: impl FnMut(Source) -> bool) -> Option<(Source, DestinationId)> {
        let line = &mut self.lines[standing as usize];
        let (source, id) = line.clients.find(|client, senders| {
            senders.find(|sender, waiting| {
                let source = Source { client, sender };
                if may(source) { waiting.pop_front().map(|id| (source, id)) } else { None }
            })
        })?;
        line.len -= 1;
        Some((source, id))
    }

    /// How many of this standing wait.
    pub fn len(&self, standing: Standing) -> usize {
        self.lines[standing as usize].len
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(|line| line.len == 0)
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
    fn is_empty(&self) -> bool;
}

impl<V> Member for Ring<V> {
    fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}

impl Member for VecDeque<DestinationId> {
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
        let mut turn = Turn::default();
        let mut push = |client, sender, id| turn.push(Standing::New, Source { client, sender }, DestinationId(id));
        for id in 0..1000 {
            push(1, u8::try_from(id % 250).unwrap(), id);
        }
        push(1, 255, 1000);
        push(2, 3, 1001);
        push(2, 3, 1002);
        let order: Vec<u32> = std::iter::from_fn(|| turn.pop(Standing::New, |_| true)).map(|(_, id)| id.0).collect();
        assert_eq!(order.len(), 1003);
        let place = |id| order.iter().position(|one| *one == id).unwrap();
        assert!(place(1001) <= 1 && place(1002) <= 3, "{:?}", &order[..5]);
        assert!(place(1000) <= 253, "{}", place(1000));
        assert!(turn.is_empty() && turn.lines.iter().all(|line| line.clients.is_empty()));
    }

    #[test]
    fn who_may_not_is_passed_over_and_keeps_his_place() {
        let mut turn = Turn::default();
        let (full, free) = (Source { client: 1, sender: 1 }, Source { client: 2, sender: 1 });
        turn.push(Standing::Known, full, DestinationId(1));
        turn.push(Standing::Known, free, DestinationId(2));
        turn.push(Standing::Known, free, DestinationId(3));
        let next = |turn: &mut Turn, all| turn.pop(Standing::Known, |source| all || source != full).map(|(_, id)| id.0);
        assert_eq!([next(&mut turn, false), next(&mut turn, false), next(&mut turn, false)], [Some(2), Some(3), None]);
        assert_eq!((turn.len(Standing::Known), next(&mut turn, true)), (1, Some(1)));
    }
}
