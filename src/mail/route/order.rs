//! The order of hosts and addresses; pure, except for lookups in the routing table.

use crate::ground::net::source_address;
use std::net::{IpAddr, Ipv6Addr};

/// RFC 7505 §3: one record, with an empty name.
pub(super) fn is_null_mx(records: &[(u16, String)]) -> bool {
    matches!(records, [(_, host)] if host.is_empty())
}

/// By preference, equal ones shuffled to spread the load (RFC 5321 §5.1), at most `limit`. A host
/// that is listed twice counts at its better position.
pub(super) fn sorted(mut records: Vec<(u16, String)>, limit: usize) -> Vec<(u16, String)> {
    fastrand::shuffle(&mut records);
    records.sort_by_key(|(preference, _)| *preference);
    let mut kept: Vec<(u16, String)> = Vec::with_capacity(records.len().min(limit));
    for record in records {
        if kept.len() == limit {
            break;
        }
        if !kept.iter().any(|(_, host)| same_name(host, &record.1)) {
            kept.push(record);
        }
    }
    kept
}

/// Addresses of both families alternating, IPv6 first, each family shuffled. IPv6 addresses without
/// a route from this machine come last, so that a host without IPv6 loses no time and yet reports
/// the error when there is nothing else.
pub(super) fn interleaved(
    addresses: Vec<IpAddr>,
    has_way: impl Fn(Ipv6Addr) -> bool,
) -> Vec<IpAddr> {
    let (mut v6, mut v4, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(_) => v4.push(address),
            IpAddr::V6(inner) if has_way(inner) => v6.push(address),
            IpAddr::V6(_) => last.push(address),
        }
    }
    fastrand::shuffle(&mut v6);
    fastrand::shuffle(&mut v4);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut mixed = Vec::with_capacity(v6.len() + v4.len() + last.len());
    loop {
        let before = mixed.len();
        mixed.extend(v6.next());
        mixed.extend(v4.next());
        if mixed.len() == before {
            break;
        }
    }
    mixed.extend(last);
    mixed
}

/// Whether the routing table has a route to it.
pub(super) fn has_way(address: Ipv6Addr) -> bool {
    source_for(address.into()).is_some()
}

/// Whether an address belongs to this machine: then it is its own best source.
pub(super) fn is_local(address: IpAddr) -> bool {
    address.is_loopback() || source_for(address) == Some(address)
}

fn source_for(address: IpAddr) -> Option<IpAddr> {
    source_address((address, 25).into())
}

/// A host name of an MX record: not empty and not an address as text.
pub(super) fn is_host_name(host: &str) -> bool {
    !host.is_empty() && host.parse::<IpAddr>().is_err()
}

/// Compares names without regard to case and a trailing dot.
pub(super) fn same_name(a: &str, b: &str) -> bool {
    a.trim_end_matches('.').eq_ignore_ascii_case(b.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn mx(records: &[(u16, &str)]) -> Vec<(u16, String)> {
        records.iter().map(|(preference, host)| (*preference, (*host).to_owned())).collect()
    }

    #[test]
    fn preferences_rule_and_equals_take_turns() {
        let records = mx(&[(20, "c"), (10, "a"), (10, "b"), (30, "A")]);
        let mut first = Vec::new();
        for _ in 0..200 {
            let sorted = sorted(records.clone(), 20);
            assert_eq!(sorted.len(), 3, "{sorted:?}");
            assert_eq!(sorted[2], (20, "c".to_owned()));
            first.push(sorted[0].1.clone());
        }
        assert!(first.iter().any(|host| host == "a") && first.iter().any(|host| host == "b"));
        assert_eq!(sorted(records, 1).len(), 1);
    }

    #[test]
    fn families_take_turns_and_unreachable_ones_come_last() {
        let text = ["192.0.2.1", "2001:db8::1", "192.0.2.2", "2001:db8::2", "192.0.2.3"];
        let addresses: Vec<IpAddr> = text.iter().map(|text| text.parse().unwrap()).collect();
        let mixed = interleaved(addresses.clone(), |_| true);
        let families: Vec<bool> = mixed.iter().map(IpAddr::is_ipv6).collect();
        assert_eq!(families, [true, false, true, false, false]);
        let mixed = interleaved(addresses, |_| false);
        assert!(
            mixed[..3].iter().all(IpAddr::is_ipv4) && mixed[3..].iter().all(IpAddr::is_ipv6),
            "{mixed:?}"
        );
    }

    #[test]
    fn this_machine_knows_itself() {
        assert!(
            is_local(Ipv4Addr::LOCALHOST.into()) && is_local(Ipv4Addr::new(127, 1, 2, 3).into())
        );
        assert!(
            !is_local(Ipv4Addr::new(240, 0, 0, 1).into()) && !is_local("100::1".parse().unwrap())
        );
        // The source addresses that it would use are its own.
        for source in
            ["192.0.2.1", "2001:db8::1"].iter().filter_map(|far| source_for(far.parse().unwrap()))
        {
            assert!(is_local(source), "{source}");
        }
    }

    #[test]
    fn a_null_mx_stands_alone() {
        assert!(is_null_mx(&mx(&[(0, "")])));
        assert!(!is_null_mx(&mx(&[(0, ""), (10, "a")])));
        assert!(!is_null_mx(&[]));
        assert!(!is_host_name("") && !is_host_name("192.0.2.1") && is_host_name("mx.example"));
    }
}
