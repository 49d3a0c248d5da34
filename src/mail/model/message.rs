//! A message in the queue, and the draft of one that is to enter it.

use super::{Address, Body, Destination, Envelope, MessageId, Origin};
use std::hash::{DefaultHasher, Hash, Hasher};

/// One thing that must still happen to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// Deliver to the recipient with this place in the envelope.
    Recipient(u16),
    /// Hand a carbon copy of the whole message to `cc_mta`; its failure is nobody's bounce.
    Copy,
}

/// Where one target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Still to be tried, now or later.
    Pending,
    /// The next hop took responsibility (2xx), which is final.
    Delivered,
    /// It failed for good; a bounce has been queued where one is due.
    Failed,
    /// An operator deleted it, or it was relayed nowhere on purpose.
    Dropped,
}

/// The progress of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Which target.
    pub target: Target,
    /// Where it goes, decided at intake. `None`: it was taken in by a version that did not note it,
    /// or there is nowhere to go.
    pub destination: Option<Destination>,
    /// Where it stands.
    pub status: Status,
    /// Tries so far that ended in a temporary failure.
    pub attempts: u16,
    /// When to try next, seconds since 1970; 0 = now. What pages and the API show is
    /// [`Progress::PAUSED`] where the destination is.
    pub due: u32,
    /// What the last try said, at most [`Progress::REASON_MAX`] octets; hostile text. Empty before
    /// the first try.
    pub reason: String,
}

impl Progress {
    /// The longest reason that is kept.
    pub const REASON_MAX: usize = 400;

    /// No moment: an operator lets nothing go to the destination. Never in a record.
    pub const PAUSED: u32 = u32::MAX;

    /// The start of every target's walk.
    pub fn new(target: Target) -> Self {
        let (destination, reason) = (None, String::new());
        Self { target, destination, status: Status::Pending, attempts: 0, due: 0, reason }
    }
}

/// Why a draft exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It came through terminal `in`.
    Mail,
    /// A delivery status notification made here (RFC 3464).
    Notification,
}

/// A message that is about to enter the queue.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Who to whom.
    pub envelope: Envelope,
    /// By whose hands.
    pub origin: Origin,
    /// From outside, or made here.
    pub kind: Kind,
    /// Whether a carbon copy goes to `cc_mta`.
    pub copy: bool,
    /// The whole content; a large one from outside is streamed through the spool's door instead.
    pub body: Body,
}

/// A message in the queue as the walk sees it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its queue id.
    pub id: MessageId,
    /// When it was accepted, seconds since 1970.
    pub arrived: u32,
    /// Who to whom.
    pub envelope: Envelope,
    /// By whose hands.
    pub origin: Origin,
    /// From outside, or made here.
    pub kind: Kind,
    /// One entry a recipient, in their order, then one for the carbon copy if there is one.
    pub progress: Vec<Progress>,
    /// An operator holds it back.
    pub held: bool,
    /// The one delay notice has been queued (RFC 5321 §4.5.4.1 asks to tell the sender).
    pub delay_told: bool,
    /// Its content.
    pub body: Body,
}

impl Message {
    /// The forward-path of a target; `None` for the carbon copy.
    pub fn recipient(&self, target: Target) -> Option<&Address> {
        match target {
            Target::Recipient(place) => self.envelope.recipients.get(usize::from(place)),
            Target::Copy => None,
        }
    }

    /// A number for where its recipients stand: another one after every try that was recorded.
    pub fn version(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.delay_told.hash(&mut hasher);
        for Progress { target, status, attempts, due, reason, .. } in &self.progress {
            (target, status, attempts, due, reason).hash(&mut hasher);
        }
        hasher.finish()
    }
}
