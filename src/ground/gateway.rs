//! The default gateways of this machine.
//!
//! In a container the default gateway is the engine's bridge, and with a userland proxy all clients
//! have its address. The decision about trust needs to know these addresses. In: `/proc/net/route`,
//! `/proc/net/ipv6_route`. Limits: [`LINE_LIMIT`] lines are read.
//!
//! Not read by netlink, as `ground/routes.rs` does to replace routes: a dump of a full routing
//! table takes long and can fail, and an empty answer here would trust the gateway. And other
//! routes count here: also the halves 0.0.0.0/1 and 128.0.0.0/1, which are never replaced.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Routes that are read; a machine with more has its default route among the first.
const LINE_LIMIT: usize = 10_000;
/// Octets that are read of one routing table.
const OCTET_LIMIT: u64 = 4 << 20;

/// Gateways of all default routes, without duplicates. Empty if there are none or the kernel does
/// not list them.
pub fn default_gateways() -> Vec<IpAddr> {
    let v4 = lines("/proc/net/route").into_iter().filter_map(|line| v4(&line)).map(IpAddr::V4);
    let v6 = lines("/proc/net/ipv6_route").into_iter().filter_map(|line| v6(&line)).map(IpAddr::V6);
    let mut all: Vec<_> = v4.chain(v6).collect();
    all.sort();
    all.dedup();
    all
}

fn lines(path: &str) -> Vec<String> {
    let Ok(file) = std::fs::File::open(path) else { return Vec::new() };
    BufReader::new(file.take(OCTET_LIMIT)).lines().map_while(Result::ok).take(LINE_LIMIT).collect()
}

/// Columns: interface, destination, gateway, flags, …, mask; addresses as the kernel's 32-bit
/// number in hexadecimal.
fn v4(line: &str) -> Option<Ipv4Addr> {
    let columns: Vec<_> = line.split_whitespace().collect();
    let (destination, gateway, mask) = (columns.get(1)?, columns.get(2)?, columns.get(7)?);
    // VPN software splits the default route into two halves, 0.0.0.0/1 and 128.0.0.0/1.
    let half = mask.len() == 8
        && u32::from_str_radix(mask, 16).is_ok_and(|mask| mask.to_ne_bytes() == [128, 0, 0, 0]);
    let whole = *destination == "00000000" && *mask == "00000000";
    if !whole && !half {
        return None;
    }
    let address = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
    (!address.is_unspecified()).then_some(address)
}

/// Columns: destination, its length, source, its length, next hop, …; addresses as 32 hexadecimal
/// digits.
fn v6(line: &str) -> Option<Ipv6Addr> {
    let columns: Vec<_> = line.split_whitespace().collect();
    let (destination, length, next_hop) = (columns.first()?, columns.get(1)?, columns.get(4)?);
    if destination.bytes().any(|b| b != b'0') || *length != "00" {
        return None;
    }
    let address = Ipv6Addr::from(u128::from_str_radix(next_hop, 16).ok()?);
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_default_routes_only() {
        assert_eq!(
            v4("eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0"),
            Some(Ipv4Addr::new(172, 17, 0, 1))
        );
        assert_eq!(
            v4("tun0\t00000080\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0"),
            Some(Ipv4Addr::new(10, 8, 0, 1))
        );
        assert_eq!(v4("eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0"), None);
        assert_eq!(
            v4("Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT"),
            None
        );
    }

    #[test]
    fn reads_default_routes_of_ipv6() {
        let zero = "0".repeat(32);
        let hop = "fe800000000000000000000000000001";
        assert_eq!(
            v6(&format!("{zero} 00 {zero} 00 {hop} 00000400 1 0 3 eth0")),
            Some("fe80::1".parse().unwrap())
        );
        assert_eq!(v6(&format!("{zero} 00 {zero} 00 {zero} ffffffff 1 0 200200 lo")), None);
        assert_eq!(v6(&format!("{hop} 40 {zero} 00 {zero} 00000100 1 0 1 eth0")), None);
    }
}
