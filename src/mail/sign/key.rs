//! Private keys, and the records of their public halves.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use std::fmt;

/// Octets of a key file, at most.
pub const KEY_FILE_MAX: usize = 16 * 1024;

/// Bits of an RSA key, at most: every verifier takes 2048 (RFC 8301 §3.2), many no more than 4096.
const RSA_MAX: usize = 4096;

/// Digits of base 64 in a line of a PEM file.
const PEM_LINE: usize = 64;

/// The algorithm of a signature (RFC 6376 §3.3, RFC 8463 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// `rsa-sha256`.
    Rsa,
    /// `ed25519-sha256`.
    Ed25519,
}

impl Algorithm {
    /// The value of tag `a=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "rsa-sha256",
            Self::Ed25519 => "ed25519-sha256",
        }
    }

    /// The value of tag `k=` in the record of the key.
    pub fn key_type(self) -> &'static str {
        match self {
            Self::Rsa => "rsa",
            Self::Ed25519 => "ed25519",
        }
    }
}

/// Why a file cannot be used as a key. The text contains nothing of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Too large.
    #[error("it has more than {KEY_FILE_MAX} octets and is no key")]
    TooLarge,
    /// Not PEM, or nothing in it.
    #[error("there is no private key in it; PEM is expected (-----BEGIN PRIVATE KEY-----)")]
    NoKey,
    /// It needs a password.
    #[error("the key is encrypted; remove its password, with 'openssl pkey -in OLD -out NEW'")]
    Encrypted,
    /// A key of another kind, or a damaged one.
    #[error(
        "the key is damaged, or is neither an Ed25519 key nor an RSA key of 2048 to {RSA_MAX} bits"
    )]
    Unusable,
}

/// A private key.
pub struct SigningKey {
    pair: Pair,
    record: String,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads a key file: PEM with PKCS #8, or PKCS #1 for RSA.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn from_pem(file: &[u8]) -> Result<Self, KeyFileError> {
        if file.len() > KEY_FILE_MAX {
            return Err(KeyFileError::TooLarge);
        }
        if memchr::memmem::find(file, b"ENCRYPTED").is_some() {
            return Err(KeyFileError::Encrypted);
        }
        let unusable = |_| KeyFileError::Unusable;
        let pair = match PrivateKeyDer::from_pem_slice(file) {
            Ok(PrivateKeyDer::Pkcs1(key)) => {
                Pair::Rsa(RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(unusable)?)
            }
            Ok(PrivateKeyDer::Pkcs8(key)) => {
                let der = key.secret_pkcs8_der();
                match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
                    Ok(pair) => Pair::Ed25519(pair),
                    Err(_) => Pair::Rsa(RsaKeyPair::from_pkcs8(der).map_err(unusable)?),
                }
            }
            Ok(_) => return Err(KeyFileError::Unusable),
            Err(PemError::NoItemsFound) => return Err(KeyFileError::NoKey),
            Err(_) => return Err(KeyFileError::Unusable),
        };
        let public = match &pair {
            Pair::Ed25519(pair) => STANDARD.encode(pair.public_key().as_ref()),
            Pair::Rsa(pair) => {
                if pair.public_modulus_len() * 8 > RSA_MAX {
                    return Err(KeyFileError::Unusable);
                }
                let der: PublicKeyX509Der<'_> =
                    pair.public_key().as_der().map_err(|_| KeyFileError::Unusable)?;
                STANDARD.encode(der.as_ref())
            }
        };
        let mut key = Self { pair, record: String::new() };
        key.record = format!("v=DKIM1; k={}; p={public}", key.algorithm().key_type());
        Ok(key)
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self.pair {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// The value of the TXT record of its public half (RFC 6376 §3.6.1).
    pub fn record(&self) -> &str {
        &self.record
    }

    /// The signature of data; `None`: the library cannot make it.
    pub(super) fn sign(&self, data: &[u8]) -> Option<Vec<u8>> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let random = SystemRandom::new();
                pair.sign(&RSA_PKCS1_SHA256, &random, data, &mut signature).ok()?;
                Some(signature)
            }
            // The hash is what is signed (RFC 8463 §3).
            Pair::Ed25519(pair) => {
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, data);
                Some(pair.sign(hash.as_ref()).as_ref().to_vec())
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("record", &self.record).finish_non_exhaustive()
    }
}

/// A new private key as the text of a PEM file: RSA of 2048 bits, or Ed25519; `None`: the library
/// cannot make one. RSA takes a part of a second.
pub fn generate(algorithm: Algorithm) -> Option<String> {
    let der = match algorithm {
        Algorithm::Rsa => {
            let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
            let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
            der.as_ref().to_vec()
        }
        Algorithm::Ed25519 => {
            let pair = Ed25519KeyPair::generate().ok()?;
            let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
            der.as_ref().to_vec()
        }
    };
    let digits = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = &digits[..];
    while !rest.is_empty() {
        let (line, later) = rest.split_at(rest.len().min(PEM_LINE));
        pem.push_str(line);
        pem.push('\n');
        rest = later;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Some(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_made_is_read_and_tells_nothing() {
        for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
            let pem = generate(algorithm).unwrap();
            let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            let start = format!("v=DKIM1; k={}; p=", algorithm.key_type());
            assert!(key.record().starts_with(&start), "{}", key.record());
            let secret = pem.lines().nth(1).unwrap();
            assert!(!format!("{key:?}").contains(&secret[..16]));
        }
    }

    /// As in RFC 8463, appendix A.2: the seed and the public key.
    #[test]
    fn the_record_of_the_example_key() {
        let seed = STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
        let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let der = STANDARD.encode([&head[..], &seed].concat());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        let key = SigningKey::from_pem(pem.as_bytes()).unwrap();
        assert_eq!(
            key.record(),
            "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
        );
    }

    #[test]
    fn what_is_no_key_is_told() {
        let read = |text: &str| SigningKey::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(read(""), KeyFileError::NoKey);
        assert_eq!(read("secret"), KeyFileError::NoKey);
        assert_eq!(read(&"x".repeat(KEY_FILE_MAX + 1)), KeyFileError::TooLarge);
        let framed = |kind: &str, text: &str| {
            format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
        };
        assert_eq!(read(&framed("ENCRYPTED PRIVATE KEY", "AAAA")), KeyFileError::Encrypted);
        assert_eq!(read(&framed("PRIVATE KEY", "AAAA")), KeyFileError::Unusable);
        assert_eq!(read(&framed("EC PRIVATE KEY", "AAAA")), KeyFileError::Unusable);
        assert_eq!(read(&framed("RSA PRIVATE KEY", "AAAA")), KeyFileError::Unusable);
        assert_eq!(read(&framed("PRIVATE KEY", "!!!")), KeyFileError::Unusable);
    }
}
