//! 8-bit content for a next hop without 8BITMIME (RFC 6152 §3).
//!
//! Purpose: leaf parts with octets above 127 become quoted-printable (text that is mostly ASCII) or
//! base64 (all others, RFC 2045 §6); the labels of enclosing parts become `7bit`. Decoded, every
//! part is unchanged. Left as they are, octet by octet: header fields with raw 8-bit octets (there
//! is no encoding for them that does not change their meaning); parts with an unknown encoding;
//! base64 with invalid octets; delivery status and the like, which must not be encoded (RFC 3464
//! §2.1). Postfix leaves all of these too. Refused: 8-bit octets in the signed part of
//! `multipart/signed`, since the signature covers the encoded form (RFC 1847 §2.1);
//! `message/partial` (RFC 2046 §5.2.2.1). A DKIM signature of the body becomes invalid; in Postfix,
//! too. Content without a Content-Type gets `text/plain; charset=unknown-8bit` (RFC 1428 §3), and
//! MIME-Version where it is missing. Parts that are encoded have no line of more than [`LINE_SENT`]
//! octets; a part in 7 bits with lines beyond [`LINE_LONGEST`] is encoded, too. Steps: one pass
//! over the content decides for every part ([`analysis`]), the next one writes ([`part_writer`]);
//! stored content is written piece by piece while it is sent. Limits: [`PARTS_MAX`] parts,
//! [`DEPTH_MAX`] levels, [`LINE_MAX`] octets of a line and [`FIELD_MAX`] of a field in memory.
//! Security: content is untrusted. A line break that encoding adds never makes a line that looks
//! like a boundary.

mod analysis;
mod encode;
mod encoded_content;
mod limits;
mod lines;
mod mime_fields;
mod mime_walker;
mod part_writer;
mod refusal;

#[cfg(test)]
mod tests;

use crate::mail::model::Body;
pub use limits::{DEPTH_MAX, FIELD_MAX, LINE_LONGEST, LINE_MAX, LINE_SENT, PARTS_MAX};
pub use refusal::EncodingRefusal;
use std::io;
use std::sync::Arc;

/// Why a message cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum EncodingError {
    /// It must not be changed, or exceeds a limit: it can be sent only to a next hop with 8BITMIME.
    #[error("{0}")]
    Refused(EncodingRefusal),
    /// The content could not be read.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
}

/// The same content in 7 bits; `None` when no part has to change. Stored content is read twice,
/// which blocks.
///
/// # Errors
/// See [`EncodingError`].
pub fn convert(body: &Body) -> Result<Option<Body>, EncodingError> {
    match body {
        Body::Memory(bytes) => Ok(convert_bytes(bytes)
            .map_err(EncodingError::Refused)?
            .map(|bytes| Body::Memory(bytes.into()))),
        Body::Stored(content, len) => {
            let mut walker = mime_walker::Walker::new(analysis::Analysis::default());
            encoded_content::read_all(content.as_ref(), *len, |piece| walker.feed(piece))?;
            let Some(plan) = walker.finish().plan().map_err(EncodingError::Refused)? else {
                return Ok(None);
            };
            let view = encoded_content::View::new(content.clone(), *len, Arc::new(plan))?;
            let len = view.len();
            Ok(Some(Body::Stored(Arc::new(view), len)))
        }
    }
}

/// [`convert`] for content in memory.
///
/// # Errors
/// See [`EncodingRefusal`].
pub fn convert_bytes(content: &[u8]) -> Result<Option<Vec<u8>>, EncodingRefusal> {
    let mut walker = mime_walker::Walker::new(analysis::Analysis::default());
    walker.feed(content);
    let Some(plan) = walker.finish().plan()? else { return Ok(None) };
    let mut walker = mime_walker::Walker::new(part_writer::PartWriter::new(Arc::new(plan)));
    walker.feed(content);
    Ok(Some(walker.finish().into_octets()))
}
