//! What the relay says to a client's wish.

use super::Reply;

/// Why a client was refused: the label of the counter and of the log line. A closed list, so that
/// labels stay few.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client may not relay (554 5.7.1).
    Relay,
    /// The command or an address does not follow the grammar.
    Syntax,
    /// A line, an envelope, a message or a session is over its limit.
    Limit,
    /// A bare CR or LF (RFC 5321 §2.3.8), the raw material of smuggled mail.
    BareLine,
    /// More hops than a mail can honestly have (RFC 5321 §6.3).
    Loop,
    /// The data volume is full or unwell; try later.
    Storage,
    /// There is too little memory; try later.
    Memory,
    /// The appliance is stopping.
    Stopping,
}

/// Why a client of terminal `in` got no session, as `mta_sessions_refused_total` counts it: which
/// places were taken, or `early`: it sent too much before it was greeted.
pub const SESSION_REFUSALS: [&str; 5] = ["all", "strangers", "address", "memory", "early"];

impl Refusal {
    /// Every reason, for counters that must exist from the start.
    pub const ALL: [Self; 8] = [
        Self::Relay,
        Self::Syntax,
        Self::Limit,
        Self::BareLine,
        Self::Loop,
        Self::Storage,
        Self::Memory,
        Self::Stopping,
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
        }
    }
}

/// Yes, or no with the words for the client and the reason for the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Accept,
    /// Answer this.
    Refuse(Reply, Refusal),
}
