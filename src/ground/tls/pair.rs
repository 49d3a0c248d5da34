//! A private key and its certificate chain: read from PEM and checked.
//!
//! Purpose: finds everything that can be wrong with the two files before they are used, with an
//! error text that says how to correct it. In: the octets of both files. Out: a [`KeyPair`], or a
//! [`PairError`]. Limits: [`KEY_MAX`], [`CHAIN_MAX`], [`CERTIFICATES_MAX`]. Security: the key is
//! kept only in rustls' form; it is in no `Debug` output and in no error text. The input belongs to
//! the caller. Source: RFC 7468 (PEM), RFC 5958 (PKCS#8), RFC 8017 (PKCS#1), RFC 5915 (SEC1), RFC
//! 5280 (X.509), RFC 1421 §4.6 (encrypted PEM).

use super::pair_limits::{CERTIFICATES_MAX, CHAIN_MAX, KEY_MAX};
use super::{PairError, provider};
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use std::fmt;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// Names of a certificate that are kept, for logs.
const NAMES_MAX: usize = 5;

/// A key with its certificate chain, usable by a server.
pub struct KeyPair {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: u64,
    not_after: u64,
}

impl KeyPair {
    /// Reads a key file and a chain file (the server's own certificate first), and checks that the
    /// pair is valid at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// See [`PairError`].
    pub fn from_pem(key: &[u8], chain: &[u8], now: u32) -> Result<Self, PairError> {
        let pair = Self::from_pem_of_any_date(key, chain)?;
        pair.check_dates(now)?;
        Ok(pair)
    }

    /// The same without a check of the dates: a relay with an expired certificate is better than no
    /// relay.
    ///
    /// # Errors
    /// See [`PairError`].
    pub fn from_pem_of_any_date(key: &[u8], chain: &[u8]) -> Result<Self, PairError> {
        if key.len() > KEY_MAX {
            return Err(PairError::KeyTooLarge);
        }
        if chain.len() > CHAIN_MAX {
            return Err(PairError::ChainTooLarge);
        }
        if !has_key(key) && has_certificate(key) && has_key(chain) && !has_certificate(chain) {
            return Err(PairError::Swapped);
        }
        let key = read_key(key)?;
        let chain = read_chain(chain)?;
        let signing =
            provider().key_provider.load_private_key(key).map_err(|_| PairError::UnsupportedKey)?;
        let (own, rest) = chain.split_first().ok_or(PairError::NoCertificate)?;
        let parsed = parse(own)?;
        if !belongs(&parsed, signing.as_ref()) {
            let place = rest.iter().position(|other| {
                parse(other).is_ok_and(|other| belongs(&other, signing.as_ref()))
            });
            return Err(
                place.map_or(PairError::Mismatch, |place| PairError::Order { place: place + 2 })
            );
        }
        let validity = parsed.validity();
        let seconds =
            |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let (not_before, not_after) = (seconds(validity.not_before), seconds(validity.not_after));
        let names = names(&parsed);
        Ok(Self {
            certified: Arc::new(CertifiedKey::new(chain, signing)),
            names,
            not_before,
            not_after,
        })
    }

    /// # Errors
    /// [`PairError::Expired`], [`PairError::NotYetValid`] at `now`, in seconds since 1970.
    pub fn check_dates(&self, now: u32) -> Result<(), PairError> {
        if u64::from(now) > self.not_after {
            return Err(PairError::Expired { since: self.not_after });
        }
        if u64::from(now) < self.not_before {
            return Err(PairError::NotYetValid { from: self.not_before });
        }
        Ok(())
    }

    /// The last second of validity, since 1970.
    pub fn not_after(&self) -> u64 {
        self.not_after
    }

    /// The first few names of the certificate: DNS names and addresses, or the common name if there
    /// are none.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The same pair for a client: shown to every server that asks for a certificate.
    pub(super) fn client_resolver(&self) -> SingleCertAndKey {
        SingleCertAndKey::from(self.certified())
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        self.certified.clone()
    }
}

