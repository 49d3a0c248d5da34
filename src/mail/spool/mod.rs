//! The durable queue, behind one small door.
//!
//! Purpose: what this room has taken is on stable storage. The door is [`Spool`]; [`log`](self) ...
//! Under construction.

use crate::mail::model::{Body, Envelope, Kind, Message, MessageId, Origin, Progress};
use std::future::Future;

/// Why the queue could not do what was asked. Each is temporary for a client (452 4.3.1): nothing that was accepted before is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// ENOSPC or EDQUOT, or less than one percent free.
    #[error("the data volume is full")]
    Full,
    /// The data volume gave another error, here in words.
    #[error("the data volume failed: {0}")]
    Failed(String),
    /// The queue holds no such message.
    #[error("no such message in the queue")]
    Unknown,
}

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

/// Content on its way in: kept in memory while small, streamed to the data volume above a threshold.
pub trait Writer: Send {
    /// Takes the next piece. Memory held does not grow with the content.
    fn write(&mut self, piece: &[u8]) -> impl Future<Output = Result<(), SpoolError>> + Send;

    /// Octets taken so far.
    fn len(&self) -> u64;
}

/// The door of the durable queue.
pub trait Spool: Send + Sync + 'static {
    /// Content on its way in. Dropping it without [`Spool::commit`] leaves nothing behind.
    type Writer: Writer;

    /// Whether a new mail may be begun: `Err(Full)` under one percent free, `Err(Failed)` while the volume is unwell.
    fn ready(&self) -> Result<(), SpoolError>;

    /// A place for new content; no disk is touched yet.
    fn begin(&self) -> Self::Writer;

    /// Makes envelope and content durable and puts the message into the queue. When this returns `Ok`, the sync has returned.
    fn commit(&self, entry: Entry, content: Self::Writer) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// Reads a message back, its present progress included.
    fn load(&self, id: MessageId) -> impl Future<Output = Result<Message, SpoolError>> + Send;

    /// Records progress of some targets; the message leaves the queue when no target is pending. Returns at once: the record
    /// becomes durable with the next sync.
    fn settle(&self, id: MessageId, progress: Vec<Progress>);

    /// Content of a draft that is in memory already.
    fn commit_body(&self, entry: Entry, body: Body) -> impl Future<Output = Result<Message, SpoolError>> + Send;
}
