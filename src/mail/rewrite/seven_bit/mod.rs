//! 8-bit content for a next hop without 8BITMIME (RFC 6152 §3).
//!
//! Purpose: leaf parts with octets above 127 become quoted-printable (text that is mostly ASCII) or
//! base64 (all others, RFC 2045 §6); labels of what holds them become `7bit`. Decoded, every part
//! is what it was.
//! Left as they are, octet by octet: header fields with raw 8-bit octets (there is no encoding for
//! them that does not change their meaning); parts with an encoding nobody knows; base64 with stray
//! octets; delivery status and the like, which must not be encoded (RFC 3464 §2.1). Postfix leaves
//! all of these too.
//! Refused, in words: 8-bit octets in what `multipart/signed` signs, since the signature covers the
//! encoded form (RFC 1847 §2.1); `message/partial` (RFC 2046 §5.2.2.1). A DKIM signature of the
//! body does not survive; Postfix breaks it, too. Content without a Content-Type gets `text/plain;
//! charset=unknown-8bit` (RFC 1428 §3), and MIME-Version where it lacks. Parts that are rewritten
//! anyway have no line of more than [`LINE_SENT`] octets; nor has a part that is in 7 bits and has
//! lines beyond [`LINE_LONGEST`].
//! Walk: one pass over the content decides for every part ([`analysis`]), the next one writes
//! ([`write`]); content at rest is written piece by piece while it is sent.
//! Limits: [`PARTS_MAX`] parts, [`DEPTH_MAX`] levels, [`LINE_MAX`] octets of a line and
//! [`FIELD_MAX`] of a field in memory.
//! Security: content is hostile text. A line break that encoding adds never makes a line that looks
//! like a boundary.

mod analysis;
mod encode;
mod field;
mod lines;
mod view;
mod walk;
mod write;

#[cfg(test)]
mod tests;

use crate::mail::model::Body;
use std::io;
use std::sync::Arc;

/// The most parts of a message that are told apart; one with more is refused.
pub const PARTS_MAX: usize = 100_000;

/// How deep parts may stand in parts.
pub const DEPTH_MAX: usize = 100;

/// Octets of a line that are looked at as one. A longer line comes in pieces, and is no boundary.
pub const LINE_MAX: usize = 2048;

/// Octets of one header field that are understood; the rest of it passes unread.
pub const FIELD_MAX: usize = 8192;

/// The longest line that encoding makes, without CR LF (RFC 2045 §6.7, §6.8).
pub const LINE_SENT: usize = 76;

/// The longest line that a 7-bit part may have, without CR LF (RFC 5321 §4.5.3.1.6).
pub const LINE_LONGEST: usize = 998;

/// Octets of content at rest that are read at a time.
const READ: usize = 64 * 1024;

/// Why a message cannot be rewritten.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// It must not be changed, or is beyond a limit: it can go only to a next hop with 8BITMIME.
    #[error("{0}")]
    Refused(Refusal),
    /// The content could not be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
}

/// Why a message must not be rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 8-bit octets under a signature.
    #[error(
        "a part under a signature (multipart/signed) has 8-bit content; another encoding would \
        break the signature"
    )]
    Signed,
    /// A piece of a message.
    #[error("a part of the type message/partial has 8-bit content and must not be encoded")]
    Partial,
    /// More than [`PARTS_MAX`].
    #[error("it has too many parts to be encoded")]
    TooManyParts,
    /// Deeper than [`DEPTH_MAX`].
    #[error("its parts stand too deep in each other to be encoded")]
    TooDeep,
}

/// The same content in 7 bits; `None` when no part has to change. Reads the content twice when it
/// is at rest: blocks.
///
/// # Errors
/// See [`Trouble`].
pub fn convert(body: &Body) -> Result<Option<Body>, Trouble> {
    match body {
        Body::Memory(bytes) => Ok(convert_bytes(bytes)
            .map_err(Trouble::Refused)?
            .map(|bytes| Body::Memory(bytes.into()))),
        Body::Stored(content, len) => {
            let mut walker = walk::Walker::new(analysis::Analysis::default());
            view::read_all(content.as_ref(), *len, |piece| walker.feed(piece))?;
            let Some(plan) = walker.finish().plan().map_err(Trouble::Refused)? else {
                return Ok(None);
            };
            let view = view::View::new(content.clone(), *len, Arc::new(plan))?;
            let len = view.len();
            Ok(Some(Body::Stored(Arc::new(view), len)))
        }
    }
}

/// [`convert`] for content in memory.
///
/// # Errors
/// See [`Refusal`].
pub fn convert_bytes(content: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let mut walker = walk::Walker::new(analysis::Analysis::default());
    walker.feed(content);
    let Some(plan) = walker.finish().plan()? else { return Ok(None) };
    let mut walker = walk::Walker::new(write::Writer::new(Arc::new(plan)));
    walker.feed(content);
    Ok(Some(walker.finish().into_octets()))
}
