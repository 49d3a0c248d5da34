//! Values that are networks and addresses: parsing and formatting. Pure.

use super::value::{ValueError, list};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Networks or single addresses; an address alone is a network of its own. The address of a network
/// has no bits after its prefix, as in Postfix: 10.1.2.3/8 may mean 16 million hosts, or one.
pub fn networks(text: &str) -> Result<Vec<IpNet>, ValueError> {
    list(text, |item| {
        // Brackets around the address of an IPv6 network are in common use: [2001:db8::]/32.
        let bare = item.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let item =
            bare.map_or_else(|| item.to_owned(), |(address, length)| format!("{address}{length}"));
        // 010.0.0.0/8 may mean octal numbers or not: `IpNet` reads them as decimal.
        let network = match item.parse::<IpAddr>() {
            Ok(address) => Some(IpNet::from(address)),
            Err(_)
                if item.split(['.', '/']).any(|part| part.len() > 1 && part.starts_with('0'))
                    && !item.contains(':') =>
            {
                None
            }
            Err(_) => item.parse::<IpNet>().ok(),
        };
        if let Some(network) = network.filter(|network| *network != network.trunc()) {
            let (whole, host) = (network.trunc(), network.addr());
            return Err(format!(
                "contains '{item}', an address inside a network: write {whole} for the whole \
                network, or {host} for that address alone"
            ));
        }
        let network = network.map(unmapped);
        network.ok_or_else(|| {
            format!(
                "contains '{item}', which is not a network: write 10.0.0.0/8, \
        192.0.2.7 or 2001:db8::/32"
            )
        })
    })
}

/// An IPv4-mapped address (RFC 4291 §2.5.5.2) is converted to IPv4, so that `::ffff:0:0/96` is
/// recognized as an open relay.
fn unmapped(network: IpNet) -> IpNet {
    match network {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(address) => Ipv4Net::new(address, v6.prefix_len() - 96).map_or(network, IpNet::V4),
            None => network,
        },
        _ => network,
    }
}

/// Addresses to listen on.
pub fn addresses(text: &str) -> Result<Vec<IpAddr>, ValueError> {
    list(text, |item| {
        let bare = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match bare {
            Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => item.parse().ok(),
        };
        address.ok_or_else(|| {
            format!(
                "contains '{item}', which is not an address: write 0.0.0.0, [::] or \
            an address of this machine"
            )
        })
    })
}

/// Name servers; the port is 53 unless given.
pub fn servers(text: &str) -> Result<Vec<SocketAddr>, ValueError> {
    list(text, |item| {
        let with_port = item.parse::<SocketAddr>().ok().filter(|server| server.port() != 0);
        let bare = || item.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        with_port.or_else(|| bare().map(|address| SocketAddr::new(address, 53))).ok_or_else(|| {
            format!(
                "contains '{item}', which is not a name server: write an address, \
            address:port or [IPv6]:port"
            )
        })
    })
}

/// As people write it: a single address without a prefix length.
pub(super) fn text(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_lists_with_single_addresses() {
        let read = networks("127.0.0.1, 10.0.0.0/8 2001:db8::/32,[::1] [2001:db8:1::]/48").unwrap();
        let text: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["127.0.0.1/32", "10.0.0.0/8", "2001:db8::/32", "::1/128", "2001:db8:1::/48"]
        );
        assert!(networks("1[0].0.0.0/8").is_err() && networks("[::1").is_err());
        assert_eq!(
            networks("::ffff:0:0/96 ::ffff:192.0.2.1").unwrap(),
            networks("0.0.0.0/0 192.0.2.1").unwrap()
        );
        assert!(networks(" , ").unwrap_err().contains("nothing"));
        assert!(networks("10.0.0.0/33").unwrap_err().contains("10.0.0.0/33"));
        assert!(networks("example.com").is_err());
        for (inside, written) in [
            (
                "10.1.2.3/8",
                "write 10.0.0.0/8 for the whole network, or 10.1.2.3 for that address alone",
            ),
            ("192.0.2.7/0", "write 0.0.0.0/0 for"),
            ("[2001:db8::7]/32", "write 2001:db8::/32 for"),
        ] {
            let complaint = networks(inside).unwrap_err();
            assert!(complaint.contains(written), "{complaint}");
        }
        assert_eq!(networks("10.1.2.3/32 2001:db8::7/128").map(|read| read.len()), Ok(2));
        for octal in ["010.0.0.0/8", "10.0.0.01/32", "10.0.0.0/08", "010.0.0.1"] {
            assert!(networks(octal).is_err(), "{octal}");
        }
    }

    #[test]
    fn addresses_and_servers() {
        assert_eq!(addresses("[::]").unwrap(), ["::".parse::<IpAddr>().unwrap()]);
        assert_eq!(addresses("0.0.0.0 ::1").unwrap().len(), 2);
        assert!(addresses("[0.0.0.0]").is_err() && addresses("localhost").is_err());
        let read = servers("192.0.2.1, 192.0.2.2:5353, 2001:db8::1, [2001:db8::2]:54").unwrap();
        let text: Vec<_> = read.iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:53", "[2001:db8::2]:54"]
        );
    }
}
