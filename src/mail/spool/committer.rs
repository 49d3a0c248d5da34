//! Group commit: one thread writes what all sessions and delivery agents have submitted, and syncs
//! once for all of them.
//!
//! While one sync runs, the next batch accumulates; so a single session waits for one sync, and a
//! hundred share it. A result is sent only after a sync that began after its record was written.
//!
//! Records without a waiting caller (progress, done) are written at once and synced with the next
//! batch, or after [`SpoolConfig::lazy_sync`].
//!
//! This file is the thread's loop. The content of records: `record_builder`. Writing them and
//! sending results: `batch_writer`, on the segment in `active_segment`. Records that could not be
//! written: `pending_writes`. Segment files: `segment_files`; they are emptied by `compaction`. The
//! space of the volume: `housekeeping`.

use super::batch_writer::BatchWriter;
use super::compaction::Compaction;
use super::config::SpoolConfig;
use super::housekeeping::{DeferredProgress, Housekeeping};
use super::message_reader::MessageReader;
use super::record::{Op, depends_on};
use super::segment_files::SegmentFiles;
use super::shutdown_manifest::ShutdownManifest;
use super::spool_state::{SpoolState, VolumeHealth};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Octets of records in one write, at most, so that a batch stays in the CPU cache and other
/// callers do not wait long.
const BATCH_MAX: usize = 4 << 20;

/// The committer thread; what other threads see of it is in [`SpoolState`].
pub struct Committer {
    shared: Arc<SpoolState>,
    config: SpoolConfig,
    writer: BatchWriter,
    compaction: Compaction,
    housekeeping: Housekeeping,
}

impl Committer {
    /// The committer with a new segment; the segments of earlier runs are only read.
    ///
    /// # Errors
    /// The volume's.
    pub fn open(
        shared: Arc<SpoolState>,
        reader: Arc<MessageReader>,
        config: SpoolConfig,
        files: SegmentFiles,
    ) -> io::Result<Self> {
        let writer = BatchWriter::open(shared.clone(), reader.clone(), &config, files)?;
        let mut committer = Self {
            compaction: Compaction::new(shared.clone(), config),
            housekeeping: Housekeeping::new(shared.clone(), reader, config.housekeeping),
            shared,
            config,
            writer,
        };
        committer.housekeeping.look_at_space(&mut committer.writer);
        committer.writer.reclaim();
        committer.housekeeping.publish();
        Ok(committer)
    }

    /// Runs until the queue is closed. Everything submitted before is then durable, or the result
    /// is `false`.
    pub fn run(mut self) -> bool {
        while let Some(ops) = self.shared.commit_queue.take(|| self.patience()) {
            self.writer.retry_writes_when_due();
            self.process(ops);
            if self.writer.unsynced_for().is_some_and(|waited| waited >= self.config.lazy_sync) {
                self.writer.sync();
            }
            if self.housekeeping.is_due() {
                self.housekeeping.look_at_space(&mut self.writer);
            }
            self.compaction.step(&mut self.writer);
            self.housekeeping.publish();
        }
        self.writer.retry_writes();
        self.writer.write_deferred_progress();
        // A poisoned segment is not synced again: the kernel would report success for pages that it
        // has already dropped.
        let is_durable = !self.writer.has_unwritten()
            && self.shared.health() != VolumeHealth::Failed
            && self.writer.sync();
        if is_durable {
            self.write_shutdown_manifest();
        }
        is_durable
    }

    /// Writes the manifest of an orderly stop.
    fn write_shutdown_manifest(&self) {
        let Some(manifest) = ShutdownManifest::of(&self.shared.lock_index()) else { return };
        if let Err(error) = manifest.write(self.shared.disk.as_ref()) {
            tracing::warn!(target: "mta", cause = %error, "the next start cannot detect segments \
            that are removed meanwhile");
        }
    }

    /// How long to wait for new operations before there is something else to do.
    fn patience(&self) -> Duration {
        let patience = match self.writer.unsynced_for() {
            Some(waited) => self.config.lazy_sync.saturating_sub(waited),
            None => self.config.housekeeping,
        };
        self.compaction.patience().map_or(patience, |compaction| patience.min(compaction))
    }

    fn process(&mut self, ops: Vec<Op>) {
        let mut batch = Vec::with_capacity(ops.len());
        let mut octets = 0;
        for op in ops {
            // An operation that reads a message's entry in the index must not be in the same batch
            // as an earlier change of it.
            if octets > BATCH_MAX || depends_on(&op, &batch) {
                self.writer.write(std::mem::take(&mut batch));
                octets = 0;
            }
            if let Some(record) = self.writer.compose(op) {
                octets += usize::try_from(record.header.frame_len()).unwrap_or(usize::MAX);
                batch.push(record);
            }
        }
        self.writer.write(batch);
    }
}

impl Drop for Committer {
    /// However the thread ends, no caller waits for it for ever.
    fn drop(&mut self) {
        self.shared.commit_queue.abandon();
        if std::thread::panicking() {
            self.shared.set_health(
                VolumeHealth::Failed,
                "the committer panicked, which is a defect; a restart recovers the queue",
            );
        }
    }
}
