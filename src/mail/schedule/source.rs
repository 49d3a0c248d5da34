//! By whose hands a job came: its client and its sender, each by a mark.

use crate::ground::turns::Marks;

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

impl Source {
    /// The same, for lines of other things.
    pub fn marks(self) -> Marks {
        (self.client, self.sender)
    }
}
