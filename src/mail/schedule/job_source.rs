//! The flow of a job: its client and its sender, each as a hash tag.

use crate::ground::fair_queue::ShareMarks;

/// Number of tags for clients, and for senders.
pub const TAGS: usize = 256;

/// Client and sender of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FlowKey {
    /// The client's tag.
    pub client: u8,
    /// The sender's tag.
    pub sender: u8,
}

impl FlowKey {
    /// The same, as the key of fair queues of other things.
    pub fn marks(self) -> ShareMarks {
        (self.client, self.sender)
    }
}
