//! An upstream, as routing knows it.

use crate::ground::host::HostSpec;
use crate::ground::tls::TlsLevel;
use std::sync::Arc;

/// An upstream, as routing knows it.
#[derive(Debug, Clone)]
pub struct RoutedUpstream {
    /// Its name, which its hosts get.
    pub name: Arc<str>,
    /// The property of its host.
    pub property: String,
    /// Its host.
    pub host: HostSpec,
    /// TLS with it.
    pub tls: TlsLevel,
    /// Connections, at most.
    pub connections: Option<u32>,
    /// The senders whose mail it takes: addresses, domains, `*.` with a domain; empty = any.
    pub senders: Vec<String>,
    /// The same of recipients.
    pub recipients: Vec<String>,
    /// The lowest of a group comes first, as with MX records.
    pub priority: u32,
    /// Its share of the mail among those of the same priority; at least 1.
    pub weight: u32,
}
