//! The summary of a full segment: its records without the contents, in a file of its own, so that a
//! start need not read every mail in the queue.
//!
//! Purpose: speed only. It contains the header and the head of every frame of its segment, in their
//! order. If it is missing, or differs from its segment in any octet, the segment itself is read.
//! When it may be written: after the sync of the whole segment, which then never changes again. It
//! is not synced itself: a torn one fails its checksum.

use super::format::{FRAME_HEADER, FrameHeader, SegmentHeader};
use super::layout::summary_path;
use crate::ground::disk::Disk;
use std::io;

const MAGIC: &[u8; 8] = b"POSTERNH";
/// Magic, number of the segment, its salt, and the CRC-32 of these and of what follows.
const START: usize = 24;

/// A shorter segment is read as fast itself.
pub const SEGMENT_MIN: u64 = 32 << 10;

/// Octets of a summary file, at most. A segment with more of them has little other content, and is
/// read as fast itself.
const LEN_MAX: usize = 4 << 20;

/// Frames without their contents, one after the other.
#[derive(Default)]
pub struct SegmentSummary {
    frames: Vec<u8>,
    too_many: bool,
}

impl SegmentSummary {
    /// Adds a frame.
    pub fn push(&mut self, segment: SegmentHeader, header: &FrameHeader, head: &[u8]) {
        if self.too_many {
            return;
        }
        header.encode(segment, &mut self.frames);
        self.frames.extend_from_slice(head);
        if self.frames.len() > LEN_MAX {
            *self = Self { too_many: true, frames: Vec::new() };
        }
    }

    /// Empties it for the next segment.
    pub fn clear(&mut self) {
        self.frames.clear();
        self.too_many = false;
    }

    /// Writes the summary file of a segment, which has been synced, if that saves time.
    ///
    /// # Errors
    /// The volume's; nothing is left behind then.
    pub fn write(&self, disk: &dyn Disk, segment: SegmentHeader) -> io::Result<()> {
        if self.too_many {
            return Ok(());
        }
        let path = summary_path(segment.number);
        let file = match disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                disk.remove(&path)?;
                disk.create(&path)?
            }
            other => other?,
        };
        let start = start(segment, &self.frames);
        file.write_at(0, &start)
            .and_then(|()| file.write_at(START as u64, &self.frames))
            .inspect_err(|_| {
                // It would fail its checksum; the next start removes it.
                let _ = disk.remove(&path);
            })
    }

    /// The frames of a segment without their contents; `None` where the segment itself must be
    /// read.
    pub fn read(disk: &dyn Disk, segment: SegmentHeader) -> Option<Vec<u8>> {
        let file = disk.open(&summary_path(segment.number)).ok()?;
        // They are a part of the segment, whose length is a u32.
        let len =
            usize::try_from(file.length().ok().filter(|len| *len < u64::from(u32::MAX))?).ok()?;
        let mut octets = vec![0; len];
        let whole = file.read_at(0, &mut octets).ok()? == len && len >= START;
        let frames = octets.split_off(START.min(len));
        (whole && octets == start(segment, &frames)).then_some(frames)
    }
}

/// The frames of octets that [`SegmentSummary::read`] gave: header and head each; `None` for octets
/// that are no frame.
pub fn frames(
    segment: SegmentHeader,
    mut octets: &[u8],
) -> impl Iterator<Item = Option<(FrameHeader, &[u8])>> {
    std::iter::from_fn(move || {
        if octets.is_empty() {
            return None;
        }
        let frame = FrameHeader::decode(segment, octets).and_then(|header| {
            let (head, rest) =
                octets.get(FRAME_HEADER..)?.split_at_checked(header.head_len as usize)?;
            octets = rest;
            (crc32fast::hash(head) == header.head_crc).then_some((header, head))
        });
        if frame.is_none() {
            octets = &[];
        }
        Some(frame)
    })
}

fn start(segment: SegmentHeader, frames: &[u8]) -> [u8; START] {
    let mut start = [0; START];
    start[..8].copy_from_slice(MAGIC);
    start[8..12].copy_from_slice(&segment.number.to_le_bytes());
    start[12..20].copy_from_slice(&segment.salt.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    crc.update(&start[..20]);
    crc.update(frames);
    start[20..].copy_from_slice(&crc.finalize().to_le_bytes());
    start
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::DirectoryDisk;
    use crate::mail::spool::format::RecordKind;
    use crate::mail::spool::layout::LOG;

    #[test]
    fn what_does_not_fit_in_every_octet_is_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        disk.create_dir(LOG).unwrap();
        let segment = SegmentHeader { number: 3, salt: 4 };
        let mut summary = SegmentSummary::default();
        summary.push(segment, &FrameHeader::new(RecordKind::Done, b"12345678", 0, 0), b"12345678");
        assert_eq!(SegmentSummary::read(&disk, segment), None, "there is none");
        summary.write(&disk, segment).unwrap();
        summary.write(&disk, segment).unwrap();
        assert_eq!(SegmentSummary::read(&disk, segment), Some(summary.frames.clone()));
        assert_eq!(
            SegmentSummary::read(&disk, SegmentHeader { salt: 5, ..segment }),
            None,
            "another life of the number"
        );
        let path = directory.path().join(summary_path(3));
        let good = std::fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut damaged = good.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(SegmentSummary::read(&disk, segment), None, "bit {bit}");
        }
        for len in 0..good.len() {
            std::fs::write(&path, &good[..len]).unwrap();
            assert_eq!(SegmentSummary::read(&disk, segment), None, "{len} octets");
        }
    }
}
