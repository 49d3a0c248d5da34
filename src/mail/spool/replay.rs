//! Reads a segment: its frames in order up to the end, skipping damage to the next intact frame.
//!
//! Purpose: a start (`recover`) and a check (`verify`) must find the same records. The
//! [`ReplayVisitor`] decides what a record means and what is done about damage. Limits: 256 KiB of
//! a segment in memory, or one frame where that is longer. Security: only data with a checksum of
//! this use of the segment file is accepted.

use super::format::{FRAME_HEADER, FRAME_MAGIC, FrameHeader, HEADER_BLOCK, SegmentHeader};
use super::index_entries::RecordLocation;
use crate::ground::disk::File;
use memchr::memmem;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// A frame whose header and head are intact.
pub struct LogFrame {
    /// Where it starts in the file.
    pub offset: u64,
    /// The same, as the index stores it.
    pub place: RecordLocation,
    /// Its header.
    pub header: FrameHeader,
    /// Its head.
    pub head: Vec<u8>,
}

impl LogFrame {
    /// Whether its content passes its checksum.
    pub fn is_content_whole(&self, window: &mut FileWindow) -> io::Result<bool> {
        let at = self.offset + (FRAME_HEADER + self.head.len()) as u64;
        let content = window.at(at, self.header.body_len as usize)?;
        Ok(crc32fast::hash(content) == self.header.body_crc)
    }
}

/// What is wrong where a frame should be.
pub enum FrameFault {
    /// No header of a frame of this use of the segment.
    Header,
    /// The segment ends before the frame does.
    CutOff(FrameHeader),
    /// The head, as it can be read.
    Head(FrameHeader, Vec<u8>),
}

/// Receives the contents of a segment, in their order.
pub trait ReplayVisitor {
    /// What the visitor knows of a damaged frame.
    type Damage;

    /// A frame. `Some`: it is damaged after all, or cannot be decoded.
    fn frame(
        &mut self,
        window: &mut FileWindow,
        frame: &LogFrame,
    ) -> io::Result<Option<Self::Damage>>;

    /// There is no frame at this offset.
    fn fault(
        &mut self,
        window: &mut FileWindow,
        offset: u64,
        fault: FrameFault,
    ) -> io::Result<Self::Damage>;

    /// Damaged octets, up to the next intact header of a frame.
    fn damaged(
        &mut self,
        window: &mut FileWindow,
        octets: Range<u64>,
        damage: Self::Damage,
    ) -> io::Result<()>;

    /// The octets after the last frame, up to the end of the file: nothing, an old use of the file,
    /// or the unfinished write of a crash.
    fn tail(
        &mut self,
        window: &mut FileWindow,
        octets: Range<u64>,
        damage: Self::Damage,
    ) -> io::Result<()>;
}

/// Reads the `end` octets of a segment, and gives where the last frame ends.
///
/// # Errors
/// The visitor's, or the volume's other than unreadable blocks.
pub fn replay<V: ReplayVisitor>(
    segment: SegmentHeader,
    window: &mut FileWindow,
    end: u64,
    visitor: &mut V,
) -> io::Result<u64> {
    let mut offset = HEADER_BLOCK;
    while offset < end {
        let damage = match read_frame(segment, window, offset, end)? {
            Ok(frame) => match visitor.frame(window, &frame)? {
                Some(damage) => damage,
                None => {
                    offset += frame.header.frame_len();
                    continue;
                }
            },
            Err(fault) => visitor.fault(window, offset, fault)?,
        };
        match next_frame(segment, window, offset + 1, end)? {
            Some(next) => {
                visitor.damaged(window, offset..next, damage)?;
                offset = next;
            }
            None => {
                visitor.tail(window, offset..end, damage)?;
                break;
            }
        }
    }
    Ok(offset)
}

fn read_frame(
    segment: SegmentHeader,
    window: &mut FileWindow,
    offset: u64,
    end: u64,
) -> io::Result<Result<LogFrame, FrameFault>> {
    let Some(header) = FrameHeader::decode(segment, window.at(offset, FRAME_HEADER)?) else {
        return Ok(Err(FrameFault::Header));
    };
    if offset + header.frame_len() > end {
        return Ok(Err(FrameFault::CutOff(header)));
    }
    let head = window.at(offset + FRAME_HEADER as u64, header.head_len as usize)?.to_vec();
    if head.len() != header.head_len as usize || crc32fast::hash(&head) != header.head_crc {
        return Ok(Err(FrameFault::Head(header, head)));
    }
    Ok(Ok(LogFrame { offset, place: place(segment, offset), header, head }))
}

/// A frame's location as the index stores it: segments are shorter than 4 GiB.
pub fn place(segment: SegmentHeader, offset: u64) -> RecordLocation {
    RecordLocation { segment: segment.number, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
}

/// Where the next frame of this segment starts, from `offset` on.
fn next_frame(
    segment: SegmentHeader,
    window: &mut FileWindow,
    mut offset: u64,
    end: u64,
) -> io::Result<Option<u64>> {
    while offset + FRAME_HEADER as u64 <= end {
        let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(WINDOW);
        let octets = window.at(offset, wanted)?;
        for at in memmem::find_iter(octets, &FRAME_MAGIC) {
            if FrameHeader::decode(segment, &octets[at..]).is_some() {
                return Ok(Some(offset + at as u64));
            }
        }
        // A frame header across the end of the window is found in the next one.
        let step = octets.len().saturating_sub(FRAME_HEADER - 1).max(1);
        offset += step as u64;
        if octets.len() < FRAME_HEADER {
            break;
        }
    }
    Ok(None)
}

const WINDOW: usize = 256 * 1024;

/// Octets that one unreadable place costs.
const BLOCK: usize = 4096;

/// A file read in large pieces.
pub struct FileWindow {
    file: Arc<dyn File>,
    start: u64,
    octets: Vec<u8>,
    unreadable: u64,
}

impl FileWindow {
    /// Nothing is read yet.
    pub fn new(file: Arc<dyn File>) -> Self {
        Self { file, start: 0, octets: Vec::new(), unreadable: 0 }
    }

    /// Blocks that could not be read.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The file.
    pub fn file(&self) -> &dyn File {
        self.file.as_ref()
    }

    /// `len` octets from `offset` on; fewer at the end of the file.
    pub fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let inside =
            offset >= self.start && offset + len as u64 <= self.start + self.octets.len() as u64;
        if !inside {
            self.start = offset;
            self.octets.resize(len.max(WINDOW), 0);
            let got = match self.file.read_at(offset, &mut self.octets) {
                Ok(got) => got,
                Err(error) => self.read_blocks(offset, &error)?,
            };
            self.octets.truncate(got);
        }
        let from =
            usize::try_from(offset - self.start).unwrap_or(usize::MAX).min(self.octets.len());
        Ok(&self.octets[from..(from + len).min(self.octets.len())])
    }

    /// Reads around unreadable blocks; they become zeros, which are no record.
    fn read_blocks(&mut self, offset: u64, error: &io::Error) -> io::Result<usize> {
        tracing::error!(target: "mta", offset, cause = %error,
            "a part of the data volume cannot be read and is skipped");
        let len = usize::try_from(self.file.length()?.saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(self.octets.len());
        for at in (0..len).step_by(BLOCK) {
            let block = &mut self.octets[at..len.min(at + BLOCK)];
            if self.file.read_at(offset + at as u64, block).is_err() {
                block.fill(0);
                self.unreadable += 1;
            }
        }
        Ok(len)
    }
}