/// Two pairs are equal when their chains are: the key belongs to the first certificate of each.
impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

/// For logs: names and the end of validity.
impl fmt::Display for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            if self.names.is_empty() { "no name".to_owned() } else { self.names.join(", ") };
        write!(f, "certificate for {names}, valid until {}", super::date(self.not_after))
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({self})")
    }
}

fn read_key(file: &[u8]) -> Result<PrivateKeyDer<'static>, PairError> {
    if is_encrypted(file) {
        return Err(PairError::EncryptedKey);
    }
    match PrivateKeyDer::from_pem_slice(file) {
        Ok(key) => Ok(key),
        Err(PemError::NoItemsFound) if has_key(file) => Err(PairError::UnsupportedKey),
        Err(PemError::NoItemsFound) if has_certificate(file) => {
            Err(PairError::CertificateInKeyFile)
        }
        Err(PemError::NoItemsFound) => Err(PairError::NoKey),
        Err(error) => Err(PairError::DamagedKey(words(&error))),
    }
}

fn read_chain(file: &[u8]) -> Result<Vec<CertificateDer<'static>>, PairError> {
    let mut chain = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(file) {
        if chain.len() == CERTIFICATES_MAX {
            return Err(PairError::ChainTooLong);
        }
        chain.push(certificate.map_err(|error| PairError::DamagedCertificate(words(&error)))?);
    }
    match chain.is_empty() {
        false => Ok(chain),
        true if has_key(file) => Err(PairError::KeyInCertificateFile),
        true => Err(PairError::NoCertificate),
    }
}

fn parse<'a>(certificate: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, PairError> {
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(PairError::DamagedCertificate(
            "it is not X.509 in DER form under its base64".to_owned(),
        )),
    }
}

/// Whether the certificate belongs to this key: same algorithm, same public key. Other data
/// (parameters that some programs omit) do not count.
fn belongs(certificate: &X509Certificate<'_>, key: &dyn SigningKey) -> bool {
    let Some(public) = key.public_key() else { return false };
    SubjectPublicKeyInfo::from_der(&public).is_ok_and(|(_, own)| {
        let shown = certificate.public_key();
        own.algorithm.algorithm == shown.algorithm.algorithm
            && own.subject_public_key == shown.subject_public_key
    })
}

pub(super) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let listed = alternative.iter().flat_map(|extension| &extension.value.general_names);
    let mut names: Vec<String> = listed.filter_map(name).take(NAMES_MAX).collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names = common.take(NAMES_MAX).map(shown).collect();
    }
    names
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(shown(name)),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets)
                .ok()
                .map(|octets| std::net::Ipv4Addr::from(octets).to_string()),
            _ => <[u8; 16]>::try_from(*octets)
                .ok()
                .map(|octets| std::net::Ipv6Addr::from(octets).to_string()),
        },
        _ => None,
    }
}

/// A name in a form for a log line.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(255).flat_map(char::escape_debug).collect()
}

/// Both forms that openssl writes: a PKCS#8 section of its own name, and the old header of RFC
/// 1421.
fn is_encrypted(file: &[u8]) -> bool {
    contains(file, b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || (contains(file, b"Proc-Type:") && contains(file, b"4,ENCRYPTED"))
}

/// Any kind of private key, supported or not.
fn has_key(file: &[u8]) -> bool {
    contains(file, b"PRIVATE KEY-----")
}

fn has_certificate(file: &[u8]) -> bool {
    contains(file, b"-----BEGIN CERTIFICATE-----")
}

fn contains(file: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(file, text).is_some()
}

/// What is wrong with PEM, without any of its content.
fn words(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { .. } => "its END line is missing; was it copied whole?",
        PemError::IllegalSectionStart { .. } => "a BEGIN line does not end in five hyphens",
        PemError::Base64Decode(_) => "between BEGIN and END stands something that is not base64",
        _ => "it cannot be read as PEM",
    }
    .to_owned()
}
