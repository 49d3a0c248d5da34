//! What is known about upstreams: whether they take our mail, and what they said last.

use super::Reply;
use std::fmt::Debug;

/// In which state of the session an upstream's reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamStage {
    /// Instead of the greeting, or in reply to EHLO.
    Session,
    /// In reply to AUTH.
    Login,
    /// In reply to MAIL, RCPT, DATA, or the end of data.
    Mail,
}

/// What an upstream refused, other than a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamRefusal {
    /// This relay: its login, its account, its address.
    Relay,
    /// More for now: a rate or a quota is used up.
    Throttle,
    /// This one sender.
    Sender,
    /// A connection: none of its addresses is ready for mail.
    Connection,
}

/// Whether an upstream takes mail now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAvailability {
    /// It does, as far as is known, or the caller is the one that asks it again.
    Open,
    /// None of its addresses was ready for mail lately.
    Unreachable,
    /// It refuses us, or takes no more for now; with its words.
    Refuses(String),
}

/// The present state of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Why it takes no mail; `None`: nothing is known against it.
    pub refusal: Option<UpstreamRefusal>,
    /// Since when, seconds since 1970.
    pub since: u32,
    /// The last refusal; untrusted text.
    pub last_error: String,
    /// Senders that it does not take mail of now.
    pub senders: usize,
}

/// Who judges the replies of upstreams, and remembers what they mean.
pub trait UpstreamMonitor: Send + Sync + Debug {
    /// What an upstream refuses with this reply; `None`: the mail, or nothing. `sender` is the
    /// reverse-path, empty where there is none.
    fn judge(
        &self,
        upstream: &str,
        stage: UpstreamStage,
        reply: &Reply,
        sender: &str,
    ) -> Option<UpstreamRefusal>;

    /// The upstream judged a mail as such: it takes mail of us.
    fn accepted(&self, upstream: &str);

    /// What it said about this sender, whose mail it does not take now.
    fn refused_sender(&self, upstream: &str, sender: &str) -> Option<String>;

    /// Until when it gets no mail, by the monotonic clock, and what it said.
    fn paused(&self, upstream: &str) -> Option<(u32, String)>;

    /// Whether it takes mail now, for a caller that is going to connect. Of those that ask after
    /// a pause one is told that it is open, and the others for a while that it is not.
    fn availability(&self, upstream: &str) -> UpstreamAvailability;

    /// None of its addresses is ready for mail; `error` says why.
    fn unreachable(&self, upstream: &str, error: &str);

    /// It is ready for mail.
    fn reached(&self, upstream: &str);

    /// An operator wants mail attempted now: all pauses are over, and the next reply counts.
    fn ask_again(&self);

    /// All upstreams.
    fn list(&self) -> Vec<UpstreamStatus>;
}
