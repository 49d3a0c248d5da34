//! Properties whose value is one of a few words, in any case of letters.

use super::to_text::Written;
use super::value::{ValueError, list};
use std::str::FromStr;

/// Property `log_format`: the format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// For collectors.
    Json,
}

/// Property `address_masking`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressMasking {
    /// Unchanged.
    None,
    /// The local part shortened.
    Smart,
    /// The local part as a keyed hash.
    Hash,
}

/// Property `webhook_events`: the events that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookEvent {
    /// A next hop accepted the mail for a recipient.
    Delivered,
    /// It failed temporarily.
    Deferred,
    /// It failed permanently.
    Bounced,
    /// An alert began or ended.
    Alert,
}

impl LogFormat {
    /// The property's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Json => "json",
        }
    }
}

impl AddressMasking {
    /// The property's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Smart => "smart",
            Self::Hash => "hash",
        }
    }
}

impl WebhookEvent {
    /// The property's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Bounced => "bounced",
            Self::Alert => "alert",
        }
    }
}

impl FromStr for LogFormat {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        chosen(&[Self::Plain, Self::Json], Self::as_str, text)
            .ok_or_else(|| "value must be plain or json".into())
    }
}

impl FromStr for AddressMasking {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let all = [Self::None, Self::Smart, Self::Hash];
        chosen(&all, Self::as_str, text).ok_or_else(|| "value must be none, smart or hash".into())
    }
}

impl FromStr for WebhookEvent {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let all = [Self::Delivered, Self::Deferred, Self::Bounced, Self::Alert];
        chosen(&all, Self::as_str, text).ok_or_else(|| {
            format!(
                "contains '{text}', which is not an event: write delivered, deferred, bounced \
                or alert"
            )
        })
    }
}

/// Events.
pub fn webhook_events(text: &str) -> Result<Vec<WebhookEvent>, ValueError> {
    list(text, str::parse)
}

impl Written for LogFormat {
    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Written for AddressMasking {
    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Written for WebhookEvent {
    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

fn chosen<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|one| word(*one).eq_ignore_ascii_case(text))
}
