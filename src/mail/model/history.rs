//! What became of mail: its tries, and how it ended.

use super::{Answer, MessageId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A try of some recipients at one next hop. All texts but the names of states are hostile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
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
    /// What became of each recipient.
    pub outcomes: Vec<Ending>,
    /// Commands and replies, a line each; empty where all went well. Behind [`Attempt::TEXT_MARK`]
    /// what a bounce says.
    pub transcript: String,
}

impl Attempt {
    /// The line of the transcript behind which the text of a bounce stands that reached nobody, up
    /// to the end: it is for those who may read what mails say.
    pub const TEXT_MARK: &str = "* the report that was not delivered:";

    /// The lines of the transcript, without that text and its mark.
    pub fn dialogue(&self) -> impl Iterator<Item = &str> {
        self.transcript.lines().take_while(|line| *line != Self::TEXT_MARK)
    }
}

/// Where a recipient stands after a try, or at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// The forward-path, or `(copy)` for the carbon copy.
    pub to: String,
    /// `delivered`, `deferred`, `bounced`, `dropped`, `deleted` or `moved`.
    pub status: String,
    /// What was said last.
    pub reply: String,
}

/// A message that has left the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Its queue id.
    pub id: String,
    /// When it was accepted, seconds since 1970.
    pub arrived: u32,
    /// When its last recipient was done.
    pub at: u32,
    /// The reverse-path; empty = the null one.
    pub sender: String,
    /// Octets of its content.
    pub size: u64,
    /// The client's address; empty when it was made here.
    pub client: String,
    /// The host of the last try, `name[address]:port`.
    pub relay: String,
    /// Protocol version and cipher suite of that try; empty in plain text.
    pub tls: String,
    /// Its recipients.
    pub recipients: Vec<Ending>,
    /// The word by which the move that took it away knows it again; empty for all other ends.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
}

/// Which finished messages are wanted; texts are looked for anywhere in the field, without regard
/// to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// In anything that is known of it.
    pub search: String,
    /// In a recipient.
    pub recipient: String,
    /// In the reverse-path.
    pub sender: String,
    /// The start of the queue id.
    pub id: String,
    /// A recipient ended so.
    pub status: String,
}

/// A page of finished messages, the newest first.
#[derive(Debug, Clone, Default)]
pub struct FinishedPage {
    /// The messages.
    pub finished: Vec<Finished>,
    /// Where to go on; `None` at the end.
    pub next: Option<String>,
}

/// The history as handlers see it.
pub trait History: Send + Sync {
    /// Whether anything is kept.
    fn is_kept(&self) -> bool;

    /// The tries of a message, the oldest first; an error when they are not found within
    /// `patience`.
    fn attempts(&self, id: MessageId, patience: Duration) -> Answer<'_, Vec<Attempt>>;

    /// At most `limit` finished messages, the newest first, from where [`FinishedPage::next`] of
    /// another page left off. Looks for `patience` at most; what is cut off by that has a `next`.
    fn finished(
        &self,
        wanted: Wanted,
        after: Option<String>,
        limit: usize,
        patience: Duration,
    ) -> Answer<'_, FinishedPage>;
}
