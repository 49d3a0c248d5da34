//! Group commit: one thread writes what all sessions and couriers handed in, and syncs once for all
//! of them.
//!
//! While one sync runs, the next batch gathers by itself; so a lone session waits for one sync, and
//! a hundred share it. An answer goes out only after a sync that began after its record was
//! written.
//!
//! Records that nobody waits for (progress, done) are written at once and synced with the next
//! batch, or after [`Config::lazy_sync`].
//!
//! What a record says: `compose`. What happens when a write or a sync fails: `trouble`. Segments:
//! `housekeeping`, `compaction`.

use super::SpoolError;
use super::closing::Closing;
use super::commit_queue::answer;
use super::compaction::Compaction;
use super::config::Config;
use super::format::{HEADER_BLOCK, SegmentHeader};
use super::housekeeping::{new_segment, room_without_growth};
use super::index::Place;
use super::layout::body_path;
use super::record::{Effect, Op, Record, depends, frame_len};
use super::recover::OpenError;
use super::segment_summary::SegmentSummary;
use super::shared::{Health, Shared};
use crate::ground::disk::{File, is_full};
use crate::ground::sync::Instant;
use crate::mail::model::MessageId;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Records of one write are at most this many octets, so that a batch stays in the cache and the
/// others' wait short.
const BATCH_MAX: usize = 4 << 20;

/// How often an unwell volume is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The committer's own state; everything others see is in [`Shared`].
pub struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) config: Config,
    pub(super) active: SegmentHeader,
    pub(super) file: Arc<dyn File>,
    pub(super) len: u64,
    pub(super) next_segment: u32,
    pub(super) spares: Vec<String>,
    /// Segments were let go, and their directories not synced since.
    pub(super) removals_to_sync: bool,
    /// Done and state records written since the last good sync.
    pub(super) unsynced: Vec<Record>,
    pub(super) unsynced_since: Option<Instant>,
    /// What a failed write left was written over since the last good sync.
    pub(super) wiped: bool,
    /// Records that must still be written, after a failure.
    pub(super) carried: Vec<Record>,
    /// The newest state of messages that were tried while the volume was full; newer than anything
    /// in `carried`.
    pub(super) held_back: BTreeMap<MessageId, Record>,
    /// Files to remove once the records that make them needless are durable.
    pub(super) needless: Vec<String>,
    pub(super) last_look: Instant,
    pub(super) last_try: Instant,
    pub(super) compaction: Compaction,
    pub(super) buffer: Vec<u8>,
    /// What the active segment holds, without the contents.
    pub(super) heads: SegmentSummary,
}

/// A record, and where it was written.
pub type Placed = (Record, Place);

impl Committer {
    /// The committer with a fresh segment; what earlier runs wrote is only read.
    pub fn open(
        shared: Arc<Shared>,
        config: Config,
        next_segment: u32,
        spares: Vec<String>,
    ) -> Result<Self, OpenError> {
        let mut spares = spares;
        let first = match new_segment(&shared, next_segment, &mut spares) {
            // A queue that filled its volume must come back, or nothing would ever leave it.
            Err(error) if is_full(&error) => match room_without_growth(&shared, next_segment) {
                Some(room) => new_segment(&shared, next_segment, &mut vec![room]),
                None => Err(error),
            },
            other => other,
        };
        let (active, file) = first.map_err(OpenError::Disk)?;
        let mut committer = Self {
            shared,
            config,
            active,
            file,
            len: HEADER_BLOCK,
            next_segment: next_segment + 1,
            spares,
            removals_to_sync: false,
            unsynced: Vec::new(),
            unsynced_since: None,
            wiped: false,
            carried: Vec::new(),
            held_back: BTreeMap::new(),
            needless: Vec::new(),
            last_look: Instant::now(),
            last_try: Instant::now(),
            compaction: Compaction::new(),
            buffer: Vec::with_capacity(256 * 1024),
            heads: SegmentSummary::default(),
        };
        committer.register_segment();
        committer.look_at_space();
        committer.reclaim();
        committer.publish();
        Ok(committer)
    }

