//! A queue that no core uses: its volume is read and never changed.

use super::{Address, Message, MessageId};
use std::borrow::Cow;

/// Files and octets that have been read so far, to show progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Files that are done.
    pub files: u64,
    /// Files in total.
    pub files_total: u64,
    /// Octets read.
    pub octets: u64,
}

/// The result of checking a whole queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// The version in the file `format`; `None`: there is no such file, or a power cut happened
    /// while it was written.
    pub format: Option<u32>,
    /// Segments, and their octets.
    pub segments: FileCount,
    /// Messages in the queue.
    pub messages: u64,
    /// Of these, held by an operator.
    pub held: u64,
    /// Their pending recipients.
    pub recipients_pending: u64,
    /// Octets of their contents.
    pub bytes: u64,
    /// Records in total.
    pub records: u64,
    /// Records of messages that have left the queue.
    pub finished: u64,
    /// Contents with a file of their own that belong to a message in the queue.
    pub contents: FileCount,
    /// The first [`VerifyReport::DAMAGES_SHOWN`] damages, in the order of the files.
    pub damages: Vec<Damage>,
    /// Damages in total.
    pub damages_total: u64,
    /// The write that a crash interrupted at the end of the last segment.
    pub unfinished: Option<Damage>,
    /// Messages whose import was interrupted by a crash; the next start drops them, and the
    /// exporting side still has them.
    pub imports_unfinished: u64,
    /// Contents that no message needs any more; the next start removes them.
    pub orphans: FileCount,
    /// Contents whose message is in no segment: they were being received at a crash, or a segment
    /// is missing. The next start quarantines them.
    pub strays: FileCount,
    /// Contents that were being received at a crash; the next start removes them.
    pub parts: FileCount,
    /// Files of dead segments, kept for reuse.
    pub spares: FileCount,
    /// Space that is reserved for a full volume.
    pub reserve: FileCount,
    /// What earlier starts quarantined.
    pub set_aside: FileCount,
    /// Remarks about what is not damage but worth knowing.
    pub notes: Vec<String>,
}

impl VerifyReport {
    /// Damages that are listed; more are only counted.
    pub const DAMAGES_SHOWN: usize = 1000;
}

/// A number of files, and their octets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCount {
    /// How many.
    pub files: u64,
    /// Their total length.
    pub octets: u64,
}

impl FileCount {
    /// Adds a file.
    pub fn add(&mut self, octets: u64) {
        self.files += 1;
        self.octets += octets;
    }
}

/// Octets that differ from what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, from the root of the volume.
    pub file: String,
    /// Its offset in the file.
    pub offset: u64,
    /// The octets of the damage: the record, or everything before the next intact one.
    pub length: u64,
    /// What was there.
    pub what: Cow<'static, str>,
    /// The message concerned; `certain` tells how well that is known.
    pub id: Option<MessageId>,
    /// Whether id and envelope have a correct checksum; otherwise they were read from damaged
    /// octets.
    pub certain: bool,
    /// The reverse-path; `None` when not known, or the null path.
    pub sender: Option<Address>,
    /// The forward-paths; empty when not known.
    pub recipients: Vec<Address>,
    /// Its consequence.
    pub meaning: DamageMeaning,
}

/// The consequence of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageMeaning {
    /// An accepted mail cannot be delivered.
    Lost,
    /// The mail is there, but a record of its deliveries is not: some may be repeated.
    Repeated,
    /// A finished mail may come back into the queue.
    Returns,
    /// A segment, or its end, is missing: mail is lost unless the file is restored.
    Missing,
    /// It is not known.
    Unknown,
    /// No message in the queue needs it.
    Harmless,
}

/// Why a queue on an unused volume cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfflineError {
    /// There is no queue.
    #[error("{0}")]
    Missing(String),
    /// A core uses it.
    #[error("{0}")]
    InUse(String),
    /// This user may not read it.
    #[error("{0}")]
    Forbidden(String),
    /// It was written by another program, or by a later version.
    #[error("{0}")]
    NotUnderstood(String),
    /// The disk gave another error.
    #[error("{0}")]
    Storage(String),
}

/// An opened queue that no core uses; the volume stays locked as long as this exists.
pub trait OfflineQueue {
    /// Reads everything, checks every checksum, changes nothing. `tell` receives the progress.
    ///
    /// # Errors
    /// [`OfflineError`]: nothing could be read.
    fn verify(&self, tell: &mut dyn FnMut(VerifyProgress)) -> Result<VerifyReport, OfflineError>;

    /// The ids of all messages in the queue, in order; contents unread.
    ///
    /// # Errors
    /// [`OfflineError`].
    fn ids(&self, tell: &mut dyn FnMut(VerifyProgress)) -> Result<Vec<MessageId>, OfflineError>;

    /// One message, its content checked. To be called after [`OfflineQueue::ids`].
    ///
    /// # Errors
    /// The reason as text: it is damaged, or cannot be read.
    fn load(&self, id: MessageId) -> Result<Message, String>;
}
