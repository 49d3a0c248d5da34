//! The segment that records are appended to.

use super::format::{HEADER_BLOCK, SegmentHeader};
use super::index_entries::RecordLocation;
use super::record::LogRecord;
use super::segment_files::NewSegment;
use super::segment_summary::SegmentSummary;
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
    /// Its summary: the records without the contents.
    summary: SegmentSummary,
    /// Whether the remains of a failed write were overwritten since the last good sync.
    is_wiped: bool,
    buffer: Vec<u8>,
}

/// A write failed. None of its records counts as written.
pub struct AppendFailed {
    /// The volume's error.
    pub error: io::Error,
    /// Whether the remains of the write were overwritten; if not, the content of that area is
    /// unknown.
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

    /// The header, as in its first block.
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

    /// Whether the remains of a failed write were overwritten since the last good sync.
    pub fn is_wiped(&self) -> bool {
        self.is_wiped
    }

    /// Appends records with one write, and gives their locations. They are durable after the next
    /// [`ActiveSegment::sync`].
    pub fn append(&mut self, records: &[LogRecord]) -> Result<Vec<RecordLocation>, AppendFailed> {
        self.buffer.clear();
        let mut places = Vec::with_capacity(records.len());
        for record in records {
            let offset = u32::try_from(self.len + self.buffer.len() as u64).unwrap_or(u32::MAX);
            places.push(RecordLocation { segment: self.header.number, offset });
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

    /// Continues in another segment.
    pub fn replace(&mut self, NewSegment { header, file }: NewSegment) -> SealedSegment {
        self.file = file;
        self.len = HEADER_BLOCK;
        self.is_wiped = false;
        SealedSegment {
            header: std::mem::replace(&mut self.header, header),
            summary: std::mem::take(&mut self.summary),
        }
    }

    /// Marks it as full, so that the next record goes to a new segment.
    pub fn give_up(&mut self, segment_max: u64) {
        self.len = self.len.max(segment_max);
    }

    /// Overwrites the remains of a failed write, as far as it can have reached: complete frames
    /// among them would count as accepted mail after a restart, though their clients got an error
    /// reply.
    fn wipe(&mut self) -> bool {
        let zeros = [0; 4096];
        let mut offset = self.len;
        // As far as the write can have reached.
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
    /// Writes the summary file (the records without contents) for the next start. Every record of
    /// the segment must be durable.
    pub fn write_summary(&self, disk: &dyn Disk) -> io::Result<()> {
        self.summary.write(disk, self.header)
    }
}
