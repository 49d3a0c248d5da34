//! Records that could not be written yet: the data volume is full, or fails.
//!
//! While the volume is full, the remaining space is reserved for records that end a message:
//! progress waits in memory, one record for each message, and is written when there is space again.
//! Otherwise every attempt would use a little of it, until not even a delivery could be recorded.
//!
//! When a write or a sync fails, the accepts of the batch are refused. Records that exist only in
//! this thread's memory (progress and done records since the last good sync) are written to the
//! next segment; the segment is poisoned. A failed sync is never repeated: the kernel may have
//! dropped the pages that it could not write.

use super::commit_queue::answer;
use super::layout::body_path;
use super::record::{Effect, LogRecord, WrittenRecord, done_record};
use super::record_heads::StateHead;
use super::spool_trait::SpoolError;
use crate::mail::model::MessageId;
use std::collections::BTreeMap;

/// Records that must still be written.
#[derive(Default)]
pub struct PendingWrites {
    /// Records left by a failure, in the order in which they must be written. The index has them.
    failed_writes: Vec<LogRecord>,
    /// The newest state of messages that were attempted while the volume was full; newer than
    /// anything in `failed_writes`.
    deferred_progress: BTreeMap<MessageId, LogRecord>,
}

impl PendingWrites {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.failed_writes.is_empty() && self.deferred_progress.is_empty()
    }

    /// Whether a failure has left records. Nothing else may be written before them.
    pub fn has_failed_writes(&self) -> bool {
        !self.failed_writes.is_empty()
    }

    /// Whether progress waits for free space.
    pub fn has_deferred_progress(&self) -> bool {
        !self.deferred_progress.is_empty()
    }

    /// Takes the progress out of a batch that is not to be written now: while the volume is full,
    /// and after that as long as an older record of the same message waits. A state that
    /// accompanies a copied record stays with it.
    pub fn defer_progress(&mut self, batch: Vec<LogRecord>, is_full: bool) -> Vec<LogRecord> {
        if !is_full && self.deferred_progress.is_empty() {
            return batch;
        }
        let mut rest = Vec::with_capacity(batch.len());
        for mut record in batch {
            match (&record.effect, record.reply.is_some()) {
                (Effect::State { generation: Some(_), .. }, false)
                    if is_full || self.deferred_progress.contains_key(&record.id) =>
                {
                    self.deferred_progress.insert(record.id, record);
                }
                // It was made from the records on the disk, which are older.
                (Effect::State { .. }, true) if self.deferred_progress.contains_key(&record.id) => {
                    answer(record.reply.take(), Err(SpoolError::Full));
                }
                _ => rest.push(record),
            }
        }
        rest
    }

    /// The records that were held back: there is space again, or no more time to wait for it.
    pub fn take_deferred_progress(&mut self) -> BTreeMap<MessageId, LogRecord> {
        std::mem::take(&mut self.deferred_progress)
    }

    /// Records that were written and not synced must be written again: before those that wait,
    /// which are newer.
    pub fn rewrite_later(&mut self, unsynced: Vec<LogRecord>) {
        let newer = std::mem::replace(&mut self.failed_writes, unsynced);
        self.failed_writes.extend(newer);
    }

    /// Records left by a failure, to be written now.
    pub fn take_failed_writes(&mut self) -> Vec<LogRecord> {
        std::mem::take(&mut self.failed_writes)
    }

    /// They could not be written this time either. Records left by a segment that was poisoned
    /// meanwhile are older, and stay before them.
    pub fn restore_failed_writes(&mut self, failed_writes: Vec<LogRecord>) {
        self.failed_writes.extend(failed_writes);
    }

    /// Records were written, and their sync has failed. In case an accept record is on the disk
    /// after all, a done record is written for it. Gives back the files that are not needed then.
    pub fn revoke(&mut self, waiting: Vec<WrittenRecord>, error: &SpoolError) -> Vec<String> {
        let mut unneeded_files = Vec::new();
        for (mut record, place) in waiting {
            let is_heard = answer(record.reply.take(), Err(error.clone()));
            unneeded_files.extend(unneeded_content(is_heard, &record));
            self.failed_writes.push(match record.effect {
                Effect::Accept { .. } => done_record(record.id, Some(place.segment), None),
                Effect::State { .. } | Effect::Done { .. } => record,
            });
        }
        unneeded_files
    }

    /// Records were not written. Waiting callers get the error; records without a waiting caller
    /// are kept. Gives back the files that are not needed then.
    pub fn refuse(
        &mut self,
        batch: Vec<LogRecord>,
        verdict: &SpoolError,
        is_full: bool,
    ) -> Vec<String> {
        let mut unneeded_files = Vec::new();
        for mut record in batch {
            match (record.reply.take(), &record.effect) {
                (Some(reply), _) => {
                    let is_heard = answer(Some(reply), Err(verdict.clone()));
                    unneeded_files.extend(unneeded_content(is_heard, &record));
                }
                (None, Effect::State { generation: Some(_), .. }) if is_full => {
                    self.deferred_progress.insert(record.id, record);
                }
                (None, _) => self.failed_writes.push(record),
            }
        }
        unneeded_files
    }

    /// The newest waiting state of a message, with the generation of its progress. The index does
    /// not have it, and its own is older.
    pub fn state(&self, id: MessageId) -> Option<(StateHead, Option<u64>)> {
        let generation = |record: &LogRecord| match record.effect {
            Effect::State { generation, .. } if record.id == id => Some(generation),
            _ => None,
        };
        let failed_writes =
            || self.failed_writes.iter().rev().find(|record| generation(record).is_some());
        let record = self.deferred_progress.get(&id).or_else(failed_writes)?;
        Some((StateHead::decode(&record.head)?, generation(record)?))
    }

    /// The copy of a message's accept record that must be written again: the location in the index
    /// was lost.
    pub fn accept(&self, id: MessageId) -> Option<&LogRecord> {
        self.failed_writes
            .iter()
            .rev()
            .find(|record| record.id == id && matches!(record.effect, Effect::Accept { .. }))
    }
}

/// The content file of a refused message, if no caller waits that would remove it.
fn unneeded_content(is_heard: bool, record: &LogRecord) -> Option<String> {
    let has_file = matches!(record.effect, Effect::Accept { file: true, .. });
    (!is_heard && has_file).then(|| body_path(record.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(records: &[LogRecord]) -> Vec<u64> {
        records.iter().map(|record| record.id.0).collect()
    }

    fn done(id: u64) -> LogRecord {
        done_record(MessageId(id), None, None)
    }

    /// The kept records do not fit into the segment; the sync before the next one fails.
    #[test]
    fn what_a_poisoned_segment_leaves_over_is_not_forgotten_while_the_rest_is_tried() {
        let mut unwritten = PendingWrites::default();
        unwritten.rewrite_later(vec![done(3)]);
        let tried = unwritten.take_failed_writes();
        unwritten.rewrite_later(vec![done(1), done(2)]);
        unwritten.restore_failed_writes(tried);
        assert_eq!(ids(&unwritten.take_failed_writes()), [1, 2, 3]);
        assert!(unwritten.is_empty());
    }
}
