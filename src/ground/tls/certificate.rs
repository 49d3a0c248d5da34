//! The certificate that a server has shown, for people.
//!
//! In: a finished handshake. Out: names, issuer and dates. Limits: as [`KeyPair`](super::KeyPair)
//! shows names. Security: all of it is untrusted text unless the handshake has verified the
//! certificate; control characters are escaped. Source: RFC 5280.

use super::date;
use super::pair::{names, shown};
use rustls::ClientConnection;
use std::fmt;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Characters of the issuer that are kept.
const ISSUER_MAX: usize = 200;

/// What a server's own certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate {
    /// Its first few names.
    pub names: Vec<String>,
    /// Who issued it: the distinguished name as text.
    pub issuer: String,
    /// The first second of its validity, since 1970.
    pub not_before: u64,
    /// The last second of its validity, since 1970.
    pub not_after: u64,
}

impl PeerCertificate {
    /// The first certificate that the peer has shown; `None` where it is not X.509.
    pub fn of(connection: &ClientConnection) -> Option<Self> {
        let own = connection.peer_certificates()?.first()?;
        let (_, parsed) = X509Certificate::from_der(own).ok()?;
        let seconds =
            |time: x509_parser::time::ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        let issuer: String = parsed.issuer().to_string().chars().take(ISSUER_MAX).collect();
        Some(Self {
            names: names(&parsed),
            issuer: shown(&issuer),
            not_before: seconds(parsed.validity().not_before),
            not_after: seconds(parsed.validity().not_after),
        })
    }
}

impl fmt::Display for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names =
            if self.names.is_empty() { "no name".to_owned() } else { self.names.join(", ") };
        let (from, until) = (date(self.not_before), date(self.not_after));
        let issuer = &self.issuer;
        write!(f, "certificate for {names}, issued by {issuer}, valid from {from} until {until}")
    }
}
