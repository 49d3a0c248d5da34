//! Which file stands where on the data volume; `docs/queue-format.md` tells it to people.

use crate::mail::model::MessageId;

/// The directory of the segments.
pub const LOG: &str = "log";
/// The directory of segment files that wait for their next use.
pub const SPARE: &str = "spare";
/// The directory of damaged records, for a person to look at.
pub const CORRUPT: &str = "corrupt";
/// The directory of contents with a file of their own.
pub const BODY: &str = "body";
/// Which version wrote the volume.
pub const FORMAT: &str = "format";
/// What the segments held at the last stop, when it was an orderly one; see `closing`.
pub const CLOSED: &str = "closed";
/// Room that becomes a segment when the volume is full, so that the queue can start, and finished
/// mail be marked as done. It is written over where it stands: room that was only given back might
/// be taken by somebody else.
pub const RESERVE: &str = "reserve";

/// Where a segment stands.
pub fn segment_path(number: u32) -> String {
    format!("{LOG}/{number:010}.seg")
}

/// What it says without the contents; see `heads`.
pub fn heads_path(number: u32) -> String {
    format!("{LOG}/{number:010}.heads")
}

/// Where it waits for its next use.
pub fn spare_path(number: u32) -> String {
    format!("{SPARE}/{number:010}.seg")
}

/// A message's content, when it has a file of its own.
pub fn body_path(id: MessageId) -> String {
    format!("{BODY}/{id}.eml")
}

/// The same while it is being written; a restart removes what still has such a name.
pub fn part_path(id: MessageId) -> String {
    format!("{BODY}/{id}.part")
}
