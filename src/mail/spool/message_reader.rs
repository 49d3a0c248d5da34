//! Messages read back from their records.

use super::content_writer::{FileSlice, WHOLE_MAX};
use super::envelope_cache::EnvelopeCache;
use super::format::{FRAME_HEADER, FrameHeader, SegmentHeader};
use super::index_entries::{IndexEntry, RecordLocation};
use super::layout::body_path;
use super::record::Op;
use super::record_heads::{AcceptHead, StateHead};
use super::spool_state::{SpoolState, VolumeHealth};
use super::spool_trait::SpoolError;
use crate::ground::disk::File;
use crate::mail::model::{Body, Message, MessageId, TargetProgress};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

/// If so many of the listed messages are in one segment, its summary is read.
const WORTH_READING: u32 = 32;

/// Segments whose summaries are worth reading for certain messages.
pub type SegmentSet = HashSet<u32>;

/// Reads messages of the queue.
pub struct MessageReader {
    shared: Arc<SpoolState>,
    /// Recently read summaries.
    envelopes: EnvelopeCache,
}

impl MessageReader {
    pub fn new(shared: Arc<SpoolState>) -> Self {
        Self { shared, envelopes: EnvelopeCache::default() }
    }

    /// Reads a message back. A damaged one is reported to the committer, which checks it again and
    /// quarantines it. On a failing volume the records may have been lost by a failed sync and are
    /// about to be written again.
    pub fn read(&self, id: MessageId, depth: ReadDepth<'_>) -> Result<Message, SpoolError> {
        let well = || self.shared.health() == VolumeHealth::Well;
        let was_well = well();
        match self.find(id, depth) {
            Ok(Some(message)) => Ok(message),
            Ok(None) if !was_well || !well() => {
                Err(SpoolError::Failed("the data volume is recovering".to_owned()))
            }
            Ok(None) => {
                self.shared.submit(Op::Damaged { id });
                Err(SpoolError::Damaged)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether a message is intact (`Some`) or damaged (`None`).
    pub fn examine(&self, id: MessageId) -> Result<Option<Message>, SpoolError> {
        self.find(id, ReadDepth::Whole)
    }

    /// The segments that contain the last records of many of these messages.
    pub fn segments_of_many(&self, ids: &[MessageId]) -> SegmentSet {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        let index = self.shared.lock_index();
        for slot in ids.iter().filter_map(|id| index.get(*id)) {
            for place in [Some(slot.accept), slot.state].into_iter().flatten() {
                *counts.entry(place.segment).or_default() += 1;
            }
        }
        counts
            .into_iter()
            .filter(|(_, count)| *count >= WORTH_READING)
            .map(|(segment, _)| segment)
            .collect()
    }

    /// Housekeeping: drops what was not used since the last time.
    pub fn forget_unused(&self) {
        self.envelopes.forget_unused();
    }

    /// The index is read again when the frame is not the expected one: the record may have been
    /// copied to another segment meanwhile.
    fn find(&self, id: MessageId, depth: ReadDepth<'_>) -> Result<Option<Message>, SpoolError> {
        let mut seen: Option<IndexEntry> = None;
        loop {
            // Before the index: progress is removed from this list only when the index has its
            // location.
            let recent = self.shared.recent.of(id);
            let Some((slot, accept, state)) = self.look_up(id) else {
                return Err(SpoolError::Unknown);
            };
            match self.read_entry(id, slot, &accept, state.as_ref(), depth) {
                Ok(Some(message)) => {
                    return Ok(Some(match recent {
                        Some(progress) => Message { progress, ..message },
                        None => message,
                    }));
                }
                Ok(None) if seen == Some(slot) => return Ok(None),
                Ok(None) => seen = Some(slot),
                Err(error) => return Err(SpoolError::Failed(error.to_string())),
            }
        }
    }

    fn look_up(&self, id: MessageId) -> Option<(IndexEntry, OpenSegment, Option<OpenSegment>)> {
        let index = self.shared.lock_index();
        let slot = index.get(id)?;
        let accept = index.file(slot.accept.segment)?;
        let state = match slot.state {
            Some(place) => Some(index.file(place.segment)?),
            None => None,
        };
        Some((slot, accept, state))
    }

    /// `None`: the disk does not contain what the index says.
    fn read_entry(
        &self,
        id: MessageId,
        slot: IndexEntry,
        accept: &OpenSegment,
        state: Option<&OpenSegment>,
        depth: ReadDepth<'_>,
    ) -> io::Result<Option<Message>> {
        let check = matches!(depth, ReadDepth::Whole);
        let Some((header, head)) = self.head(accept, slot.accept, depth)? else { return Ok(None) };
        let Some(accepted) = AcceptHead::decode(&head).filter(|accepted| accepted.id == id) else {
            return Ok(None);
        };
        let progress = match (slot.state, state) {
            (Some(place), Some(segment)) => {
                let Some((_, head)) = self.head(segment, place, depth)? else { return Ok(None) };
                let Some(state) = StateHead::decode(&head).filter(|state| state.id == id) else {
                    return Ok(None);
                };
                state.progress
            }
            _ => accepted.targets(),
        };
        let body = match accepted.file {
            Some((len, crc)) => {
                let file = match self.shared.disk.open(&body_path(id)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    other => other?,
                };
                let content = FileSlice { file, offset: 0, len };
                if check && !matches(&content, crc)? {
                    return Ok(None);
                }
                Body::Stored(Arc::new(content), len)
            }
            None => {
                let offset = u64::from(slot.accept.offset) + (FRAME_HEADER + head.len()) as u64;
                let len = u64::from(header.body_len);
                let content = FileSlice { file: accept.1.clone(), offset, len };
                if check && header.body_len as usize > WHOLE_MAX {
                    if !matches(&content, header.body_crc)? {
                        return Ok(None);
                    }
                    Body::Stored(Arc::new(content), len)
                } else if check {
                    let mut bytes = vec![0; header.body_len as usize];
                    let got = content.file.read_at(offset, &mut bytes)?;
                    if got != bytes.len() || crc32fast::hash(&bytes) != header.body_crc {
                        return Ok(None);
                    }
                    Body::Memory(bytes.into())
                } else {
                    Body::Stored(Arc::new(content), len)
                }
            }
        };
        Ok(Some(message(accepted, progress, slot.held.is_held(), slot.delay_warning_sent, body)))
    }

    fn head(
        &self,
        segment: &OpenSegment,
        place: RecordLocation,
        depth: ReadDepth<'_>,
    ) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
        match depth {
            ReadDepth::Glance(segments_of_many) if segments_of_many.contains(&place.segment) => {
                let known = self.envelopes.head(self.shared.disk.as_ref(), segment.0, place);
                known.map_or_else(|| read_head(segment, place), |known| Ok(Some(known)))
            }
            _ => read_head(segment, place),
        }
    }
}

/// How thoroughly a message is read.
#[derive(Clone, Copy)]
pub enum ReadDepth<'a> {
    /// Its content is read and compared with its checksum.
    Whole,
    /// Only its records.
    Records,
    /// The same, from the summaries of these segments.
    Glance(&'a SegmentSet),
}

/// A segment's identity and its open file.
pub type OpenSegment = (SegmentHeader, Arc<dyn File>);

/// Reads a frame's header and head; `None` when they are damaged.
pub fn read_head(
    segment: &OpenSegment,
    place: RecordLocation,
) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
    const FIRST: usize = 1024;
    let mut bytes = vec![0; FIRST];
    let offset = u64::from(place.offset);
    let got = segment.1.read_at(offset, &mut bytes)?;
    bytes.truncate(got);
    let Some(header) = FrameHeader::decode(segment.0, &bytes) else { return Ok(None) };
    let end = FRAME_HEADER + header.head_len as usize;
    if bytes.len() < end {
        bytes.resize(end, 0);
        if segment.1.read_at(offset, &mut bytes)? != end {
            return Ok(None);
        }
    }
    bytes.truncate(end);
    bytes.drain(..FRAME_HEADER);
    Ok((crc32fast::hash(&bytes) == header.head_crc).then_some((header, bytes)))
}

/// Whether content has the checksum that was stored with it.
pub fn matches(content: &FileSlice, crc: u32) -> io::Result<bool> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut offset = 0;
    while offset < content.len {
        let wanted = buffer.len().min(usize::try_from(content.len - offset).unwrap_or(usize::MAX));
        let got = content.file.read_at(content.offset + offset, &mut buffer[..wanted])?;
        if got == 0 {
            return Ok(false);
        }
        hasher.update(&buffer[..got]);
        offset += got as u64;
    }
    Ok(hasher.finalize() == crc)
}

/// The message made from an accept record and its progress.
pub fn message(
    accepted: AcceptHead,
    progress: Vec<TargetProgress>,
    held: bool,
    delay_warning_sent: bool,
    body: Body,
) -> Message {
    Message {
        id: accepted.id,
        arrived: accepted.arrived,
        envelope: accepted.envelope,
        origin: accepted.origin,
        kind: accepted.kind,
        progress,
        held,
        delay_warning_sent,
        body,
    }
}
