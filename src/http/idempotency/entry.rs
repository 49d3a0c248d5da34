//! The stored data of a key and its mail.

use crate::mail::model::MessageId;
use aws_lc_rs::digest;

/// Keys that are known at the same time; the oldest is forgotten first.
pub(super) const KEYS_MAX: usize = 10_000;

/// Identifies a content, or a whole request: its SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(pub(super) [u8; digest::SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// Of a content that has been read.
    pub(crate) fn of(context: &digest::Context) -> Self {
        Self::from(context.clone().finish())
    }

    /// Of a text.
    pub fn of_text(text: &str) -> Self {
        Self::from(digest::digest(&digest::SHA256, text.as_bytes()))
    }

    /// Combined with other data that must be equal.
    pub(crate) fn with(&self, text: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.0);
        context.update(text.as_bytes());
        Self::from(context.finish())
    }

    fn from(digest: digest::Digest) -> Self {
        let mut octets = [0; digest::SHA256_OUTPUT_LEN];
        octets.copy_from_slice(digest.as_ref());
        Self(octets)
    }
}

/// A key, and the mail that was sent with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IdempotencyEntry {
    /// Seconds since 1970.
    pub since: u32,
    /// The hash of the key.
    pub key: Fingerprint,
    /// The hash of the mail.
    pub print: Fingerprint,
    /// Its queue id.
    pub id: MessageId,
}