    /// Runs until the queue is closed. Everything handed in before is then durable, or the answer
    /// is `false`.
    pub fn run(mut self) -> bool {
        while let Some(ops) = self.shared.commit_queue.take(|| self.patience()) {
            if self.last_try.elapsed() >= RETRY {
                self.carry_on();
            }
            self.process(ops);
            if self.unsynced_since.is_some_and(|since| since.elapsed() >= self.config.lazy_sync) {
                self.sync();
            }
            if self.last_look.elapsed() >= self.config.housekeeping {
                self.look_at_space();
            }
            self.compact();
            self.publish();
        }
        self.carry_on();
        self.write_held_back();
        // A poisoned segment is not synced again: the kernel would say yes to what it has already
        // thrown away.
        let is_durable = self.carried.is_empty()
            && self.held_back.is_empty()
            && self.shared.health() != Health::Failed
            && self.sync();
        if is_durable {
            self.write_down();
        }
        is_durable
    }

    /// The last word of an orderly stop.
    fn write_down(&self) {
        let Some(closing) = Closing::of(&self.shared.lock_index()) else { return };
        if let Err(error) = closing.write(self.shared.disk.as_ref()) {
            tracing::warn!(target: "mta", cause = %error, "the next start cannot tell whether \
            segments were taken away meanwhile");
        }
    }

    /// How long nothing may be handed in before there is something else to do.
    fn patience(&self) -> Duration {
        let patience = match self.unsynced_since {
            Some(since) => self.config.lazy_sync.saturating_sub(since.elapsed()),
            None => self.config.housekeeping,
        };
        self.compaction.patience().map_or(patience, |compaction| patience.min(compaction))
    }

    fn process(&mut self, ops: Vec<Op>) {
        let mut batch = Vec::with_capacity(ops.len());
        let mut octets = 0;
        for op in ops {
            // What an op looks up in the index must not wait in the same batch.
            if octets > BATCH_MAX || depends(&op, &batch) {
                self.write(std::mem::take(&mut batch));
                octets = 0;
            }
            if let Some(record) = self.record(op) {
                octets += usize::try_from(record.header.frame_len()).unwrap_or(usize::MAX);
                batch.push(record);
            }
        }
        self.write(batch);
    }

    /// Writes a batch, syncs if anybody waits for it, answers.
    pub(super) fn write(&mut self, batch: Vec<Record>) {
        let batch = self.hold_back(batch);
        self.write_now(batch);
    }

    pub(super) fn write_now(&mut self, batch: Vec<Record>) {
        if batch.is_empty() {
            return;
        }
        if !self.carried.is_empty() {
            // A newer word must not reach the disk before an older one.
            return self
                .refuse(batch, &SpoolError::Failed("the data volume is recovering".to_owned()));
        }
        match self.append(batch) {
            Ok(waiting) if !waiting.is_empty() => {
                if self.sync() {
                    self.accepted(waiting);
                } else {
                    self.disown(waiting, "the sync failed");
                }
            }
            Ok(_) => {}
            Err((error, batch)) => self.write_failed(&error, batch),
        }
    }

