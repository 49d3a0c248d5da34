//! The SMTP client: delivers mail to the next hop.
//!
//! Purpose: one transaction, one outcome for each target. In: a
//! [`Route`](crate::mail::model::Route), then messages, as many as the connection will carry. Out:
//! a [`TransactionReport`](crate::mail::model::TransactionReport); every local failure is given as
//! a reply too, a whole sentence with host and cause. Steps: [`RouteAttempt::next`] tries hosts and
//! addresses in order until one greets, answers EHLO (or HELO) and, if it announces STARTTLS, is
//! encrypted; [`Connection::send`] delivers one message; deferred recipients go to the next host;
//! [`Connection::quit`] sends QUIT. Rules: commands are pipelined where the peer allows it; a
//! rejection of the session or of this relay is temporary for the mail (the table is in
//! `reply_classification`);
//! more recipients than a peer accepts at once go in further transactions over the same connection;
//! a kept connection that was lost while idle is opened again once, before the message fails; the
//! results of one transaction count even if the attempt is aborted in a later one
//! (`recipient_outcomes`).
//! Limits: replies, see [`reply`]; times, see [`Timeouts`]; [`GROUP_MAX`] commands in flight;
//! content goes out in pieces of [`PIECE`] octets, at no less than [`MIN_PACE`] octets a second, so
//! that no peer can block a message for ever. Security: TLS with hosts of MX records is
//! opportunistic (RFC 7435): the peer is not authenticated, and a failure falls back to plain text.
//! With an upstream ([`UpstreamAccess`]) it is what its properties say: where the certificate must
//! be verified there is no plain text, and a login ([`login`]) is sent only there. Plain text
//! injected after the reply to STARTTLS is an attack and ends the connection. A dot at the start of
//! a line is doubled
//! after any LF, so that a peer that accepts a bare LF as a line end does not see a false end of
//! data. Known bugs: no policy of a domain (DANE, MTA-STS) is asked for yet. Source: RFC 5321, RFC
//! 1870 (SIZE), RFC 2920 (PIPELINING), RFC 3207 (STARTTLS), RFC 4954 (AUTH), RFC 6152
//! (8BITMIME), RFC 6531 (SMTPUTF8).

mod attempt;
mod client;
pub mod counters;
mod dot_stuffing;
mod exchange;
mod extensions;
mod handshake;
mod host_limits;
mod login;
mod recipient_outcomes;
pub mod reply;
mod reply_classification;
mod transaction;
mod transcript;
mod upstream;
mod upstream_advice;
mod upstream_refusal;
mod upstream_session;
mod upstream_test;
mod wire;

use std::net::IpAddr;
use std::time::Duration;

pub use attempt::{PARALLEL_MAX, RouteAttempt, SESSIONS_MAX};
pub use client::{Connection, SmtpClient};
pub use host_limits::{HOST_MAX, HOST_UNPROVEN_MAX, HostVacancy, WAITING_MAX};
pub use recipient_outcomes::{RecipientOutcomes, overlay};
pub use upstream::{UpstreamAccess, UpstreamAccesses, UpstreamLimits, UpstreamSecrets};
pub use upstream_test::UpstreamDialogue;

/// Commands that are sent before their replies are read, at most. More could fill both directions
/// of a connection while each side waits for the other (RFC 2920 §3.1); this many replies fit any
/// socket buffer.
pub const GROUP_MAX: usize = 64;

/// Octets of content that are read and written at a time.
pub const PIECE: usize = 64 * 1024;

/// Octets a second: a peer that takes the content more slowly is aborted.
pub const MIN_PACE: u64 = 2048;

/// Settings of the SMTP client.
#[derive(Debug, Clone)]
pub struct DeliverConfig {
    /// The name for EHLO.
    pub hostname: String,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// The address to send from; used for next hops of its family only.
    pub bind: Option<IpAddr>,
    /// Recipients of one transaction, at most (RFC 5321 §4.5.3.1.8: every server accepts 100).
    pub recipients_max: usize,
}

/// How long to wait in each state. Each is the time for the whole reply, not for its next octet.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To find a host that is ready for mail, for all hosts of a route together.
    pub route: Duration,
    /// For one host alone, before the next one is tried in parallel. Shorter where there are so
    /// many hosts that [`Timeouts::route`] would not suffice.
    pub turn: Duration,
    /// For the TCP connection.
    pub connect: Duration,
    /// For the greeting.
    pub greeting: Duration,
    /// For the reply to EHLO, HELO and STARTTLS.
    pub hello: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the reply to MAIL.
    pub mail: Duration,
    /// For the reply to RCPT.
    pub recipient: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For the whole envelope, MAIL to DATA: a peer that uses the full timeout for each of a
    /// thousand recipients would block a message for days.
    pub envelope: Duration,
    /// For the peer to accept one piece of content.
    pub piece: Duration,
    /// For the reply to the end of data: the peer may be scanning, and a message aborted here is
    /// sent twice.
    pub end: Duration,
    /// For the reply to QUIT, which nothing depends on.
    pub quit: Duration,
}

/// Observes an attempt from outside.
pub trait AttemptObserver: Send + Sync {
    /// The next hop sent a whole reply, or accepted a piece of content.
    fn heard(&self);
    /// A transaction is about to begin. The results of the one before are in [`RecipientOutcomes`],
    /// also when this one is aborted. `false`: it must not begin, because the agent is needed
    /// elsewhere.
    fn may_begin(&self) -> bool;
    /// The end of data is about to be sent, after which an attempt cannot be undone. `false`: it
    /// must not be sent.
    fn may_end(&self) -> bool;
}

impl Timeouts {
    /// The timeouts for a next hop that was never used before: enough for a slow one, too short to
    /// occupy an agent for long. If they are too short, a later attempt has the full timeouts of
    /// RFC 5321. The reply to the end of data always has the full timeout, since an abort there
    /// means to send twice.
    #[must_use]
    pub fn first(self) -> Self {
        let most = |time: Duration, seconds| time.min(Duration::from_secs(seconds));
        Self {
            connect: most(self.connect, 10),
            greeting: most(self.greeting, 30),
            hello: most(self.hello, 30),
            handshake: most(self.handshake, 30),
            mail: most(self.mail, 60),
            recipient: most(self.recipient, 60),
            data: most(self.data, 60),
            envelope: most(self.envelope, 300),
            piece: most(self.piece, 60),
            end: self.end,
            quit: self.quit,
            turn: self.turn,
            route: most(self.route, 120),
        }
    }
}

impl Default for Timeouts {
    /// RFC 5321 §4.5.3.2 where it gives a value, common practice elsewhere.
    fn default() -> Self {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        Self {
            route: minutes(10),
            turn: Duration::from_secs(15),
            connect: Duration::from_secs(30),
            greeting: minutes(5),
            hello: minutes(5),
            handshake: minutes(1),
            mail: minutes(5),
            recipient: minutes(5),
            data: minutes(2),
            envelope: minutes(30),
            piece: minutes(3),
            end: minutes(10),
            quit: Duration::from_secs(1),
        }
    }
}
