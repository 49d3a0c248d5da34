//! The index: where the last records of each message are, and which segments are still needed.
//!
//! Purpose: the only structure that grows with the queue, so an entry is small. No file is accessed
//! here.
//!
//! When may a segment be released? When no live message has its accept record or its last state
//! record there, *and* every segment with an accept record that is superseded by a done record (or
//! a copy) in this one was released before: otherwise a restart would read the old accept record
//! and deliver the message once more. [`Segment::must_follow`] lists those segments.

use super::format::SegmentHeader;
use super::imported_times::ImportedTimes;
use super::index_entries::{IndexEntries, IndexEntry, RecordLocation};
use super::record_heads::HoldFlag;
use super::spool_trait::Arrival;
use crate::ground::disk::File;
use crate::mail::model::MessageId;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

/// One segment file.
pub struct Segment {
    /// The header, as in its first block.
    pub header: SegmentHeader,
    /// The open file.
    pub file: Arc<dyn File>,
    /// Octets used, from the start of the file.
    pub len: u64,
    /// Accept and state records that are the current ones of a live message.
    pub live: u32,
    /// Octets of those records.
    pub live_bytes: u64,
    /// Segments that must be released before this one.
    pub must_follow: BTreeSet<u32>,
}

/// The index of all messages and segments.
#[derive(Default)]
pub struct Index {
    slots: IndexEntries,
    segments: BTreeMap<u32, Segment>,
    /// Some records could not be read. They may be readable later, so no segment may be released
    /// meanwhile: its records might supersede one of them.
    pub incomplete: bool,
    /// Segments that were given up: their content after a power cut is unknown.
    doubtful: BTreeSet<u32>,
    /// Segments without a live record: the only ones that may be released.
    dead: BTreeSet<u32>,
    /// Octets of all segments, and of their live records.
    used: u64,
    live: u64,
    bytes: u64,
    held: u64,
    last_id: u64,
    arrivals: ImportedTimes,
}

/// A dead segment that is being released.
pub struct DeadSegment {
    segment: Segment,
    doubtful: bool,
}

impl DeadSegment {
    /// Whether its file is still being read; then it must not be overwritten.
    pub fn is_read(&self) -> bool {
        Arc::strong_count(&self.segment.file) > 1
    }
}

impl Index {
    /// A message's entry.
    pub fn get(&self, id: MessageId) -> Option<IndexEntry> {
        self.slots.get(id.0)
    }

    /// Messages, octets of their contents, held messages.
    pub fn totals(&self) -> (u64, u64, u64) {
        (self.slots.len() as u64, self.bytes, self.held)
    }

    /// The highest id ever seen in a record, whether its message is in the queue or not.
    pub fn last_id(&self) -> u64 {
        self.last_id
    }

    /// A record contains this id, so no other message may get it: the remaining records would be
    /// read as that message's.
    pub fn note_id(&mut self, id: MessageId) {
        self.last_id = self.last_id.max(id.0);
    }

    /// Ids above `after`, at most `limit`.
    pub fn ids(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId> {
        let from = after.map_or(0, |id| id.0.saturating_add(1));
        self.slots.from(from).take(limit).map(|(id, _)| MessageId(id)).collect()
    }

    /// The next messages by acceptance.
    pub fn by_arrival(&self, after: Option<MessageId>, limit: usize) -> Vec<Arrival> {
        self.arrivals
            .page(after, limit, |from| self.slots.from(from.0).map(|(id, _)| MessageId(id)))
    }

    /// Which of these messages was accepted first.
    pub fn oldest_of(&self, ids: &HashSet<MessageId>) -> Option<Arrival> {
        ids.iter().map(|id| self.arrivals.of(*id)).min_by_key(|arrival| arrival.moment)
    }

    /// A message in the queue was first accepted by another queue, at this second.
    pub fn arrived(&mut self, id: MessageId, second: u32) {
        self.arrivals.forget(id);
        self.arrivals.note(id, second, |moment| self.slots.get(moment.0).is_some());
    }

    /// Adds a segment without live records.
    pub fn begin_segment(&mut self, header: SegmentHeader, file: Arc<dyn File>, len: u64) {
        let segment =
            Segment { header, file, len, live: 0, live_bytes: 0, must_follow: BTreeSet::new() };
        self.segments.insert(header.number, segment);
        self.dead.insert(header.number);
        self.used += len;
    }

    /// Sets the number of octets of a segment.
    pub fn segment_len(&mut self, number: u32, len: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            self.used = self.used + len - segment.len;
            segment.len = len;
        }
    }

