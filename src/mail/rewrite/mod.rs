//! What changes in a mail's content on purpose.
//!
//! Purpose: the relay passes content on as it came, but for the few changes of this room. On the
//! way in, [`HeaderSection`] parts the header section from the trace field that goes on top of it,
//! makes fields of mbox lines, and for clients that may relay drops fields and adds missing ones.
//! On the way out, [`seven_bit`] gives content another form for a next hop without 8BITMIME.
//! In: octets as they come, in pieces of any size. Out: octets. Pure: no I/O, no clock, fuzzed.
//! Limits: [`HeaderSection::NAME_MAX`] octets are kept back until it is known what a line is.
//! Security: no CR or LF is ever made or mended, so the smuggling guard of `parse` is not touched.
//! The body is looked at on the way out alone.
//! Source: RFC 5321 §4.4 (trace), RFC 5322 §2.2 and §3.6 (fields), RFC 6409 §8 (what a submission
//! server may change).

mod header;
pub mod seven_bit;

pub use header::{HeaderSection, Missing, header_mailbox};

/// What is done to content of clients that may relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The domain of mailboxes that were given without one.
    pub origin_domain: String,
    /// Names of the header fields that are dropped, in lower case.
    pub drop_headers: Vec<String>,
    /// Whether missing From, Date and Message-ID fields are added.
    pub add_missing_headers: bool,
}

impl Config {
    /// The header fields that are dropped unless an operator says otherwise: Bcc is for nobody's
    /// eyes but the sender's (RFC 5322 §3.6.3), Return-Path is the last hop's to write (RFC 5321
    /// §4.4), and Content-Length is no field of mail but a habit of mail stores.
    pub const DROP_HEADERS: [&str; 4] = ["bcc", "content-length", "resent-bcc", "return-path"];

    /// The usual changes, with this domain for mailboxes that have none.
    pub fn new(origin_domain: impl Into<String>) -> Self {
        Self {
            origin_domain: origin_domain.into(),
            drop_headers: Self::DROP_HEADERS.map(str::to_owned).to_vec(),
            add_missing_headers: true,
        }
    }
}
