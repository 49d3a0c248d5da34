//! Open SMTP sessions, and recent rejections.

use super::Refusal;
use std::net::IpAddr;

/// A session that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The client.
    pub client: IpAddr,
    /// Its port.
    pub port: u16,
    /// When it connected, seconds since 1970.
    pub since: u32,
    /// Its last action: a command, `connect` or `content`.
    pub state: &'static str,
    /// Its HELO name; untrusted text, empty before HELO.
    pub helo: String,
    /// Protocol version and cipher suite; empty in plain text.
    pub tls: String,
    /// The user that has logged in; empty without a login.
    pub user: String,
    /// The reverse-path of the mail in progress; untrusted text, empty without one.
    pub sender: String,
    /// Recipients of that mail.
    pub recipients: u32,
    /// Mails accepted in this session.
    pub messages: u32,
    /// Octets of content accepted in this session.
    pub octets: u64,
}

/// A rejected command; all texts are untrusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedExample {
    /// When, seconds since 1970.
    pub at: u32,
    /// The client.
    pub client: IpAddr,
    /// Its HELO name.
    pub helo: String,
    /// The command.
    pub command: &'static str,
    /// The reverse-path, where one was known.
    pub from: String,
    /// The forward-path, where one was known.
    pub to: String,
    /// The reply.
    pub reply: String,
}

/// The SMTP sessions for the pages and the API.
pub trait SessionList: Send + Sync {
    /// At most `limit` open sessions, the oldest first, and how many there are.
    fn sessions(&self, limit: usize) -> (Vec<SessionInfo>, usize);

    /// The last examples of a reason, newest first.
    fn refused(&self, reason: Refusal) -> Vec<RefusedExample>;

    /// The last clients that got no session, newest first, by the label of
    /// `mta_sessions_refused_total`.
    fn turned_away(&self, reason: &str) -> Vec<RefusedExample>;
}
