//! What the schedule plans: jobs, and the destinations they are for.

#[cfg(doc)]
use super::Schedule;
use super::source::Source;
use crate::mail::model::MessageId;

/// A message's share for one destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Job {
    /// Which message.
    pub id: MessageId,
    /// When it was accepted, by the schedule's clock.
    pub arrived: u32,
    /// Temporary failures so far, as many as matter to the back-off.
    pub attempts: u8,
    /// The sender was told of the delay.
    pub told: bool,
    /// By whose hands it came: [`Schedule::source`].
    pub source: Source,
}

/// A destination's handle, valid as long as the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationId(pub(super) u32);

impl DestinationId {
    /// For those who know nothing of destinations: what [`Schedule::invited`] takes.
    pub fn number(self) -> u32 {
        self.0
    }
}
