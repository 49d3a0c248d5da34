//! Who is at the other end, and what it is to us.

use std::net::{IpAddr, SocketAddr};

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its address; IPv4 is never in IPv6 clothes here.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// What it is to us.
    pub source: Source,
}

/// What a client is to us, by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// One of ours.
    Trusted,
    /// Anybody else.
    Stranger,
    /// A gateway of this machine that is not trusted: many strangers may stand behind it (a
    /// container engine's published port), so what one of them does is not held against the others.
    Gateway,
}

impl Peer {
    /// Whoever is at this address; `source` tells what an address is to us.
    pub fn of(address: SocketAddr, source: impl FnOnce(IpAddr) -> Source) -> Self {
        let canonical = address.ip().to_canonical();
        Self { address: canonical, port: address.port(), source: source(canonical) }
    }

    /// Whether it is none of ours.
    pub fn is_stranger(&self) -> bool {
        self.source != Source::Trusted
    }
}
