//! Who is at terminal `in` now, and who was refused lately.

use super::Refusal;
use std::net::IpAddr;

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The client.
    pub client: IpAddr,
    /// Its port.
    pub port: u16,
    /// When it came, seconds since 1970.
    pub since: u32,
    /// What it did last: a command, `connect` or `content`.
    pub state: &'static str,
    /// What it called itself; hostile text, empty before it did.
    pub helo: String,
    /// Protocol version and cipher suite; empty in plain text.
    pub tls: String,
    /// The reverse-path of the mail under way; hostile text, empty without one.
    pub sender: String,
    /// Recipients of that mail.
    pub recipients: u32,
    /// Mails taken in this session.
    pub messages: u32,
    /// Octets of content taken in this session.
    pub octets: u64,
}

/// A command that was refused; all texts are hostile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedExample {
    /// When, seconds since 1970.
    pub at: u32,
    /// The client.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: String,
    /// The command.
    pub command: &'static str,
    /// The reverse-path, where one was known.
    pub from: String,
    /// The forward-path, where one was known.
    pub to: String,
    /// What it was told.
    pub reply: String,
}

/// Terminal `in` as the pages and the API see it.
pub trait SessionList: Send + Sync {
    /// At most `limit` open sessions, the oldest first, and how many there are.
    fn sessions(&self, limit: usize) -> (Vec<SessionInfo>, usize);

    /// The last examples of a reason, the newest first.
    fn refused(&self, reason: Refusal) -> Vec<RefusedExample>;

    /// The last clients that got no session, the newest first, by the label of
    /// `mta_sessions_refused_total`.
    fn turned_away(&self, reason: &str) -> Vec<RefusedExample>;
}
