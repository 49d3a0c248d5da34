//! The paths of the files on the data volume, documented in `docs/queue-format.md`.

use crate::mail::model::MessageId;

/// The directory of the segments.
pub const LOG: &str = "log";
/// The directory of segment files that can be reused.
pub const SPARE: &str = "spare";
/// The directory of damaged records, for an operator.
pub const CORRUPT: &str = "corrupt";
/// The directory of contents with a file of their own.
pub const BODY: &str = "body";
/// The format version of the volume.
pub const FORMAT: &str = "format";
/// The manifest of the last stop, if that was orderly; see `shutdown_manifest`.
pub const CLOSED: &str = "closed";
/// Space that becomes a segment when the volume is full, so that the queue can start and finished
/// mail can be marked as done. It is overwritten in place: space that was only freed might be used
/// by another program.
pub const RESERVE: &str = "reserve";

/// Path of a segment.
pub fn segment_path(number: u32) -> String {
    format!("{LOG}/{number:010}.seg")
}

/// Path of its summary file, without the contents; see `heads`.
pub fn summary_path(number: u32) -> String {
    format!("{LOG}/{number:010}.heads")
}

/// Path where its file waits for reuse.
pub fn spare_path(number: u32) -> String {
    format!("{SPARE}/{number:010}.seg")
}

/// A message's content, when it has a file of its own.
pub fn body_path(id: MessageId) -> String {
    format!("{BODY}/{id}.eml")
}

/// The same while it is being written; a restart removes files with such a name.
pub fn part_path(id: MessageId) -> String {
    format!("{BODY}/{id}.part")
}
