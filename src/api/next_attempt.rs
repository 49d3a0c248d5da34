//! When mail is attempted next: one definition, with the same texts on pages and in the tool.

use crate::api::{DestinationView, MessageView, RecipientView};
use crate::ground::display_text::{count, span};
use crate::mail::model::DeliveryStatus;
use std::fmt;

/// When it is attempted next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextAttempt {
    /// Not before an operator releases it.
    Held,
    /// Not before an operator resumes its destination.
    Paused,
    /// It is being attempted: so many messages of a destination, of all that wait for it.
    Active(u64, u64),
    /// As soon as an agent is free.
    Now,
    /// In so many seconds.
    In(u64),
    /// Never: nothing is pending.
    Never,
}

impl NextAttempt {
    fn of(held: bool, paused: bool, seconds: Option<u64>) -> Self {
        match seconds {
            _ if held => Self::Held,
            _ if paused => Self::Paused,
            Some(0) => Self::Now,
            Some(seconds) => Self::In(seconds),
            None => Self::Never,
        }
    }

    /// Of a message: the earliest of its pending recipients.
    pub(crate) fn of_message(message: &MessageView) -> Self {
        Self::of(message.held, message.paused, message.next_try_seconds)
    }

    /// Of one recipient of a message.
    pub(crate) fn of_recipient(message: &MessageView, recipient: &RecipientView) -> Self {
        let waits = recipient.status == DeliveryStatus::Pending;
        Self::of(waits && message.held, recipient.paused, recipient.next_try_seconds)
    }

    /// Of a destination's mail.
    pub(crate) fn of_destination(destination: &DestinationView) -> Self {
        match destination.active {
            _ if destination.paused => Self::Paused,
            0 => Self::of(false, false, destination.next_try_seconds),
            active => Self::Active(active, destination.messages),
        }
    }
}

impl fmt::Display for NextAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Paused => f.write_str("paused"),
            Self::Active(active, all) if active >= all => f.write_str("delivering"),
            Self::Active(active, _) => write!(f, "{} delivering", count(*active)),
            Self::Now => f.write_str("now"),
            Self::In(seconds) => write!(f, "in {}", span(*seconds)),
            Self::Never => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_told_before_a_pause_and_a_pause_before_any_moment() {
        let words = |held, paused, seconds| NextAttempt::of(held, paused, seconds).to_string();
        assert_eq!(words(true, true, None), "held");
        assert_eq!(words(false, true, Some(14)), "paused");
        assert_eq!(words(false, false, Some(0)), "now");
        assert_eq!(words(false, false, Some(14)), "in 14 s");
        assert_eq!(words(false, false, None), "");
        assert_eq!(NextAttempt::Active(3, 3).to_string(), "delivering");
        assert_eq!(NextAttempt::Active(1200, 5000).to_string(), "1,200 delivering");
    }
}
