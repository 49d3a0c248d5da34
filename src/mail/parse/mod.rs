//! The SMTP parser: octets to commands, to an envelope and to content.
//!
//! Purpose: turns the client's input into values that are valid by type, and results into replies.
//! Sans-I/O: nothing here uses sockets, disks or clocks, so every rule can be tested, and is
//! fuzzed, without them. In: octets in pieces of any size. Out: [`Command`]s, [`Dialogue`] replies,
//! slices of [`ContentParser`]. Limits: [`LineSplitter::LIMIT`] and [`LineSplitter::DISCARD_MAX`]
//! on command lines, [`AuthLine::MAX`] on those within AUTH, [`ContentParser::LINE_MAX`],
//! [`ContentParser::RECEIVED_MAX`] and the caller's size limit on content, [`SessionLimits`] on a
//! session. Everything that is copied has a limit.
//! Security: the protection against SMTP smuggling is here. Only CR LF ends a line, and only CR LF
//! . CR LF ends the content. A bare CR or a bare LF is never repaired, because the next hop might
//! then see the end of a mail elsewhere. Source: RFC 5321, RFC 1870 (SIZE), RFC 2034 (enhanced
//! codes), RFC 2920 (PIPELINING), RFC 3030 (CHUNKING), RFC 6152 (8BITMIME), RFC 6531 (SMTPUTF8),
//! RFC 3207 (STARTTLS).

mod auth_line;
mod chunk;
mod command;
mod command_error;
mod data_reader;
mod envelope;
mod grammar;
mod line;
mod path;
mod session_limits;
mod smtp_server;
mod xclient;

pub use auth_line::AuthLine;
pub use chunk::ChunkHeader;
pub use command::Command;
pub use command_error::CommandError;
pub use data_reader::{ContentChunk, ContentError, ContentParser};
pub use envelope::{Mail, Recipient};
pub use grammar::Grammar;
pub use line::{InputLine, LineError, LineSplitter};
pub use path::lenient_mailbox;
pub use session_limits::SessionLimits;
pub use smtp_server::{
    AccessPolicy, AuthOffer, CommandResult, Dialogue, NextStep, TlsState, write_reply,
};
pub use xclient::{Given, XclientOverride};
