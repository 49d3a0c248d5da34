//! The committer while the data volume is full or fails.
//!
//! While the volume is full, the room that is left belongs to records that end a message: progress
//! waits in memory, one record a message, and is written when there is room again. Otherwise every
//! try would eat a little of it, until not even a delivery could be written down any more.
//!
//! When a write or a sync fails, the accepts of the batch are refused. What only this thread
//! remembers (progress and done records since the last good sync) is carried into the next segment;
//! the segment is poisoned. A sync is never repeated in the hope that it succeeds: the kernel may
//! have dropped the pages it could not write.

use super::SpoolError;
use super::commit_queue::answer;
use super::committer::{Committer, Placed};
use super::layout::body_path;
use super::record::{Effect, Record, done_record};
use super::shared::Health;
use crate::ground::disk::is_full;
use crate::ground::sync::Instant;
use std::io;

/// Octets of progress that was held back, in one write.
const HELD_BACK_PIECE: u64 = 64 * 1024;

impl Committer {
    /// Takes the progress out of a batch that is not to be written now: while the volume is full,
    /// and as long after that as an older word about the same message waits. A state that goes with
    /// a record copied forward stays with it.
    pub(super) fn hold_back(&mut self, batch: Vec<Record>) -> Vec<Record> {
        let full = self.shared.health() == Health::Full;
        if !full && self.held_back.is_empty() {
            return batch;
        }
        let mut rest = Vec::with_capacity(batch.len());
        for mut record in batch {
            match (&record.effect, record.reply.is_some()) {
                (Effect::State { generation: Some(_), .. }, false)
                    if full || self.held_back.contains_key(&record.id) =>
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

    /// There is room again, or no more time to wait for it: writes what was held back, except for
    /// messages that have left the queue meanwhile. In small pieces, so that what does not fit
    /// leaves the rest of the room alone.
    pub(super) fn write_held_back(&mut self) {
        let mut batch = Vec::new();
        let mut octets = 0;
        for (id, record) in std::mem::take(&mut self.held_back) {
            if self.shared.lock_index().get(id).is_none() {
                if let Effect::State { generation: Some(generation), .. } = record.effect {
                    self.shared.recent.written(id, generation);
                }
                continue;
            }
            octets += record.header.frame_len();
            batch.push(record);
            if octets > HELD_BACK_PIECE {
                self.write_now(std::mem::take(&mut batch));
                octets = 0;
            }
        }
        self.write_now(batch);
    }

    /// Nothing more is written to the active segment; its unsynced records are written again
    /// elsewhere.
    pub(super) fn poison(&mut self, error: &io::Error) {
        self.shared.counters.sync_failures_total.inc();
        tracing::error!(target: "mta", segment = self.active.number, cause = %error, "a segment was given up");
        let newer = std::mem::replace(&mut self.carried, std::mem::take(&mut self.unsynced));
        self.carried.extend(newer);
        self.shared.set_health(
            if is_full(error) { Health::Full } else { Health::Failed },
            &error.to_string(),
        );
        self.len = self.config.segment_max.max(self.len);
        self.shared.lock_index().doubt(self.active.number);
        if let Err(error) = self.roll_unsynced() {
            tracing::error!(target: "mta", cause = %error, "no new segment can be begun; \
            trying again");
        }
    }

    /// The records were refused after they had been written: should they be on the disk after all,
    /// a done record says that nobody was promised anything.
    pub(super) fn disown(&mut self, waiting: Vec<Placed>, cause: &str) {
        let error = match self.shared.health() {
            Health::Full => SpoolError::Full,
            Health::Well | Health::Failed => SpoolError::Failed(cause.to_owned()),
        };
        for (mut record, place) in waiting {
            let is_heard = answer(record.reply.take(), Err(error.clone()));
            // Otherwise whoever hears it removes the content.
            if let (false, Effect::Accept { file: true, .. }) = (is_heard, &record.effect) {
                self.needless.push(body_path(record.id));
            }
            self.carried.push(match record.effect {
                Effect::Accept { .. } => done_record(record.id, Some(place.segment), None),
                Effect::State { .. } | Effect::Done { .. } => record,
            });
        }
    }

    /// Nothing of the batch counts as written. Accepts are refused; the rest is carried on.
    pub(super) fn write_failed(&mut self, error: &io::Error, batch: Vec<Record>) {
        let (verdict, health) = if is_full(error) {
            (SpoolError::Full, Health::Full)
        } else {
            (SpoolError::Failed(error.to_string()), Health::Failed)
        };
        self.shared.set_health(health, &error.to_string());
        self.refuse(batch, &verdict);
        if health == Health::Failed {
            self.poison(error);
        }
    }

    pub(super) fn refuse(&mut self, batch: Vec<Record>, verdict: &SpoolError) {
        for mut record in batch {
            match (record.reply.take(), &record.effect) {
                (Some(reply), effect) => {
                    let is_heard = answer(Some(reply), Err(verdict.clone()));
                    if let (false, Effect::Accept { file: true, .. }) = (is_heard, effect) {
                        self.needless.push(body_path(record.id));
                    }
                }
                (None, Effect::State { generation: Some(_), .. })
                    if self.shared.health() == Health::Full =>
                {
                    self.held_back.insert(record.id, record);
                }
                (None, _) => self.carried.push(record),
            }
        }
    }

    /// Overwrites what a failed write left behind, as far as it reached: whole frames among it
    /// would be taken for accepted mail after a restart, though their senders were refused.
    pub(super) fn wipe(&mut self) -> bool {
        let zeros = [0; 4096];
        let mut offset = self.len;
        // As far as the write can have come.
        let end = (self.len + self.buffer.len() as u64).min(self.file.length().unwrap_or(u64::MAX));
        while offset < end {
            let wanted = zeros.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            if self.file.write_at(offset, &zeros[..wanted]).is_err() {
                return false;
            }
            offset += wanted as u64;
        }
        self.wiped = true;
        true
    }

    /// Writes what an earlier failure left over, once the volume takes it.
    pub(super) fn carry_on(&mut self) {
        if self.shared.health() == Health::Well && self.carried.is_empty() {
            return;
        }
        self.last_try = Instant::now();
        if self.len >= self.config.segment_max && self.roll_unsynced().is_err() {
            return;
        }
        if !self.carried.is_empty() {
            let carried = std::mem::take(&mut self.carried);
            match self.append(carried) {
                Ok(_) => {}
                Err((error, carried)) => {
                    self.carried = carried;
                    if is_full(&error) {
                        self.roll_onto_reserve();
                    }
                    return;
                }
            }
            if !self.sync() {
                return;
            }
        }
        if self.shared.health() == Health::Failed && self.sync() {
            self.shared.set_health(Health::Well, "");
        }
    }
}
