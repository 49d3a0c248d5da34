//! Frees the space of finished mail: the live records of a segment are copied to the active one,
//! and its file is released.
//!
//! Begins when the segments take three eighths more than their live records, plus a few segments
//! (`SpoolConfig::spare_segments`). It works in small pieces between the batches of the sessions,
//! so that no session waits long, and takes a part of the committer's time that grows with the
//! waste: an eighth at first, then half of it, and all that the sessions leave when the segments
//! take three quarters more than their live records. With its other files the volume then stays
//! below twice its mail. Limits: a piece has about one of [`PIECES`] of a segment (512 KiB) and one
//! sync; one segment is emptied at a time.

use super::config::SpoolConfig;
use super::format::{FRAME_HEADER, RecordKind, SegmentHeader};
use super::message_reader::read_head;
use super::record::{Effect, LogRecord, state_record};
use super::record_heads::{AcceptHead, StateHead};
use super::segment_summary::{self, SegmentSummary};
use super::spool_state::SpoolState;
use super::spool_trait::SpoolError;
use crate::ground::sync::Instant;
use crate::mail::model::MessageId;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A piece is this part of a segment.
const PIECES: u64 = 32;

/// How many times as long as a piece took the committer pauses after it.
const REST: u32 = 7;

/// The same when the segments take much more than their live records; there is no pause when it is
/// three quarters more.
const REST_IN_NEED: u32 = 1;

/// A segment that is being emptied.
struct CompactedSegment {
    number: u32,
    /// Messages that may have live records there, still to be checked.
    left: std::vec::IntoIter<MessageId>,
}

/// What compaction needs of the writer of the log.
pub trait CopyTarget {
    /// The number of the segment that records are appended to.
    fn active(&self) -> u32;

    /// Whether copies can be written: the volume does not fail, and no older records wait.
    fn takes_copies(&self) -> bool;

    /// Quarantines a damaged message; gives the record of its end, if that was done.
    fn damaged(&self, id: MessageId) -> Option<LogRecord>;

    /// Writes copies of records, followed by a sync.
    fn write_copies(&mut self, batch: Vec<LogRecord>);
}

/// What is being emptied, and when to continue.
pub struct Compaction {
    shared: Arc<SpoolState>,
    config: SpoolConfig,
    compacted: Option<CompactedSegment>,
    /// Octets of all segments when the current one was chosen.
    used: u64,
    /// Emptying the last segment freed space, so the next may be worth it too. Without this check
    /// it could copy for ever and free nothing.
    has_freed_space: bool,
    /// When the last check or piece ended, and how long to pause after it.
    last: Instant,
    rest: Duration,
}

impl Compaction {
    /// Nothing is being emptied yet.
    pub fn new(shared: Arc<SpoolState>, config: SpoolConfig) -> Self {
        Self {
            shared,
            config,
            compacted: None,
            used: 0,
            has_freed_space: false,
            last: Instant::now(),
            rest: Duration::ZERO,
        }
    }

    /// How long there is nothing to do; `None` while no segment is known that is worth emptying.
    pub fn patience(&self) -> Option<Duration> {
        (self.compacted.is_some() || self.has_freed_space)
            .then(|| self.rest.saturating_sub(self.last.elapsed()))
    }

    fn is_resting(&self) -> bool {
        self.last.elapsed() < self.rest
    }

    /// Does the next piece, if it is due.
    pub fn step(&mut self, target: &mut impl CopyTarget) {
        if self.is_resting() {
            return;
        }
        let begun = Instant::now();
        let compacted = match self.compacted.take() {
            Some(compacted) => Some(compacted),
            None => {
                self.has_freed_space = false;
                self.used = self.shared.lock_index().amplification().0;
                self.worth_compacting(target.active())
            }
        };
        let Some(mut compacted) = compacted.filter(|_| self.may_copy(target)) else {
            self.last = begun;
            self.rest = self.config.housekeeping;
            return;
        };
        let (number, ended) = (compacted.number, self.copy_piece(&mut compacted, target));
        self.compacted = (!ended).then_some(compacted);
        // A segment that could not be read stays, and would be tried again at once.
        let stuck = ended
            && self
                .shared
                .lock_index()
                .segments()
                .get(&number)
                .is_some_and(|segment| segment.live > 0);
        let rest = begun.elapsed() * self.pause_after_piece();
        self.has_freed_space = ended && self.shared.lock_index().amplification().0 < self.used;
        self.rest = if stuck { self.config.housekeeping } else { rest };
        self.last = Instant::now();
    }

    /// Whether the volume has space for copies, and accepts records at all.
    fn may_copy(&self, target: &impl CopyTarget) -> bool {
        let room = self.shared.disk.space().map_or(0, |space| space.free);
        target.takes_copies() && room >= 2 * self.config.segment_max
    }

