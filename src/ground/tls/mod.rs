//! TLS: the provider of its cryptography, and its configurations.
//!
//! Purpose: the only place that chooses rustls' provider (aws-lc-rs) and builds its configurations.
//! Out: [`opportunistic_client`] for deliveries, [`upstream_client`] for those that are verified,
//! [`verifying_client`] for webhooks; [`KeyPair`] and
//! [`CertificatePresenter`] for the server side. Limits: TLS 1.2 and 1.3; rustls keeps at most 256
//! sessions for resumption. Security: see [`opportunistic_client`]. Source: RFC 3207 (STARTTLS),
//! RFC 7435 (opportunistic security).

mod certificate;
mod pair;
mod pair_error;
mod pair_limits;
mod server;
mod upstream;

pub use certificate::PeerCertificate;
pub use pair::KeyPair;
pub use pair_error::PairError;
pub use pair_limits::{CERTIFICATES_MAX, CHAIN_MAX, KEY_MAX};
pub use server::CertificatePresenter;
pub use upstream::{TlsLevel, UpstreamTlsError, upstream_client};

use super::clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;

/// Octets that one TLS session buffers for a peer that does not read (rustls' default is 64 KiB):
/// the longest record.
pub const BUFFER_MAX: usize = 16 * 1024;

/// The provider of all TLS here. Configurations name it explicitly instead of using the
/// process-wide default, so that no other crate can replace it.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// A client that encrypts without authenticating the peer.
///
/// This is opportunistic security by RFC 7435: without DANE or MTA-STS it is not known which
/// certificate a mail server should have, many have one for another name, and the alternative to an
/// unauthenticated session is plain text, which everyone on the path can read. So any certificate
/// is accepted, even one that cannot be parsed. This protects against passive eavesdropping, not
/// against an active attacker (man in the middle); a policy that does needs its own verifier.
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

/// A client that verifies the peer's certificate, with the authorities of the public web (Mozilla's
/// list at build time) and those in `more`.
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

/// The parameters of a finished handshake as text; opportunistic TLS does not check the
/// certificate.
pub fn facts(connection: &rustls::ClientConnection) -> String {
    let version =
        connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
    let suite = connection
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .unwrap_or("an unknown suite");
    format!("{} with {suite}", version.replace('_', "."))
}

/// The server name in the handshake: the host's, or its address if the host's name is not valid in
/// TLS.
pub fn server_name(host: &str, address: IpAddr) -> ServerName<'static> {
    ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::IpAddress(address.into()))
}

/// A time of a certificate, in seconds since 1970. Certificates that never expire are dated to the
/// year 9999; 2106 means the same.
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
