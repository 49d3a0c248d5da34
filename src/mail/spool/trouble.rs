//! Records that could not be written yet: the data volume is full, or fails.
//!
//! While the volume is full, the room that is left belongs to records that end a message: progress
//! waits in memory, one record a message, and is written when there is room again. Otherwise every
//! try would eat a little of it, until not even a delivery could be written down any more.
//!
//! When a write or a sync fails, the accepts of the batch are refused. What only this thread
//! remembers (progress and done records since the last good sync) is carried into the next segment;
//! the segment is poisoned. A sync is never repeated in the hope that it succeeds: the kernel may
//! have dropped the pages it could not write.

use super::commit_queue::answer;
use super::format::State;
use super::layout::body_path;
use super::record::{Effect, Placed, Record, done_record};
use super::store::SpoolError;
use crate::mail::model::MessageId;
use std::collections::BTreeMap;

/// Records that must still be written.
#[derive(Default)]
pub struct Unwritten {
    /// What a failure left over, in the order in which it must be written. The index knows it.
    carried: Vec<Record>,
    /// The newest state of messages that were tried while the volume was full; newer than anything
    /// in `carried`.
    held_back: BTreeMap<MessageId, Record>,
}

impl Unwritten {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.carried.is_empty() && self.held_back.is_empty()
    }

    /// Whether a failure has left something over. Nothing else may be written before it.
    pub fn is_carrying(&self) -> bool {
        !self.carried.is_empty()
    }

    /// Whether progress waits for room.
    pub fn is_holding_back(&self) -> bool {
        !self.held_back.is_empty()
    }

    /// Takes the progress out of a batch that is not to be written now: while the volume is full,
    /// and as long after that as an older word about the same message waits. A state that goes with
    /// a record copied forward stays with it.
    pub fn hold_back(&mut self, batch: Vec<Record>, is_full: bool) -> Vec<Record> {
        if !is_full && self.held_back.is_empty() {
            return batch;
        }
        let mut rest = Vec::with_capacity(batch.len());
        for mut record in batch {
            match (&record.effect, record.reply.is_some()) {
                (Effect::State { generation: Some(_), .. }, false)
                    if is_full || self.held_back.contains_key(&record.id) =>
                {
                    self.held_back.insert(record.id, record);
                }
                // It was composed from what stands on the disk, which is older.
                (Effect::State { .. }, true) if self.held_back.contains_key(&record.id) => {
                    answer(record.reply.take(), Err(SpoolError::Full));
                }
                _ => rest.push(record),
            }
        }
        rest
    }

    /// What was held back: there is room again, or no more time to wait for it.
    pub fn take_held_back(&mut self) -> BTreeMap<MessageId, Record> {
        std::mem::take(&mut self.held_back)
    }

    /// Records that were written and not synced must be written again: before those that wait,
    /// which are newer.
    pub fn carry_again(&mut self, unsynced: Vec<Record>) {
        let newer = std::mem::replace(&mut self.carried, unsynced);
        self.carried.extend(newer);
    }

    /// What a failure left over, to be written now.
    pub fn take_carried(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.carried)
    }

    /// It could not be written this time either. What a segment that was poisoned meanwhile has
    /// left over is older, and stays before it.
    pub fn put_back(&mut self, carried: Vec<Record>) {
        self.carried.extend(carried);
    }

    /// Records were written, and their sync has failed. Should an accept be on the disk after all,
    /// a done record says that nobody was promised anything. Gives back the files that nobody needs
    /// then.
    pub fn disown(&mut self, waiting: Vec<Placed>, error: &SpoolError) -> Vec<String> {
        let mut needless = Vec::new();
        for (mut record, place) in waiting {
            let is_heard = answer(record.reply.take(), Err(error.clone()));
            needless.extend(needless_content(is_heard, &record));
            self.carried.push(match record.effect {
                Effect::Accept { .. } => done_record(record.id, Some(place.segment), None),
                Effect::State { .. } | Effect::Done { .. } => record,
            });
        }
        needless
    }

    /// Records were not written. Whoever waits hears why; what nobody waits for is kept. Gives back
    /// the files that nobody needs then.
    pub fn refuse(
        &mut self,
        batch: Vec<Record>,
        verdict: &SpoolError,
        is_full: bool,
    ) -> Vec<String> {
        let mut needless = Vec::new();
        for mut record in batch {
            match (record.reply.take(), &record.effect) {
                (Some(reply), _) => {
                    let is_heard = answer(Some(reply), Err(verdict.clone()));
                    needless.extend(needless_content(is_heard, &record));
                }
                (None, Effect::State { generation: Some(_), .. }) if is_full => {
                    self.held_back.insert(record.id, record);
                }
                (None, _) => self.carried.push(record),
            }
        }
        needless
    }

    /// The newest state of a message that waits, with the generation of its progress. The index
    /// does not know of it, and what it does know is older.
    pub fn state(&self, id: MessageId) -> Option<(State, Option<u64>)> {
        let generation = |record: &Record| match record.effect {
            Effect::State { generation, .. } if record.id == id => Some(generation),
            _ => None,
        };
        let carried = || self.carried.iter().rev().find(|record| generation(record).is_some());
        let record = self.held_back.get(&id).or_else(carried)?;
        Some((State::decode(&record.head)?, generation(record)?))
    }

    /// The copy of a message's accept record that must be written again: the place that the index
    /// knows was lost.
    pub fn accept(&self, id: MessageId) -> Option<&Record> {
        self.carried
            .iter()
            .rev()
            .find(|record| record.id == id && matches!(record.effect, Effect::Accept { .. }))
    }
}

/// The content file of a message that was refused, when nobody is left to remove it; otherwise
/// whoever hears of it does.
fn needless_content(is_heard: bool, record: &Record) -> Option<String> {
    let has_file = matches!(record.effect, Effect::Accept { file: true, .. });
    (!is_heard && has_file).then(|| body_path(record.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| record.id.0).collect()
    }

    fn done(id: u64) -> Record {
        done_record(MessageId(id), None, None)
    }

    /// What is carried does not fit into the segment; the sync before the next one fails.
    #[test]
    fn what_a_poisoned_segment_leaves_over_is_not_forgotten_while_the_rest_is_tried() {
        let mut unwritten = Unwritten::default();
        unwritten.carry_again(vec![done(3)]);
        let tried = unwritten.take_carried();
        unwritten.carry_again(vec![done(1), done(2)]);
        unwritten.put_back(tried);
        assert_eq!(ids(&unwritten.take_carried()), [1, 2, 3]);
        assert!(unwritten.is_empty());
    }
}