    /// Removes a dead segment whose file is to be released: its file is not found here any more.
    pub fn take_segment(&mut self, number: u32) -> Option<DeadSegment> {
        let segment = self.segments.remove(&number)?;
        self.dead.remove(&number);
        self.used -= segment.len;
        self.live -= segment.live_bytes;
        Some(DeadSegment { segment, doubtful: self.doubtful.remove(&number) })
    }

    /// Its file could not be released: restores the state before it was removed.
    pub fn put_back(&mut self, DeadSegment { segment, doubtful }: DeadSegment) {
        let number = segment.header.number;
        self.used += segment.len;
        self.live += segment.live_bytes;
        self.segments.insert(number, segment);
        self.dead.insert(number);
        if doubtful {
            self.doubtful.insert(number);
        }
    }

    /// All segments, by number.
    pub fn segments(&self) -> &BTreeMap<u32, Segment> {
        &self.segments
    }

    /// The open file of a segment.
    pub fn file(&self, segment: u32) -> Option<(SegmentHeader, Arc<dyn File>)> {
        self.segments.get(&segment).map(|segment| (segment.header, segment.file.clone()))
    }

    /// An accept record of `frame` octets is at `place`; a second one for the same id is a copy
    /// that replaces the first.
    pub fn accepted(
        &mut self,
        id: MessageId,
        place: RecordLocation,
        frame: u32,
        size: u64,
        file: bool,
    ) {
        self.note_id(id);
        let slot = match self.slots.get(id.0) {
            None => {
                self.bytes += size;
                IndexEntry {
                    accept: place,
                    state: None,
                    size,
                    frame,
                    state_frame: 0,
                    held: HoldFlag::Free,
                    delay_warning_sent: false,
                    file,
                }
            }
            Some(old) => {
                self.remove_live(old.accept, old.frame);
                self.note_order(place.segment, old.accept.segment);
                IndexEntry { accept: place, frame, ..old }
            }
        };
        self.slots.set(id.0, slot);
        self.add_live(place, frame);
    }

    /// A state record is at `place`, and replaces an older one if there was one.
    pub fn state(
        &mut self,
        id: MessageId,
        place: RecordLocation,
        frame: u32,
        held: HoldFlag,
        delay_warning_sent: bool,
    ) {
        let Some(slot) = self.slots.get(id.0) else { return };
        self.held = self.held + u64::from(held.is_held()) - u64::from(slot.held.is_held());
        let (old, old_frame) = (slot.state, slot.state_frame);
        self.slots.set(
            id.0,
            IndexEntry { state: Some(place), state_frame: frame, held, delay_warning_sent, ..slot },
        );
        if let Some(old) = old {
            self.remove_live(old, old_frame);
        }
        self.add_live(place, frame);
    }

    /// The message is done; the record is in `segment`. Gives back its entry.
    pub fn done(&mut self, id: MessageId, segment: u32) -> Option<IndexEntry> {
        let slot = self.slots.remove(id.0)?;
        self.arrivals.forget(id);
        self.bytes -= slot.size;
        self.held -= u64::from(slot.held.is_held());
        self.remove_live(slot.accept, slot.frame);
        self.note_order(segment, slot.accept.segment);
        if let Some(state) = slot.state {
            self.remove_live(state, slot.state_frame);
        }
        Some(slot)
    }

