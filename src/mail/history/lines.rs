//! The lines of the history, and their files.

use crate::ground::disk::Disk;
use crate::mail::model::{AttemptRecord, FinishedMessage};
use serde::{Deserialize, Serialize};
use std::io;

/// The directory on the data volume.
pub const HISTORY: &str = "history";

/// Octets at the start of a file that contain its first entry.
const START: usize = 16 * 1024;

/// An entry, as a line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub enum HistoryLine {
    /// An attempt that did not succeed, or a note.
    Attempt(AttemptRecord),
    /// A message that has left the queue.
    Finished(FinishedMessage),
}

/// The path of a file.
pub fn path(number: u64) -> String {
    format!("{HISTORY}/{number:010}.jsonl")
}

/// The numbers of all files, ascending.
pub fn numbers(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = match disk.list(HISTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    Ok(names.iter().filter_map(|name| name.strip_suffix(".jsonl")?.parse().ok()).collect())
}

/// The time of a file's first entry, in seconds; `None` if it is empty.
pub fn first_second(disk: &dyn Disk, number: u64) -> io::Result<Option<u32>> {
    let mut start = vec![0; START];
    let got = disk.open(&path(number))?.read_at(0, &mut start)?;
    Ok(String::from_utf8_lossy(&start[..got]).lines().find_map(second))
}

/// An entry and its time in seconds; `None` for a line that is not an entry.
pub fn parse(line: &str) -> Option<(HistoryLine, u32)> {
    let line: HistoryLine = serde_json::from_str(line).ok()?;
    let at = match &line {
        HistoryLine::Attempt(attempt) => attempt.at,
        HistoryLine::Finished(finished) => finished.at,
    };
    Some((line, at))
}

/// The time of a line, in seconds.
pub fn second(line: &str) -> Option<u32> {
    parse(line).map(|(_, at)| at)
}
