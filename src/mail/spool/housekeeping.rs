//! The committer's housekeeping: checks the free space of the volume, reserves space for the case
//! that it is full, and updates the metrics.

use super::layout::RESERVE;
use super::message_reader::MessageReader;
use super::spool_state::{SpoolState, VolumeHealth};
use crate::ground::sync::Instant;
use std::sync::Arc;
use std::time::Duration;

const RESERVE_MAX: u64 = 1 << 20;

/// What housekeeping needs of the writer of the log.
pub trait DeferredProgress {
    /// Whether a failure has left records that are not written again yet.
    fn has_failed_writes(&self) -> bool;

    /// Whether progress waits for free space.
    fn has_deferred_progress(&self) -> bool;

    /// Writes the progress that waits for free space, except of messages that have left the queue
    /// meanwhile. It writes small pieces, so that a piece that does not fit does not use up the
    /// remaining space.
    fn write_deferred_progress(&mut self);
}

/// When to check, and what.
pub struct Housekeeping {
    shared: Arc<SpoolState>,
    reader: Arc<MessageReader>,
    period: Duration,
    last_look: Instant,
}

impl Housekeeping {
    /// `period`: from one check to the next.
    pub fn new(shared: Arc<SpoolState>, reader: Arc<MessageReader>, period: Duration) -> Self {
        Self { shared, reader, period, last_look: Instant::now() }
    }

    /// Whether the next check is due.
    pub fn is_due(&self) -> bool {
        self.last_look.elapsed() >= self.period
    }

    /// Checks the volume's free space, and acts on it.
    pub fn look_at_space(&mut self, writer: &mut impl DeferredProgress) {
        self.last_look = Instant::now();
        self.reader.forget_unused();
        let Ok(space) = self.shared.disk.space() else { return };
        let counters = &self.shared.counters;
        counters.disk_free_bytes.set(i64::try_from(space.free).unwrap_or(i64::MAX));
        counters.disk_size_bytes.set(i64::try_from(space.size).unwrap_or(i64::MAX));
        counters
            .spool_disk_bytes
            .set(i64::try_from(self.shared.lock_index().amplification().0).unwrap_or(i64::MAX));
        let scarce = space.free < space.size / 100;
        match self.shared.health() {
            VolumeHealth::Well if scarce => {
                self.shared.set_health(VolumeHealth::Full, "less than one percent of it is free")
            }
            // A little more than the limit, so that the state does not change with every mail.
            VolumeHealth::Full
                if space.free > space.size / 100 * 3 / 2 && !writer.has_failed_writes() =>
            {
                self.shared.set_health(VolumeHealth::Well, "");
            }
            _ => {}
        }
        if self.shared.health() == VolumeHealth::Well
            && !writer.has_failed_writes()
            && writer.has_deferred_progress()
        {
            writer.write_deferred_progress();
        }
        if self.shared.health() == VolumeHealth::Well && space.free > space.size / 50 {
            self.keep_reserve(space.size);
        }
    }

    fn keep_reserve(&self, size: u64) {
        let Ok(file) = self.shared.disk.create(RESERVE) else { return };
        let zeros = vec![0; usize::try_from(RESERVE_MAX.min(size / 100)).unwrap_or_default()];
        let disk = &self.shared.disk;
        if file
            .write_at(0, &zeros)
            .and_then(|()| file.sync())
            .and_then(|()| disk.sync_dir(""))
            .is_err()
        {
            self.shared.remove(RESERVE);
        }
    }

    /// Updates the metrics of the queue.
    pub fn publish(&self) {
        let index = self.shared.lock_index();
        let (messages, bytes, held) = index.totals();
        drop(index);
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let counters = &self.shared.counters;
        counters.mqueue_messages.set(number(messages));
        counters.mqueue_kbytes.set(number(bytes.div_ceil(1024)));
        counters.mqueue_held_messages.set(number(held));
    }
}
