//! The server side of TLS: the certificate in use, and its renewal at run time.
//!
//! Purpose: one place that has the pair in use. In: a [`KeyPair`], and newer ones. Out: rustls'
//! configuration for the next handshake; sessions that are open keep the one they began with.
//! Limits: TLS 1.2 and 1.3; no client certificates; no 0-RTT. At most [`RESUMABLE_MAX`] sessions
//! are remembered for resumption. Security: every pair has its own cache for resumption, so that
//! after a renewal no session of the former certificate is resumed: every new connection uses the
//! new one. Source: RFC 8446, RFC 5246, RFC 9325 (recommendations for TLS).

use super::{KeyPair, provider};
use crate::ground::lock::Lock;
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};
use std::sync::Arc;

/// Sessions that a client can resume; each takes about 1.5 kB, the oldest are removed first.
const RESUMABLE_MAX: usize = 256;

/// The certificate in use, which can be replaced at any time.
#[derive(Debug)]
pub struct CertificatePresenter {
    shown: Lock<Shown>,
}

#[derive(Debug, Clone)]
struct Shown {
    pair: Arc<KeyPair>,
    config: Arc<ServerConfig>,
}

impl CertificatePresenter {
    /// Uses this pair.
    ///
    /// # Errors
    /// The provider has no cipher suite for TLS 1.2 or 1.3: a defect of the build.
    pub fn new(pair: KeyPair) -> Result<Self, Error> {
        Ok(Self { shown: Lock::leaf(Shown::new(pair)?) })
    }

    /// Uses another pair from the next handshake on.
    ///
    /// # Errors
    /// As [`CertificatePresenter::new`]; the former pair stays.
    pub fn replace(&self, pair: KeyPair) -> Result<(), Error> {
        let next = Shown::new(pair)?;
        *self.shown.lock() = next;
        Ok(())
    }

    /// For one handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.now().config
    }

    /// The pair in use.
    pub fn pair(&self) -> Arc<KeyPair> {
        self.now().pair
    }

    fn now(&self) -> Shown {
        self.shown.lock().clone()
    }
}

impl Shown {
    fn new(pair: KeyPair) -> Result<Self, Error> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair.certified())));
        config.session_storage = ServerSessionMemoryCache::new(RESUMABLE_MAX);
        Ok(Self { pair: Arc::new(pair), config: Arc::new(config) })
    }
}
