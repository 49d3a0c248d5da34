//! The trait [`Spool`] of a durable queue, and the types that it uses.
//!
//! **Durable** means that it survives a power cut: a sync of the volume has returned, or a
//! transaction was committed. A method that promises this has waited for it when it returns `Ok`.
//! The others submit: the change is visible to every reader at once, in the order of submission,
//! and is durable within [`Config::lazy_sync`](super::SpoolConfig::lazy_sync) and one sync. A crash
//! before that loses the change, and the delivery is done once more (RFC 5321 §6.1).
//!
//! **A lease** is the right to attempt a message. Only one process has it, so that two never
//! attempt a recipient at the same time. It begins when a message is committed here or claimed
//! ([`Spool::claim`]), and ends when the message leaves the queue ([`Spool::complete`],
//! [`Spool::delete`]), when it is deferred ([`Spool::defer`]), or when its process is known to be
//! dead. A store that no other process can open has all leases: the segment log's lease is the lock
//! of its volume, which ends with its process. A shared store records which process has which
//! lease, and until when, and extends it while that process is alive.
//!
//! **Waiting.** A method that asks the store is a future. The others answer from memory: exactly
//! for messages under a lease of this process, and by the last known state for all others. None of
//! them may access a disk or a network.

use crate::mail::model::{
    Destination, Envelope, Message, MessageId, MessageKind, Origin, TargetProgress, TargetStatus,
};
use std::collections::HashSet;
use std::future::Future;

/// Why the queue could not do what was asked. Each is temporary for a client (452 4.3.1): no mail
/// that was accepted before is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// ENOSPC or EDQUOT, or less than one percent free.
    #[error("the data volume is full")]
    Full,
    /// The data volume gave another error, here as text.
    #[error("the data volume failed: {0}")]
    Failed(String),
    /// The data volume has not answered for so many seconds. What was submitted meanwhile is
    /// withdrawn: should it become durable, a done record follows.
    #[error("the data volume has not answered for {0} s")]
    Slow(u64),
    /// The message's record or content is damaged; it is being quarantined, and is
    /// [`SpoolError::Unknown`] from then on.
    #[error("the message is damaged")]
    Damaged,
    /// The queue holds no such message.
    #[error("no such message in the queue")]
    Unknown,
}

/// Records that may wait for the disk before delivery agents pause.
pub const BACKLOG_MAX: usize = 2000;

/// A message to be accepted, without its content.
#[derive(Debug, Clone)]
pub struct QueueEntry {
    /// Sender and recipients.
    pub envelope: Envelope,
    /// Where it came from: client, HELO name and the like.
    pub origin: Origin,
    /// From a client, or generated locally.
    pub kind: MessageKind,
    /// Whether a carbon copy goes to `cc_mta`.
    pub copy: bool,
    /// The destination of each target: the recipients in their order, then the copy.
    pub destinations: Vec<Destination>,
}

/// The past of a message that waited in another queue before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriorProgress {
    /// When it was accepted there, seconds since 1970.
    pub arrived: u32,
    /// The progress of its targets: the recipients in their order, then the copy if there is one.
    pub progress: Vec<TargetProgress>,
    /// Held by an operator.
    pub held: bool,
    /// The delay warning was sent.
    pub delay_warning_sent: bool,
}

/// A message, and when it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The time in the form of an id, unique among all messages: the id itself, unless the message
    /// waited in another queue before.
    pub moment: MessageId,
    /// The message.
    pub id: MessageId,
}

/// Content that is being received: kept in memory while small, written to the data volume above
/// [`INLINE_MAX`](super::INLINE_MAX).
pub trait IncomingContent: Send {
    /// The id that the message will have; known from the start, so that the Received field can
    /// contain it.
    fn id(&self) -> MessageId;

    /// Takes the next piece. The memory used does not grow with the content.
    fn write(&mut self, piece: &[u8]) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Octets taken so far.
    fn written(&self) -> u64;
}

