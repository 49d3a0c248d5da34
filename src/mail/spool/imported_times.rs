//! Messages that were first accepted by another queue: their acceptance times, and the order of all
//! messages by acceptance.
//!
//! Purpose: an id contains the time at which its message came into this queue. For imported
//! messages the time of acceptance by the other queue is kept as well, in the form of an id, so
//! that all messages can be listed in the order of their acceptance. Limits: for each imported
//! message about as much memory as its index entry.

use super::spool_trait::Arrival;
use crate::mail::model::MessageId;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000;

/// The acceptance times of imported messages.
#[derive(Default)]
pub struct ImportedTimes {
    moments: BTreeMap<MessageId, MessageId>,
    ids: BTreeMap<MessageId, MessageId>,
}

impl ImportedTimes {
    /// A message was accepted by another queue at this second. `is_taken` tells the ids of the
    /// queue: the stored time must not equal one of them.
    pub fn note(&mut self, id: MessageId, arrived: u32, is_taken: impl Fn(MessageId) -> bool) {
        let mut moment = MessageId(u64::from(arrived) * SECOND + id.0 % SECOND);
        while self.ids.contains_key(&moment) || is_taken(moment) {
            moment.0 += 1;
        }
        // A message of the same second, or from a clock that was ahead, counts from now.
        if moment < id {
            self.moments.insert(id, moment);
            self.ids.insert(moment, id);
        }
    }

    /// The message has left the queue.
    pub fn forget(&mut self, id: MessageId) {
        if let Some(moment) = self.moments.remove(&id) {
            self.ids.remove(&moment);
        }
    }

    /// When a message was accepted.
    pub fn of(&self, id: MessageId) -> Arrival {
        Arrival { moment: self.moments.get(&id).copied().unwrap_or(id), id }
    }

    /// The next messages by acceptance, after a time or after a message; `ids` gives the queue's
    /// ids from one on.
    pub fn page<I: Iterator<Item = MessageId>>(
        &self,
        after: Option<MessageId>,
        limit: usize,
        ids: impl FnOnce(MessageId) -> I,
    ) -> Vec<Arrival> {
        let after = after.map(|after| self.moments.get(&after).copied().unwrap_or(after));
        let from = after.map_or(MessageId(0), |after| MessageId(after.0.saturating_add(1)));
        let mut here = ids(from).peekable();
        let mut elsewhere = self
            .ids
            .range(from..)
            .map(|(moment, id)| Arrival { moment: *moment, id: *id })
            .peekable();
        // In step with `here`. A queue may be full of such ids: they are skipped where they come,
        // and not for each page.
        let mut imported = self.moments.range(from..).map(|(id, _)| *id).peekable();
        let next = || loop {
            match (here.peek().copied(), elsewhere.peek()) {
                (Some(id), Some(other)) if other.moment < id => return elsewhere.next(),
                (Some(id), _) => {
                    here.next();
                    if imported.next_if_eq(&id).is_none() {
                        return Some(Arrival { moment: id, id });
                    }
                }
                (None, _) => return elsewhere.next(),
            }
        };
        std::iter::from_fn(next).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(
        arrivals: &ImportedTimes,
        ids: &[u64],
        after: Option<u64>,
        limit: usize,
    ) -> Vec<(u64, u64)> {
        let from =
            |from: MessageId| ids.iter().map(|id| MessageId(*id)).filter(move |id| *id >= from);
        let page = arrivals.page(after.map(MessageId), limit, from);
        page.into_iter().map(|arrival| (arrival.moment.0, arrival.id.0)).collect()
    }

    #[test]
    fn all_are_met_once_in_the_order_of_their_arrival() {
        let ids = [5_000_000, 9_000_001, 9_000_002, 9_500_000, 9_500_001];
        let mut arrivals = ImportedTimes::default();
        let taken = |id: MessageId| ids.contains(&id.0);
        arrivals.note(MessageId(9_000_001), 2, taken);
        arrivals.note(MessageId(9_000_002), 7, taken);
        arrivals.note(MessageId(9_500_001), 9, taken);
        let all = [
            (2_000_001, 9_000_001),
            (5_000_000, 5_000_000),
            (7_000_002, 9_000_002),
            (9_500_000, 9_500_000),
            (9_500_001, 9_500_001),
        ];
        assert_eq!(page(&arrivals, &ids, None, 9), all);
        for limit in 1..4 {
            let (mut seen, mut after) = (Vec::new(), None);
            while let Some(last) =
                Some(page(&arrivals, &ids, after, limit)).filter(|page| !page.is_empty())
            {
                after = last.last().map(|(moment, _)| *moment);
                seen.extend(last);
            }
            assert_eq!(seen, all, "{limit} at a time");
        }
        assert_eq!(
            page(&arrivals, &ids, Some(9_000_002), 9),
            all[3..],
            "behind a message that is in the queue"
        );
        arrivals.forget(MessageId(9_000_002));
        assert_eq!(page(&arrivals, &[5_000_000], None, 9), all[..2]);
    }

    /// A reader of all pages skips each message a few times at most, whatever the length of the
    /// queue.
    #[test]
    fn the_way_through_all_pages_is_as_long_as_the_queue() {
        const MOVED: u64 = 5_000;
        let native = [1_000_000, 900_000_000_000, 900_000_000_001];
        let imported = (0..MOVED).map(|n| 800_000_000_000 + n);
        let mut ids: Vec<MessageId> =
            native.into_iter().chain(imported.clone()).map(MessageId).collect();
        ids.sort_unstable();
        let mut arrivals = ImportedTimes::default();
        imported.for_each(|id| {
            arrivals.note(MessageId(id), 2 + u32::try_from(id % 7).unwrap(), |_| false)
        });
        let passed = std::cell::Cell::new(0);
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let from = |from: MessageId| {
                let place = ids.partition_point(|id| *id < from);
                ids[place..].iter().copied().inspect(|_| passed.set(passed.get() + 1))
            };
            let page = arrivals.page(after, 50, from);
            let Some(last) = page.last() else { break };
            after = Some(last.moment);
            seen.extend(page.iter().map(|arrival| arrival.id));
        }
        assert!(
            seen.len() == ids.len() && passed.get() <= 2 * ids.len(),
            "{} of {}",
            passed.get(),
            ids.len()
        );
        assert_eq!((seen[0], seen[ids.len() - 1]), (MessageId(native[0]), MessageId(native[2])));
    }

    #[test]
    fn moments_are_ids_of_nobody() {
        let mut arrivals = ImportedTimes::default();
        let ids = [3_000_001, 7_000_001, 8_000_001];
        let taken = |id: MessageId| ids.contains(&id.0);
        arrivals.note(MessageId(7_000_001), 3, taken);
        arrivals.note(MessageId(8_000_001), 3, taken);
        let expected = [(3_000_001, 3_000_001), (3_000_002, 7_000_001), (3_000_003, 8_000_001)];
        assert_eq!(page(&arrivals, &ids, None, 9), expected);
    }
}
