//! What a durable queue promises: the trait [`Spool`], and what goes through it.
//!
//! **Durable** is what outlives a power cut: a sync of the volume has returned, or a transaction
//! was committed. A method that says so when it returns `Ok` has waited for that. The others hand
//! in: what they say takes effect for every reader at once, in the order in which it was handed in,
//! and is durable within [`Config::lazy_sync`](super::Config::lazy_sync) and one sync. A crash
//! before that takes it back, and the delivery is done once more (RFC 5321 §6.1).
//!
//! **A lease** is the right to try a message. Only one process has it, so that no recipient is
//! tried by two at once. It begins when a message is committed here or claimed
//! ([`Spool::claim`]), and ends when the message leaves the queue ([`Spool::complete`],
//! [`Spool::delete`]), when it is put off to a later time ([`Spool::defer`]), or when its process
//! is known to be dead. A store that no other process can open has them all: the segment log's
//! lease is the lock of its volume, which dies with its holder. A shared store writes down who has
//! which lease, and until when, and prolongs it while its process lives.
//!
//! **Waiting.** A method that asks the store is a future. Those that are none answer from memory;
//! what they tell of messages under a lease of this process is exact, and the rest is as it was
//! known last. None of them may touch a disk or a network.

use crate::mail::model::{
    Destination, Envelope, Kind, Message, MessageId, Origin, Progress, Status,
};
use std::collections::HashSet;
use std::future::Future;

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
    /// Where each target goes: the recipients in their order, then the copy.
    pub destinations: Vec<Destination>,
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
/// [`INLINE_MAX`](super::INLINE_MAX).
pub trait Writer: Send {
    /// The id that the message will have; known from the start, so that the Received line can carry
    /// it.
    fn id(&self) -> MessageId;

    /// Takes the next piece. Memory held does not grow with the content.
    fn write(&mut self, piece: &[u8]) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Octets taken so far.
    fn written(&self) -> u64;
}

/// The door of the durable queue. The module's page says what durable means, and a lease.
pub trait Spool: Send + Sync + 'static {
    /// Content on its way in. Dropping it without [`Spool::commit`] leaves nothing behind.
    type Writer: Writer;

    /// Whether a new mail may be begun: `Err(Full)` under one percent free, `Err(Failed)` while the
    /// volume is unwell, `Err(Slow)` while it does not answer.
    fn ready(&self) -> Result<(), SpoolError>;

    /// A place for new content; no disk is touched yet.
    fn begin(&self) -> Self::Writer;

    /// Makes envelope and content durable and puts the message into the queue. When this returns
    /// `Ok`, the sync has returned. The message is under a lease of this process. After an error,
    /// or a crash before `Ok`, it is not in the queue, except as [`Spool::commit_within`] says.
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

    /// Takes the lease of a message, if this process has not got it, and reads the message as
    /// [`Spool::load`] does. Once more is the same again. To be called before every try of a message
    /// that was not just committed.
    ///
    /// # Errors
    /// [`SpoolError::Unknown`]: it has left the queue, or another process has its lease. After any
    /// error this process has no lease.
    fn claim(&self, id: MessageId) -> impl Future<Output = Result<Message, SpoolError>> + Send;

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

    /// Records that all targets of a message have come to an end: it leaves the queue. Handed in. A
    /// message that is not in the queue any more is none of this call's business. After a crash it
    /// is either gone or as it was before the call.
    fn complete(&self, id: MessageId, progress: Vec<Progress>);

    /// Records the progress of all targets of a message, of which some are pending; when they are
    /// due is part of it. Handed in, and for a message that has left the queue nothing is done. The
    /// message is planned by this process until it ends, so a shared store may end the lease at the
    /// due time and not before. After a crash the message has this progress or the one before.
    fn defer(&self, id: MessageId, progress: Vec<Progress>);

    /// [`Spool::complete`] when no target is pending, [`Spool::defer`] otherwise.
    fn settle(&self, id: MessageId, progress: Vec<Progress>) {
        if progress.iter().all(|target| target.status != Status::Pending) {
            self.complete(id, progress);
        } else {
            self.defer(id, progress);
        }
    }

    /// Notes that the sender was told of the delay. Handed in; a crash may take it back, and the
    /// sender is told once more.
    fn delay_told(&self, id: MessageId);

    /// Holds a message back or releases it; durable when this returns `Ok`.
    fn hold(
        &self,
        id: MessageId,
        held: bool,
    ) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Takes a message out of the queue without a word to anybody; durable when this returns `Ok`.
    fn delete(&self, id: MessageId) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Whether the message is held; `None` when it is not in the queue. From memory.
    fn is_held(&self, id: MessageId) -> Option<bool>;

    /// Records that were handed in and wait for the store; a caller that makes more than
    /// [`BACKLOG_MAX`] of them should pause.
    fn backlog(&self) -> usize;

    /// Ids above `after` in order, at most `limit`: what the queue holds when the store answers.
    fn ids(
        &self,
        after: Option<MessageId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<MessageId>, SpoolError>> + Send;

    /// How many messages, their octets, how many of them are held.
    fn totals(&self) -> impl Future<Output = Result<(u64, u64, u64), SpoolError>> + Send;

    /// The same as it was known last, from memory: for who may not wait, as scrapes.
    fn last_totals(&self) -> (u64, u64, u64);

    /// Messages in the order of their arrival, here or in another queue: those behind the moment
    /// `after`, or behind the message of that id, at most `limit`. From memory.
    fn by_arrival(&self, after: Option<MessageId>, limit: usize) -> Vec<Arrival>;

    /// Which of these messages arrived first, here or in another queue. From memory.
    fn oldest_of(&self, ids: &HashSet<MessageId>) -> Option<Arrival>;
}
