//! Makes the mail hosts of a route: which addresses are used, and how many.

use super::order;
use crate::mail::model::{HostUse, MailHost, TracedHost};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Addresses of one host, at most.
pub const ADDRESSES_MAX: usize = 16;

/// Addresses in a whole route, at most: the connection attempts that a dead destination may cost.
pub const ROUTE_MAX: usize = 48;

/// The port of the hosts, and whether an operator configured them.
#[derive(Debug, Clone, Copy)]
pub(super) struct To {
    pub(super) port: u16,
    /// An operator configured the host.
    pub(super) named: bool,
}

/// The mail hosts with a better preference than `limit`, at most [`ROUTE_MAX`] addresses.
pub(super) fn hosts_below(limit: u32, hosts: &mut [TracedHost]) -> Vec<MailHost> {
    let mut room = ROUTE_MAX;
    let mut mail_hosts = Vec::new();
    for seen in hosts.iter_mut().filter(|seen| seen.used == HostUse::Used) {
        if seen.preference.is_none_or(|preference| u32::from(preference) >= limit) {
            seen.used = HostUse::NotPreferred;
            continue;
        }
        seen.addresses.truncate(room);
        room -= seen.addresses.len();
        if seen.addresses.is_empty() {
            seen.used = HostUse::OverLimit;
        } else {
            mail_hosts.push(MailHost {
                host: seen.host.clone(),
                addresses: seen.addresses.clone(),
                upstream: None,
            });
        }
    }
    mail_hosts
}

pub(super) fn traced(
    host: &str,
    preference: Option<u16>,
    addresses: Vec<SocketAddr>,
    used: HostUse,
) -> TracedHost {
    TracedHost { preference, host: host.to_owned(), addresses, used }
}

/// Addresses in the order in which they are tried.
pub(super) fn in_order(addresses: Vec<IpAddr>, port: u16) -> Vec<SocketAddr> {
    let addresses = order::interleaved(addresses, order::has_way);
    addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

/// Removes addresses that no mail host can have; "not connected" (0.255.255.255) is among them.
/// Link-local addresses have no meaning in DNS (RFC 3927 §2.3).
pub(super) fn usable(addresses: Vec<IpAddr>, to: To) -> Vec<IpAddr> {
    let mut usable = Vec::with_capacity(addresses.len().min(ADDRESSES_MAX));
    for address in addresses.into_iter().map(|address| address.to_canonical()) {
        let nowhere = match address {
            IpAddr::V4(v4) => {
                v4.octets()[0] == 0
                    || v4 == Ipv4Addr::BROADCAST
                    || (!to.named && v4.is_link_local())
            }
            IpAddr::V6(v6) => v6.is_unspecified() || (!to.named && v6.is_unicast_link_local()),
        };
        if !nowhere
            && !address.is_multicast()
            && !usable.contains(&address)
            && usable.len() < ADDRESSES_MAX
        {
            usable.push(address);
        }
    }
    usable
}

/// An address literal in lower case, `[192.0.2.1]` or `[ipv6:2001:db8::1]` (RFC 5321 §4.1.3).
pub(super) fn literal(domain: &str) -> Option<IpAddr> {
    let inner = domain.strip_prefix('[')?.strip_suffix(']')?;
    match inner.strip_prefix("ipv6:") {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => inner.parse().ok().map(IpAddr::V4),
    }
}
