//! Bytes to commands, to an envelope and to content.
//!
//! Purpose: what a client sends becomes values that cannot be wrong, and what it may hear becomes
//! replies. Sans-I/O: nothing here knows sockets, disks or clocks, so every rule can be tested, and
//! is fuzzed, without them.
//! In: octets as they come, in pieces of any size. Out: [`Command`]s, [`Dialogue`] replies, slices
//! of [`Content`].
//! Limits: [`Lines::LIMIT`] and [`Lines::DISCARD_MAX`] on command lines, [`Content::LINE_MAX`],
//! [`Content::HOPS_MAX`] and the caller's size limit on content, [`Rules`] on a session. Nothing is
//! copied that has no limit.
//! Security: the smuggling guard lives here. A line ends with CR LF and content with CR LF . CR LF,
//! nothing else does; a bare CR or a bare LF is never repaired, since whoever repairs it may
//! disagree with the next hop about where a mail ends.
//! Source: RFC 5321, RFC 1870 (SIZE), RFC 2034 (enhanced codes), RFC 2920 (PIPELINING), RFC 6152
//! (8BITMIME), RFC 6531 (SMTPUTF8), RFC 3207 (STARTTLS).

mod command;
mod content;
mod dialogue;
mod grammar;
mod line;
mod path;

pub use command::{Command, CommandError, Mail, Recipient};
pub use content::{Content, Flaw, Step};
pub use dialogue::{Dialogue, Gate, Heard, Next, Rules, Tls, write_reply};
pub use grammar::Grammar;
pub use line::{Line, LineFlaw, Lines};
pub use path::lenient_mailbox;
