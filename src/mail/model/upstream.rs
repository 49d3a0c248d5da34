//! What is known about upstreams: whether they take our mail, and what they said last.

use super::Reply;
use std::fmt::Debug;
use std::sync::Arc;

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

/// What was agreed on when a connection became ready for mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamSession {
    /// The host, `name[address]:port`.
    pub relay: String,
    /// Protocol version and cipher suite; empty in plain text.
    pub tls: String,
    /// The certificate was verified, with its name.
    pub verified: bool,
    /// The certificate; `None` in plain text, or where it is not X.509.
    pub certificate: Option<UpstreamCertificate>,
    /// The mechanism of the login; `None`: there was none.
    pub mechanism: Option<&'static str>,
}

/// What the certificate of an upstream says; untrusted text unless it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCertificate {
    /// Its first few names.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// The first and the last second of its validity, since 1970.
    pub validity: (u64, u64),
}

/// Why no connection became ready for mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamFailure {
    /// Since when all connections failed, seconds since 1970.
    pub since: u32,
    /// The last reason; untrusted text.
    pub error: String,
    /// TLS failed, or the certificate could not be verified.
    pub tls: bool,
}

/// Mails that an upstream got in some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UpstreamMails {
    /// It took them, for one recipient at least.
    pub sent: u64,
    /// It did not.
    pub failed: u64,
}

/// The rate of an upstream is used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRateWait {
    /// When there is a permit again, in milliseconds of the monotonic clock.
    pub until_millis: u64,
    /// The rate, and the property that sets it: `rate 30/min of smart_relay_rate`.
    pub limit: Arc<str>,
}

/// The rate of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRate {
    /// The rate, and the property that sets it: `rate 30/min of smart_relay_rate`.
    pub limit: Arc<str>,
    /// Transactions that may begin now.
    pub left: u32,
    /// When another one may begin, by the wall clock; `None`: now.
    pub next: Option<u32>,
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
    /// Until when it gets no mail, seconds since 1970; `None`: it gets mail.
    pub paused_until: Option<u32>,
    /// Why no connection became ready; `None`: the last one did, or none was tried.
    pub failure: Option<UpstreamFailure>,
    /// The last connection that became ready, and when, seconds since 1970.
    pub session: Option<(u32, UpstreamSession)>,
    /// Connections that are open now.
    pub connections: u32,
    /// Mails of this hour and of the one before.
    pub hour: UpstreamMails,
    /// Mails of this hour and of the 23 before.
    pub day: UpstreamMails,
    /// Its rate; `None`: it has none.
    pub rate: Option<UpstreamRate>,
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

    /// How many pauses have begun until now.
    fn pauses(&self) -> u64;

    /// The upstream judged a mail as such: it takes mail of us, unless it began to refuse that
    /// while the mail was under way, after so many [pauses](UpstreamMonitor::pauses).
    fn accepted(&self, upstream: &str, pauses: u64);

    /// What it said about this sender, whose mail it does not take now.
    fn refused_sender(&self, upstream: &str, sender: &str) -> Option<String>;

    /// Whether any upstream has a rate.
    fn has_rates(&self) -> bool {
        false
    }

    /// Takes a permit for a transaction, if it has a rate.
    ///
    /// # Errors
    /// The rate is used up.
    fn take(&self, _upstream: &str) -> Result<(), UpstreamRateWait> {
        Ok(())
    }

    /// Its rate is used up, and nothing else stops its mail.
    fn rate_wait(&self, _upstream: &str) -> Option<UpstreamRateWait> {
        None
    }

    /// Until when it gets no mail, by the monotonic clock, and why: what it said, or the rate that
    /// is used up.
    fn paused(&self, upstream: &str) -> Option<(u32, String)>;

    /// Whether it takes mail now, as far as is known.
    fn availability(&self, upstream: &str) -> UpstreamAvailability;

    /// Whether the caller may connect to it, of several that share mail: of those that ask after a
    /// pause the first may, and the others for a while not.
    fn may_probe(&self, upstream: &str) -> bool;

    /// None of its addresses is ready for mail; `error` says why.
    fn unreachable(&self, upstream: &str, error: &str);

    /// It is ready for mail.
    fn reached(&self, upstream: &str);

    /// An operator wants mail attempted now: all pauses are over, and the next reply counts.
    fn ask_again(&self);

    /// A connection is ready for mail, and open until [`UpstreamMonitor::disconnected`].
    fn connected(&self, _upstream: &str, _session: UpstreamSession) {}

    /// Such a connection was closed.
    fn disconnected(&self, _upstream: &str) {}

    /// No connection became ready, for this reason; `tls`: TLS failed, or the certificate could not
    /// be verified.
    fn failed(&self, _upstream: &str, _error: &str, _tls: bool) {}

    /// A mail had its end there; `sent`: it was taken for one recipient at least.
    fn mail(&self, _upstream: &str, _sent: bool) {}

    /// What was known against it may be wrong: the login is a new one, or a test was successful.
    /// Its pause ends.
    fn renewed(&self, _upstream: &str) {}

    /// All upstreams.
    fn list(&self) -> Vec<UpstreamStatus>;
}
