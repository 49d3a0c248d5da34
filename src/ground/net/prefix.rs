//! Which addresses count as one client.

use std::net::{IpAddr, Ipv6Addr};

/// The address by which limits count a client: an IPv4 address as it is, also in its IPv4-mapped
/// form, and the /64 prefix of an IPv6 address, because the owner of one address may use all of the
/// prefix (RFC 4291 §2.5.4).
pub fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_counts_as_its_prefix() {
        let prefix = |text: &str| client_prefix(text.parse().unwrap()).to_string();
        assert_eq!(prefix("192.0.2.7"), "192.0.2.7");
        assert_eq!(prefix("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(prefix("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_ne!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:3::1"));
    }
}
