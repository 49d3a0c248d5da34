//! A destination whose rate is used up.

use std::sync::Arc;

/// Why and until when mail waits although nothing is wrong: a rate is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateWait {
    /// When there is a permit again, in seconds: by the monotonic clock in the schedule, by the
    /// wall clock outside.
    pub until: u32,
    /// The rate, and the property that sets it: `rate 10/min of destination_rates`.
    pub limit: Arc<str>,
}

impl RateWait {
    /// In words, with the text of the time: `rate 10/min of destination_rates: next at 12:03:20`.
    pub fn words(&self, until: impl Fn(u32) -> String) -> String {
        format!("{}: next at {}", self.limit, until(self.until))
    }
}
