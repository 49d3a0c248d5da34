//! Writes batches of records to the active segment, syncs, and sends the results.
//!
//! Promises: a result is `Ok` only after a sync that began after the record was written. A newer
//! record of a message never reaches the disk before an older one. For records that cannot be
//! written see `pending_writes`. When a sync fails, the segment is poisoned and never synced again.

use super::active_segment::{ActiveSegment, AppendFailed};
use super::commit_queue::answer;
use super::compaction::CopyTarget;
use super::config::SpoolConfig;
use super::housekeeping::DeferredProgress;
use super::index_entries::RecordLocation;
use super::layout::body_path;
use super::message_reader::MessageReader;
use super::pending_writes::PendingWrites;
use super::record::{Effect, LogRecord, Op, WrittenRecord, frame_len};
use super::record_builder::RecordBuilder;
use super::segment_files::{NewSegment, SegmentFiles};
use super::spool_state::{SpoolState, VolumeHealth};
use super::spool_trait::SpoolError;
use crate::ground::disk::is_full;
use crate::ground::sync::Instant;
use crate::mail::model::MessageId;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How often a failing volume is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Octets of one write of progress that was held back.
const HELD_BACK_PIECE: u64 = 64 * 1024;

/// The only writer of the log.
pub struct BatchWriter {
    shared: Arc<SpoolState>,
    reader: Arc<MessageReader>,
    segment_max: u64,
    active: ActiveSegment,
    files: SegmentFiles,
    /// Done and state records written since the last good sync.
    unsynced: Vec<LogRecord>,
    unsynced_since: Option<Instant>,
    unwritten: PendingWrites,
    /// Files to remove once the records that make them unneeded are durable.
    unneeded_files: Vec<String>,
    last_try: Instant,
}

impl BatchWriter {
    /// A writer with a new segment; the segments of earlier runs are only read.
    ///
    /// # Errors
    /// The volume's.
    pub fn open(
        shared: Arc<SpoolState>,
        reader: Arc<MessageReader>,
        config: &SpoolConfig,
        mut files: SegmentFiles,
    ) -> io::Result<Self> {
        let active = ActiveSegment::new(files.begin_first()?);
        let writer = Self {
            shared,
            reader,
            segment_max: config.segment_max,
            active,
            files,
            unsynced: Vec::new(),
            unsynced_since: None,
            unwritten: PendingWrites::default(),
            unneeded_files: Vec::new(),
            last_try: Instant::now(),
        };
        writer.register_segment();
        Ok(writer)
    }

    /// How long the oldest unsynced record has waited for a sync; `None`: there is none.
    pub fn unsynced_for(&self) -> Option<Duration> {
        self.unsynced_since.map(|since| since.elapsed())
    }

    /// Whether records wait that could not be written.
    pub fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// The record for an operation; `None` when there is nothing to write.
    pub fn compose(&self, op: Op) -> Option<LogRecord> {
        self.record_builder().record(op)
    }

