//! The access to an upstream: its form of TLS, the authorities that verify it, and the login.
//!
//! In: what the properties and their files say; newer content while the relay runs. Out: what the
//! next connection uses. Security: a form of TLS that does not verify has no credentials; the
//! password is in no `Debug` output.

use crate::ground::credential::sasl::ClientCredentials;
use crate::ground::lock::Lock;
use crate::ground::tls::TlsLevel;
use crate::mail::model::UpstreamMonitor;
use rustls::ClientConfig;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The upstreams by name.
pub type UpstreamAccesses = BTreeMap<Arc<str>, Arc<UpstreamAccess>>;

/// How an upstream is reached.
#[derive(Debug)]
pub struct UpstreamAccess {
    /// Its name.
    pub name: Arc<str>,
    /// How the names of its properties begin, for texts that say what to do.
    pub prefix: String,
    /// TLS with it.
    pub tls: TlsLevel,
    /// Recipients of one transaction, at most.
    pub recipients_max: Option<usize>,
    /// Judges its replies.
    pub(super) monitor: Arc<dyn UpstreamMonitor>,
    secrets: Lock<UpstreamSecrets>,
}

/// What its files hold.
#[derive(Debug, Clone)]
pub struct UpstreamSecrets {
    /// Verifies its certificate, and shows ours.
    pub client: Arc<ClientConfig>,
    /// What is shown to it; `None`: there is no login.
    pub credentials: Option<Arc<ClientCredentials>>,
}

impl UpstreamAccess {
    /// An upstream with its first secrets.
    pub fn new(
        name: &str,
        prefix: &str,
        tls: TlsLevel,
        recipients_max: Option<usize>,
        monitor: Arc<dyn UpstreamMonitor>,
        secrets: UpstreamSecrets,
    ) -> Self {
        Self {
            name: name.into(),
            prefix: prefix.to_owned(),
            tls,
            recipients_max,
            monitor,
            secrets: Lock::leaf(secrets),
        }
    }

    /// The next connection uses these.
    pub fn replace(&self, secrets: UpstreamSecrets) {
        *self.secrets.lock() = secrets;
    }

    /// Those in use.
    pub(super) fn secrets(&self) -> UpstreamSecrets {
        self.secrets.lock().clone()
    }
}
