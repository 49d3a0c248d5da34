//! The errors of a key and its certificate, as texts for the operator.

use super::date;
use super::pair_limits::{CERTIFICATES_MAX, CHAIN_MAX, KEY_MAX};

/// Why a pair cannot be used. The text is one or two sentences: what is wrong, then what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// No key in the key file.
    #[error(
        "the key file holds no private key; it must be PEM, with a line such as -----BEGIN PRIVATE \
        KEY-----; convert other forms \
         with 'openssl pkey'"
    )]
    NoKey,
    /// A certificate in the key file.
    #[error("the key file holds a certificate and no private key; put the private key there")]
    CertificateInKeyFile,
    /// The two files are swapped.
    #[error("the key file holds the certificate and the certificate file holds the key; swap them")]
    Swapped,
    /// A key with a passphrase, in either of the two forms of PEM.
    #[error(
        "the private key is protected by a passphrase, which cannot be entered here; remove it \
        with: openssl pkey -in \
         protected.key -out server.key"
    )]
    EncryptedKey,
    /// PEM that cannot be decoded.
    #[error("the private key is damaged: {0}; copy the file again")]
    DamagedKey(String),
    /// DSA, an unsupported curve, RSA that is too short or not well-formed.
    #[error(
        "the private key is of a kind that cannot be used here, or damaged; take RSA of 2048 to \
        8192 bits, EC on P-256, P-384 or P-521, \
         or Ed25519"
    )]
    UnsupportedKey,
    /// More than [`KEY_MAX`] octets.
    #[error("the key file has more than {KEY_MAX} octets; it is not a private key alone")]
    KeyTooLarge,
    /// No certificate in the certificate file.
    #[error(
        "the certificate file holds no certificate; it must be PEM, with a line -----BEGIN \
        CERTIFICATE-----; convert other forms with \
         'openssl x509'"
    )]
    NoCertificate,
    /// A key in the certificate file.
    #[error(
        "the certificate file holds a private key and no certificate; put the certificate there"
    )]
    KeyInCertificateFile,
    /// PEM that cannot be decoded, or is not X.509.
    #[error("the certificate is damaged: {0}; copy the file again")]
    DamagedCertificate(String),
    /// More than [`CHAIN_MAX`] octets.
    #[error(
        "the certificate file has more than {CHAIN_MAX} octets; it must hold the server's \
        certificate and its intermediates alone"
    )]
    ChainTooLarge,
    /// More than [`CERTIFICATES_MAX`] certificates.
    #[error(
        "the certificate file holds more than {CERTIFICATES_MAX} certificates; it must hold the \
        server's certificate and its \
         intermediates alone"
    )]
    ChainTooLong,
    /// The key belongs to another certificate of the file; `place` counts from 1.
    #[error(
        "the private key belongs to certificate {place} of the certificate file; put that one first"
    )]
    Order {
        /// The certificate that it belongs to.
        place: usize,
    },
    /// The key belongs to none of the certificates.
    #[error(
        "the private key does not belong to the certificate; take the key that the certificate was \
        requested with: 'openssl pkey -in \
         server.key -pubout' and 'openssl x509 -in server.pem -noout -pubkey' must print the same"
    )]
    Mismatch,
    /// It has expired.
    #[error("the certificate expired at {}; renew it", date(*since))]
    Expired {
        /// Its last second, since 1970.
        since: u64,
    },
    /// It is not valid yet.
    #[error("the certificate is not valid before {}; check the clock of this machine", date(*from))]
    NotYetValid {
        /// Its first second, since 1970.
        from: u64,
    },
}
