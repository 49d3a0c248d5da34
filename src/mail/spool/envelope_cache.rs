//! Reads many messages' envelopes without reading their segments: from the summary files of full
//! segments.
//!
//! Purpose: speed only. A listing of a long queue reads the summary of a segment once, and not a
//! page of the disk for each of its messages. Contents are not read; damage of a frame in the
//! segment is noticed when its mail is delivered. Limits: [`OCTETS_MAX`] of summaries are kept, the
//! most recently used ones, until housekeeping finds them unused.

use super::format::{FRAME_HEADER, FrameHeader, HEADER_BLOCK, SegmentHeader};
use super::index_entries::RecordLocation;
use super::segment_summary::SegmentSummary;
use crate::ground::disk::Disk;
use crate::ground::lock::{Level, Lock};
use std::sync::Arc;

/// Octets of all summaries in memory; those of one segment may be more when they are the only ones.
const OCTETS_MAX: usize = 4 << 20;

/// The recently used summaries, the most recent at the end.
pub struct EnvelopeCache(Lock<Vec<Kept>>);

struct Kept {
    segment: SegmentHeader,
    /// Since the last housekeeping.
    used: bool,
    /// `None`: the segment has no summary file.
    summary: Option<Arc<CachedSummary>>,
}

/// The summary of a segment, and where each frame begins.
struct CachedSummary {
    octets: Vec<u8>,
    /// Offset in the segment, offset in `octets`; ascending.
    frames: Vec<(u32, u32)>,
}

impl Default for EnvelopeCache {
    fn default() -> Self {
        Self(Lock::new(Level::Outer, Vec::new()))
    }
}

impl EnvelopeCache {
    /// A frame's header and head; `None` where the segment itself must be read.
    pub fn head(
        &self,
        disk: &dyn Disk,
        segment: SegmentHeader,
        place: RecordLocation,
    ) -> Option<(FrameHeader, Vec<u8>)> {
        let cached = self.cached(disk, segment)?;
        let at = cached.frames.binary_search_by_key(&place.offset, |(offset, _)| *offset).ok()?;
        let frame = cached.octets.get(cached.frames[at].1 as usize..)?;
        let header = FrameHeader::decode(segment, frame)?;
        let head = frame.get(FRAME_HEADER..FRAME_HEADER + header.head_len as usize)?;
        Some((header, head.to_vec()))
    }

    /// Housekeeping: drops those that were not used since the last time.
    pub fn forget_unused(&self) {
        self.0.lock().retain_mut(|kept| std::mem::take(&mut kept.used));
    }

    fn cached(&self, disk: &dyn Disk, segment: SegmentHeader) -> Option<Arc<CachedSummary>> {
        let mut all = self.0.lock();
        if let Some(at) = all.iter().position(|kept| kept.segment == segment) {
            let mut kept = all.remove(at);
            // A segment without a summary may be full by the next time, and have one then.
            kept.used = kept.summary.is_some();
            let summary = kept.summary.clone();
            all.push(kept);
            return summary;
        }
        // Under the lock, so that they are read only once.
        let summary = CachedSummary::read(disk, segment).map(Arc::new);
        let mut room =
            OCTETS_MAX.saturating_sub(summary.as_ref().map_or(0, |cached| cached.octets.len()));
        let fits = |kept: &Kept| {
            let octets = kept.summary.as_ref().map_or(0, |cached| cached.octets.len());
            let fits = octets <= room;
            room = room.saturating_sub(octets);
            fits
        };
        let first = all.len() - all.iter().rev().map(fits).take_while(|fits| *fits).count();
        all.drain(..first);
        all.push(Kept { segment, used: summary.is_some(), summary: summary.clone() });
        summary
    }
}

impl CachedSummary {
    fn read(disk: &dyn Disk, segment: SegmentHeader) -> Option<Self> {
        let octets = SegmentSummary::read(disk, segment)?;
        let (mut frames, mut offset, mut at) = (Vec::new(), HEADER_BLOCK, 0);
        while at < octets.len() {
            let header = FrameHeader::decode(segment, &octets[at..])?;
            frames.push((u32::try_from(offset).ok()?, u32::try_from(at).ok()?));
            offset += header.frame_len();
            at += FRAME_HEADER + header.head_len as usize;
        }
        Some(Self { octets, frames })
    }
}
