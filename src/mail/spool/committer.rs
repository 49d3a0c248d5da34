//! Group commit: one thread writes what all sessions and couriers handed in, and syncs once for all of them.
//!
//! While one sync runs, the next batch gathers by itself; so a lone session waits for one sync, and a hundred share it. An
//! answer goes out only after a sync that began after its record was written.
//!
//! Records that nobody waits for (progress, done) are written at once and synced with the next batch, or after
//! [`Config::lazy_sync`].
//!
//! While the volume is full, the room that is left belongs to records that end a message: progress waits in memory, one record
//! a message, and is written when there is room again. Otherwise every try would eat a little of it, until not even a delivery
//! could be written down any more.
//!
//! When a write or a sync fails, the accepts of the batch are refused. What only this thread remembers (progress and done
//! records since the last good sync) is carried into the next segment; the segment is poisoned. A sync is never repeated in
//! the hope that it succeeds: the kernel may have dropped the pages it could not write.

use super::SpoolError;
use super::compaction::Compaction;
use super::config::Config;
use super::format::{Accepted, FrameHeader, HEADER_BLOCK, RecordKind, SegmentHeader, State};
use super::handover::answer;
use super::heads::Heads;
use super::housekeeping::{new_segment, room_without_growth};
use super::index::Place;
use super::layout::{RESERVE, body_path};
use super::read::{OpenSegment, read_head};
use super::record::{Effect, Op, Record, depends, done_record, frame_len, state_record};
use super::recover::OpenError;
use super::shared::{Health, Shared};
use crate::ground::disk::{File, is_full};
use crate::ground::sync::Instant;
use crate::mail::model::MessageId;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Records of one write are at most this many octets, so that a batch stays in the cache and the others' wait short.
const BATCH_MAX: usize = 4 << 20;

/// Octets of progress that was held back, in one write.
const HELD_BACK_PIECE: u64 = 64 * 1024;

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
    /// The newest state of messages that were tried while the volume was full; newer than anything in `carried`.
    pub(super) held_back: BTreeMap<MessageId, Record>,
    /// Files to remove once the records that make them needless are durable.
    pub(super) needless: Vec<String>,
    pub(super) last_look: Instant,
    pub(super) last_try: Instant,
    pub(super) compaction: Compaction,
    pub(super) buffer: Vec<u8>,
    /// What the active segment holds, without the contents.
    pub(super) heads: Heads,
}

/// A record, and where it was written.
type Placed = (Record, Place);

