//! The durable queue, behind one small door.
//!
//! Purpose: what this room has taken is on stable storage. The door is the trait [`Spool`];
//! [`SegmentLog`] is the one that stands on a data volume of its own. A shared store can take its
//! place later.
//! In: envelope and content of a mail ([`Entry`], [`Writer`]), the progress of its targets. Out: a
//! [`Message`] to deliver.
//!
//! How it works. Records are appended to segment files (`format`). One thread, the committer, takes
//! all records that sessions and couriers have handed in, writes them with one call and syncs once
//! for all of them: group commit (`committer`; the records: `compose`; a volume that is full or
//! fails: `trouble`).
//! A session hears `Ok` only when a sync that began after its record was written has returned.
//! Content over [`INLINE_MAX`] streams to a file of its own (`content`). An index in memory says
//! where the last word about each message stands (`index`, packed by `slots`); it is rebuilt at
//! start (`recover`) from the segments, or from what stands beside them without the contents
//! (`heads`); whoever goes through the queue reads these, too (`envelope_cache`). A volume without
//! a core is looked at by `verify` and [`OfflineSpool`], which change nothing. A segment without
//! live records is recycled; one
//! that is mostly dead is emptied by copying its few live records forward.
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

mod arrivals;
mod closing;
mod commit_queue;
mod committer;
mod compaction;
mod compose;
mod config;
mod content;
pub mod counters;
mod envelope_cache;
mod format;
mod housekeeping;
mod index;
mod layout;
mod log;
mod offline;
mod read;
mod recent;
mod record;
mod recover;
mod segment_summary;
mod shared;
mod slots;
mod trouble;
mod verify;

use crate::mail::model::{Envelope, Kind, Message, MessageId, Origin, Progress};
use std::collections::HashSet;
use std::future::Future;

pub use config::Config;
pub use content::{INLINE_MAX, LENDABLE, OWN};
pub use log::SegmentLog;
pub use offline::OfflineSpool;
pub use recover::OpenError;

/// Why the queue could not do what was asked. Each is temporary for a client (452 4.3.1): nothing
/// that was accepted before is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// ENOSPC or EDQUOT, or less than one percent free.
    #[error("the data volume is full")]
    Full,
    /// The data volume gave another error, here in words.
    #[error("the data volume failed: {0}")]
    Failed(String),
    /// The data volume has not answered for so many seconds. What was handed in meanwhile is
    /// withdrawn: should it become durable, a done record follows.
    #[error("the data volume has not answered for {0} s")]
    Slow(u64),
    /// The message's record or content is damaged; it is being set aside, and is
    /// [`SpoolError::Unknown`] from then on.
    #[error("the message is damaged")]
    Damaged,
    /// The queue holds no such message.
    #[error("no such message in the queue")]
    Unknown,
}

/// Records that may wait for the disk before couriers pause.
pub const BACKLOG_MAX: usize = 2000;

/// What is to be accepted, beside the content.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who to whom.
    pub envelope: Envelope,
    /// By whose hands.
    pub origin: Origin,
    /// From outside, or made here.
    pub kind: Kind,
    /// Whether a carbon copy goes to `cc_mta`.
    pub copy: bool,
}

/// What a message has behind it that waited in another queue before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// When it was accepted there, seconds since 1970.
    pub arrived: u32,
    /// Where its targets stand: the recipients in their order, then the copy if there is one.
    pub progress: Vec<Progress>,
    /// An operator holds it back.
    pub held: bool,
    /// The delay notice is out.
    pub delay_told: bool,
}

/// A message, and when it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The moment, in the shape of an id, and as no other message has it: the id itself, unless the
    /// message waited in another queue before.
    pub moment: MessageId,
    /// The message.
    pub id: MessageId,
}

/// Content on its way in: kept in memory while small, streamed to the data volume above
/// [`INLINE_MAX`].
pub trait Writer: Send {
    /// The id that the message will have; known from the start, so that the Received line can carry
    /// it.
    fn id(&self) -> MessageId;

    /// Takes the next piece. Memory held does not grow with the content.
    fn write(&mut self, piece: &[u8]) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Octets taken so far.
    fn written(&self) -> u64;
}

/// The door of the durable queue.
pub trait Spool: Send + Sync + 'static {
    /// Content on its way in. Dropping it without [`Spool::commit`] leaves nothing behind.
    type Writer: Writer;

    /// Whether a new mail may be begun: `Err(Full)` under one percent free, `Err(Failed)` while the
    /// volume is unwell, `Err(Slow)` while it does not answer.
    fn ready(&self) -> Result<(), SpoolError>;

    /// A place for new content; no disk is touched yet.
    fn begin(&self) -> Self::Writer;

    /// Makes envelope and content durable and puts the message into the queue. When this returns
    /// `Ok`, the sync has returned.
    fn commit(
        &self,
        entry: Entry,
        content: Self::Writer,
    ) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// The same, but not for longer than until `give_up`: then the answer is [`SpoolError::Slow`],
    /// and the message does not come into the queue. It may all the same when the process dies
    /// between its sync and that of the record that ends it: a mail twice, not a mail lost (RFC
    /// 5321 §6.1).
    fn commit_within(
        &self,
        entry: Entry,
        content: Self::Writer,
        give_up: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// The same as [`Spool::commit_within`] for a message that waited in another queue before. A
    /// crash leaves all of it or nothing: a recipient that had it is never pending again.
    fn bring_in(
        &self,
        entry: Entry,
        past: Past,
        content: Self::Writer,
        give_up: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// Reads a message with its present progress. Its content has passed its checksum, so nothing
    /// torn is ever delivered; one that does not pass is [`SpoolError::Damaged`].
    fn load(&self, id: MessageId) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// The same for looking at: the content is not checked and not read before it is asked for.
    fn peek(&self, id: MessageId) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// [`Spool::peek`] for many at once; those that have left the queue, or are damaged, are left
    /// out.
    fn peek_all(
        &self,
        ids: Vec<MessageId>,
    ) -> impl Future<Output = Result<Vec<Message>, SpoolError>> + Send;

    /// Records the progress of all targets of a message, which leaves the queue when none is
    /// pending. Returns at once; the record is written at once too and durable with the next sync.
    /// A message that is not in the queue any more is none of this call's business.
    fn settle(&self, id: MessageId, progress: Vec<Progress>);

    /// Notes that the sender was told of the delay; durable with the next sync.
    fn delay_told(&self, id: MessageId);

    /// Holds a message back or releases it; durable when this returns `Ok`.
    fn hold(
        &self,
        id: MessageId,
        held: bool,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Takes a message out of the queue without a word to anybody; durable when this returns `Ok`.
    fn delete(&self, id: MessageId) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Whether the message is held; `None` when it is not in the queue.
    fn is_held(&self, id: MessageId) -> Option<bool>;

    /// Records that wait for the disk; a caller that makes more than [`BACKLOG_MAX`] of them should
    /// pause.
    fn backlog(&self) -> usize;

    /// Ids above `after` in order, at most `limit`.
    fn ids(&self, after: Option<MessageId>, limit: usize) -> Vec<MessageId>;

    /// Messages in the order of their arrival, here or in another queue: those behind the moment
    /// `after`, or behind the message of that id, at most `limit`.
    fn by_arrival(&self, after: Option<MessageId>, limit: usize) -> Vec<Arrival>;

    /// Which of these messages arrived first, here or in another queue.
    fn oldest_of(&self, ids: &HashSet<MessageId>) -> Option<Arrival>;

    /// How many messages, their octets, how many of them are held.
    fn totals(&self) -> (u64, u64, u64);
}
