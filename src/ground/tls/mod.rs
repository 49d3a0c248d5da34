//! TLS: the one provider of its cryptography, and what is asked of a peer.
//!
//! Purpose: the only place that chooses rustls' provider (aws-lc-rs) and builds its configurations.
//! Out: [`opportunistic_client`] for deliveries, [`verifying_client`] for events; [`KeyPair`] and
//! [`Presenter`] for the server side.
//! Limits: TLS 1.2 and 1.3; rustls keeps at most 256 sessions for resumption.
//! Security: see [`opportunistic_client`].
//! Source: RFC 3207 (STARTTLS), RFC 7435 (opportunistic security).

mod pair;
mod pair_error;
mod pair_limits;
mod server;

pub use pair::KeyPair;
pub use pair_error::PairError;
pub use pair_limits::{CERTIFICATES_MAX, CHAIN_MAX, KEY_MAX};
pub use server::Presenter;

use super::clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;

/// Octets that one session of TLS keeps for a peer that does not read (rustls would keep 64 KiB):
/// the longest record.
pub const BUFFER_MAX: usize = 16 * 1024;

/// The provider of all TLS here. Configurations take it by name instead of the process-wide
/// default, so that no other crate can put another one in its place.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that encrypts with whoever answers, without asking who it is.
///
/// This is what RFC 7435 calls opportunistic: without DANE or MTA-STS nothing says which
/// certificate a mail server ought to have, most have one for another name, and the alternative to
/// an unauthenticated session is plain text, which any passer-by can read. So a certificate is
/// taken as it comes, even one that cannot be parsed. It helps against listeners, not against
/// somebody who sits on the line and answers himself; a policy that does will bring its own
/// verifier.
///
/// # Errors
/// The provider has no cipher suite for TLS 1.2 or 1.3: a defect of the build.
pub fn opportunistic_client() -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate { schemes }))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Certificates of authorities.
pub type Authorities = Vec<CertificateDer<'static>>;

/// A client that speaks only with who proves to be the one it asked for: to an authority of the
/// public web (Mozilla's list, as it was when this program was built), or to one of `more`.
///
/// # Errors
/// As [`opportunistic_client`].
pub fn verifying_client(more: Authorities) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    roots.add_parsable_certificates(more);
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The certificates of authorities in a PEM text; `None` when it has none, or one that cannot be
/// used.
pub fn authorities(pem: &[u8]) -> Option<Authorities> {
    let certificates: Authorities =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().ok()?;
    let mut roots = RootCertStore::empty();
    let usable = certificates.iter().all(|certificate| roots.add(certificate.clone()).is_ok());
    (usable && !certificates.is_empty()).then_some(certificates)
}

/// What a finished handshake agreed on, for people; a certificate is not checked by opportunistic
/// TLS.
pub fn facts(connection: &rustls::ClientConnection) -> String {
    let version =
        connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let suite = connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or("an unknown suite");
    format!("{} with {suite}", version.replace('_', "."))
}

/// The name that the handshake asks for: the host's, or its address where the host has no name that
/// TLS could carry.
pub fn server_name(host: &str, address: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::IpAddress(address.into()))
}

/// A moment of a certificate, in seconds since 1970. Certificates that never end are dated to the
/// year 9999; 2106 says as much.
fn date(seconds: u64) -> String {
    clock::rfc3339(u32::try_from(seconds).unwrap_or(u32::MAX))
}

#[derive(Debug)]
struct AcceptAnyCertificate {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_falls_back_to_the_address() {
        let address = IpAddr::from([192, 0, 2, 1]);
        assert!(matches!(server_name("mx1.example", address), ServerName::DnsName(_)));
        assert_eq!(server_name("192.0.2.1", address), ServerName::IpAddress(address.into()));
        assert_eq!(server_name("no name", address), ServerName::IpAddress(address.into()));
    }

    #[test]
    fn the_client_can_be_built() {
        assert!(opportunistic_client().is_ok());
    }
}
