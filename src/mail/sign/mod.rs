//! DKIM signatures of outgoing mail.
//!
//! Purpose: a next hop can verify that a message comes from the domain of its From field. In: the
//! content as the next hop gets it, in pieces, and the private keys of the domain. Out: a prefix
//! for the content: one `DKIM-Signature` field for each key. Pure: no file, no clock, no state.
//!
//! Relaxed canonicalisation of header section and body, no `l=`, no `i=`: `d=` is the domain of the
//! From field or a parent of it, so that it is aligned (RFC 7489 §3.1.1). Fields of
//! [`OVERSIGNED`] are named once more than they occur, so that nobody can add one.
//!
//! Limits: the content is read once and not kept; of the header section only the fields that are
//! signed are kept, at most [`FIELDS_MAX`] octets. Security: the content is hostile. Private keys
//! are in no error, no log and no `Debug` output. Source: RFC 6376; RFC 8301 (key sizes, no
//! SHA-1); RFC 8463 (Ed25519).

mod author;
mod canonical;
mod content_digest;
pub mod counters;
mod existing;
mod header_scan;
mod key;
mod key_ring;
mod rotation;
mod signature;
mod signing_domain;

pub use author::author_domain;
pub use canonical::{BodyHash, relaxed_field};
pub use content_digest::{ContentDigest, DigestedContent, HeaderSummary};
pub use header_scan::{FIELDS_MAX, HeaderScan, OVERSIGNED, SIGNED};
pub use key::{Algorithm, KEY_FILE_MAX, KeyFileError, SigningKey, generate};
pub use key_ring::{
    DomainKeys, KeyRing, Lookup, SelectorFile, active_rotation, now_signing, signing_domains,
};
pub use rotation::{RECORD_STAYS, RETIRED_MAX, Rotation, Rotations, STATE_MAX};
pub use signature::{SignatureError, signature_fields};
pub use signing_domain::{SigningDomain, is_selector};
