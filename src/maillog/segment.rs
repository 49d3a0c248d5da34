//! The files of waiting lines, and the carrier's state files: everything that its process and the
//! core share.
//!
//! `0000000001.log` and so on hold lines, oldest first. The core only appends to the newest; the
//! carrier reads from the oldest on and removes what has been copied to the share. `position` has
//! its progress: one small record that is overwritten in place, so that it needs no space on a full
//! volume. `failing` exists while the share accepts nothing. A file whose last line has no end was
//! cut off by a crash, or by a full volume; that line counts as dropped.

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Octets of the position's record, padded with blanks.
const RECORD: usize = 256;

const SUFFIX: &str = ".log";
const POSITION: &str = "position";
const FAILING: &str = "failing";

/// One file of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BufferSegment {
    pub(super) number: u64,
    pub(super) length: u64,
}

/// The carrier's position: everything before it is in the file on the share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
    /// The file on the share at that time; `None` before the first line.
    pub(super) target: Option<FileIdentity>,
}

/// Identifies a file on the share. Without its device, which changes each time the share is
/// mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileIdentity {
    pub(super) inode: u64,
    pub(super) length: u64,
}

/// Creates the directory of waiting lines unless it exists.
///
/// # Errors
/// The data volume cannot be written.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// All files of lines, oldest first.
pub(super) fn list(directory: &Path) -> io::Result<Vec<BufferSegment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let number =
            entry.file_name().to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        let Some(number) = number else { continue };
        match entry.metadata() {
            Ok(metadata) => segments.push(BufferSegment { number, length: metadata.len() }),
            // The carrier has removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    segments.sort_unstable_by_key(|segment| segment.number);
    Ok(segments)
}

/// The path of a file of lines.
pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:010}{SUFFIX}"))
}

/// Octets that are not on the share yet.
pub(super) fn waiting(segments: &[BufferSegment], position: &Position) -> u64 {
    let left = |segment: &BufferSegment| match segment.number.cmp(&position.segment) {
        std::cmp::Ordering::Less => 0,
        std::cmp::Ordering::Equal => segment.length.saturating_sub(position.offset),
        std::cmp::Ordering::Greater => segment.length,
    };
    segments.iter().map(left).sum()
}

/// The carrier's position; the start if it is unknown.
pub(super) fn position(directory: &Path) -> Position {
    fs::read_to_string(directory.join(POSITION))
        .ok()
        .and_then(|text| parse(&text))
        .unwrap_or_default()
}

/// Since when the share accepts nothing (seconds since 1970) and why, if so.
pub(super) fn failing(directory: &Path) -> Option<(u32, String)> {
    let text = fs::read_to_string(directory.join(FAILING)).ok()?;
    let (since, cause) = text.split_once(' ')?;
    Some((since.parse().ok()?, cause.trim_end().to_owned()))
}

/// Records that the share accepts nothing, or that it does again, if the data volume can be
/// written.
pub(super) fn note_failing(directory: &Path, failing: Option<(u32, &str)>) {
    let path = directory.join(FAILING);
    let _ = match failing {
        Some((since, cause)) => fs::write(path, format!("{since} {cause}\n")),
        None => fs::remove_file(path),
    };
}

/// The carrier's exclusive access to its position.
pub(super) struct Notes(Flock<File>);

impl Notes {
    /// Locks the position for this process.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: another carrier has it.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Position)> {
        let path = directory.join(POSITION);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(path)?;
        let file = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        Ok((Self(file), position(directory)))
    }

    /// Stores the position.
    pub(super) fn save(&self, position: &Position) -> io::Result<()> {
        let text = serde_json::to_string(position).map_err(io::Error::other)?;
        self.0.write_all_at(format!("{text:<RECORD$}").as_bytes(), 0)
    }
}

fn parse(text: &str) -> Option<Position> {
    serde_json::from_str(text.trim_end()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_comes_back_and_has_one_owner() {
        let directory = tempfile::tempdir().unwrap();
        let (notes, first) = Notes::open(directory.path()).unwrap();
        assert_eq!(first, Position::default());
        assert_eq!(
            Notes::open(directory.path()).err().map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        let far = FileIdentity { inode: u64::MAX, length: u64::MAX };
        let long = Position { segment: u64::MAX, offset: u64::MAX, target: Some(far) };
        for position in [long, Position { segment: 7, offset: 9, target: None }] {
            notes.save(&position).unwrap();
            assert_eq!(super::position(directory.path()), position);
        }
        assert_eq!(fs::metadata(directory.path().join(POSITION)).unwrap().len(), RECORD as u64);
        drop(notes);
        assert_eq!(Notes::open(directory.path()).unwrap().1.segment, 7);
    }

    #[test]
    fn what_waits_is_what_the_carrier_has_not_passed() {
        let segments = [1, 2, 3].map(|number| BufferSegment { number, length: 100 });
        let at = |segment, offset| Position { segment, offset, target: None };
        for (position, expected) in
            [(at(0, 0), 300), (at(1, 40), 260), (at(2, 100), 100), (at(3, 100), 0), (at(4, 7), 0)]
        {
            assert_eq!(waiting(&segments, &position), expected, "{position:?}");
        }
    }

    #[test]
    fn trouble_is_noted_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        note_failing(directory.path(), Some((7, "srv1/maillog: no space")));
        assert_eq!(failing(directory.path()), Some((7, "srv1/maillog: no space".to_owned())));
        note_failing(directory.path(), None);
        assert_eq!(failing(directory.path()), None);
    }
}