impl Committer {
    /// The committer with a fresh segment; what earlier runs wrote is only read.
    pub fn open(shared: Arc<Shared>, config: Config, next_segment: u32, spares: Vec<String>) -> Result<Self, OpenError> {
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
            heads: Heads::default(),
        };
        committer.register_segment();
        committer.look_at_space();
        committer.reclaim();
        committer.publish();
        Ok(committer)
    }

    /// Runs until the queue is closed. Everything handed in before is then durable, or the answer is `false`.
    pub fn run(mut self) -> bool {
        while let Some(ops) = self.shared.handover.take(|| self.patience()) {
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
        // A poisoned segment is not synced again: the kernel would say yes to what it has already thrown away.
        self.carried.is_empty() && self.held_back.is_empty() && self.shared.health() != Health::Failed && self.sync()
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

    /// The record for an op; `None` when there is nothing to write.
    pub(super) fn record(&mut self, op: Op) -> Option<Record> {
        match op {
            Op::Accept { id, head, bytes, crc, size, file, reply } => {
                let body_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let header = FrameHeader::new(RecordKind::Accept, &head, body_len, crc);
                Some(Record { id, header, head, bytes, effect: Effect::Accept { size, file }, reply: Some(reply) })
            }
            Op::State { id, progress, generation } => {
                let Some(slot) = self.shared.lock_index().get(id) else {
                    self.shared.written(id, generation);
                    return None;
                };
                let (held, delay_told) = match self.waiting_state(id) {
                    Some((state, _)) => (state.held, state.delay_told),
                    None => (slot.held, slot.delay_told),
                };
                Some(state_record(&State { id, held, delay_told, progress }, Some(generation), None))
            }
            Op::Flags { id, held, delay_told, reply } => match self.current_state(id) {
                Ok((state, generation)) => {
                    let held = held.unwrap_or(state.held);
                    let delay_told = delay_told.unwrap_or(state.delay_told);
                    Some(state_record(&State { held, delay_told, ..state }, generation, reply))
                }
                Err(error) => {
                    answer(reply, Err(error));
                    None
                }
            },
            Op::Past { state, reply } => {
                if self.shared.lock_index().get(state.id).is_some() {
                    return Some(state_record(&state, None, Some(reply)));
                }
                answer(Some(reply), Err(SpoolError::Unknown));
                None
            }
            Op::Done { id, reply } => {
                let known = self.shared.lock_index().get(id).map(|slot| slot.accept.segment);
                match known {
                    Some(segment) => Some(done_record(id, Some(segment), reply)),
                    None => {
                        answer(reply, Err(SpoolError::Unknown));
                        None
                    }
                }
            }
            Op::Damaged { id } => {
                let segment = self.shared.lock_index().get(id).map(|slot| slot.accept.segment)?;
                self.set_aside(id).then(|| done_record(id, Some(segment), None))
            }
            Op::Discard(paths) => {
                for path in paths {
                    self.remove(&path);
                }
                None
            }
        }
    }

    /// The state of a message as its last records tell it; with the generation of its progress, when that waits to be written.
    fn current_state(&self, id: MessageId) -> Result<(State, Option<u64>), SpoolError> {
        if self.shared.lock_index().get(id).is_some()
            && let Some(waiting) = self.waiting_state(id)
        {
            return Ok(waiting);
        }
        let (slot, accept, state) = {
            let index = self.shared.lock_index();
            let slot = index.get(id).ok_or(SpoolError::Unknown)?;
            (slot, index.file(slot.accept.segment), slot.state.and_then(|place| Some((place, index.file(place.segment)?))))
        };
        let head = |segment: &OpenSegment, place| match read_head(segment, place) {
            Ok(Some((_, head))) => Ok(head),
            Ok(None) => Err(SpoolError::Damaged),
            Err(error) => Err(SpoolError::Failed(error.to_string())),
        };
        let damaged = || SpoolError::Damaged;
        if let Some((place, segment)) = state {
            return Ok((State::decode(&head(&segment, place)?).ok_or_else(damaged)?, None));
        }
        let head = match self.waiting_accept(id) {
            Some(waiting) => waiting.head.clone(),
            None => head(&accept.ok_or(SpoolError::Unknown)?, slot.accept)?,
        };
        let accepted = Accepted::decode(&head).ok_or_else(damaged)?;
        Ok((State { id, held: slot.held, delay_told: slot.delay_told, progress: accepted.targets() }, None))
    }

    /// The newest state of a message among the records that wait for better days. The index does not know of it, and what it
    /// does know is older.
    fn waiting_state(&self, id: MessageId) -> Option<(State, Option<u64>)> {
        let generation = |record: &Record| match record.effect {
            Effect::State { generation, .. } if record.id == id => Some(generation),
            _ => None,
        };
        let carried = || self.carried.iter().rev().find(|record| generation(record).is_some());
        let record = self.held_back.get(&id).or_else(carried)?;
        Some((State::decode(&record.head)?, generation(record)?))
    }

    /// The copy of a message's accept record that must be written again: the place that the index knows was lost.
    fn waiting_accept(&self, id: MessageId) -> Option<&Record> {
        self.carried.iter().rev().find(|record| record.id == id && matches!(record.effect, Effect::Accept { .. }))
    }

    /// Writes a batch, syncs if anybody waits for it, answers.
    pub(super) fn write(&mut self, batch: Vec<Record>) {
        let batch = self.hold_back(batch);
        self.write_now(batch);
    }

    fn write_now(&mut self, batch: Vec<Record>) {
        if batch.is_empty() {
            return;
        }
        if !self.carried.is_empty() {
            // A newer word must not reach the disk before an older one.
            return self.refuse(batch, &SpoolError::Failed("the data volume is recovering".to_owned()));
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

    /// Takes the progress out of a batch that is not to be written now: while the volume is full, and as long after that as an
    /// older word about the same message waits. A state that goes with a record copied forward stays with it.
    fn hold_back(&mut self, batch: Vec<Record>) -> Vec<Record> {
        let full = self.shared.health() == Health::Full;
        if !full && self.held_back.is_empty() {
            return batch;
        }
        let mut rest = Vec::with_capacity(batch.len());
        for mut record in batch {
            match (&record.effect, record.reply.is_some()) {
                (Effect::State { generation: Some(_), .. }, false) if full || self.held_back.contains_key(&record.id) => {
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

    /// There is room again, or no more time to wait for it: writes what was held back, except for messages that have left the
    /// queue meanwhile. In small pieces, so that what does not fit leaves the rest of the room alone.
    pub(super) fn write_held_back(&mut self) {
        let mut batch = Vec::new();
        let mut octets = 0;
        for (id, record) in std::mem::take(&mut self.held_back) {
            if self.shared.lock_index().get(id).is_none() {
                if let Effect::State { generation: Some(generation), .. } = record.effect {
                    self.shared.written(id, generation);
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

    /// Appends records to the active segment. Those without a reply take effect at once; the others come back with their
    /// places.
    fn append(&mut self, batch: Vec<Record>) -> Result<Vec<Placed>, (io::Error, Vec<Record>)> {
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
            // What is left of the batch must be known to be gone; or else the segment is given up, full or not.
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
                Effect::Accept { size, file } => index.accepted(record.id, place, frame_len(&record), size, file),
                Effect::State { held, delay_told, generation } => {
                    index.state(record.id, place, frame_len(&record), held, delay_told);
                    if let Some(generation) = generation {
                        self.shared.written(record.id, generation);
                    }
                }
                Effect::Done { overrules } => {
                    if index.done(record.id, place.segment).is_some_and(|slot| slot.file) {
                        self.needless.push(body_path(record.id));
                    }
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
            if let Effect::Accept { size, file } = record.effect {
                index.accepted(record.id, *place, frame_len(record), size, file);
            }
        }
        drop(index);
        for (record, _) in waiting {
            answer(record.reply, Ok(()));
        }
    }

    /// Makes everything written so far durable. On failure the segment is poisoned, the records that must not be lost are
    /// carried on, and the answer is `false`.
    pub(super) fn sync(&mut self) -> bool {
        let started = Instant::now();
        let result = self.file.sync();
        self.shared.counters.sync_seconds.observe(started.elapsed().as_secs_f64());
        self.unsynced_since = None;
        match result {
            Ok(()) => {
                self.unsynced.clear();
                self.wiped = false;
                // What is carried has taken effect in the index, but is not on the disk: its old places are still needed.
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

    /// Nothing more is written to the active segment; its unsynced records are written again elsewhere.
    fn poison(&mut self, error: &io::Error) {
        self.shared.counters.sync_failures_total.inc();
        tracing::error!(target: "mta", segment = self.active.number, cause = %error, "a segment was given up");
        let newer = std::mem::replace(&mut self.carried, std::mem::take(&mut self.unsynced));
        self.carried.extend(newer);
        self.shared.set_health(if is_full(error) { Health::Full } else { Health::Failed }, &error.to_string());
        self.len = self.config.segment_max.max(self.len);
        self.shared.lock_index().doubt(self.active.number);
        if let Err(error) = self.roll_unsynced() {
            tracing::error!(target: "mta", cause = %error, "no new segment can be begun; trying again");
        }
    }

    /// The records were refused after they had been written: should they be on the disk after all, a done record says that
    /// nobody was promised anything.
    fn disown(&mut self, waiting: Vec<Placed>, cause: &str) {
        let error = match self.shared.health() {
            Health::Full => SpoolError::Full,
            Health::Well | Health::Failed => SpoolError::Failed(cause.to_owned()),
        };
        for (mut record, place) in waiting {
            answer(record.reply.take(), Err(error.clone()));
            self.carried.push(match record.effect {
                Effect::Accept { .. } => done_record(record.id, Some(place.segment), None),
                Effect::State { .. } | Effect::Done { .. } => record,
            });
        }
    }

    /// Nothing of the batch counts as written. Accepts are refused; the rest is carried on.
    fn write_failed(&mut self, error: &io::Error, batch: Vec<Record>) {
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

    fn refuse(&mut self, batch: Vec<Record>, verdict: &SpoolError) {
        for mut record in batch {
            match (record.reply.take(), &record.effect) {
                (Some(reply), _) => answer(Some(reply), Err(verdict.clone())),
                (None, Effect::State { generation: Some(_), .. }) if self.shared.health() == Health::Full => {
                    self.held_back.insert(record.id, record);
                }
                (None, _) => self.carried.push(record),
            }
        }
    }

    /// Overwrites what a failed write left behind, as far as it reached: whole frames among it would be taken for accepted
    /// mail after a restart, though their senders were refused.
    fn wipe(&mut self) -> bool {
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
    fn carry_on(&mut self) {
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

    /// Whether everything in the active segment is durable, after a sync if need be.
    fn is_settled(&mut self) -> bool {
        (self.unsynced.is_empty() && !self.wiped) || self.sync()
    }

    /// Begins a new segment after everything in the old one is durable.
    fn roll(&mut self) -> io::Result<()> {
        if !self.is_settled() {
            return Err(io::Error::other("the sync of the full segment failed"));
        }
        let (sealed, heads) = (self.active, std::mem::take(&mut self.heads));
        if let Err(error) = self.roll_unsynced() {
            // The segment may still grow.
            self.heads = heads;
            return Err(error);
        }
        if self.shared.health() == Health::Well
            && let Err(error) = heads.write(self.shared.disk.as_ref(), sealed)
        {
            tracing::debug!(target: "mta", cause = %error, "the next start has to read a segment's contents");
        }
        Ok(())
    }

    fn roll_unsynced(&mut self) -> io::Result<()> {
        let (header, file) = new_segment(&self.shared, self.next_segment, &mut self.spares)?;
        self.next_segment += 1;
        self.active = header;
        self.file = file;
        self.wiped = false;
        self.len = HEADER_BLOCK;
        self.heads.clear();
        self.register_segment();
        Ok(())
    }

    /// Goes on in the room that was kept for this; the next attempt to write finds it.
    fn roll_onto_reserve(&mut self) {
        if self.shared.disk.open(RESERVE).is_err() || !self.is_settled() {
            return;
        }
        let spares = std::mem::replace(&mut self.spares, vec![RESERVE.to_owned()]);
        if let Err(error) = self.roll_unsynced() {
            tracing::warn!(target: "mta", cause = %error, "the reserve of the data volume could not be used");
        }
        self.spares = spares;
    }

    fn register_segment(&self) {
        self.shared.lock_index().begin_segment(self.active, self.file.clone(), self.len);
    }
}

impl Drop for Committer {
    /// However the thread ends, nobody waits for it for ever.
    fn drop(&mut self) {
        self.shared.handover.abandon();
        if std::thread::panicking() {
            self.shared.set_health(Health::Failed, "the committer panicked, which is a defect; a restart recovers the queue");
        }
    }
}
