//! Group commit: one thread writes what all sessions and couriers handed in, and syncs once for all of them.
//!
//! While one sync runs, the next batch gathers by itself; so a lone session waits for one sync, and a hundred share it. An
//! answer goes out only after a sync that began after its record was written.
//!
//! Records that nobody waits for (progress, done) are written at once and synced with the next batch, or after
//! [`super::log::Config::lazy_sync`].
//!
//! When a write or a sync fails, the accepts of the batch are refused. What only this thread remembers (progress and done records since the
//! last good sync) is carried into the next segment; the segment is poisoned. A sync is never repeated in the hope that it
//! succeeds: the kernel may have dropped the pages it could not write.

use super::SpoolError;
use super::content::path;
use super::format::{Accepted, FrameHeader, HEADER_BLOCK, RecordKind, SegmentHeader, State, encode_done};
use super::index::{Place, Segment};
use super::log::{Config, Health, OpenSegment, Shared, read_head};
use super::recover::{self, OpenError};
use crate::ground::disk::{File, is_full};
use crate::mail::model::{MessageId, Progress};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What the committer is asked to do.
pub enum Op {
    /// Put a message into the queue.
    Accept { id: MessageId, head: Vec<u8>, bytes: Bytes, crc: u32, size: u64, file: bool, reply: Reply },
    /// Replace the progress of a message.
    State { id: MessageId, progress: Vec<Progress>, generation: u64 },
    /// Change the flags of a message.
    Flags { id: MessageId, held: Option<bool>, delay_told: Option<bool>, reply: Option<Reply> },
    /// Take a message out of the queue.
    Done { id: MessageId, reply: Option<Reply> },
    /// Set a message aside whose record or content is damaged.
    Damaged { id: MessageId },
    /// Remove files that nobody needs.
    Discard(Vec<String>),
}

/// Where the answer to one op goes.
pub type Reply = oneshot::Sender<Result<(), SpoolError>>;

/// Records of one write are at most this many octets, so that a batch stays in the cache and the others' wait short.
const BATCH_MAX: usize = 4 << 20;

/// Dead segments kept for the next use: overwriting them spares the file system its own journal.
const SPARES_MAX: usize = 4;

/// Room that is given up when the volume is full, so that finished mail can still be marked as done.
const RESERVE: &str = "reserve";
const RESERVE_MAX: u64 = 1 << 20;

/// How often the space is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often an unwell volume is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// The committer's own state; everything others see is in [`Shared`].
pub struct Committer {
    shared: Arc<Shared>,
    config: Config,
    active: SegmentHeader,
    file: Arc<dyn File>,
    len: u64,
    next_segment: u32,
    spares: Vec<String>,
    /// Done and state records written since the last good sync.
    unsynced: Vec<Record>,
    unsynced_since: Option<Instant>,
    /// Records that must still be written, after a failure.
    carried: Vec<Record>,
    /// Files to remove once the records that make them needless are durable.
    needless: Vec<String>,
    last_look: Instant,
    last_try: Instant,
    buffer: Vec<u8>,
}

/// One record on its way to the disk.
struct Record {
    id: MessageId,
    header: FrameHeader,
    head: Vec<u8>,
    bytes: Bytes,
    effect: Effect,
    reply: Option<Reply>,
}

/// What the index learns when the record is written (or, for accepts, synced).
#[derive(Clone)]
enum Effect {
    Accept {
        size: u64,
        file: bool,
    },
    /// `generation`: of the progress that was handed in; `None` for a copy or a change of flags.
    State {
        held: bool,
        delay_told: bool,
        generation: Option<u64>,
    },
    /// `overrules`: the segment with the accept record that this ends.
    Done {
        overrules: Option<u32>,
    },
}

impl Committer {
    /// The committer with a fresh segment; what earlier runs wrote is only read.
    pub fn open(shared: Arc<Shared>, config: Config, next_segment: u32, spares: Vec<String>) -> Result<Self, OpenError> {
        let size = shared.disk.space().map_err(OpenError::Disk)?.size;
        let config = Config { segment_max: config.segment_max.min((size / 64).max(1 << 20)), ..config };
        let (active, file, spares) = new_segment(&shared, next_segment, spares).map_err(OpenError::Disk)?;
        let mut committer = Self {
            shared,
            config,
            active,
            file,
            len: HEADER_BLOCK,
            next_segment: next_segment + 1,
            spares,
            unsynced: Vec::new(),
            unsynced_since: None,
            carried: Vec::new(),
            needless: Vec::new(),
            last_look: Instant::now(),
            last_try: Instant::now(),
            buffer: Vec::with_capacity(256 * 1024),
        };
        committer.register_segment();
        committer.look_at_space();
        committer.reclaim();
        committer.publish();
        Ok(committer)
    }

