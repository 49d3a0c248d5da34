//! Why a message must not be converted.

#[cfg(doc)]
use super::limits::{DEPTH_MAX, PARTS_MAX};

/// Why a message must not be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingRefusal {
    /// 8-bit octets in a signed part.
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
