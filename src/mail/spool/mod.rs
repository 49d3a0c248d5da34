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
//! the records: `record_builder`; a volume that is full or fails: `pending_writes`). A session gets
//! `Ok` only when a sync that began after its record was written has returned. Content over
//! [`INLINE_MAX`] is written to a file of its own (`content_writer`). An index in memory has the
//! location of each message's last records (`index`, packed by `index_entries`); it is rebuilt at
//! start (`recover`) from the segments, or from their summary files, which leave out the contents
//! (`segment_summary`); listings of the queue read these, too (`envelope_cache`). A volume that no
//! core uses is read by `verify` and [`OfflineSpool`], which change nothing; `recover` and `verify`
//! read segments through one `replay`, so that both handle damage alike. A segment without live
//! records is recycled (`segment_files`); one that is mostly dead is emptied by copying its few
//! live records forward (`compaction`).
//!
//! Limits: memory per waiting message is that of one index entry; content in memory is 32 KiB a
//! session, and 16 MiB more that all sessions borrow from, at most [`INLINE_MAX`] each; records
//! that wait for the disk are bounded by sessions and delivery agents, which wait too
//! ([`BACKLOG_MAX`]). Failures: a full volume gives [`SpoolError::Full`]; a failed sync poisons its
//! segment for writing and is never repeated on it, and nothing is accepted until a new segment
//! could be written and synced. Damaged records are quarantined under `corrupt/`, counted and
//! reported; segments that contain less than at the last orderly stop are reported
//! (`shutdown_manifest`); all other mail is served. Security: the only module that writes mail to
//! disk; files have mode 0600.
//! Source: RFC 5321 §4.2.5 (what 250 promises), §6.1 (must not lose mail).

mod active_segment;
mod batch_writer;
mod byte_codec;
mod commit_queue;
mod committer;
mod compaction;
mod config;
mod content_writer;
mod corrupt;
pub mod counters;
mod destination_codec;
mod dsn_codec;
mod envelope_cache;
mod format;
mod housekeeping;
mod imported_times;
mod index;
mod index_entries;
mod layout;
mod message_reader;
mod offline;
mod pending_writes;
mod record;
mod record_builder;
mod record_heads;
mod recover;
mod replay;
mod segment_files;
mod segment_log;
mod segment_summary;
mod shutdown_manifest;
mod spool_state;
mod spool_trait;
mod unwritten_progress;
mod verify;

pub use config::{BUFFER_OWN, BUFFER_SHARED, INLINE_MAX, SpoolConfig};
pub use offline::OfflineSpool;
pub use recover::OpenError;
pub use segment_log::SegmentLog;
pub use spool_trait::{
    Arrival, BACKLOG_MAX, IncomingContent, PriorProgress, QueueEntry, Spool, SpoolError,
};
