//! Which addresses are on the public Internet: the permitted targets of requests whose URL comes
//! from outside.
//!
//! An address of this machine, of its network or of a cloud's metadata service is not, unless the
//! operator has allowed its network. The address that is connected to must be checked, not the
//! name, because a name may resolve to another address later. Source: IANA's registries of
//! special-purpose addresses (RFC 6890), RFC 6052 (addresses that stand for IPv4 ones).

use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

/// Networks that are not on the public Internet.
static SPECIAL: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    const NETWORKS: [&str; 19] = [
        "0.0.0.0/8",       // this network
        "10.0.0.0/8",      // private
        "100.64.0.0/10",   // behind a provider's translator
        "127.0.0.0/8",     // loopback
        "169.254.0.0/16",  // link-local, metadata services
        "172.16.0.0/12",   // private
        "192.0.0.0/24",    // protocol assignments
        "192.0.2.0/24",    // documentation
        "192.88.99.0/24",  // 6to4 relays
        "192.168.0.0/16",  // private
        "198.18.0.0/15",   // benchmarks
        "198.51.100.0/24", // documentation
        "203.0.113.0/24",  // documentation
        "224.0.0.0/4",     // multicast
        "240.0.0.0/4",     // reserved, broadcast
        "2001::/23",       // protocol assignments, Teredo
        "2001:db8::/32",   // documentation
        "2002::/16",       // 6to4: any IPv4 address in other clothes
        "3fff::/20",       // documentation
    ];
    NETWORKS.iter().filter_map(|network| network.parse().ok()).collect()
});

/// Global unicast (RFC 4291 §2.4): all other IPv6 networks are special.
const GLOBAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// IPv4 behind a translator (RFC 6052 §2.1); the address is in the last 32 bits.
const TRANSLATED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// The public Internet, and further networks.
#[derive(Debug, Clone)]
pub struct Public {
    allowed: Vec<IpNet>,
}

impl Public {
    /// The public Internet and these networks.
    pub fn and(allowed: Vec<IpNet>) -> Self {
        Self { allowed }
    }

    /// Whether an address is in it.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allowed.iter().any(|network| network.contains(&address)) || is_public(address)
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V6(v6) if TRANSLATED.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(v6) if !GLOBAL.contains(&v6) => false,
        _ => !SPECIAL.iter().any(|network| network.contains(&address)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_internet_is_open_and_the_house_is_not() {
        let public = Public::and(Vec::new());
        for open in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert!(public.permits(open.parse().unwrap()), "{open}");
        }
        for shut in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.17.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "64:ff9b:1::1",
        ] {
            assert!(!public.permits(shut.parse().unwrap()), "{shut}");
        }
        assert_eq!(SPECIAL.len(), 19, "a network of the table cannot be read");
    }

    #[test]
    fn what_the_operator_names_is_open_too() {
        let public = Public::and(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        for open in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert!(public.permits(open.parse().unwrap()), "{open}");
        }
        assert!(!public.permits("127.0.0.1".parse().unwrap()));
    }
}
