//! The envelope: sender and recipients, and where the mail came from.

use super::{Address, DsnNotify, DsnRequest};
use std::net::IpAddr;

/// The BODY parameter of MAIL (RFC 6152 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyType {
    /// All octets below 128, or no BODY parameter.
    SevenBit,
    /// The body may contain octets above 127.
    EightBitMime,
}

/// The envelope: what a message has besides its content (RFC 5321 §2.3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The reverse-path; `None` is the null sender `<>`, to which no bounce is ever sent (RFC 5321
    /// §4.5.5).
    pub sender: Option<Address>,
    /// The forward-paths in the order of RCPT, without duplicates; 1 to
    /// [`Envelope::RECIPIENTS_MAX`].
    pub recipients: Vec<Address>,
    /// The BODY parameter, or 8BITMIME when the content has octets above 127.
    pub body: BodyType,
    /// Whether MAIL had SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// What the client asked about notifications; `None` for nothing, the usual case.
    pub dsn: Option<Box<DsnRequest>>,
}

impl Envelope {
    /// Recipients of one message, at most; RFC 5321 §4.5.3.1.8 requires at least 100.
    pub const RECIPIENTS_MAX: usize = 1000;

    /// Whether the sender is to hear of an event of the recipient at this place (RFC 3461 §4.1).
    pub fn wants(&self, place: usize, event: DsnNotify) -> bool {
        match &self.dsn {
            Some(dsn) => dsn.wants(place, event),
            None => event != DsnNotify::SUCCESS,
        }
    }

    /// The reverse-path for people and for MAIL FROM: empty for the null sender.
    pub fn sender_text(&self) -> &str {
        self.sender.as_ref().map_or("", Address::as_str)
    }
}

/// Where a message came from, for logs, the Received field and the queue page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The client's address; `None` for mail generated locally (bounces).
    pub peer: Option<IpAddr>,
    /// The name that the client gave in HELO or EHLO; untrusted text of at most 255 octets.
    pub helo: Box<str>,
    /// Whether the client was allowed to relay when it sent the message: it was trusted, or had
    /// logged in. Only such mail is signed with DKIM. `false` for mail that an older version
    /// stored, because that is not known.
    pub may_relay: bool,
}
