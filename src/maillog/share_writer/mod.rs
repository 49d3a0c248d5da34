//! Copies lines from the data volume to the share.
//!
//! In: files of lines ([`super::segment`]). Out: the same lines in the same order in one file on
//! the share, each once: before anything is appended, the end of that file is compared with what
//! should be there since the last stored position, so that neither an interrupted write nor a kill
//! -9 repeats or tears a line. A line may come twice only if that file was renamed between such a
//! failure and the next attempt. Everything here may block as long as the file server does not
//! answer; that is why it is done by a separate process. Limits: [`BATCH_MAX`] octets at a time,
//! synced before they are removed here. Known bugs: on a share without a real O_APPEND (CIFS), two
//! appliances that write the same file overwrite each other.

use super::segment::{self, BufferSegment, Notes, Position};
use super::share_file::{LogTarget, OpenedLog};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Octets of one batch.
pub const BATCH_MAX: usize = 1 << 20;

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarryResult {
    /// Lines were copied and synced; there may be more.
    Carried,
    /// It determined how far an earlier step had come, and copied nothing; there may be more.
    Found,
    /// Every line is copied.
    Idle,
    /// The share was mounted again: this process, which may be confined to the old mount, cannot
    /// continue.
    AnotherShare,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    /// The data volume failed.
    #[error("{0}: {1}")]
    Buffer(String, io::Error),
    /// The share failed.
    #[error("{0}: {1}")]
    Share(String, io::Error),
}

/// The work of the process.
pub struct Carrier {
    directory: PathBuf,
    target: LogTarget,
    notes: Notes,
    position: Position,
}

impl Carrier {
    /// Locks the waiting lines for this process; `file` is relative to `share`.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: another carrier is at work. [`io::ErrorKind::InvalidInput`]:
    /// a name that leads out of the share. Others: the data volume cannot be written.
    pub fn new(directory: &Path, share: &Path, file: &str) -> io::Result<Self> {
        let target = LogTarget::new(share, file)?;
        segment::create_directory(directory)?;
        let (notes, position) = Notes::open(directory)?;
        Ok(Self { directory: directory.to_owned(), target, notes, position })
    }

    /// Since when the share accepts nothing (seconds since 1970) and why, as last recorded, maybe
    /// by a former process.
    pub fn failing(&self) -> Option<(u32, String)> {
        segment::failing(&self.directory)
    }

    /// Records that for the core to show; `None` = the share works.
    pub fn note_failing(&self, failing: Option<(u32, &str)>) {
        segment::note_failing(&self.directory, failing);
    }

    /// Copies one batch, or cleans up after one.
    ///
    /// # Errors
    /// Nothing is lost; the next step determines how far this one came.
    pub fn step(&mut self) -> Result<CarryResult, CarryError> {
        let buffer = |error| CarryError::Buffer(self.directory.display().to_string(), error);
        let segments = segment::list(&self.directory).map_err(buffer)?;
        self.remove_old(&segments);
        let Some(current) = segments.iter().find(|segment| segment.number >= self.position.segment)
        else {
            return Ok(CarryResult::Idle);
        };
        if current.number > self.position.segment {
            self.position = Position { segment: current.number, offset: 0, ..self.position };
        }
        let source = File::open(segment::path(&self.directory, current.number)).map_err(buffer)?;
        let lines = whole_lines(read(&source, self.position.offset, BATCH_MAX).map_err(buffer)?);
        if lines.is_empty() {
            // The newest file still grows. Another one is complete: the rest of it is a torn line.
            if segments.last() == Some(current) {
                return Ok(CarryResult::Idle);
            }
            self.position = Position { segment: current.number + 1, offset: 0, ..self.position };
            self.save();
            return Ok(CarryResult::Found);
        }
        self.deliver(&source, &lines).map_err(|error| CarryError::Share(self.target.shown(), error))
    }

    fn deliver(&mut self, source: &File, lines: &[u8]) -> io::Result<CarryResult> {
        let OpenedLog::File(mut file, mark) = self.target.open()? else {
            return Ok(CarryResult::AnotherShare);
        };
        let before = self.position;
        match &mut self.position.target {
            Some(known) if known.inode == mark.inode && known.length <= mark.length => {
                // What the file has beyond the stored position was written by this carrier if it
                // equals what should follow.
                let length =
                    usize::try_from(mark.length - known.length).unwrap_or(BATCH_MAX).min(BATCH_MAX);
                let there = read(&file, known.length, length)?;
                let expected = read(source, before.offset, length)?;
                let same = there.iter().zip(&expected).take_while(|(a, b)| a == b).count() as u64;
                self.position.offset += same;
                known.length = mark.length;
            }
            target => {
                // Another file, or one that was cut off. It begins with a whole line.
                *target = Some(mark);
                self.position.offset = line_start(source, before.offset)?;
            }
        }
        if self.position != before {
            self.save();
            return Ok(CarryResult::Found);
        }
        file.write_all(lines)?;
        file.sync_data()?;
        let octets = lines.len() as u64;
        self.position.offset += octets;
        if let Some(target) = &mut self.position.target {
            target.length += octets;
        }
        self.save();
        Ok(CarryResult::Carried)
    }

    /// Removes what is on the share and synced there.
    fn remove_old(&self, segments: &[BufferSegment]) {
        for segment in segments.iter().filter(|segment| segment.number < self.position.segment) {
            // The next step tries again.
            let _ = fs::remove_file(segment::path(&self.directory, segment.number));
        }
    }

    fn save(&self) {
        // Without the stored position a crash repeats lines. An error of the data volume is
        // reported by the queue.
        let _ = self.notes.save(&self.position);
    }
}

/// Reads up to `limit` octets from `offset` on.
fn read(file: &File, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len().saturating_sub(offset);
    let mut octets = vec![0; usize::try_from(length).unwrap_or(limit).min(limit)];
    let mut filled = 0;
    while filled < octets.len() {
        match file.read_at(&mut octets[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    octets.truncate(filled);
    Ok(octets)
}

/// Without the torn line at the end, unless a whole batch has no line end.
fn whole_lines(mut octets: Vec<u8>) -> Vec<u8> {
    match memchr::memrchr(b'\n', &octets) {
        Some(end) => octets.truncate(end + 1),
        None if octets.len() < BATCH_MAX => octets.clear(),
        None => {}
    }
    octets
}

/// The start of the line that contains an offset.
fn line_start(file: &File, offset: u64) -> io::Result<u64> {
    let back = offset.min(BATCH_MAX as u64);
    let before = read(file, offset - back, usize::try_from(back).unwrap_or(BATCH_MAX))?;
    Ok(memchr::memrchr(b'\n', &before).map_or(0, |end| offset - back + end as u64 + 1))
}

#[cfg(test)]
mod tests;
