//! The segment that records are appended to.

use super::format::{HEADER_BLOCK, SegmentHeader};
use super::record::Record;
use super::segment_files::NewSegment;
use super::segment_summary::SegmentSummary;
use super::slots::Place;
use crate::ground::disk::{Disk, File};
use std::io;
use std::sync::Arc;

/// Octets of the buffer that are kept from one write to the next.
const BUFFER_KEPT: usize = 4 << 20;

/// The segment that records are appended to, its file, and how far it is written.
pub struct ActiveSegment {
    header: SegmentHeader,
    file: Arc<dyn File>,
    len: u64,
    /// What it holds, without the contents.
    summary: SegmentSummary,
    /// What a failed write left was written over since the last good sync.
    is_wiped: bool,
    buffer: Vec<u8>,
}

/// A write failed. Nothing of it counts as written.
pub struct AppendFailed {
    /// What the volume said.
    pub error: io::Error,
    /// What the write left behind was written over; otherwise nobody knows what stands there.
    pub is_wiped: bool,
}

/// A segment to which nothing is appended any more.
pub struct SealedSegment {
    header: SegmentHeader,
    summary: SegmentSummary,
}

impl ActiveSegment {
    /// A segment without records.
    pub fn new(NewSegment { header, file }: NewSegment) -> Self {
        Self {
            header,
            file,
            len: HEADER_BLOCK,
            summary: SegmentSummary::default(),
            is_wiped: false,
            buffer: Vec::with_capacity(256 * 1024),
        }
    }

    /// As it stands in its first block.
    pub fn header(&self) -> SegmentHeader {
        self.header
    }

    /// Its open file.
    pub fn file(&self) -> Arc<dyn File> {
        self.file.clone()
    }

    /// Octets used, from the start of the file.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether no record was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len == HEADER_BLOCK
    }

    /// Whether what a failed write left was written over since the last good sync.
    pub fn is_wiped(&self) -> bool {
        self.is_wiped
    }

    /// Appends records with one write, and tells where they stand. They are durable after the next
    /// [`ActiveSegment::sync`].
    pub fn append(&mut self, records: &[Record]) -> Result<Vec<Place>, AppendFailed> {
        self.buffer.clear();
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let offset = u32::try_from(self.len + self.buffer.len() as u64).unwrap_or(u32::MAX);
            places.push(Place { segment: self.header.number, offset });
            record.header.encode(self.header, &mut self.buffer);
            self.buffer.extend_from_slice(&record.head);
            self.buffer.extend_from_slice(&record.bytes);
        }
        if let Err(error) = self.file.write_at(self.len, &self.buffer) {
            return Err(AppendFailed { error, is_wiped: self.wipe() });
        }
        self.len += self.buffer.len() as u64;
        for record in records {
            self.summary.push(self.header, &record.header, &record.head);
        }
        self.buffer.shrink_to(BUFFER_KEPT);
        Ok(places)
    }

    /// Makes everything appended so far durable.
    pub fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.is_wiped = false;
        Ok(())
    }

    /// Goes on in another segment.
    pub fn replace(&mut self, NewSegment { header, file }: NewSegment) -> SealedSegment {
        self.file = file;
        self.len = HEADER_BLOCK;
        self.is_wiped = false;
        SealedSegment {
            header: std::mem::replace(&mut self.header, header),
            summary: std::mem::take(&mut self.summary),
        }
    }

    /// It counts as full from now on.
    pub fn give_up(&mut self, segment_max: u64) {
        self.len = self.len.max(segment_max);
    }

    /// Overwrites what a failed write left behind, as far as it reached: whole frames among it
    /// would be taken for accepted mail after a restart, though their senders were refused.
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
        self.is_wiped = true;
        true
    }
}

impl SealedSegment {
    /// Puts what it says without the contents beside it, for the next start. Every record of it
    /// must be durable.
    pub fn write_summary(&self, disk: &dyn Disk) -> io::Result<()> {
        self.summary.write(disk, self.header)
    }
}
