//! What windows may ask of the queue, and tell it.

use super::{Carried, Message, MessageId, Pieces};
use std::future::Future;
use std::pin::Pin;

/// A future that windows wait for without knowing who answers.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, DeskError>> + Send + 'a>>;

/// Why the queue could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeskError {
    /// No message of that id is in the queue (any more).
    #[error("no such message in the queue")]
    Unknown,
    /// The data volume did not let us; the text says why.
    #[error("{0}")]
    Storage(String),
    /// The message does not pass its checksum; it is being set aside.
    #[error("the message is damaged")]
    Damaged,
    /// It is being tried, and the try does not end soon.
    #[error("the message is being tried just now; ask again in a while")]
    Busy,
    /// What came is not what was announced, or no mail; the text says why.
    #[error("{0}")]
    Refused(String),
}

/// The queue in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueueSummary {
    /// Messages in the queue.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// Of these messages: in a try right now.
    pub active: u64,
    /// Waiting for another try after a temporary failure.
    pub deferred: u64,
    /// Held by an operator.
    pub held: u64,
    /// When the oldest was accepted, seconds since 1970.
    pub oldest: Option<u32>,
}

/// One destination's share of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSummary {
    /// A domain, an address literal, or the smart relay; hostile text.
    pub name: String,
    /// Messages that wait for it, those being tried included.
    pub messages: u64,
    /// Of these, in a try right now.
    pub active: u64,
    /// When the oldest of them was accepted, seconds since 1970.
    pub oldest: Option<u32>,
    /// When the next try is due, seconds since 1970; `None` when all are being tried or held.
    pub next_try: Option<u32>,
    /// What the last failed try said; hostile text, empty when none failed.
    pub last_error: String,
}

/// Which messages an order is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// This one.
    One(MessageId),
    /// All with a pending recipient in this domain (or at this destination), compared without regard to case.
    Domain(String),
    /// All.
    All,
}

/// What an operator wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Try again now.
    Retry,
    /// Try no more until released.
    Hold,
    /// End a hold.
    Release,
    /// Remove from the queue; nobody gets a bounce.
    Delete,
}

impl Order {
    /// The word for logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Delete => "delete",
        }
    }
}

/// The queue as windows see it.
pub trait Desk: Send + Sync {
    /// The queue in numbers, cheap enough for every scrape.
    fn summary(&self) -> QueueSummary;

    /// At most `limit` destinations, those with the most messages first.
    fn destinations(&self, limit: usize) -> Vec<DestinationSummary>;

    /// How many waiting messages are at most as old as each of `bounds` (seconds, ascending); the histogram of ages, and the
    /// sum of all ages in seconds.
    fn ages(&self, bounds: &[u32]) -> (Vec<u64>, u64);

    /// At most `limit` messages with ids above `after`, in order; contents unread.
    fn list(&self, after: Option<MessageId>, limit: usize) -> Answer<'_, Vec<Message>>;

    /// One message.
    fn show(&self, id: MessageId) -> Answer<'_, Message>;

    /// Carries out an order and tells how many messages it hit.
    fn order(&self, order: Order, selection: Selection) -> Answer<'_, u64>;

    /// One message with its content checked, for whoever carries it away. With `still` after every try of it has ended, of which
    /// a hold begins no new ones.
    fn carry_out(&self, id: MessageId, still: bool) -> Answer<'_, Message>;

    /// Takes a mail of another queue into this one, all of it or nothing, and tells its new id. It is durable when this returns
    /// `Ok`, and then on its way unless it is held.
    fn carry_in(&self, carried: Carried, content: Box<dyn Pieces>) -> Answer<'_, MessageId>;
}
