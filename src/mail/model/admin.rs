//! What pages, API and tool may ask of the queue, and order it.

use super::{
    ContentPieces, Deliveries, Destination, Filter, ImportedMessage, Message, MessageId, Standing,
};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

/// The most destinations that are kept ready for answers, and shown.
pub const DESTINATIONS_MAX: usize = 1000;

/// A future that callers wait for without knowing who answers.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, AdminError>> + Send + 'a>>;

/// Why the queue could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
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
    #[error("the message is being delivered just now; try again later")]
    Busy,
    /// It is not as whoever gives the order has seen it; the text says what has changed.
    #[error("{0}")]
    Changed(&'static str),
    /// No mail goes to a destination of that name; the text names what does.
    #[error("{0}")]
    NoDestination(String),
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
    /// When the oldest was accepted that is on its way: held mail, and what waits for a paused
    /// destination, stays by somebody's will.
    pub oldest_on_its_way: Option<u32>,
}

/// One destination's share of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationSummary {
    /// Which one; its name is hostile text.
    pub destination: Destination,
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
    /// Waiting for another try.
    pub deferred: u64,
    /// Connections open or being opened.
    pub couriers: u32,
    /// The most that are allowed now.
    pub window: u32,
    /// Until when it is left alone, seconds since 1970; `None` when it is not.
    pub suspended_until: Option<u32>,
    /// Since when no try reached it, seconds since 1970; `None` when the last one did.
    pub unreachable_since: Option<u32>,
    /// An operator lets nothing go there.
    pub paused: bool,
    /// Messages by age: one count for each of [`DestinationSummary::AGES`], up to and with that
    /// age, and one for the older ones.
    pub ages: [u64; 6],
}

impl DestinationSummary {
    /// The bounds of the ages, in seconds: 5 minutes, 1 hour, 6 hours, 1 day, 3 days.
    pub const AGES: [u32; 5] = [300, 3600, 21_600, 86_400, 259_200];
}

/// Which messages an order is meant for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// This one.
    One(MessageId),
    /// These; those that are not in the queue any more are passed over.
    Some(Vec<MessageId>),
    /// All with a pending recipient in this domain (or at this destination), compared without
    /// regard to case.
    Domain(String),
    /// All that a filter lets through.
    Matching(Filter),
    /// All.
    All,
}

/// Who gives an order, for the audit line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asker {
    /// The user name, or `operator` for whoever may open the control socket.
    pub user: String,
    /// From where; `None` = from this machine's control socket.
    pub address: Option<IpAddr>,
}

/// A page of the messages that a filter lets through.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// In the order of their arrival, here or in another queue, each with where it stands.
    pub messages: Vec<(Message, Standing)>,
    /// Where to go on: the moment of the last message that was looked at, in the shape of an id.
    pub next: Option<MessageId>,
    /// How many were looked at.
    pub scanned: u64,
    /// Whether the end of the queue was reached.
    pub complete: bool,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Obeyed {
    /// Messages that it hit.
    pub messages: u64,
    /// Of a retry: those of them that are not tried, because they are held or wait for paused
    /// destinations alone.
    pub untried: u64,
}

/// What became of a pause or its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paused {
    /// `false`: it was so already.
    pub changed: bool,
    /// Messages that wait for the destination.
    pub waiting: u64,
}

/// What an order would hit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// Messages.
    pub messages: u64,
    /// The first of them, at most [`Preview::SAMPLE`].
    pub sample: Vec<MessageId>,
    /// `false`: time was up, there may be more.
    pub complete: bool,
}

impl Preview {
    /// How many messages are named.
    pub const SAMPLE: usize = 10;
}

/// By what the queue is divided into groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grouping {
    /// The reverse-path.
    Sender,
    /// Its domain.
    SenderDomain,
    /// The domains of the recipients that wait.
    RecipientDomain,
    /// What the last try said, numbers that differ from mail to mail left out.
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

/// A part of the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What its messages have in common; hostile text.
    pub name: String,
    /// How many messages were seen of it.
    pub messages: u64,
    /// When the oldest of them was accepted, seconds since 1970.
    pub oldest: u32,
}

/// The queue in groups, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// At most [`Groups::MAX`].
    pub groups: Vec<Group>,
    /// Messages that were looked at: all, or in a long queue every so many-th.
    pub seen: u64,
    /// Messages in the queue then.
    pub total: u64,
    /// When, seconds since 1970.
    pub as_of: u32,
}

impl Groups {
    /// The most groups.
    pub const MAX: usize = 100;
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

/// The queue as pages, API and tool see it.
pub trait QueueAdmin: Send + Sync {
    /// The queue in numbers, cheap enough for every scrape.
    fn summary(&self) -> QueueSummary;

    /// At most `limit` destinations, those with the most messages first.
    fn destinations(&self, limit: usize) -> Vec<DestinationSummary>;

    /// How deliveries went in the last [`Deliveries::HOURS`] hours, since the start at the most: of
    /// at most `limit` destinations, those with the most attempts first.
    fn deliveries(&self, limit: usize) -> Vec<Deliveries>;

    /// How many waiting messages are at most as old as each of `bounds` (seconds, ascending); the
    /// histogram of ages, and the sum of all ages in seconds.
    fn ages(&self, bounds: &[u32]) -> (Vec<u64>, u64);

    /// One message.
    fn show(&self, id: MessageId) -> Answer<'_, Message>;

    /// At most `limit` messages above `after` that a filter lets through. Looks for `patience` at
    /// most, then gives what it has.
    fn find(
        &self,
        filter: Filter,
        after: Option<MessageId>,
        limit: usize,
        patience: Duration,
    ) -> Answer<'_, Found>;

    /// The queue in groups; an answer may be some seconds old.
    fn groups(&self, by: Grouping) -> Answer<'_, Groups>;

    /// What an order would hit, counted for `patience` at most; changes nothing.
    fn preview(
        &self,
        order: Order,
        selection: Selection,
        patience: Duration,
    ) -> Answer<'_, Preview>;

    /// Carries out an order and tells how many messages it hit.
    fn order(&self, order: Order, selection: Selection, asker: Asker) -> Answer<'_, Obeyed>;

    /// The destination that is meant by a name that is to be paused, or resumed.
    ///
    /// # Errors
    /// No mail ever goes to what is to be paused.
    fn meant(&self, name: &str, paused: bool) -> Result<Destination, AdminError>;

    /// Lets nothing more go to a destination, or lets it again; durable when this returns `Ok`. A
    /// try in progress ends by itself.
    fn pause(&self, destination: Destination, paused: bool, asker: Asker) -> Answer<'_, Paused>;

    /// One message with its content checked, for whoever carries it away. With `still` after every
    /// try of it has ended, of which a hold begins no new ones.
    fn export(&self, id: MessageId, still: bool) -> Answer<'_, Message>;

    /// Takes a message out of the queue for whoever has carried it away, and the history says so.
    /// Nothing is done unless it is held, is not being tried, and stands where it stood when it was
    /// read ([`Message::version`]): what anybody has tried since would be sent once more from where
    /// it was carried to.
    fn move_out(&self, id: MessageId, version: u64, mark: String, asker: Asker) -> Answer<'_, ()>;

    /// Takes a mail of another queue into this one, all of it or nothing, and tells its new id. It
    /// is durable when this returns `Ok`, and then on its way unless it is held.
    fn import(
        &self,
        imported: ImportedMessage,
        content: Box<dyn ContentPieces>,
    ) -> Answer<'_, MessageId>;
}
