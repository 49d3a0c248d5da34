//! How many connections one host may have.
//!
//! Many names can lead to one host. Whatever the destinations are called, one host gets no more than its share of the
//! couriers, and one that has never greeted us gets a few, so that those behind it wait for each other.
//!
//! Limits: [`HOST_MAX`], [`HOST_UNPROVEN_MAX`]; [`REMEMBERED_MAX`] hosts are remembered.

use crate::ground::lock::{Guard, Lock};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Connections to one host address, open or being opened. Of IPv6, to one network of 64 bits.
pub const HOST_MAX: u32 = 250;

/// The same for a host that has not greeted us, or not the last time.
pub const HOST_UNPROVEN_MAX: u32 = 10;

/// Hosts without connections that are remembered as good.
const REMEMBERED_MAX: usize = 10_000;

/// All hosts that are being spoken to, and some more.
pub(super) struct Hosts {
    known: Lock<HashMap<IpAddr, Host>>,
}

impl Default for Hosts {
    fn default() -> Self {
        Self { known: Lock::leaf(HashMap::new()) }
    }
}

#[derive(Default, Clone, Copy)]
struct Host {
    connections: u32,
    greeted: bool,
}

impl Host {
    fn has_room(self) -> bool {
        self.connections < if self.greeted { HOST_MAX } else { HOST_UNPROVEN_MAX }
    }
}

impl Hosts {
    /// Whether [`Hosts::enter`] would succeed.
    pub fn has_room(&self, address: IpAddr) -> bool {
        self.lock().get(&key(address)).is_none_or(|host| host.has_room())
    }

    /// A place for one connection; `None` when the host has its share.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = key(address);
        let mut known = self.lock();
        if known.len() >= REMEMBERED_MAX && !known.contains_key(&address) {
            known.retain(|_, host| host.connections > 0);
        }
        let host = known.entry(address).or_default();
        if !host.has_room() {
            return None;
        }
        host.connections += 1;
        Some(Place { hosts: self.clone(), address })
    }

    fn lock(&self) -> Guard<'_, HashMap<IpAddr, Host>> {
        self.known.lock()
    }
}

/// A connection's place; dropping it gives it back.
pub(super) struct Place {
    hosts: Arc<Hosts>,
    address: IpAddr,
}

impl Place {
    /// The host greeted us, or did not in the time it had.
    pub fn greeted(&self, greeted: bool) {
        if let Some(host) = self.hosts.lock().get_mut(&self.address) {
            host.greeted = greeted;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut known = self.hosts.lock();
        if let Some(host) = known.get_mut(&self.address) {
            host.connections = host.connections.saturating_sub(1);
            if host.connections == 0 && !host.greeted {
                known.remove(&self.address);
            }
        }
    }
}

/// Whoever has an IPv6 network has all its addresses.
fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_host_gets_few_connections_whatever_its_addresses_and_a_greeting_one_more() {
        let hosts = Arc::<Hosts>::default();
        let address = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
        let places: Vec<Place> = (0..100).filter_map(|n| hosts.enter(address(n))).collect();
        assert_eq!(places.len(), HOST_UNPROVEN_MAX as usize);
        assert!(!hosts.has_room(address(200)) && hosts.has_room(IpAddr::from([192, 0, 2, 1])));
        places[0].greeted(true);
        let more: Vec<Place> = (0..1000).filter_map(|n| hosts.enter(address(n))).collect();
        assert_eq!(more.len(), (HOST_MAX - HOST_UNPROVEN_MAX) as usize);
        places[1].greeted(false);
        drop(more);
        assert!(!hosts.has_room(address(1)));
        drop(places);
        assert!(hosts.lock().is_empty());
    }
}
