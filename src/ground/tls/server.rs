//! The server side of TLS: what is shown to clients, and how it is renewed while they come.
//!
//! Purpose: one place that holds the pair in use. In: a [`KeyPair`], and newer ones. Out: rustls'
//! configuration for the next handshake; sessions that are open keep the one they began with.
//! Limits: TLS 1.2 and 1.3; no client certificates; no 0-RTT. At most [`RESUMABLE_MAX`] sessions
//! are remembered for resumption.
//! Security: every pair has a memory of its own for resumption, so that after a renewal no session
//! goes on that began with the former certificate's key: whoever connects next sees the new one.
//! Source: RFC 8446, RFC 5246, RFC 9325 (recommendations for TLS).

use super::{KeyPair, provider};
use crate::ground::lock::Lock;
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, ServerConfig};
use std::sync::Arc;

/// Sessions that a client can resume with less work; each costs about a kilobyte and a half, the
/// oldest give way.
const RESUMABLE_MAX: usize = 256;

/// Presents a certificate, which can be exchanged at any time.
#[derive(Debug)]
pub struct Presenter {
    shown: Lock<Shown>,
}

#[derive(Debug, Clone)]
struct Shown {
    pair: Arc<KeyPair>,
    config: Arc<ServerConfig>,
}

impl Presenter {
    /// Shows this pair.
    ///
    /// # Errors
    /// The provider has no cipher suite for TLS 1.2 or 1.3: a defect of the build.
    pub fn new(pair: KeyPair) -> Result<Self, Error> {
        Ok(Self { shown: Lock::leaf(Shown::new(pair)?) })
    }

    /// Shows another pair from the next handshake on.
    ///
    /// # Errors
    /// As [`Presenter::new`]; the former pair stays.
    pub fn replace(&self, pair: KeyPair) -> Result<(), Error> {
        let next = Shown::new(pair)?;
        *self.shown.lock() = next;
        Ok(())
    }

    /// For one handshake.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.now().config
    }

    /// What is shown now.
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
