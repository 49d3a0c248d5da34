//! The history of mail: its attempts and its end.

use super::{Address, AdminFuture, Body, DeliveryStatus, Envelope, MessageId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An attempt for some recipients at one next hop. All texts are untrusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The message.
    pub id: String,
    /// When it ended, seconds since 1970.
    pub at: u32,
    /// The destination.
    pub destination: String,
    /// The host, `name[address]:port`; empty when none was reached.
    pub relay: String,
    /// Protocol version and cipher suite; empty in plain text.
    pub tls: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// The outcome of each recipient; none where this is a note about the message.
    pub outcomes: Vec<RecipientResult>,
    /// Commands and replies, a line each; empty after success. After [`AttemptRecord::TEXT_MARK`]
    /// the text of a bounce.
    pub transcript: String,
}

impl AttemptRecord {
    /// The line of the transcript after which the text of an undeliverable bounce follows, up to
    /// the end: only users who may read content see it.
    pub const TEXT_MARK: &str = "* the report that was not delivered:";

    /// The lines of the transcript, without that text and its mark.
    pub fn dialogue(&self) -> impl Iterator<Item = &str> {
        self.transcript.lines().take_while(|line| *line != Self::TEXT_MARK)
    }
}

/// The status of a recipient after an attempt, or at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientResult {
    /// The forward-path, or `(copy)` for the carbon copy.
    pub to: String,
    /// Its status.
    pub status: DeliveryStatus,
    /// The last reply.
    pub reply: String,
}

/// A message that has left the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedMessage {
    /// Its queue id.
    pub id: String,
    /// When it was accepted, seconds since 1970.
    pub arrived: u32,
    /// When its last recipient was finished.
    pub at: u32,
    /// The reverse-path; empty = the null sender.
    pub sender: String,
    /// Octets of its content.
    pub size: u64,
    /// The client's address; empty when it was generated locally.
    pub client: String,
    /// The host of the last attempt, `name[address]:port`.
    pub relay: String,
    /// Protocol version and cipher suite of that attempt; empty in plain text.
    pub tls: String,
    /// Its recipients.
    pub recipients: Vec<RecipientResult>,
    /// The mark of the move that removed it; empty for all other ends.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
}

/// A finished message of which the content was kept. Its addresses are whole.
#[derive(Debug, Clone)]
pub struct KeptMessage {
    /// Its queue id.
    pub id: MessageId,
    /// Who to whom.
    pub envelope: Envelope,
    /// What became of each recipient, in their order.
    pub statuses: Vec<DeliveryStatus>,
    /// Its content; what is read of it must have the checksum [`KeptMessage::crc`].
    pub body: Body,
    /// CRC-32 of the content (IEEE, as in zlib and gzip).
    pub crc: u32,
    /// Whether its client was allowed to relay, as in [`Origin::may_relay`](super::Origin).
    pub may_relay: bool,
}

impl KeptMessage {
    /// The recipients that did not get it.
    pub fn undelivered(&self) -> Vec<Address> {
        let all = self.envelope.recipients.iter().zip(&self.statuses);
        all.filter(|(_, status)| **status != DeliveryStatus::Delivered)
            .map(|(address, _)| address.clone())
            .collect()
    }
}

/// A filter for finished messages; texts are searched anywhere in the field, without regard to
/// case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// In any field.
    pub search: String,
    /// In a recipient.
    pub recipient: String,
    /// In the reverse-path.
    pub sender: String,
    /// The start of the queue id.
    pub id: String,
    /// The status of a recipient.
    pub status: Option<DeliveryStatus>,
}

/// A page of finished messages, the newest first.
#[derive(Debug, Clone, Default)]
pub struct FinishedPage {
    /// The messages.
    pub finished: Vec<FinishedMessage>,
    /// Where to continue; `None` at the end.
    pub next: Option<String>,
}

/// The history as handlers see it.
pub trait History: Send + Sync {
    /// Whether anything is kept.
    fn is_kept(&self) -> bool;

    /// How long the content of finished messages is kept; zero = not at all.
    fn content_time(&self) -> Duration;

    /// A finished message with its content; `None` where that is not kept (any more).
    fn kept(&self, id: MessageId) -> AdminFuture<'_, Option<KeptMessage>>;

    /// The attempts of a message, the oldest first; an error when they are not found within
    /// `patience`.
    fn attempts(&self, id: MessageId, patience: Duration) -> AdminFuture<'_, Vec<AttemptRecord>>;

    /// At most `limit` finished messages, the newest first, continuing at [`FinishedPage::next`] of
    /// another page. Searches for at most `patience`; a page that was cut off by that has a `next`.
    fn finished(
        &self,
        wanted: HistoryFilter,
        after: Option<String>,
        limit: usize,
        patience: Duration,
    ) -> AdminFuture<'_, FinishedPage>;
}
