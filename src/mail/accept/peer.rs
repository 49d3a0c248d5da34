//! Who is at the other end, and what it is to us.

use crate::mail::model::SessionClient;
use std::net::IpAddr;

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

impl From<Peer> for SessionClient {
    fn from(peer: Peer) -> Self {
        Self { address: peer.address, port: Some(peer.port), stranger: peer.is_stranger() }
    }
}

impl Peer {
    /// Whether it is none of ours.
    pub fn is_stranger(&self) -> bool {
        self.source != Source::Trusted
    }
}
