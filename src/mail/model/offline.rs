//! A queue at rest: a data volume that no core works with, looked at and never changed.

use super::{Address, Message, MessageId};
use std::borrow::Cow;

/// Octets and messages that have been looked at so far, for people who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Files that are done.
    pub files: u64,
    /// Files in all.
    pub files_total: u64,
    /// Octets read.
    pub octets: u64,
}

/// What a look at a whole queue found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The version that the file `format` names; `None`: no such file, or the power went while it
    /// was written.
    pub format: Option<u32>,
    /// Segments, and their octets.
    pub segments: Files,
    /// Messages in the queue.
    pub messages: u64,
    /// Of these, held by an operator.
    pub held: u64,
    /// Their recipients that still wait.
    pub recipients_pending: u64,
    /// Octets of their contents.
    pub bytes: u64,
    /// Records in all.
    pub records: u64,
    /// Records that say that a message has left the queue.
    pub finished: u64,
    /// Contents with a file of their own that a message in the queue needs.
    pub contents: Files,
    /// The first [`Findings::DAMAGES_SHOWN`] damages, in the order of the files.
    pub damages: Vec<Damage>,
    /// Damages in all.
    pub damages_total: u64,
    /// What a crash cut off at the end of the last segment.
    pub unfinished: Option<Damage>,
    /// Messages whose import a crash cut off; the next start drops them, and whoever imports still
    /// has them.
    pub imports_unfinished: u64,
    /// Contents that no message needs any more; the next start removes them.
    pub orphans: Files,
    /// Contents whose message no segment knows: they were coming in at a crash, or a segment is
    /// missing. The next start sets them aside.
    pub strays: Files,
    /// Contents that were coming in at a crash; the next start removes them.
    pub parts: Files,
    /// Files of dead segments, kept for their next use.
    pub spares: Files,
    /// Room that is kept for a full volume.
    pub reserve: Files,
    /// What earlier starts set aside.
    pub set_aside: Files,
    /// What is no damage and yet worth a line.
    pub notes: Vec<String>,
}

impl Findings {
    /// Damages that are kept; more are only counted.
    pub const DAMAGES_SHOWN: usize = 1000;
}

/// Some files, and their octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Files {
    /// How many.
    pub files: u64,
    /// Their length, together.
    pub octets: u64,
}

impl Files {
    /// One more.
    pub fn add(&mut self, octets: u64) {
        self.files += 1;
        self.octets += octets;
    }
}

/// Octets that are not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, from the root of the volume.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many octets the damage spans: the record, or as much as lies before the next whole one.
    pub length: u64,
    /// What stood there.
    pub what: Cow<'static, str>,
    /// The message that it spoke of; `certain` says how well that is known.
    pub id: Option<MessageId>,
    /// Whether id and envelope have a checksum that fits; otherwise they were read from damaged
    /// octets.
    pub certain: bool,
    /// The reverse-path; `None` when not known, or the null path.
    pub sender: Option<Address>,
    /// The forward-paths; empty when not known.
    pub recipients: Vec<Address>,
    /// What it costs.
    pub meaning: Meaning,
}

/// What damage costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Meaning {
    /// A mail that was answered 250 cannot be delivered.
    Lost,
    /// The mail is there; what was noted of its deliveries is not, and some may be repeated.
    Repeated,
    /// A finished mail may come back into the queue.
    Returns,
    /// A segment, or its end, was here before: mail is lost unless the file is put back.
    Missing,
    /// It cannot be told.
    Unknown,
    /// Nothing in the queue needs it.
    Harmless,
}

/// Why a queue at rest cannot be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfflineError {
    /// There is no queue.
    #[error("{0}")]
    Missing(String),
    /// A core works with it.
    #[error("{0}")]
    InUse(String),
    /// This user may not read it.
    #[error("{0}")]
    Forbidden(String),
    /// It was written by something else, or by a later version.
    #[error("{0}")]
    NotUnderstood(String),
    /// The disk gave another error.
    #[error("{0}")]
    Storage(String),
}

/// A queue at rest that has been opened; the volume stays out of the hands of others as long as
/// this lives.
pub trait OfflineQueue {
    /// Reads everything, checks every checksum, changes nothing. `tell` hears how far it is.
    ///
    /// # Errors
    /// [`OfflineError`]: nothing could be found out at all.
    fn verify(&self, tell: &mut dyn FnMut(Looked)) -> Result<Findings, OfflineError>;

    /// The ids of all messages in the queue, in order; contents unread.
    ///
    /// # Errors
    /// [`OfflineError`].
    fn ids(&self, tell: &mut dyn FnMut(Looked)) -> Result<Vec<MessageId>, OfflineError>;

    /// One message, its content checked. Asked for after [`Rest::ids`].
    ///
    /// # Errors
    /// Why not, in words: it is damaged, or the disk does not give it.
    fn load(&self, id: MessageId) -> Result<Message, String>;
}
