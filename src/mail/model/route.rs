//! Where a message goes next.

use super::{Destination, Reply};
use std::net::SocketAddr;

/// One host that may take the message, with its addresses in the order in which to try them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The host's name (for TLS and logs), or its address in text.
    pub host: String,
    /// Address and port pairs; never empty.
    pub addresses: Vec<SocketAddr>,
}

/// The hosts for a destination, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What the route leads to.
    pub destination: Destination,
    /// Never empty.
    pub hops: Vec<Hop>,
}

/// There is no route, in the words of the reply that the sender would have got.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RouteError(pub Reply);