    /// Appends records to the active segment. Those without a reply take effect at once; the others
    /// come back with their places.
    pub(super) fn append(
        &mut self,
        batch: Vec<Record>,
    ) -> Result<Vec<Placed>, (io::Error, Vec<Record>)> {
        let octets: u64 = batch.iter().map(|record| record.header.frame_len()).sum();
        if self.len + octets > self.config.segment_max
            && self.len > HEADER_BLOCK
            && let Err(error) = self.roll()
        {
            return Err((error, batch));
        }
        self.buffer.clear();
        let mut places = Vec::with_capacity(batch.len());
        for record in &batch {
            let offset = u32::try_from(self.len + self.buffer.len() as u64).unwrap_or(u32::MAX);
            places.push(Place { segment: self.active.number, offset });
            record.header.encode(self.active, &mut self.buffer);
            self.buffer.extend_from_slice(&record.head);
            self.buffer.extend_from_slice(&record.bytes);
        }
        if let Err(error) = self.file.write_at(self.len, &self.buffer) {
            // What is left of the batch must be known to be gone; or else the segment is given up,
            // full or not.
            if self.wipe() {
                return Err((error, batch));
            }
            self.shared.lock_index().doubt(self.active.number);
            return Err((io::Error::other(error), batch));
        }
        self.len += self.buffer.len() as u64;
        for record in &batch {
            self.heads.push(self.active, &record.header, &record.head);
        }
        self.buffer.shrink_to(BATCH_MAX);
        self.shared.counters.sync_batch_records.observe(batch.len() as f64);
        let mut waiting = Vec::new();
        let mut index = self.shared.lock_index();
        index.segment_len(self.active.number, self.len);
        for (record, place) in batch.into_iter().zip(places) {
            if record.reply.is_some() && matches!(record.effect, Effect::Accept { .. }) {
                waiting.push((record, place));
                continue;
            }
            match record.effect {
                // A copy: what is new is answered first.
                Effect::Accept { size, file, .. } => {
                    index.accepted(record.id, place, frame_len(&record), size, file)
                }
                Effect::State { held, delay_told, generation } => {
                    index.state(record.id, place, frame_len(&record), held, delay_told);
                    if let Some(generation) = generation {
                        self.shared.recent.written(record.id, generation);
                    }
                }
                Effect::Done { overrules } => {
                    if index.done(record.id, place.segment).is_some_and(|slot| slot.file) {
                        self.needless.push(body_path(record.id));
                    }
                    self.shared.recent.forget(record.id);
                    if let Some(segment) = overrules {
                        index.must_outlive(place.segment, segment);
                    }
                }
            }
            self.unsynced_since.get_or_insert_with(Instant::now);
            if record.reply.is_some() {
                waiting.push((Record { effect: record.effect.clone(), ..record }, place));
            } else {
                self.unsynced.push(record);
            }
        }
        Ok(waiting)
    }

    /// The sync has returned: accepts enter the index, everybody who waited hears yes.
    fn accepted(&mut self, waiting: Vec<Placed>) {
        let mut index = self.shared.lock_index();
        for (record, place) in &waiting {
            if let Effect::Accept { size, file, moved } = record.effect {
                index.accepted(record.id, *place, frame_len(record), size, file);
                if let Some(arrived) = moved {
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
        // Nobody was told 250 for these, and those who sent them will do so again.
        let ends = withdrawn
            .into_iter()
            .filter_map(|id| self.record(Op::Done { id, reply: None }))
            .collect();
        self.write(ends);
    }

    /// Makes everything written so far durable. On failure the segment is poisoned, the records
    /// that must not be lost are carried on, and the answer is `false`.
    pub(super) fn sync(&mut self) -> bool {
        let started = Instant::now();
        let result = self.file.sync();
        self.shared.counters.sync_seconds.observe(started.elapsed().as_secs_f64());
        self.unsynced_since = None;
        match result {
            Ok(()) => {
                self.unsynced.clear();
                self.wiped = false;
                // What is carried has taken effect in the index, but is not on the disk: its old
                // places are still needed.
                if self.carried.is_empty() {
                    for path in std::mem::take(&mut self.needless) {
                        self.remove(&path);
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
}

impl Drop for Committer {
    /// However the thread ends, nobody waits for it for ever.
    fn drop(&mut self) {
        self.shared.commit_queue.abandon();
        if std::thread::panicking() {
            self.shared.set_health(
                Health::Failed,
                "the committer panicked, which is a defect; a restart recovers the queue",
            );
        }
    }
}