    /// Sealed segments that may be released now; those they must outlive are gone.
    pub fn reclaimable(&self, active: u32) -> Vec<u32> {
        if self.incomplete {
            return Vec::new();
        }
        let may_go = |number: &u32| {
            self.segments.get(number).is_some_and(|segment| self.is_free(*number, segment))
        };
        self.dead.iter().copied().filter(|number| *number != active && may_go(number)).collect()
    }

    /// Whether everything that a segment must outlive is gone.
    fn is_free(&self, number: u32, segment: &Segment) -> bool {
        self.doubtful.range(..number).next().is_none()
            && segment.must_follow.iter().all(|older| !self.segments.contains_key(older))
    }

    /// A write to a segment, or a sync of it, has failed, and nothing more is written to it. It may
    /// contain a copy of a record whose location is elsewhere by the index; so the record that ends
    /// the message must outlive it, and therefore every later segment must.
    pub fn mark_doubtful(&mut self, segment: u32) {
        if self.segments.contains_key(&segment) {
            self.doubtful.insert(segment);
        }
    }

    /// Whether a write to a segment, or a sync of it, has failed.
    pub fn is_doubtful(&self, segment: u32) -> bool {
        self.doubtful.contains(&segment)
    }

    /// How many messages have their accept record in each segment.
    pub fn messages(&self) -> BTreeMap<u32, u64> {
        let mut messages = BTreeMap::new();
        for (_, slot) in self.slots.from(0) {
            *messages.entry(slot.accept.segment).or_default() += 1;
        }
        messages
    }

    /// Octets on disk and octets of live records, of all segments.
    pub fn amplification(&self) -> (u64, u64) {
        (self.used, self.live)
    }

    /// The sealed segment that frees the most space for the copies that it needs: among those that
    /// may be released at once, and if these are nearly full of live records the oldest, which any
    /// number of dead ones may wait for. None while a newer record might exist that could not be
    /// read.
    pub fn worth_compacting(&self, active: u32) -> Option<u32> {
        if self.incomplete {
            return None;
        }
        let in_use = || {
            self.segments.iter().filter(|(number, segment)| **number != active && segment.live > 0)
        };
        let free = in_use().filter(|(number, segment)| self.is_free(**number, segment));
        let emptiest = free.min_by_key(|(_, s)| s.live_bytes * 1000 / s.len.max(1));
        let worth = emptiest.filter(|(_, segment)| segment.live_bytes < segment.len / 8 * 7);
        worth.or_else(|| in_use().next()).map(|(number, _)| *number)
    }

    /// The messages with a live record in a segment, and which of the two records it is.
    pub fn live_messages(&self, segment: u32) -> Vec<MessageId> {
        let here = |place: RecordLocation| place.segment == segment;
        let resident = |slot: &IndexEntry| here(slot.accept) || slot.state.is_some_and(here);
        self.slots.from(0).filter(|(_, slot)| resident(slot)).map(|(id, _)| MessageId(id)).collect()
    }

    fn add_live(&mut self, place: RecordLocation, frame: u32) {
        if let Some(segment) = self.segments.get_mut(&place.segment) {
            segment.live += 1;
            segment.live_bytes += u64::from(frame);
            self.live += u64::from(frame);
            self.dead.remove(&place.segment);
        }
    }

    fn remove_live(&mut self, old: RecordLocation, frame: u32) {
        if let Some(segment) = self.segments.get_mut(&old.segment) {
            segment.live = segment.live.saturating_sub(1);
            let octets = u64::from(frame).min(segment.live_bytes);
            segment.live_bytes -= octets;
            self.live -= octets;
            if segment.live == 0 {
                self.dead.insert(old.segment);
            }
        }
    }

    /// `segment` contains a record that supersedes one in `older`.
    pub fn note_order(&mut self, segment: u32, older: u32) {
        if segment != older
            && let Some(segment) = self.segments.get_mut(&segment)
        {
            segment.must_follow.insert(older);
        }
    }
}
