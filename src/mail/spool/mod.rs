//! The durable queue, behind one small door.
//!
//! Purpose: what this room has taken is on stable storage. The door is the trait [`Spool`];
//! [`SegmentLog`] is the one that stands on a data volume of its own. A shared store can take its
//! place later.
//! In: envelope and content of a mail ([`Entry`], [`Writer`]), the progress of its targets. Out: a
//! [`Message`](crate::mail::model::Message) to deliver.
//!
//! How it works. Records are appended to segment files (`format`). One thread, the committer, takes
//! all records that sessions and couriers have handed in, writes them with one call and syncs once
//! for all of them: group commit (`committer` is the thread, `batch_writer` what it writes with;
//! the records: `compose`; a volume that is full or fails: `trouble`).
//! A session hears `Ok` only when a sync that began after its record was written has returned.
//! Content over [`INLINE_MAX`] streams to a file of its own (`content`). An index in memory says
//! where the last word about each message stands (`index`, packed by `slots`); it is rebuilt at
//! start (`recover`) from the segments, or from what stands beside them without the contents
//! (`segment_summary`); whoever goes through the queue reads these, too (`envelope_cache`). A
//! volume without a core is looked at by `verify` and [`OfflineSpool`], which change nothing;
//! `recover` and `verify` read segments through one `replay`, so that both meet damage alike. A
//! segment without live records is recycled (`segment_files`); one that is mostly dead is emptied
//! by copying its few live records forward (`compaction`).
//!
//! Limits: memory per waiting message is that of one index entry; content in memory is 32 KiB a
//! session, and 16 MiB more that all sessions borrow from, at most [`INLINE_MAX`] each;
//! records that wait for the disk are bounded by sessions and couriers, which wait too
//! ([`BACKLOG_MAX`]). When things break: a full volume answers [`SpoolError::Full`], a failed sync
//! poisons its segment for writing, is never retried as if clean, and nothing is accepted until a
//! new segment could be written and synced. Damaged records are set aside under
//! `corrupt/`, counted and reported; segments that hold less than at the last orderly stop are told
//! (`closing`); the rest is served.
//! Security: the only room that writes mail to disk; files have mode 0600.
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

pub use config::{Config, INLINE_MAX, LENDABLE, OWN};
pub use log::SegmentLog;
pub use offline::OfflineSpool;
pub use recover::OpenError;
pub use store::{Arrival, BACKLOG_MAX, Entry, Past, Spool, SpoolError, Writer};
