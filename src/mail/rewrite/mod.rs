//! Intended changes of a mail's content.
//!
//! Purpose: the relay passes content on unchanged, except for the changes in this module. At
//! intake, [`HeaderSection`] separates the header section from the trace field that is put on top,
//! makes fields of mbox lines, and for clients that may relay drops fields, adds missing ones and
//! writes senders anew (`sender`, `sender_fields`).
//! At delivery, [`seven_bit`] converts content for a next hop without 8BITMIME. In: octets in
//! pieces of any size. Out: octets. Pure: no I/O, no clock, fuzzed. Limits:
//! [`HeaderSection::NAME_MAX`] octets are buffered until the kind of a line is known. Security: no
//! bare CR or LF is ever made or repaired, so the smuggling protection of `parse` stays intact. The
//! body is examined only at delivery. Source: RFC 5321 §4.4 (trace), RFC 5322 §2.2 and §3.6
//! (fields), RFC 6409 §8 (what a submission server may change).

mod address_list;
mod header;
mod sender;
mod sender_fields;
pub mod seven_bit;

pub use address_list::{FIELD_MAX, MAILBOXES_MAX, authors};
pub use header::{HeaderSection, Missing, header_mailbox};
pub use sender::{NewField, SenderRules};
pub use sender_fields::SenderFields;

/// What is done to content of clients that may relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RewriteConfig {
    /// The domain of mailboxes that were given without one.
    pub origin_domain: String,
    /// Names of the header fields that are dropped, in lower case.
    pub drop_headers: Vec<String>,
    /// Whether missing From, Date and Message-ID fields are added.
    pub add_missing_headers: bool,
    /// Which senders become which.
    pub senders: SenderRules,
}

impl RewriteConfig {
    /// The header fields that are dropped by default: Bcc is only for the sender (RFC 5322 §3.6.3),
    /// Return-Path is written by the last hop (RFC 5321 §4.4), and Content-Length is not a mail
    /// field but is added by some mail stores.
    pub const DROP_HEADERS: [&str; 4] = ["bcc", "content-length", "resent-bcc", "return-path"];

    /// The default changes, with this domain for mailboxes that have none.
    pub fn new(origin_domain: impl Into<String>) -> Self {
        Self {
            origin_domain: origin_domain.into(),
            drop_headers: Self::DROP_HEADERS.map(str::to_owned).to_vec(),
            add_missing_headers: true,
            senders: SenderRules::default(),
        }
    }
}
