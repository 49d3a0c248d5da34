//! The durable queue, behind one small interface.
//!
//! Purpose: what this module has accepted is on stable storage. The interface is the trait
//! [`Spool`]; [`SegmentLog`] implements it on a data volume of its own. A shared store can replace
//! it later. In: envelope and content of a mail ([`QueueEntry`], [`IncomingContent`]), the progress
//! of its targets. Out: a [`Message`](crate::mail::model::Message) to deliver.
//!
//! How it works. Records are appended to segment files (`format`). One thread, the committer, takes
//! all records that sessions and delivery agents have submitted, writes them with one call and
//! syncs once for all of them: group commit (`committer` is the thread, `batch_writer` the writer;
//! the records: `compose`; a volume that is full or fails: `trouble`). A session gets `Ok` only
//! when a sync that began after its record was written has returned. Content over [`INLINE_MAX`] is
//! written to a file of its own (`content`). An index in memory has the location of each message's
//! last records (`index`, packed by `slots`); it is rebuilt at start (`recover`) from the segments,
//! or from their summary files, which leave out the contents (`segment_summary`); listings of the
//! queue read these, too (`envelope_cache`). A volume that no core uses is read by `verify` and
//! [`OfflineSpool`], which change nothing; `recover` and `verify` read segments through one
//! `replay`, so that both handle damage alike. A segment without live records is recycled
//! (`segment_files`); one that is mostly dead is emptied by copying its few live records forward
//! (`compaction`).
//!
//! Limits: memory per waiting message is that of one index entry; content in memory is 32 KiB a
//! session, and 16 MiB more that all sessions borrow from, at most [`INLINE_MAX`] each; records
//! that wait for the disk are bounded by sessions and delivery agents, which wait too
//! ([`BACKLOG_MAX`]). Failures: a full volume gives [`SpoolError::Full`]; a failed sync poisons its
//! segment for writing and is never repeated on it, and nothing is accepted until a new segment
//! could be written and synced. Damaged records are quarantined under `corrupt/`, counted and
//! reported; segments that contain less than at the last orderly stop are reported (`closing`); all
//! other mail is served. Security: the only module that writes mail to disk; files have mode 0600.
//! Source: RFC 5321 §4.2.5 (what 250 promises), §6.1 (must not lose mail).

mod active;
mod arrivals;
mod batch_writer;
mod closing;
mod commit_queue;
mod committer;
mod compaction;
mod compose;
mod config;
mod content;
mod corrupt;
pub mod counters;
mod destinations;
mod envelope_cache;
mod format;
mod housekeeping;
mod index;
mod layout;
mod log;
mod octets;
mod offline;
mod read;
mod recent;
mod record;
mod recover;
mod replay;
mod segment_files;
mod segment_summary;
mod shared;
mod slots;
mod store;
mod trouble;
mod verify;

pub use config::{INLINE_MAX, LENDABLE, OWN, SpoolConfig};
pub use log::SegmentLog;
pub use offline::OfflineSpool;
pub use recover::OpenError;
pub use store::{
    Arrival, BACKLOG_MAX, IncomingContent, PriorProgress, QueueEntry, Spool, SpoolError,
};
