//! TLS with an upstream: a server that an operator chose, and that is authenticated.
//!
//! In: the authorities and the client certificate of its properties, in PEM. Out: a client that
//! verifies chain and name, or an [`UpstreamTlsError`] as text. Limits: those of a [`KeyPair`] for
//! the client certificate. Security: no certificate is accepted without verification; the name is
//! the one in the property, which no answer of a name server can change. Source: RFC 8446, RFC 9525
//! (names of services in certificates), RFC 8314 (TLS for submission).

use super::{Authorities, KeyPair, PairError, authorities, provider};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;

/// How TLS is used with a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsLevel {
    /// Plain text.
    Plain,
    /// STARTTLS where it is offered, whatever the certificate, with plain text where that fails.
    Opportunistic,
    /// STARTTLS with a verified certificate, or nothing.
    Required,
    /// TLS from the first octet with a verified certificate, or nothing.
    Implicit,
}

/// Why no client can be made for an upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamTlsError {
    /// No certificate in the file of authorities, or one that cannot be used.
    #[error("it holds no certificates of authorities in PEM form")]
    Authorities,
    /// The client certificate and its key.
    #[error("{0}")]
    Certificate(#[from] PairError),
    /// A defect of the build.
    #[error("TLS cannot be set up: {0}")]
    Build(String),
}

impl TlsLevel {
    /// Whether mail goes only over TLS with a verified certificate.
    pub fn verifies(self) -> bool {
        matches!(self, Self::Required | Self::Implicit)
    }

    /// The level as a word, as in the property.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "none",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Implicit => "implicit",
        }
    }
}

/// A client that verifies chain and name: by the authorities in `ca` (PEM), or by those of the
/// public web (Mozilla's list at build time); it shows the certificate of `pair` (key, then chain;
/// PEM) to servers that ask for one.
///
/// # Errors
/// See [`UpstreamTlsError`].
pub fn upstream_client(
    ca: Option<&[u8]>,
    pair: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
    let roots = match ca {
        Some(pem) => own_roots(authorities(pem).ok_or(UpstreamTlsError::Authorities)?),
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| UpstreamTlsError::Build(error.to_string()))?
        .with_root_certificates(roots);
    let config = match pair {
        Some((key, chain)) => {
            let pair = KeyPair::from_pem_of_any_date(key, chain)?;
            config.with_client_cert_resolver(Arc::new(pair.client_resolver()))
        }
        None => config.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn own_roots(own: Authorities) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(own);
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_told() {
        let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
        let (pem, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        assert!(upstream_client(Some(pem.as_bytes()), None).is_ok());
        assert!(upstream_client(None, Some((key.as_bytes(), pem.as_bytes()))).is_ok());
        assert_eq!(
            upstream_client(Some(key.as_bytes()), None).unwrap_err(),
            UpstreamTlsError::Authorities
        );
        let swapped = upstream_client(None, Some((pem.as_bytes(), key.as_bytes())));
        assert_eq!(swapped.unwrap_err(), UpstreamTlsError::Certificate(PairError::Swapped));
    }
}
