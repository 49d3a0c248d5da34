//! Destinations that want one more courier, and in which order they get it.
//!
//! One line for each standing; in each the clients take turns, and of each client its senders ([`Turns`]).
//!
//! Clients and senders are told apart by [`TAGS`] marks each, drawn by a hash whose key changes with every start. Two that
//! share a mark share a turn; nobody can choose with whom.

use super::DestinationId;
use super::shares::{STANDINGS, Standing};
use crate::ground::turns::{Marks, Turns};

/// Marks for clients, and for senders.
pub const TAGS: usize = 256;

/// By whose hands a job came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Source {
    /// The client's mark.
    pub client: u8,
    /// The sender's mark.
    pub sender: u8,
}

/// All that wait for a courier.
#[derive(Default)]
pub struct Turn {
    lines: [Turns<DestinationId>; STANDINGS],
}

impl Source {
    /// The same, for lines of other things.
    pub fn marks(self) -> Marks {
        (self.client, self.sender)
    }
}

impl Turn {
    /// A destination joins the end of its sender's line.
    pub fn push(&mut self, standing: Standing, source: Source, id: DestinationId) {
        self.lines[standing as usize].push(source.marks(), id);
    }

    /// The next of this standing whose client and sender `may` have one more courier.
    pub fn pop(&mut self, standing: Standing, mut may: impl FnMut(Source) -> bool) -> Option<(Source, DestinationId)> {
        let source = |(client, sender)| Source { client, sender };
        let (marks, id) = self.lines[standing as usize].pop(|marks| may(source(marks)))?;
        Some((source(marks), id))
    }

    /// How many of this standing wait.
    pub fn len(&self, standing: Standing) -> usize {
        self.lines[standing as usize].len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(Turns::is_empty)
    }
}
