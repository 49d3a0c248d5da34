//! What pages, API and tool can read of the queue and do with it.

use super::{
    ContentPieces, Deliveries, Destination, Filter, ImportedMessage, Message, MessageId,
    MessageState, RateWait,
};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

/// Destinations that are kept ready for answers, and shown, at most.
pub const DESTINATIONS_MAX: usize = 1000;

/// A future of the answer, independent of the implementation.
pub type AdminFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, AdminError>> + Send + 'a>>;

/// Why the queue could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// No message of that id is in the queue (any more).
    #[error("no such message in the queue")]
    Unknown,
    /// The data volume gave an error, here as text.
    #[error("{0}")]
    Storage(String),
    /// The message fails its checksum; it is being quarantined.
    #[error("the message is damaged")]
    Damaged,
    /// It is being attempted, and the attempt does not end soon.
    #[error("the message is being delivered just now; try again later")]
    Busy,
    /// It has changed since the caller read it; the text says how.
    #[error("{0}")]
    Changed(&'static str),
    /// No mail goes to a destination of that name; the text gives the valid ones.
    #[error("{0}")]
    NoDestination(String),
    /// The received data is not what was announced, or not a mail; the text says why.
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
    /// Of these messages: in an attempt now.
    pub active: u64,
    /// Waiting for another attempt after a temporary failure.
    pub deferred: u64,
    /// Held by an operator.
    pub held: u64,
    /// When the oldest was accepted, seconds since 1970.
    pub oldest: Option<u32>,
    /// When the oldest message that is not stopped by an operator was accepted: held mail and mail
    /// for paused destinations do not count.
    pub oldest_in_transit: Option<u32>,
}

/// One destination's share of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSummary {
    /// Its destination; the name is untrusted text.
    pub destination: Destination,
    /// Messages that wait for it, including those in an attempt.
    pub messages: u64,
    /// Of these, in an attempt now.
    pub active: u64,
    /// When the oldest of them was accepted, seconds since 1970.
    pub oldest: Option<u32>,
    /// When the next attempt is due, seconds since 1970; `None` when all are being attempted or
    /// held.
    pub next_attempt: Option<u32>,
    /// The error of the last failed attempt; untrusted text, empty when none failed.
    pub last_error: String,
    /// Waiting for another attempt.
    pub deferred: u64,
    /// Connections open or being opened.
    pub agents: u32,
    /// Of these, open without a message.
    pub idle: u32,
    /// Connections that are allowed now, at most.
    pub window: u32,
    /// Until when it is suspended, seconds since 1970; `None` when it is not.
    pub suspended_until: Option<u32>,
    /// Its rate is used up; `None` when it is not, or when there is none.
    pub rate_wait: Option<RateWait>,
    /// Since when no attempt reached it, seconds since 1970; `None` when the last one did.
    pub unreachable_since: Option<u32>,
    /// Paused by an operator.
    pub paused: bool,
    /// Messages by age: one count for each of [`DestinationSummary::AGES`], up to and including
    /// that age, and one for the older ones.
    pub ages: [u64; 6],
}

impl DestinationSummary {
    /// The bounds of the ages, in seconds: 5 minutes, 1 hour, 6 hours, 1 day, 3 days.
    pub const AGES: [u32; 5] = [300, 3600, 21_600, 86_400, 259_200];
}

/// Which messages an order applies to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// This one.
    One(MessageId),
    /// These; those that are not in the queue any more are skipped.
    Some(Vec<MessageId>),
    /// All with a pending recipient in this domain (or at this destination), compared without
    /// regard to case.
    Domain(String),
    /// All that match a filter.
    Matching(Filter),
    /// All.
    All,
}

/// The user who gives an order, for the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Principal {
    /// The user name, or `operator` for a user of the control socket.
    pub user: String,
    /// The client's address; `None` = this machine's control socket.
    pub address: Option<IpAddr>,
}

/// A page of the messages that match a filter.
#[derive(Debug, Clone, Default)]
pub struct QueuePage {
    /// In the order of their acceptance, here or by another queue, each with its state.
    pub messages: Vec<(Message, MessageState)>,
    /// Where to continue: the time of the last message that was checked, in the form of an id.
    pub next: Option<MessageId>,
    /// How many were checked.
    pub scanned: u64,
    /// Whether the end of the queue was reached.
    pub complete: bool,
}

/// The result of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OrderResult {
    /// Messages that it changed.
    pub messages: u64,
    /// Of a retry: those of them that are not attempted, because they are held or wait only for
    /// paused destinations.
    pub untried: u64,
}

/// The result of pausing or resuming a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused {
    /// `false`: it was in that state already.
    pub changed: bool,
    /// Messages that wait for the destination.
    pub waiting: u64,
}

/// The messages that an order would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// Messages.
    pub messages: u64,
    /// The first of them, at most [`Preview::SAMPLE`].
    pub sample: Vec<MessageId>,
    /// `false`: the time limit was reached, there may be more.
    pub complete: bool,
}

