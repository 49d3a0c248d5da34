//! An upstream, as routing knows it.

use crate::ground::host::HostSpec;
use crate::ground::tls::TlsLevel;
use std::sync::Arc;

/// An upstream, as routing knows it.
#[derive(Debug, Clone)]
pub struct RoutedUpstream {
    /// Its name, which its hosts get.
    pub name: Arc<str>,
    /// Its host.
    pub host: HostSpec,
    /// TLS with it.
    pub tls: TlsLevel,
    /// Connections, at most.
    pub connections: Option<u32>,
}