    fn pause_after_piece(&self) -> u32 {
        let (used, live) = self.shared.lock_index().amplification();
        let above = |eighths: u64| {
            used > live / 8 * eighths + self.config.spare_segments * self.config.segment_max
        };
        match (above(14), above(13)) {
            (true, _) => 0,
            (false, true) => REST_IN_NEED,
            (false, false) => REST,
        }
    }

    /// A segment that frees more space than the copies of its live records take; never the active
    /// one.
    fn worth_compacting(&self, active: u32) -> Option<CompactedSegment> {
        let header = {
            let index = self.shared.lock_index();
            let (used, live) = index.amplification();
            if used < live / 8 * 11 + self.config.spare_segments * self.config.segment_max {
                return None;
            }
            let number = index.worth_compacting(active)?;
            index.segments().get(&number)?.header
        };
        let live_messages = SegmentSummary::read(self.shared.disk.as_ref(), header)
            .and_then(|octets| named(header, &octets));
        let live_messages =
            live_messages.unwrap_or_else(|| self.shared.lock_index().live_messages(header.number));
        Some(CompactedSegment { number: header.number, left: live_messages.into_iter() })
    }

    /// Copies a piece of the live records of a segment, and tells whether that was the last one.
    fn copy_piece(&self, compacted: &mut CompactedSegment, target: &mut impl CopyTarget) -> bool {
        let (mut batch, mut octets) = (Vec::new(), 0);
        let mut ended = true;
        for id in compacted.left.by_ref() {
            match self.copies(id, compacted.number) {
                Ok(records) => {
                    octets += records.iter().map(|record| record.header.frame_len()).sum::<u64>();
                    batch.extend(records);
                }
                Err(SpoolError::Damaged) => batch.extend(target.damaged(id)),
                // It cannot be read now, and stays where it is.
                Err(_) => {}
            }
            if octets > self.config.segment_max / PIECES {
                ended = false;
                break;
            }
        }
        if !batch.is_empty() {
            self.shared.counters.spool_copied_bytes_total.inc_by(octets);
            target.write_copies(batch);
        }
        ended
    }

    /// The records of a message in a segment, to be written again. Its state always follows a new
    /// accept record: a reader that starts from the oldest segment must see them in this order.
    fn copies(&self, id: MessageId, segment: u32) -> Result<Vec<LogRecord>, SpoolError> {
        let (slot, open, state) = {
            let index = self.shared.lock_index();
            let Some(slot) = index.get(id) else { return Ok(Vec::new()) };
            if slot.accept.segment != segment
                && slot.state.is_none_or(|place| place.segment != segment)
            {
                return Ok(Vec::new());
            }
            let state = slot.state.and_then(|place| Some((place, index.file(place.segment)?)));
            (slot, index.file(segment).ok_or(SpoolError::Unknown)?, state)
        };
        let failed = |error: io::Error| SpoolError::Failed(error.to_string());
        let damaged = || SpoolError::Damaged;
        let mut records = Vec::new();
        if slot.accept.segment == segment {
            let (header, head) =
                read_head(&open, slot.accept).map_err(failed)?.ok_or_else(damaged)?;
            let mut bytes = vec![0; header.body_len as usize];
            let offset = u64::from(slot.accept.offset) + (FRAME_HEADER + head.len()) as u64;
            let got = open.1.read_at(offset, &mut bytes).map_err(failed)?;
            if got != bytes.len() || crc32fast::hash(&bytes) != header.body_crc {
                return Err(damaged());
            }
            let effect = Effect::Accept { size: slot.size, file: slot.file, imported: None };
            records.push(LogRecord { id, header, head, bytes: bytes.into(), effect, reply: None });
        }
        if let Some((place, open)) =
            state.filter(|(place, _)| !records.is_empty() || place.segment == segment)
        {
            let (_, head) = read_head(&open, place).map_err(failed)?.ok_or_else(damaged)?;
            records.push(state_record(&StateHead::decode(&head).ok_or_else(damaged)?, None, None));
        }
        Ok(records)
    }
}

/// The messages that the accept and state records in a segment's summary name; `None` when one of
/// them cannot be decoded.
fn named(segment: SegmentHeader, octets: &[u8]) -> Option<Vec<MessageId>> {
    let mut ids = BTreeSet::new();
    for frame in segment_summary::frames(segment, octets) {
        let (header, head) = frame?;
        match header.kind {
            RecordKind::Accept => drop(ids.insert(AcceptHead::decode(head)?.id)),
            RecordKind::State => drop(ids.insert(StateHead::decode(head)?.id)),
            RecordKind::Done | RecordKind::Void => {}
        }
    }
    Some(ids.into_iter().collect())
}
