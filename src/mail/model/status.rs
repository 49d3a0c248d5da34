//! What became of a recipient's mail, in the words that people and programs read.
//!
//! One word for each, on pages, in the API, in the history and the tool. Three places have words of
//! their own: lines of the log and of the mail log say what Postfix says
//! ([`DeliveryStatus::log_word`]), the labels of metrics are as they were, because dashboards know
//! them, and exported mail says `failed`, so that earlier versions can import it.
//! Source: RFC 3464 §2.3.3 (actions); the `status=` of Postfix's delivery lines.

use super::{ReplyClass, TargetStatus};
use std::fmt;
use std::str::FromStr;

/// Where a recipient stands after a delivery attempt, or at the end. The greater needs more
/// attention: of a message the greatest is told.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(into = "&'static str", try_from = "String")]
pub enum DeliveryStatus {
    /// The next hop took responsibility (2xx).
    Delivered,
    /// It goes nowhere on purpose: there is no such destination any more.
    Dropped,
    /// An operator moved it into another queue.
    Moved,
    /// An operator deleted it.
    Deleted,
    /// Not tried yet, or to be tried again.
    Pending,
    /// An attempt failed for now (4xx).
    Deferred,
    /// It failed for good (5xx, or its lifetime is over).
    Bounced,
}

/// The text is no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("delivered, dropped, moved, deleted, pending, deferred or bounced is expected")]
pub struct NoStatus;

impl DeliveryStatus {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Dropped,
        Self::Moved,
        Self::Deleted,
        Self::Pending,
        Self::Deferred,
        Self::Bounced,
    ];

    /// Those with which a recipient leaves the queue, the most frequent first.
    pub const FINAL: [Self; 5] =
        [Self::Delivered, Self::Bounced, Self::Deleted, Self::Moved, Self::Dropped];

    /// Reads how a recipient ended.
    ///
    /// # Errors
    /// Which words are known.
    pub fn parse_final(text: &str) -> Result<Self, String> {
        text.parse().ok().filter(|status| Self::FINAL.contains(status)).ok_or_else(|| {
            format!("one of {} is expected", Self::FINAL.map(Self::as_str).join(", "))
        })
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Moved => "moved",
            Self::Deleted => "deleted",
            Self::Pending => "pending",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
        }
    }

    /// The word behind `status=` in lines of the log and of the mail log: readers of Postfix's know
    /// it (pflogsumm, and many more).
    pub const fn log_word(self) -> &'static str {
        match self {
            Self::Delivered => "sent",
            other => other.as_str(),
        }
    }
}

impl fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeliveryStatus {
    type Err = NoStatus;

    fn from_str(text: &str) -> Result<Self, NoStatus> {
        // What the pages of the queue, and exported mail, once called it.
        if text == "failed" {
            return Ok(Self::Bounced);
        }
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or(NoStatus)
    }
}

impl TryFrom<String> for DeliveryStatus {
    type Error = NoStatus;

    fn try_from(text: String) -> Result<Self, NoStatus> {
        text.parse()
    }
}

impl From<DeliveryStatus> for &'static str {
    fn from(status: DeliveryStatus) -> Self {
        status.as_str()
    }
}

impl From<TargetStatus> for DeliveryStatus {
    fn from(status: TargetStatus) -> Self {
        match status {
            TargetStatus::Pending => Self::Pending,
            TargetStatus::Delivered => Self::Delivered,
            TargetStatus::Bounced => Self::Bounced,
            TargetStatus::Dropped => Self::Dropped,
        }
    }
}

impl TryFrom<DeliveryStatus> for TargetStatus {
    type Error = NoStatus;

    /// Where a recipient of a message in the queue may stand.
    fn try_from(status: DeliveryStatus) -> Result<Self, NoStatus> {
        match status {
            DeliveryStatus::Pending => Ok(Self::Pending),
            DeliveryStatus::Delivered => Ok(Self::Delivered),
            DeliveryStatus::Bounced => Ok(Self::Bounced),
            DeliveryStatus::Dropped => Ok(Self::Dropped),
            DeliveryStatus::Moved | DeliveryStatus::Deleted | DeliveryStatus::Deferred => {
                Err(NoStatus)
            }
        }
    }
}

impl From<ReplyClass> for DeliveryStatus {
    fn from(class: ReplyClass) -> Self {
        match class {
            ReplyClass::Success => Self::Delivered,
            ReplyClass::Temporary => Self::Deferred,
            ReplyClass::Permanent => Self::Bounced,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_so_is_the_former_one() {
        for status in DeliveryStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
            let json = serde_json::to_string(&status).unwrap();
            assert_eq!(json, format!("\"{status}\""));
            assert_eq!(serde_json::from_str::<DeliveryStatus>(&json).unwrap(), status);
        }
        assert_eq!("failed".parse(), Ok(DeliveryStatus::Bounced));
        for bad in ["", "Delivered", "lost", "sent"] {
            assert_eq!(bad.parse::<DeliveryStatus>(), Err(NoStatus), "{bad}");
        }
    }

    #[test]
    fn of_a_message_the_worst_is_told() {
        use DeliveryStatus::{Bounced, Deferred, Deleted, Delivered, Dropped, Moved};
        assert_eq!([Delivered, Deferred, Bounced, Deleted].into_iter().max(), Some(Bounced));
        assert_eq!([Delivered, Moved, Dropped].into_iter().max(), Some(Moved));
        let words = [Delivered, Deferred, Bounced].map(DeliveryStatus::log_word);
        assert_eq!(words, ["sent", "deferred", "bounced"]);
    }
}
