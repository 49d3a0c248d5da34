//! How access tokens are requested for an upstream.

use crate::ground::credential::secret::Secret;
use crate::ground::endpoint::Endpoint;
use rustls::ClientConfig;
use std::sync::Arc;

/// How tokens are requested for an upstream.
#[derive(Debug, Clone)]
pub struct TokenConfig {
    /// The token endpoint.
    pub endpoint: Endpoint,
    /// Verifies the certificate of the endpoint.
    pub tls: Arc<ClientConfig>,
    /// The client identifier.
    pub client_id: String,
    /// The client secret; `None`: a public client.
    pub client_secret: Option<Secret>,
    /// The refresh token as configured; `None`: the grant is that of client credentials.
    pub refresh_token: Option<Secret>,
    /// The scope; `None`: none is asked for.
    pub scope: Option<String>,
}

impl TokenConfig {
    /// Whether tokens of the one are tokens of the other.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint
            && self.client_id == other.client_id
            && self.client_secret == other.client_secret
            && self.refresh_token == other.refresh_token
            && self.scope == other.scope
    }
}
