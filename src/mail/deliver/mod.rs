//! Hands mail to the next hop: the SMTP client.
//!
//! Purpose: one transaction, one outcome for each target.
//! In: a [`Route`](crate::mail::model::Route), then messages, as many as the connection will carry.
//! Out: a [`Report`](crate::mail::model::Report); every failure on our side of the wire is worded
//! as a reply too, a whole sentence with host and cause.
//! Walk: [`Attempt::next`] asks hosts and addresses in order until one greets, answers EHLO (or
//! HELO) and, where it offers STARTTLS, is encrypted; [`Connection::send`] carries one message;
//! recipients that were put off go to the next host; [`Connection::quit`] says good-bye.
//! Rules: commands are pipelined where the peer allows it; a refusal of the session or of us is
//! temporary for the mail (the table is in `refusal`); more recipients than a peer takes at once go
//! in further transactions over the same connection; a kept connection that died while idle is
//! opened anew once, before the message is blamed; what one transaction has brought outlives a try
//! that is given up in a later one (`known`).
//! Limits: replies, see [`reply`]; times, see [`Timeouts`]; [`GROUP_MAX`] commands in flight;
//! content goes out in pieces of [`PIECE`] octets, at no less than [`MIN_PACE`] octets a second, so
//! that no peer can hold a message for ever.
//! Security: TLS is opportunistic (RFC 7435): it is tried without asking who answers, and a failure
//! falls back to plain text. Plain text that was slipped in behind the answer to STARTTLS is an
//! attack and ends the connection. A dot at the start of a line is doubled after any LF, so that no
//! peer with loose ideas of a line's end sees an end of data that is none. Known bugs: the peer's
//! certificate is not checked and no policy (DANE, MTA-STS) asks for it yet.
//! Source: RFC 5321, RFC 1870 (SIZE), RFC 2920 (PIPELINING), RFC 3207 (STARTTLS), RFC 6152
//! (8BITMIME), RFC 6531 (SMTPUTF8).

mod attempt;
mod client;
mod content;
pub mod counters;
mod exchange;
mod extensions;
mod hosts;
mod known;
mod refusal;
pub mod reply;
mod transaction;
mod transcript;
mod wire;

use std::net::IpAddr;
use std::time::Duration;

pub use attempt::{Attempt, BESIDE_MAX, SESSIONS_MAX};
pub use client::{Client, Connection};
pub use hosts::{HOST_MAX, HOST_UNPROVEN_MAX, Invitation, WAITING_MAX};
pub use known::{Known, overlay};

/// The most commands that are sent before their replies are read. More could fill both directions
/// of a connection with each side waiting for the other (RFC 2920 §3.1); this many replies fit any
/// socket buffer.
pub const GROUP_MAX: usize = 64;

/// Octets of content that are read and written at a time.
pub const PIECE: usize = 64 * 1024;

/// Octets a second below which a peer is no longer waited for while it takes the content.
pub const MIN_PACE: u64 = 2048;

/// What the room must know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name for EHLO.
    pub hostname: String,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The address to send from; used for next hops of its family only.
    pub bind: Option<IpAddr>,
    /// The most recipients of one transaction (RFC 5321 §4.5.3.1.8: every server takes 100).
    pub recipients_max: usize,
}

/// How long to wait in each state. Each is the time for the whole reply, not for its next octet.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For finding a host that is ready for mail, all hosts of a route together.
    pub route: Duration,
    /// For one host alone, before the next one is asked beside it. Less where there are so many
    /// that [`Timeouts::route`] would not do.
    pub turn: Duration,
    /// For the TCP connection.
    pub connect: Duration,
    /// For the greeting.
    pub greeting: Duration,
    /// For the answer to EHLO, HELO and STARTTLS.
    pub hello: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the answer to MAIL.
    pub mail: Duration,
    /// For the answer to RCPT.
    pub recipient: Duration,
    /// For the answer to DATA.
    pub data: Duration,
    /// For the whole envelope, MAIL to DATA: a peer that needs all its time for each of a thousand
    /// recipients would keep a message for days.
    pub envelope: Duration,
    /// For the peer to take one piece of content.
    pub piece: Duration,
    /// For the answer to the end of data: the peer may be scanning, and giving up early means
    /// sending twice.
    pub end: Duration,
    /// For the answer to QUIT, which nothing depends on.
    pub quit: Duration,
}

/// Who follows a try from outside.
pub trait Witness: Send + Sync {
    /// The next hop gave a whole reply, or took a piece of content.
    fn heard(&self);
    /// A transaction is about to begin. What the one before it brought is [`Known`], also when this
    /// one is given up. `false`: it must not begin, others need the courier.
    fn may_begin(&self) -> bool;
    /// The end of data is about to be sent, behind which a try can no longer be taken back.
    /// `false`: it must not be.
    fn may_end(&self) -> bool;
}

impl Timeouts {
    /// The patience with a next hop that nobody has heard of before: enough for a slow one, too
    /// little to keep a courier busy for long. Should it be too little, a later try has all the
    /// time of RFC 5321. The answer to the end of data may always take as long as it says there,
    /// since giving up means to send twice.
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
    /// RFC 5321 §4.5.3.2 where it speaks, the habit of the field elsewhere.
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
