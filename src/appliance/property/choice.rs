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

/// Property `smart_relay_tls`: TLS with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamTls {
    /// Required as soon as there is a login, else opportunistic; at port 465 and 2465 implicit.
    Auto,
    /// STARTTLS, or implicit TLS at port 465 and 2465, with a verified certificate.
    Required,
    /// TLS from the first octet (RFC 8314), with a verified certificate.
    Implicit,
    /// STARTTLS where it is offered, whatever the certificate (RFC 7435).
    Opportunistic,
    /// Plain text.
    None,
}

/// Property `smart_relay_mode`: which mail the smart relay gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmartRelayMode {
    /// All mail.
    Always,
    /// Mail that the hosts of its domain do not take.
    Fallback,
}

impl FromStr for SmartRelayMode {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.to_ascii_lowercase().as_str() {
            "always" => Ok(Self::Always),
            "fallback" => Ok(Self::Fallback),
            _ => Err("must be always or fallback".into()),
        }
    }
}

impl Written for SmartRelayMode {
    fn to_text(&self) -> String {
        match self {
            Self::Always => "always",
            Self::Fallback => "fallback",
        }
        .to_owned()
    }
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

/// Property `recipient_others`: what becomes of mail to recipients outside `recipient_allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherRecipients {
    /// It is accepted and held.
    Capture,
    /// It is refused.
    Refuse,
}

impl FromStr for OtherRecipients {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.to_ascii_lowercase().as_str() {
            "capture" => Ok(Self::Capture),
            "refuse" => Ok(Self::Refuse),
            _ => Err("must be capture or refuse".into()),
        }
    }
}

impl Written for OtherRecipients {
    fn to_text(&self) -> String {
        match self {
            Self::Capture => "capture",
            Self::Refuse => "refuse",
        }
        .to_owned()
    }
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

impl UpstreamTls {
    /// The property's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Required => "required",
            Self::Implicit => "implicit",
            Self::Opportunistic => "opportunistic",
            Self::None => "none",
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

impl FromStr for UpstreamTls {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let all = [Self::Auto, Self::Required, Self::Implicit, Self::Opportunistic, Self::None];
        chosen(&all, Self::as_str, text)
            .ok_or_else(|| "value must be auto, required, implicit, opportunistic or none".into())
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

impl Written for UpstreamTls {
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