/// The interface of the durable queue. The module page defines durable and lease.
pub trait Spool: Send + Sync + 'static {
    /// Content that is being received. Dropping it without [`Spool::commit`] leaves nothing behind.
    type Writer: IncomingContent;

    /// Whether a new mail may be begun: `Err(Full)` under one percent free, `Err(Failed)` while the
    /// volume fails, `Err(Slow)` while it does not answer.
    fn ready(&self) -> Result<(), SpoolError>;

    /// A writer for new content; no disk is accessed yet.
    fn begin(&self) -> Self::Writer;

    /// Makes envelope and content durable and puts the message into the queue. When this returns
    /// `Ok`, the sync has returned. The message is under a lease of this process. After an error,
    /// or a crash before `Ok`, it is not in the queue, except as [`Spool::commit_within`] says.
    fn commit(
        &self,
        entry: QueueEntry,
        content: Self::Writer,
    ) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// The same, but no longer than until `give_up`: then the result is [`SpoolError::Slow`], and
    /// the message does not enter the queue. It may do so all the same if the process dies between
    /// its sync and that of the record that ends it: a duplicate, not a loss (RFC 5321 §6.1).
    fn commit_within(
        &self,
        entry: QueueEntry,
        content: Self::Writer,
        give_up: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// The same as [`Spool::commit_within`] for a message that waited in another queue before.
    /// After a crash all of it is there or nothing: a recipient that had the message is never
    /// pending again.
    fn import(
        &self,
        entry: QueueEntry,
        past: PriorProgress,
        content: Self::Writer,
        give_up: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// Takes the lease of a message, if this process does not have it, and reads the message as
    /// [`Spool::load`] does. It may be repeated. To be called before every attempt of a message
    /// that was not just committed.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`]: it has left the queue, or another process has its lease. After any
    /// error this process has no lease.
    fn claim(&self, id: MessageId) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// Reads a message with its present progress. Its content has passed its checksum, so nothing
    /// torn is ever delivered; one that does not pass is [`SpoolError::Damaged`].
    fn load(&self, id: MessageId) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// The same for listing and display: the content is not checked, and is read only when it is
    /// asked for.
    fn peek(&self, id: MessageId) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// [`Spool::peek`] for many at once; those that have left the queue, or are damaged, are left
    /// out.
    fn peek_all(
        &self,
        ids: Vec<MessageId>,
    ) -> impl Future<Output = Result<Vec<Message>, SpoolError>> + Send;

    /// Records that all targets of a message are finished: it leaves the queue. Submitted, not
    /// waited for. For a message that has left the queue nothing is done. After a crash it is
    /// either gone or as it was before the call.
    fn complete(&self, id: MessageId, progress: Vec<TargetProgress>);

    /// Records the progress of all targets of a message, some of which are pending, with their due
    /// times. Submitted, not waited for; for a message that has left the queue nothing is done. The
    /// message is planned by this process until it ends, so a shared store may end the lease at the
    /// due time and not before. After a crash the message has this progress or the one before.
    fn defer(&self, id: MessageId, progress: Vec<TargetProgress>);

    /// [`Spool::complete`] when no target is pending, [`Spool::defer`] otherwise.
    fn settle(&self, id: MessageId, progress: Vec<TargetProgress>) {
        if progress.iter().all(|target| target.status != TargetStatus::Pending) {
            self.complete(id, progress);
        } else {
            self.defer(id, progress);
        }
    }

    /// Records that the delay warning was sent. Submitted, not waited for; after a crash the
    /// warning may be sent once more.
    fn note_delay_warning_sent(&self, id: MessageId);

    /// Holds a message or releases it, which is remembered ([`Spool::was_released`]); durable when
    /// this returns `Ok`.
    fn hold(
        &self,
        id: MessageId,
        held: bool,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Removes a message from the queue without a bounce; durable when this returns `Ok`.
    fn delete(&self, id: MessageId) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Whether the message is held; `None` when it is not in the queue. From memory.
    fn is_held(&self, id: MessageId) -> Option<bool>;

    /// Whether the message was held once, and an operator has released it. From memory.
    fn was_released(&self, id: MessageId) -> bool;

    /// Submitted records that wait for the store; a caller that makes more than [`BACKLOG_MAX`] of
    /// them should pause.
    fn backlog(&self) -> usize;

    /// Ids above `after` in order, at most `limit`: what the queue holds when the store answers.
    fn ids(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<MessageId>, SpoolError>> + Send;

    /// How many messages, their octets, how many of them are held.
    fn totals(&self) -> impl Future<Output = Result<(u64, u64, u64), SpoolError>> + Send;

    /// The last known values, from memory: for callers that may not wait, such as scrapes.
    fn last_totals(&self) -> (u64, u64, u64);

    /// Messages in the order of their acceptance, here or by another queue: those after the time
    /// `after`, or after the message of that id, at most `limit`. From memory.
    fn by_arrival(&self, after: Option<MessageId>, limit: usize) -> Vec<Arrival>;

    /// Which of these messages was accepted first, here or by another queue. From memory.
    fn oldest_of(&self, ids: &HashSet<MessageId>) -> Option<Arrival>;
}
