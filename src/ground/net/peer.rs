//! The peer of a connection, and its class.

use std::net::{IpAddr, SocketAddr};

/// The peer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address; IPv4-mapped IPv6 addresses are converted to IPv4.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its class.
    pub source: PeerClass,
    /// It is a listed proxy itself that has connected (PROXY protocol: `LOCAL`), mostly for a
    /// health check: its coming and going is no event.
    pub probe: bool,
}

/// The class of a client, by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerClass {
    /// A trusted client.
    Trusted,
    /// An untrusted client.
    Stranger,
    /// A gateway of this machine that is not trusted: many untrusted clients may be behind it (a
    /// container engine's published port), so errors of one of them do not count against the
    /// others.
    Gateway,
}

impl Peer {
    /// The peer at this address; `source` gives the class of an address.
    pub fn of(address: SocketAddr, source: impl FnOnce(IpAddr) -> PeerClass) -> Self {
        let canonical = address.ip().to_canonical();
        Self { address: canonical, port: address.port(), source: source(canonical), probe: false }
    }

    /// Whether it is not trusted.
    pub fn is_stranger(&self) -> bool {
        self.source != PeerClass::Trusted
    }
}
