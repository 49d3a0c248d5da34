//! The arithmetic of SCRAM (RFC 5802 §3), and the keys that a server keeps of a password.

use super::encoding::{decode, encode};
use super::failure::SaslFailure;
use super::mechanism::SaslMechanism;
use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;

/// Iterations of a password's hash, at least (RFC 7677 §4).
pub const ITERATIONS_MIN: u32 = 4096;

/// The same, at most: about a third of a second.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// Octets of a salt, at most.
const SALT_MAX: usize = 256;

/// The hash function of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScramHash {
    /// SCRAM-SHA-1.
    Sha1,
    /// SCRAM-SHA-256.
    Sha256,
}

/// What a server keeps of a password: with it a client can be checked, and not impersonated before
/// a login was seen. The keys are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    hash: ScramHash,
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

impl ScramHash {
    /// The mechanism with this hash function.
    pub fn mechanism(self) -> SaslMechanism {
        match self {
            Self::Sha1 => SaslMechanism::ScramSha1,
            Self::Sha256 => SaslMechanism::ScramSha256,
        }
    }

    pub(super) fn digest(self, octets: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, octets).as_ref().to_vec()
    }

    pub(super) fn hmac(self, key: &[u8], octets: &[u8]) -> Vec<u8> {
        hmac::sign(&self.key(key), octets).as_ref().to_vec()
    }

    /// Whether this is the HMAC of these octets; in constant time.
    pub(super) fn verify(self, key: &[u8], octets: &[u8], given: &[u8]) -> bool {
        hmac::verify(&self.key(key), octets, given).is_ok()
    }

    fn key(self, key: &[u8]) -> hmac::Key {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        hmac::Key::new(algorithm, key)
    }

    /// `SaltedPassword` (RFC 5802 §3): takes as long as there are iterations.
    pub(super) fn salted_password(self, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, digest::SHA1_OUTPUT_LEN),
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
        };
        let mut salted = vec![0; length];
        let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        pbkdf2::derive(algorithm, iterations, salt, prepared(password).as_bytes(), &mut salted);
        salted
    }

    pub(super) fn client_key(self, salted_password: &[u8]) -> Vec<u8> {
        self.hmac(salted_password, b"Client Key")
    }

    pub(super) fn server_key(self, salted_password: &[u8]) -> Vec<u8> {
        self.hmac(salted_password, b"Server Key")
    }
}

impl ScramKeys {
    /// The keys of a password. Takes milliseconds, or as long as there are iterations.
    pub fn derive(hash: ScramHash, password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted_password(password, salt, iterations);
        Self {
            hash,
            iterations,
            salt: salt.to_vec(),
            stored_key: hash.digest(&hash.client_key(&salted)),
            server_key: hash.server_key(&salted),
        }
    }

    /// The form in which Dovecot keeps them, behind its `{SCRAM-SHA-256}`:
    /// `iterations,salt,StoredKey,ServerKey`, all but the first in base 64.
    ///
    /// # Errors
    /// What is wrong with it, as text that does not contain it.
    pub fn parse(hash: ScramHash, text: &str) -> Result<Self, &'static str> {
        let mut parts = text.split(',');
        let iterations = parts.next().and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut octets = || parts.next().and_then(|part| decode(part.as_bytes()).ok());
        let (salt, stored_key, server_key) = (octets(), octets(), octets());
        let (Some(salt), Some(stored_key), Some(server_key), None) =
            (salt, stored_key, server_key, parts.next())
        else {
            return Err(
                "is not iterations,salt,StoredKey,ServerKey with the last three in base 64",
            );
        };
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err("has fewer than 4096 or more than 1000000 iterations");
        }
        let length = hash.digest(b"").len();
        if salt.is_empty() || salt.len() > SALT_MAX {
            return Err("has no salt, or a very long one");
        }
        if stored_key.len() != length || server_key.len() != length {
            return Err("has keys of another length than its hash function's");
        }
        Ok(Self { hash, iterations, salt, stored_key, server_key })
    }

    /// The hash function.
    pub fn hash(&self) -> ScramHash {
        self.hash
    }

    /// The iterations.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Octets of the salt.
    pub fn salt_length(&self) -> usize {
        self.salt.len()
    }

    /// Whether a password has these keys. Takes as long as there are iterations.
    pub fn fits(&self, password: &str) -> bool {
        let other = Self::derive(self.hash, password, &self.salt, self.iterations);
        constant_time::verify_slices_are_equal(&other.stored_key, &self.stored_key).is_ok()
    }

    /// Salt and iterations, as the server's first message has them.
    pub(super) fn announced(&self) -> String {
        format!("s={},i={}", encode(&self.salt), self.iterations)
    }

    /// The server's signature, when the client's proof is right (RFC 5802 §3).
    pub(super) fn verify(&self, auth_message: &str, proof: &[u8]) -> Result<Vec<u8>, SaslFailure> {
        let message = auth_message.as_bytes();
        let signature = self.hash.hmac(&self.stored_key, message);
        if proof.len() != signature.len() {
            return Err(SaslFailure::Wrong);
        }
        let digest_of_key = self.hash.digest(&xor(proof, &signature));
        constant_time::verify_slices_are_equal(&digest_of_key, &self.stored_key)
            .map_err(|_| SaslFailure::Wrong)?;
        Ok(self.hash.hmac(&self.server_key, message))
    }
}

impl fmt::Display for ScramKeys {
    /// As [`ScramKeys::parse`] reads it. Whoever has it can play the server: it is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored, server) = (&self.salt, &self.stored_key, &self.server_key);
        write!(f, "{},{},{},{}", self.iterations, encode(salt), encode(stored), encode(server))
    }
}

/// SASLprep (RFC 4013); a text that it forbids is taken as it is, as most servers do.
pub(super) fn prepared(text: &str) -> Cow<'_, str> {
    stringprep::saslprep(text).unwrap_or(Cow::Borrowed(text))
}

/// Both must have the same length.
pub(super) fn xor(left: &[u8], right: &[u8]) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| left ^ right).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by Dovecot: `doveadm pw -s SCRAM-SHA-256 -p pencil`.
    const OF_DOVECOT: &str = "4096,W22ZaJ0SNY7soEsUEjb6gQ==,\
        WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

    #[test]
    fn keys_of_other_programs_fit_their_password() {
        let keys = ScramKeys::parse(ScramHash::Sha256, OF_DOVECOT).unwrap();
        assert!(keys.fits("pencil") && !keys.fits("pencils") && !keys.fits(""));
        assert_eq!(keys.announced(), "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
        for bad in ["", "4096", "1,YQ==,YQ==,YQ==", "4096,YQ==,YQ==,YQ==", "4096,YQ==,,"] {
            assert!(ScramKeys::parse(ScramHash::Sha256, bad).is_err(), "{bad}");
        }
        for (from, to) in [("4096,", "4095,"), ("4096,", "1000001,"), ("4096,W", "4096,!")] {
            assert!(ScramKeys::parse(ScramHash::Sha256, &OF_DOVECOT.replace(from, to)).is_err());
        }
        assert!(ScramKeys::parse(ScramHash::Sha1, OF_DOVECOT).is_err(), "keys of another length");
    }

    /// RFC 4013 §3.
    #[test]
    fn passwords_are_prepared() {
        assert_eq!(prepared("I\u{ad}X"), "IX");
        assert_eq!(prepared("\u{aa}"), "a");
        assert_eq!(prepared("\u{2168}"), "IX");
        assert_eq!(prepared("\u{7}"), "\u{7}", "what is forbidden stays");
    }
}