    fn record_builder(&self) -> RecordBuilder<'_> {
        RecordBuilder::new(&self.shared, &self.reader, &self.unwritten)
    }

    /// Writes a batch, syncs if a caller waits for it, and sends the results.
    pub fn write(&mut self, batch: Vec<LogRecord>) {
        let batch =
            self.unwritten.defer_progress(batch, self.shared.health() == VolumeHealth::Full);
        self.write_now(batch);
    }

    fn write_now(&mut self, batch: Vec<LogRecord>) {
        if batch.is_empty() {
            return;
        }
        if self.unwritten.has_failed_writes() {
            // A newer record must not reach the disk before an older one.
            return self
                .refuse(batch, &SpoolError::Failed("the data volume is recovering".to_owned()));
        }
        match self.append(batch) {
            Ok(waiting) if !waiting.is_empty() => {
                if self.sync() {
                    self.accepted(waiting);
                } else {
                    self.revoke(waiting, "the sync failed");
                }
            }
            Ok(_) => {}
            Err((error, batch)) => self.write_failed(&error, batch),
        }
    }

    /// Appends records to the active segment. Those without a reply take effect at once; the others
    /// are returned with their locations.
    fn append(
        &mut self,
        batch: Vec<LogRecord>,
    ) -> Result<Vec<WrittenRecord>, (io::Error, Vec<LogRecord>)> {
        let octets: u64 = batch.iter().map(|record| record.header.frame_len()).sum();
        if self.active.len() + octets > self.segment_max
            && !self.active.is_empty()
            && let Err(error) = self.begin_next_segment()
        {
            return Err((error, batch));
        }
        match self.active.append(&batch) {
            Ok(places) => {
                self.shared.counters.sync_batch_records.observe(batch.len() as f64);
                Ok(self.take_effect(batch, places))
            }
            Err(AppendFailed { error, is_wiped: true }) => Err((error, batch)),
            // The remains of the batch must be known to be overwritten; otherwise the segment is
            // given up, full or not.
            Err(AppendFailed { error, is_wiped: false }) => {
                self.shared.lock_index().mark_doubtful(self.active.header().number);
                Err((io::Error::other(error), batch))
            }
        }
    }

    /// Updates the index with the written records, except new messages, which enter it after the
    /// sync. Records with a waiting caller are returned.
    fn take_effect(
        &mut self,
        batch: Vec<LogRecord>,
        places: Vec<RecordLocation>,
    ) -> Vec<WrittenRecord> {
        let mut waiting = Vec::new();
        let mut index = self.shared.lock_index();
        index.segment_len(self.active.header().number, self.active.len());
        for (record, place) in batch.into_iter().zip(places) {
            if record.reply.is_some() && matches!(record.effect, Effect::Accept { .. }) {
                waiting.push((record, place));
                continue;
            }
            match record.effect {
                // A copy: new messages are answered first.
                Effect::Accept { size, file, .. } => {
                    index.accepted(record.id, place, frame_len(&record), size, file)
                }
                Effect::State { held, delay_warning_sent, generation } => {
                    index.state(record.id, place, frame_len(&record), held, delay_warning_sent);
                    if let Some(generation) = generation {
                        self.shared.recent.written(record.id, generation);
                    }
                }
                Effect::Done { overrules } => {
                    if index.done(record.id, place.segment).is_some_and(|slot| slot.file) {
                        self.unneeded_files.push(body_path(record.id));
                    }
                    self.shared.recent.forget(record.id);
                    if let Some(segment) = overrules {
                        index.note_order(place.segment, segment);
                    }
                }
            }
            self.unsynced_since.get_or_insert_with(Instant::now);
            if record.reply.is_some() {
                waiting.push((record, place));
            } else {
                self.unsynced.push(record);
            }
        }
        waiting
    }

    /// After the sync: accepted messages enter the index, and every waiting caller gets `Ok`.
    fn accepted(&mut self, waiting: Vec<WrittenRecord>) {
        let mut index = self.shared.lock_index();
        for (record, place) in &waiting {
            if let Effect::Accept { size, file, imported } = record.effect {
                index.accepted(record.id, *place, frame_len(record), size, file);
                if let Some(arrived) = imported {
                    index.arrived(record.id, arrived);
                }
            }
        }
        drop(index);
        let mut withdrawn = Vec::new();
        for (record, _) in waiting {
            let is_new = matches!(record.effect, Effect::Accept { .. });
            if !answer(record.reply, Ok(())) && is_new {
                withdrawn.push(record.id);
            }
        }
        // No 250 was sent for these, and their clients will send them again.
        let ends =
            withdrawn.into_iter().filter_map(|id| self.record_builder().end(id, None)).collect();
        self.write(ends);
    }

    /// Makes everything written so far durable. On failure the segment is poisoned, the records
    /// that must not be lost are kept for the next segment, and the result is `false`.
    pub fn sync(&mut self) -> bool {
        let started = Instant::now();
        let result = self.active.sync();
        self.shared.counters.sync_seconds.observe(started.elapsed().as_secs_f64());
        self.unsynced_since = None;
        match result {
            Ok(()) => {
                self.unsynced.clear();
                // Records kept for the next segment have taken effect in the index but are not on
                // the disk: their old locations are still needed.
                if !self.unwritten.has_failed_writes() {
                    for path in std::mem::take(&mut self.unneeded_files) {
                        self.shared.remove(&path);
                    }
                    self.reclaim();
                }
                true
            }
            Err(error) => {
                self.poison(&error);
                false
            }
        }
    }

    /// Releases segments that are not needed any more.
    pub fn reclaim(&mut self) {
        self.files.reclaim(self.active.header().number);
    }

    /// Whether everything in the active segment is durable, after a sync if necessary.
    fn is_durable(&mut self) -> bool {
        (self.unsynced.is_empty() && !self.active.is_wiped()) || self.sync()
    }

    /// Begins a new segment after everything in the old one is durable.
    fn begin_next_segment(&mut self) -> io::Result<()> {
        if !self.is_durable() {
            return Err(io::Error::other("the sync of the full segment failed"));
        }
        let next = self.files.begin()?;
        let sealed = self.active.replace(next);
        self.register_segment();
        if self.shared.health() == VolumeHealth::Well
            && let Err(error) = sealed.write_summary(self.shared.disk.as_ref())
        {
            tracing::debug!(target: "mta", cause = %error, "the next start has to read a segment's \
            contents");
        }
        Ok(())
    }

    /// Continues in the space that was reserved for a full volume; the next attempt to write uses
    /// it.
    fn begin_on_reserved_space(&mut self) {
        if !self.files.has_reserve() || !self.is_durable() {
            return;
        }
        match self.files.begin_on_reserve() {
            Ok(segment) => self.switch_to(segment),
            Err(error) => {
                tracing::warn!(target: "mta", cause = %error, "the reserve of the data volume \
                could not be used");
            }
        }
    }

    /// Leaves the active segment as it is, durable or not.
    fn switch_to(&mut self, segment: NewSegment) {
        drop(self.active.replace(segment));
        self.register_segment();
    }

    fn register_segment(&self) {
        let active = &self.active;
        self.shared.lock_index().begin_segment(active.header(), active.file(), active.len());
    }

    /// Nothing more is written to the active segment; its unsynced records are written again
    /// elsewhere.
    fn poison(&mut self, error: &io::Error) {
        let number = self.active.header().number;
        self.shared.counters.sync_failures_total.inc();
        tracing::error!(target: "mta", segment = number, cause = %error, "a segment was abandoned");
        self.unwritten.rewrite_later(std::mem::take(&mut self.unsynced));
        self.shared.set_health(
            if is_full(error) { VolumeHealth::Full } else { VolumeHealth::Failed },
            &error.to_string(),
        );
        self.active.give_up(self.segment_max);
        self.shared.lock_index().mark_doubtful(number);
        match self.files.begin() {
            Ok(segment) => self.switch_to(segment),
            Err(error) => {
                tracing::error!(
                    target: "mta", cause = %error, "no new segment can be created; retrying"
                );
            }
        }
    }

    /// The records were refused after they had been written: in case they are on the disk after
    /// all, a done record is written for each, so that they do not count at the next start.
    fn revoke(&mut self, waiting: Vec<WrittenRecord>, cause: &str) {
        let error = match self.shared.health() {
            VolumeHealth::Full => SpoolError::Full,
            VolumeHealth::Well | VolumeHealth::Failed => SpoolError::Failed(cause.to_owned()),
        };
        self.unneeded_files.extend(self.unwritten.revoke(waiting, &error));
    }

    /// None of the batch counts as written. New messages are refused; the other records are kept.
    fn write_failed(&mut self, error: &io::Error, batch: Vec<LogRecord>) {
        let (verdict, health) = if is_full(error) {
            (SpoolError::Full, VolumeHealth::Full)
        } else {
            (SpoolError::Failed(error.to_string()), VolumeHealth::Failed)
        };
        self.shared.set_health(health, &error.to_string());
        self.refuse(batch, &verdict);
        if health == VolumeHealth::Failed {
            self.poison(error);
        }
    }

    fn refuse(&mut self, batch: Vec<LogRecord>, verdict: &SpoolError) {
        let is_full = self.shared.health() == VolumeHealth::Full;
        self.unneeded_files.extend(self.unwritten.refuse(batch, verdict, is_full));
    }

    /// The same as [`BatchWriter::retry_writes`], at most once every [`RETRY`].
    pub fn retry_writes_when_due(&mut self) {
        if self.last_try.elapsed() >= RETRY {
            self.retry_writes();
        }
    }

    /// Writes the records that an earlier failure left, once the volume accepts them.
    pub fn retry_writes(&mut self) {
        if self.shared.health() == VolumeHealth::Well && !self.unwritten.has_failed_writes() {
            return;
        }
        self.last_try = Instant::now();
        if self.active.len() >= self.segment_max {
            match self.files.begin() {
                Ok(segment) => self.switch_to(segment),
                Err(_) => return,
            }
        }
        if self.unwritten.has_failed_writes() {
            let failed_writes = self.unwritten.take_failed_writes();
            if let Err((error, failed_writes)) = self.append(failed_writes) {
                self.unwritten.restore_failed_writes(failed_writes);
                if is_full(&error) {
                    self.begin_on_reserved_space();
                }
                return;
            }
            if !self.sync() {
                return;
            }
        }
        if self.shared.health() == VolumeHealth::Failed && self.sync() {
            self.shared.set_health(VolumeHealth::Well, "");
        }
    }
}

impl DeferredProgress for BatchWriter {
    fn has_failed_writes(&self) -> bool {
        self.unwritten.has_failed_writes()
    }

    fn has_deferred_progress(&self) -> bool {
        self.unwritten.has_deferred_progress()
    }

    fn write_deferred_progress(&mut self) {
        let mut batch = Vec::new();
        let mut octets = 0;
        for (id, record) in self.unwritten.take_deferred_progress() {
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
}

impl CopyTarget for BatchWriter {
    fn active(&self) -> u32 {
        self.active.header().number
    }

    fn takes_copies(&self) -> bool {
        self.shared.health() != VolumeHealth::Failed && !self.unwritten.has_failed_writes()
    }

    fn damaged(&self, id: MessageId) -> Option<LogRecord> {
        self.record_builder().damaged(id)
    }

    fn write_copies(&mut self, batch: Vec<LogRecord>) {
        self.write(batch);
        // The old location of a copied record is needed until the copy is durable.
        self.sync();
    }
}
