//! The relay's decision about a command.

use super::Reply;

/// Why a client was rejected: the label in metrics and logs. A closed list, so that there are few
/// labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client may not relay (554 5.7.1).
    Relay,
    /// The command or an address does not follow the grammar.
    Syntax,
    /// A line, an envelope, a message or a session exceeds its limit.
    Limit,
    /// A bare CR or LF (RFC 5321 §2.3.8), which SMTP smuggling uses.
    BareLine,
    /// Too many Received fields: a mail loop (RFC 5321 §6.3).
    Loop,
    /// The data volume is full or fails; try later.
    Storage,
    /// There is too little memory; try later.
    Memory,
    /// The appliance is stopping.
    Stopping,
    /// A login is missing or wrong.
    Auth,
    /// The client may not send as this sender.
    Sender,
}

/// Why a client got no SMTP session, as label of `mta_sessions_refused_total`: which limit was
/// reached, or `early`: it sent too much before the greeting.
pub const SESSION_REFUSALS: [&str; 6] = ["all", "strangers", "address", "memory", "early", "proxy"];

impl Refusal {
    /// Every reason, for metrics that must exist from the start.
    pub const ALL: [Self; 10] = [
        Self::Relay,
        Self::Syntax,
        Self::Limit,
        Self::BareLine,
        Self::Loop,
        Self::Storage,
        Self::Memory,
        Self::Stopping,
        Self::Auth,
        Self::Sender,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Syntax => "syntax",
            Self::Limit => "limit",
            Self::BareLine => "bare_line",
            Self::Loop => "loop",
            Self::Storage => "storage",
            Self::Memory => "memory",
            Self::Stopping => "stopping",
            Self::Auth => "auth",
            Self::Sender => "sender",
        }
    }
}

/// Accepted, or rejected with the reply for the client and the reason for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// Reply with this.
    Refuse(Reply, Refusal),
}