    /// Runs until the queue is closed; everything handed in before is then durable.
    pub fn run(mut self) {
        while let Some(ops) = self.wait() {
            if self.last_try.elapsed() >= RETRY {
                self.carry_on();
            }
            self.process(ops);
            if self.unsynced_since.is_some_and(|since| since.elapsed() >= self.config.lazy_sync) {
                self.sync();
            }
            if self.last_look.elapsed() >= LOOK {
                self.look_at_space();
                self.empty_one_segment();
            }
            self.publish();
        }
        self.carry_on();
        self.sync();
    }

    /// The next ops; an empty list when it is time for housekeeping, `None` at the end.
    fn wait(&mut self) -> Option<Vec<Op>> {
        let mut pending = self.shared.lock_pending();
        if pending.ops.is_empty() && !pending.stop {
            let patience = match self.unsynced_since {
                Some(since) => self.config.lazy_sync.saturating_sub(since.elapsed()),
                None => LOOK,
            };
            pending = self.shared.bell.wait_timeout(pending, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
        if pending.ops.is_empty() && pending.stop {
            return None;
        }
        Some(std::mem::take(&mut pending.ops))
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
    fn record(&mut self, op: Op) -> Option<Record> {
        match op {
            Op::Accept { id, head, bytes, crc, size, file, reply } => {
                let body_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let header = FrameHeader::new(RecordKind::Accept, &head, body_len, crc);
                Some(Record { id, header, head, bytes, effect: Effect::Accept { size, file }, reply: Some(reply) })
            }
            Op::State { id, progress, generation } => {
                let Some(slot) = self.shared.lock_index().get(id).copied() else {
                    self.shared.written(id, generation);
                    return None;
                };
                let state = State { id, held: slot.held, delay_told: slot.delay_told, progress };
                Some(state_record(state, Some(generation), None))
            }
            Op::Flags { id, held, delay_told, reply } => match self.current_state(id) {
                Ok(state) => {
                    let held = held.unwrap_or(state.held);
                    let delay_told = delay_told.unwrap_or(state.delay_told);
                    Some(state_record(State { held, delay_told, ..state }, None, reply))
                }
                Err(error) => {
                    answer(reply, Err(error));
                    None
                }
            },
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
                self.set_aside(id);
                let segment = self.shared.lock_index().get(id).map(|slot| slot.accept.segment)?;
                Some(done_record(id, Some(segment), None))
            }
            Op::Discard(paths) => {
                for path in paths {
                    self.remove(&path);
                }
                None
            }
        }
    }

    /// The state of a message as its last records tell it.
    fn current_state(&self, id: MessageId) -> Result<State, SpoolError> {
        let (slot, accept, state) = {
            let index = self.shared.lock_index();
            let slot = *index.get(id).ok_or(SpoolError::Unknown)?;
            (slot, index.file(slot.accept.segment), slot.state.and_then(|place| Some((place, index.file(place.segment)?))))
        };
        let head = |segment: &OpenSegment, place| match read_head(segment, place) {
            Ok(Some((_, head))) => Ok(head),
            Ok(None) => Err(SpoolError::Failed("the record is damaged".to_owned())),
            Err(error) => Err(SpoolError::Failed(error.to_string())),
        };
        let damaged = || SpoolError::Failed("the record is damaged".to_owned());
        if let Some((place, segment)) = state {
            return State::decode(&head(&segment, place)?).ok_or_else(damaged);
        }
        let accepted = Accepted::decode(&head(&accept.ok_or(SpoolError::Unknown)?, slot.accept)?).ok_or_else(damaged)?;
        Ok(State { id, held: slot.held, delay_told: slot.delay_told, progress: accepted.targets() })
    }

    /// Writes a batch, syncs if anybody waits for it, answers.
    fn write(&mut self, batch: Vec<Record>) {
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

    /// Appends records to the active segment. Those without a reply take effect at once; the others come back with their places.
    fn append(&mut self, batch: Vec<Record>) -> Result<Vec<(Record, Place)>, (io::Error, Vec<Record>)> {
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
            self.wipe();
            return Err((error, batch));
        }
        self.len += self.buffer.len() as u64;
        self.buffer.shrink_to(BATCH_MAX);
        self.shared.counters.sync_batch_records.observe(batch.len() as f64);
        let mut waiting = Vec::new();
        let mut index = self.shared.lock_index();
        if let Some(segment) = index.segments.get_mut(&self.active.number) {
            segment.len = self.len;
        }
        for (record, place) in batch.into_iter().zip(places) {
            if record.reply.is_some() && matches!(record.effect, Effect::Accept { .. }) {
                waiting.push((record, place));
                continue;
            }
            match record.effect {
                Effect::Accept { size, file } => index.accepted(record.id, place, frame_len(&record), size, file),
                Effect::State { held, delay_told, generation } => {
                    index.state(record.id, place, held, delay_told);
                    if let Some(generation) = generation {
                        self.shared.written(record.id, generation);
                    }
                }
                Effect::Done { overrules } => {
                    if index.done(record.id, place.segment).is_some_and(|slot| slot.file) {
                        self.needless.push(path(record.id));
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
    fn accepted(&mut self, waiting: Vec<(Record, Place)>) {
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

    /// Makes everything written so far durable. On failure the segment is poisoned, the records that must not be lost are carried
    /// on, and the answer is `false`.
    fn sync(&mut self) -> bool {
        let started = Instant::now();
        let result = self.file.sync();
        self.shared.counters.sync_seconds.observe(started.elapsed().as_secs_f64());
        self.unsynced_since = None;
        match result {
            Ok(()) => {
                self.unsynced.clear();
                for path in std::mem::take(&mut self.needless) {
                    self.remove(&path);
                }
                self.reclaim();
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
        if let Err(error) = self.roll_unsynced() {
            tracing::error!(target: "mta", cause = %error, "no new segment can be begun; trying again");
        }
    }

    /// The records were refused after they had been written: should they be on the disk after all, a done record says that
    /// nobody was promised anything.
    fn disown(&mut self, waiting: Vec<(Record, Place)>, cause: &str) {
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
            match record.reply.take() {
                Some(reply) => answer(Some(reply), Err(verdict.clone())),
                None => self.carried.push(record),
            }
        }
    }

    /// Overwrites what a failed write left behind, as far as it reached: whole frames among it would be taken for accepted
    /// mail after a restart, though their senders were refused.
    fn wipe(&self) {
        let zeros = [0; 4096];
        let mut offset = self.len;
        let end = self.len + self.buffer.len() as u64;
        while offset < end {
            let wanted = zeros.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            if self.file.write_at(offset, &zeros[..wanted]).is_err() {
                return;
            }
            offset += wanted as u64;
        }
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
                        self.remove(RESERVE);
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

    /// Begins a new segment after everything in the old one is durable.
    fn roll(&mut self) -> io::Result<()> {
        if !self.unsynced.is_empty() && !self.sync() {
            return Err(io::Error::other("the sync of the full segment failed"));
        }
        self.roll_unsynced()
    }

    fn roll_unsynced(&mut self) -> io::Result<()> {
        let spares = std::mem::take(&mut self.spares);
        let (header, file, spares) = new_segment(&self.shared, self.next_segment, spares)?;
        self.spares = spares;
        self.next_segment += 1;
        self.active = header;
        self.file = file;
        self.len = HEADER_BLOCK;
        self.register_segment();
        Ok(())
    }

    fn register_segment(&self) {
        let segment = Segment {
            header: self.active,
            file: self.file.clone(),
            len: self.len,
            live: 0,
            live_bytes: 0,
            outlives: BTreeSet::new(),
        };
        self.shared.lock_index().segments.insert(self.active.number, segment);
    }

    /// Lets segments go that nobody needs; in rounds, because one may wait for another.
    fn reclaim(&mut self) {
        loop {
            let numbers = self.shared.lock_index().reclaimable(self.active.number);
            if numbers.is_empty() {
                return;
            }
            for number in numbers {
                if let Err(error) = self.let_go(number) {
                    tracing::warn!(target: "mta", segment = number, cause = %error, "a dead segment could not be removed");
                    return;
                }
            }
            if let Err(error) = self.shared.disk.sync_dir(recover::LOG) {
                tracing::warn!(target: "mta", cause = %error, "the removal of dead segments could not be synced");
                return;
            }
        }
    }

    /// Keeps a dead segment's file for the next use, or removes it.
    fn let_go(&mut self, number: u32) -> io::Result<()> {
        let name = recover::segment_path(number);
        let mut index = self.shared.lock_index();
        // A file that somebody still reads from must not be written over.
        let unread = index.segments.get(&number).is_some_and(|segment| Arc::strong_count(&segment.file) == 1);
        if unread && self.spares.len() < SPARES_MAX {
            let spare = recover::spare_path(number);
            self.shared.disk.rename(&name, &spare)?;
            self.spares.push(spare);
        } else {
            self.shared.disk.remove(&name)?;
        }
        index.segments.remove(&number);
        Ok(())
    }

    /// Copies the live records of one mostly dead segment forward, when the dead ones take more room than the live ones.
    fn empty_one_segment(&mut self) {
        let (number, residents) = {
            let index = self.shared.lock_index();
            let (used, live) = index.amplification();
            if self.shared.health() != Health::Well || used < 2 * live + 4 * self.config.segment_max {
                return;
            }
            let Some(number) = index.worth_emptying(self.active.number) else { return };
            (number, index.residents(number))
        };
        let mut batch = Vec::new();
        let mut octets = 0;
        for id in residents {
            match self.copies(id, number) {
                Ok(records) => {
                    octets += records.iter().map(|record| record.header.frame_len()).sum::<u64>();
                    batch.extend(records);
                }
                Err(_) => batch.extend(self.record(Op::Damaged { id })),
            }
            if octets > BATCH_MAX as u64 {
                self.write(std::mem::take(&mut batch));
                octets = 0;
            }
        }
        self.write(batch);
        self.sync();
    }

    /// The records of a message that stand in a segment, to be written again.
    fn copies(&self, id: MessageId, segment: u32) -> Result<Vec<Record>, SpoolError> {
        let (slot, open) = {
            let index = self.shared.lock_index();
            let Some(slot) = index.get(id).copied() else { return Ok(Vec::new()) };
            (slot, index.file(segment).ok_or(SpoolError::Unknown)?)
        };
        let failed = |error: io::Error| SpoolError::Failed(error.to_string());
        let damaged = || SpoolError::Failed("the record is damaged".to_owned());
        let mut records = Vec::new();
        if slot.accept.segment == segment {
            let (header, head) = read_head(&open, slot.accept).map_err(failed)?.ok_or_else(damaged)?;
            let mut bytes = vec![0; header.body_len as usize];
            let offset = u64::from(slot.accept.offset) + (super::format::FRAME_HEADER + head.len()) as u64;
            let got = open.1.read_at(offset, &mut bytes).map_err(failed)?;
            if got != bytes.len() || crc32fast::hash(&bytes) != header.body_crc {
                return Err(damaged());
            }
            let effect = Effect::Accept { size: slot.size, file: slot.file };
            records.push(Record { id, header, head, bytes: bytes.into(), effect, reply: None });
        }
        if let Some(place) = slot.state.filter(|place| place.segment == segment) {
            let (_, head) = read_head(&open, place).map_err(failed)?.ok_or_else(damaged)?;
            records.push(state_record(State::decode(&head).ok_or_else(damaged)?, None, None));
        }
        Ok(records)
    }

    /// Keeps what is left of a damaged message for a person to look at.
    fn set_aside(&self, id: MessageId) {
        let place = {
            let index = self.shared.lock_index();
            index.get(id).map(|slot| (*slot, index.file(slot.accept.segment)))
        };
        let Some((slot, Some((_, file)))) = place else { return };
        self.shared.counters.corrupt_records_total.inc();
        let mut frame = vec![0; slot.frame as usize];
        let kept = file.read_at(u64::from(slot.accept.offset), &mut frame).and_then(|got| {
            recover::keep(self.shared.disk.as_ref(), &format!("{id}.frame"), &frame[..got])?;
            if slot.file { self.shared.disk.rename(&path(id), &format!("{}/{id}.eml", recover::CORRUPT)) } else { Ok(()) }
        });
        match kept {
            Ok(()) => {
                tracing::error!(target: "mta", queue_id = %id, "a damaged message was set aside under corrupt/ on the data volume")
            }
            Err(error) => {
                tracing::error!(target: "mta", queue_id = %id, cause = %error, "a damaged message could not be set aside")
            }
        }
    }

    fn look_at_space(&mut self) {
        self.last_look = Instant::now();
        let Ok(space) = self.shared.disk.space() else { return };
        let counters = &self.shared.counters;
        counters.disk_free_bytes.set(i64::try_from(space.free).unwrap_or(i64::MAX));
        counters.disk_size_bytes.set(i64::try_from(space.size).unwrap_or(i64::MAX));
        let scarce = space.free < space.size / 100;
        match self.shared.health() {
            Health::Well if scarce => self.shared.set_health(Health::Full, "less than one percent of it is free"),
            // A little more than the mark, so that the answer does not change with every mail.
            Health::Full if space.free > space.size / 100 * 3 / 2 && self.carried.is_empty() => {
                self.shared.set_health(Health::Well, "");
            }
            _ => {}
        }
        if self.shared.health() == Health::Well && space.free > space.size / 50 {
            self.keep_reserve(space.size);
        }
    }

    fn keep_reserve(&self, size: u64) {
        let Ok(file) = self.shared.disk.create(RESERVE) else { return };
        let zeros = vec![0; usize::try_from(RESERVE_MAX.min(size / 100)).unwrap_or_default()];
        if file.write_at(0, &zeros).and_then(|()| file.sync()).is_err() {
            self.remove(RESERVE);
        }
    }

    fn remove(&self, path: &str) {
        match self.shared.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(target: "mta", path, cause = %error, "a file that is not needed any more could not be removed");
            }
            _ => {}
        }
    }

    fn publish(&self) {
        let index = self.shared.lock_index();
        let (messages, bytes, held) = index.totals();
        let used = index.amplification().0;
        drop(index);
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let counters = &self.shared.counters;
        counters.mqueue_messages.set(number(messages));
        counters.mqueue_kbytes.set(number(bytes.div_ceil(1024)));
        counters.mqueue_held_messages.set(number(held));
        counters.spool_disk_bytes.set(number(used));
    }
}

/// Whether an op speaks of a message that a record of the batch changes.
fn depends(op: &Op, batch: &[Record]) -> bool {
    let id = match op {
        Op::State { id, .. } | Op::Flags { id, .. } | Op::Done { id, .. } | Op::Damaged { id } => *id,
        Op::Accept { .. } | Op::Discard(_) => return false,
    };
    batch.iter().any(|record| record.id == id)
}

/// A segment file under its final name, with a durable header; a spare one is used again.
fn new_segment(
    shared: &Shared,
    number: u32,
    mut spares: Vec<String>,
) -> io::Result<(SegmentHeader, Arc<dyn File>, Vec<String>)> {
    let header = SegmentHeader { number, salt: fastrand::u64(..) };
    let disk = &shared.disk;
    let fresh = recover::spare_path(number);
    let (name, file) = match spares.pop() {
        Some(spare) => match disk.open(&spare) {
            Ok(file) => (spare, file),
            Err(_) => (fresh.clone(), disk.create(&fresh)?),
        },
        None => match disk.create(&fresh) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (fresh.clone(), disk.open(&fresh)?),
            other => (fresh, other?),
        },
    };
    file.write_at(0, &header.encode())?;
    file.sync()?;
    disk.rename(&name, &recover::segment_path(number))?;
    disk.sync_dir(recover::SPARE)?;
    disk.sync_dir(recover::LOG)?;
    Ok((header, file, spares))
}

fn state_record(state: State, generation: Option<u64>, reply: Option<Reply>) -> Record {
    let head = state.encode();
    Record {
        id: state.id,
        header: FrameHeader::new(RecordKind::State, &head, 0, 0),
        head,
        bytes: Bytes::new(),
        effect: Effect::State { held: state.held, delay_told: state.delay_told, generation },
        reply,
    }
}

fn done_record(id: MessageId, overrules: Option<u32>, reply: Option<Reply>) -> Record {
    let head = encode_done(id);
    Record {
        id,
        header: FrameHeader::new(RecordKind::Done, &head, 0, 0),
        head,
        bytes: Bytes::new(),
        effect: Effect::Done { overrules },
        reply,
    }
}

fn frame_len(record: &Record) -> u32 {
    u32::try_from(record.header.frame_len()).unwrap_or(u32::MAX)
}

/// A session that has gone meanwhile does not mind.
fn answer(reply: Option<Reply>, result: Result<(), SpoolError>) {
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}
