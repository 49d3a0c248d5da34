//! The state of a destination in a word, by one rule for all pages, the API and the tool.

use crate::mail::model::{DestinationStatus, DestinationSummary};
use serde::{Deserialize, Serialize};

/// The state of deliveries to a destination: the first of these that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryState {
    /// An operator has paused it.
    Paused,
    /// The last attempts did not reach it.
    Unreachable,
    /// Nothing is attempted for a while, although it was not unreachable: its hosts have all the
    /// connections that they may have, for example.
    Suspended,
    /// Its rate is used up; mail goes when there is a permit again.
    #[serde(rename = "rate-limited")]
    RateLimited,
    /// All connections that are allowed now are in use.
    Busy,
    /// Messages are in an attempt now.
    Delivering,
    /// Messages wait for another attempt.
    Deferred,
    /// Messages wait for their first attempt.
    Waiting,
    /// No messages wait for it.
    Idle,
}

impl DeliveryState {
    /// The name in the API, and the word on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Unreachable => "unreachable",
            Self::Suspended => "suspended",
            Self::RateLimited => "rate-limited",
            Self::Busy => "busy",
            Self::Delivering => "delivering",
            Self::Deferred => "deferred",
            Self::Waiting => "waiting",
            Self::Idle => "idle",
        }
    }
}

/// What the state depends on.
struct Activity {
    paused: bool,
    unreachable: bool,
    suspended: bool,
    rate_limited: bool,
    agents: u32,
    idle: u32,
    window: u32,
    active: u64,
    deferred: u64,
    messages: u64,
}

impl Activity {
    fn state(&self) -> DeliveryState {
        match self {
            _ if self.paused => DeliveryState::Paused,
            _ if self.unreachable => DeliveryState::Unreachable,
            _ if self.suspended => DeliveryState::Suspended,
            _ if self.rate_limited => DeliveryState::RateLimited,
            _ if self.agents >= self.window && self.idle == 0 => DeliveryState::Busy,
            _ if self.active > 0 => DeliveryState::Delivering,
            _ if self.deferred > 0 => DeliveryState::Deferred,
            _ if self.messages > 0 => DeliveryState::Waiting,
            _ => DeliveryState::Idle,
        }
    }
}

impl From<&DestinationStatus> for DeliveryState {
    fn from(of: &DestinationStatus) -> Self {
        let activity = Activity {
            paused: of.paused,
            unreachable: of.unreachable_since.is_some(),
            suspended: of.suspended_until.is_some(),
            rate_limited: of.messages > of.active && of.rate_wait.is_some(),
            agents: of.agents,
            idle: of.idle,
            window: of.window,
            active: of.active,
            deferred: of.deferred,
            messages: of.messages,
        };
        activity.state()
    }
}

impl From<&DestinationSummary> for DeliveryState {
    fn from(of: &DestinationSummary) -> Self {
        let activity = Activity {
            paused: of.paused,
            unreachable: of.unreachable_since.is_some(),
            suspended: of.suspended_until.is_some(),
            rate_limited: of.messages > of.active && of.rate_wait.is_some(),
            agents: of.agents,
            idle: of.idle,
            window: of.window,
            active: of.active,
            deferred: of.deferred,
            messages: of.messages,
        };
        activity.state()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::RateWait;

    #[test]
    fn the_worst_of_a_destination_is_its_state() {
        let status = || DestinationStatus { window: 5, limit: 20, ..DestinationStatus::default() };
        let (suspended_until, unreachable_since) = (Some(1), Some(1));
        let rate_wait = Some(RateWait { until: 1, limit: "rate 1/s".into() });
        let busy = || DestinationStatus { messages: 9, active: 5, agents: 5, ..status() };
        for (status, word) in [
            (status(), "idle"),
            (DestinationStatus { messages: 1, ..status() }, "waiting"),
            (DestinationStatus { messages: 2, deferred: 1, ..status() }, "deferred"),
            (DestinationStatus { messages: 2, active: 1, agents: 1, ..status() }, "delivering"),
            (busy(), "busy"),
            (DestinationStatus { agents: 20, window: 20, active: 20, ..busy() }, "busy"),
            // One of the connections is open without a message.
            (DestinationStatus { idle: 1, active: 4, ..busy() }, "delivering"),
            (DestinationStatus { suspended_until, ..busy() }, "suspended"),
            (DestinationStatus { suspended_until, unreachable_since, ..busy() }, "unreachable"),
            (DestinationStatus { paused: true, unreachable_since, ..busy() }, "paused"),
            (DestinationStatus { rate_wait: rate_wait.clone(), ..busy() }, "rate-limited"),
            (DestinationStatus { suspended_until, rate_wait, ..busy() }, "suspended"),
        ] {
            assert_eq!(DeliveryState::from(&status).as_str(), word, "{status:?}");
        }
    }
}