impl Preview {
    /// How many messages are listed.
    pub const SAMPLE: usize = 10;
}

/// The attribute by which the queue is grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// The reverse-path.
    Sender,
    /// Its domain.
    SenderDomain,
    /// The domains of the pending recipients.
    RecipientDomain,
    /// The error of the last attempt, without the numbers that differ from mail to mail.
    Reason,
}

impl Grouping {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Sender, Self::SenderDomain, Self::RecipientDomain, Self::Reason];

    /// The word for programs and people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::SenderDomain => "sender_domain",
            Self::RecipientDomain => "recipient_domain",
            Self::Reason => "reason",
        }
    }
}

/// A group of messages in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueGroup {
    /// What its messages have in common; untrusted text.
    pub name: String,
    /// Messages of this group that were seen.
    pub messages: u64,
    /// When the oldest of them was accepted, seconds since 1970.
    pub oldest: u32,
}

/// The queue in groups, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueGroups {
    /// At most [`QueueGroups::MAX`].
    pub groups: Vec<QueueGroup>,
    /// Messages that were checked: all, or every n-th in a long queue.
    pub seen: u64,
    /// Messages in the queue at that time.
    pub total: u64,
    /// When, seconds since 1970.
    pub as_of: u32,
}

impl QueueGroups {
    /// Groups, at most.
    pub const MAX: usize = 100;
}

/// An operator's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueOrder {
    /// Try again now.
    Retry,
    /// No attempts until released.
    Hold,
    /// End a hold.
    Release,
    /// Remove from the queue, without a bounce.
    Delete,
}

impl QueueOrder {
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

/// The queue for pages, API and tool.
pub trait QueueAdmin: Send + Sync {
    /// The queue in numbers; fast enough for every scrape.
    fn summary(&self) -> QueueSummary;

    /// At most `limit` destinations, those with the most messages first.
    fn destinations(&self, limit: usize) -> Vec<DestinationSummary>;

    /// Results of deliveries in the last [`Deliveries::HOURS`] hours, not before the start: of at
    /// most `limit` destinations, those with the most attempts first.
    fn deliveries(&self, limit: usize) -> Vec<Deliveries>;

    /// How many waiting messages are at most as old as each of `bounds` (seconds, ascending): the
    /// histogram of ages, and the sum of all ages in seconds.
    fn ages(&self, bounds: &[u32]) -> (Vec<u64>, u64);

    /// One message.
    fn show(&self, id: MessageId) -> AdminFuture<'_, Message>;

    /// At most `limit` messages after `after` that match a filter. Searches for at most `patience`,
    /// then gives what it has.
    fn find(
        &self,
        filter: Filter,
        after: Option<MessageId>,
        limit: usize,
        patience: Duration,
    ) -> AdminFuture<'_, QueuePage>;

    /// The queue in groups; an answer may be some seconds old.
    fn groups(&self, by: Grouping) -> AdminFuture<'_, QueueGroups>;

    /// The messages that an order would change, counted for at most `patience`; changes nothing.
    fn preview(
        &self,
        order: QueueOrder,
        selection: Selection,
        patience: Duration,
    ) -> AdminFuture<'_, Preview>;

    /// Executes an order and gives how many messages it changed.
    fn order(
        &self,
        order: QueueOrder,
        selection: Selection,
        principal: Principal,
    ) -> AdminFuture<'_, OrderResult>;

    /// The destination of a name that is to be paused or resumed.
    ///
    /// # Errors
    /// No mail ever goes to what is to be paused.
    fn find_destination(&self, name: &str, paused: bool) -> Result<Destination, AdminError>;

    /// Pauses or resumes a destination; durable when this returns `Ok`. An attempt in progress is
    /// not stopped.
    fn pause(
        &self,
        destination: Destination,
        paused: bool,
        principal: Principal,
    ) -> AdminFuture<'_, Paused>;

    /// One message with its content checked, for export. With `still` it waits until every attempt
    /// has ended; a held message gets no new ones.
    fn export(&self, id: MessageId, still: bool) -> AdminFuture<'_, Message>;

    /// Removes an exported message from the queue, and records it in the history. Nothing is done
    /// unless it is held, is not being attempted, and has the same progress as when it was read
    /// ([`Message::version`]): otherwise what was delivered since would be delivered again from the
    /// other queue.
    fn move_out(
        &self,
        id: MessageId,
        version: u64,
        mark: String,
        principal: Principal,
    ) -> AdminFuture<'_, ()>;

    /// Imports a mail of another queue, completely or not at all, and gives its new id. It is
    /// durable when this returns `Ok`, and is then delivered unless it is held.
    fn import(
        &self,
        imported: ImportedMessage,
        content: Box<dyn ContentPieces>,
    ) -> AdminFuture<'_, MessageId>;
}
