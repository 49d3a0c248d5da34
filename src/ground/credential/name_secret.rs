//! Values for names that look random and stay the same: the salt of a user that does not exist.
//!
//! In: a name. Out: octets or a number, always the same ones for this name and this secret. Limits:
//! none; the caller says how many octets. Security: without the secret nobody can tell such a value
//! from a random one (HMAC, RFC 2104); with it everybody can, so it is kept as carefully as hashes
//! of passwords are. A secret that changes with each start would show which values are invented.

use super::verifier::fresh_octets;
use aws_lc_rs::hmac;

/// Octets of the secret.
pub const LENGTH: usize = 32;

/// The secret.
#[derive(Clone)]
pub struct NameSecret(hmac::Key);

impl NameSecret {
    /// One that was made before.
    pub fn new(octets: &[u8; LENGTH]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets))
    }

    /// Octets for a new one.
    pub fn fresh() -> [u8; LENGTH] {
        fresh_octets()
    }

    /// A number for a name. Values of different purposes have nothing to do with each other.
    pub fn number(&self, purpose: &str, name: &str) -> u64 {
        let tag = self.tag(purpose, 0, name);
        tag.as_ref().iter().take(8).fold(0, |sum, octet| sum << 8 | u64::from(*octet))
    }

    /// So many octets for a name.
    pub fn octets(&self, purpose: &str, name: &str, length: usize) -> Vec<u8> {
        let mut octets = Vec::with_capacity(length);
        let mut block = 0;
        while octets.len() < length {
            let tag = self.tag(purpose, block, name);
            octets.extend(tag.as_ref().iter().take(length - octets.len()));
            block += 1;
        }
        octets
    }

    fn tag(&self, purpose: &str, block: u32, name: &str) -> hmac::Tag {
        hmac::sign(&self.0, format!("{purpose}\0{block}\0{name}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_the_same_values_as_long_as_the_secret_is_the_same() {
        let octets = NameSecret::fresh();
        let (one, same, other) =
            (NameSecret::new(&octets), NameSecret::new(&octets), NameSecret::new(&[7; LENGTH]));
        for length in [0, 1, 16, 32, 33, 256] {
            let salt = one.octets("salt", "anna", length);
            assert_eq!((salt.len(), &salt), (length, &same.octets("salt", "anna", length)));
        }
        assert_eq!(one.number("user", "anna"), same.number("user", "anna"));
        assert_ne!(one.octets("salt", "anna", 16), one.octets("salt", "ben", 16));
        assert_ne!(one.octets("salt", "anna", 16), one.octets("user", "anna", 16));
        assert_ne!(one.octets("salt", "anna", 16), other.octets("salt", "anna", 16));
        let long = one.octets("salt", "anna", 64);
        assert_ne!(long[..32], long[32..]);
    }
}
