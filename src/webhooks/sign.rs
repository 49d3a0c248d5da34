//! Signatures by which a receiver verifies that an event comes from this appliance, unchanged and
//! not replayed.
//!
//! Source: Standard Webhooks, "Signature scheme" (HMAC-SHA256 over `id.timestamp.content`).

use crate::ground::text::ANY_PADDING;
use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine};

/// The prefix of a secret.
const PREFIX: &str = "whsec_";

/// Octets of a key: fewer could be guessed, more add nothing.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// The key shared by appliance and receivers.
pub struct WebhookKey(hmac::Key);

impl WebhookKey {
    /// From `whsec_` and base64; `None` for anything else.
    pub fn new(secret: &str) -> Option<Self> {
        let octets = ANY_PADDING.decode(secret.strip_prefix(PREFIX)?).ok()?;
        LENGTHS.contains(&octets.len()).then(|| Self(hmac::Key::new(hmac::HMAC_SHA256, &octets)))
    }

    /// The value of `webhook-signature`.
    pub(super) fn sign(&self, id: &str, timestamp: u32, content: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{id}.{timestamp}.{content}").as_bytes());
        format!("v1,{}", BASE64_STANDARD.encode(tag.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '%s' 'evt_1.1700000000.{"a":1}' | openssl dgst -sha256 -mac HMAC -macopt
    /// hexkey:… -binary | base64`.
    #[test]
    fn signs_as_openssl_does() {
        let key = WebhookKey::new("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
        assert_eq!(
            key.sign("evt_1", 1_700_000_000, "{\"a\":1}"),
            "v1,hUVxIYXs8Zy9GDiZD1uQbBwXoZGMAB6RVLdZZ3ffmek="
        );
    }

    #[test]
    fn a_key_is_whole() {
        for bad in [
            "",
            "secret",
            "whsec_",
            "whsec_AAAA",
            "whsec_!!!!",
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        ] {
            assert!(WebhookKey::new(bad).is_none(), "{bad}");
        }
    }
}
