//! What the schedule plans: jobs, and the destinations they are for.

#[cfg(doc)]
use super::Schedule;
use super::job_source::FlowKey;
use crate::mail::model::MessageId;

/// A message's share for one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// Which message.
    pub id: MessageId,
    /// When it was accepted, by the schedule's clock.
    pub accepted_at: u32,
    /// Temporary failures so far, counted as far as the back-off depends on them.
    pub attempts: u8,
    /// The delay warning was sent to the sender.
    pub delay_warning_sent: bool,
    /// Its client and sender: [`Schedule::source`].
    pub source: FlowKey,
}

/// A destination's handle, valid as long as the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId(pub(super) u32);

impl DestinationId {
    /// The number of the handle, for code that does not know destinations: the argument of
    /// [`Schedule::host_available`].
    pub fn number(self) -> u32 {
        self.0
    }
}
