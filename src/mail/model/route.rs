//! The hosts to which a message goes next.

use super::{Destination, Reply};
use std::net::SocketAddr;
use std::sync::Arc;

/// A host that may accept the message, with its addresses in the order in which they are tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailHost {
    /// The host's name (for TLS and logs), or its address as text.
    pub host: String,
    /// Address and port pairs; never empty.
    pub addresses: Vec<SocketAddr>,
    /// The name of the upstream that it belongs to; `None`: the host of a domain or of `cc_mta`.
    pub upstream: Option<Arc<str>>,
}

/// The hosts for a destination, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination of the route.
    pub destination: Destination,
    /// Never empty.
    pub hosts: Vec<MailHost>,
    /// Whether several upstreams share this mail: then a connection carries only some mails before
    /// the next of them has its turn.
    pub shared: bool,
}

/// There is no route; with the reply for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(pub Reply);
