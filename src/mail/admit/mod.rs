//! Which client may send to which recipient.
//!
//! Purpose: relays only for trusted clients; it is never an open relay. `staging` has the rules of
//! staging systems. In: the client's address
//! and a recipient. Out: a [`Verdict`]. Security: all clients whose packets are translated on the
//! way in have the address of the container's default gateway (Docker's userland proxy does this,
//! for untrusted clients too). So the gateway is not trusted merely because a trusted network
//! contains it: the property must name exactly this address, or the whole Internet. Source:
//! property `smtpd_trusted_networks` of the founding document; RFC 5321 §3.6.2 (554 5.7.1 of RFC
//! 3463 §3.8).

mod staging;

use crate::ground::lock::Lock;
use crate::mail::model::{Address, Refusal, Reply, Verdict};
use ipnet::{IpNet, Ipv4Net};
pub use staging::{HoldReason, StagingRules};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rules of relaying. Cheap to ask.
#[derive(Debug)]
pub struct Policy {
    trusted: Vec<TrustedNetwork>,
    /// Proxies that name their clients in PROXY headers.
    proxies: Vec<IpNet>,
    /// Proxies that name their clients by XCLIENT.
    xclient: Vec<IpNet>,
    gateways: Lock<Vec<IpAddr>>,
}

/// A network whose clients may relay.
#[derive(Debug, Clone, Copy)]
struct TrustedNetwork {
    /// The addresses that are trusted; of IPv4 without their form in IPv6.
    addresses: IpNet,
    /// The network of the property that they are trusted by.
    written: IpNet,
}

/// The class of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientClass {
    /// A trusted client: it may send to anybody.
    Trusted,
    /// The relay's own default gateway, inside a trusted network but not named itself: any client
    /// may be behind it.
    Gateway,
    /// An untrusted client.
    Stranger,
}

impl Policy {
    /// `trusted` networks may relay; `gateways` are the default routes' next hops, of both
    /// families. IPv4-mapped addresses (`::ffff:192.0.2.1`) are unwrapped everywhere. 127.0.0.1 in
    /// the property means this host, so `::1` is trusted as well: to which of both `localhost`
    /// resolves depends on the client's resolver.
    pub fn new(trusted: Vec<IpNet>, gateways: Vec<IpAddr>) -> Self {
        let unmapped = |written| TrustedNetwork { addresses: unmapped(written), written };
        let mut trusted: Vec<TrustedNetwork> = trusted.into_iter().map(unmapped).collect();
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let trusts = |found: &&TrustedNetwork| found.addresses.contains(&localhost);
        if let Some(found) = trusted.iter().find(trusts).copied() {
            let addresses = IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST));
            trusted.push(TrustedNetwork { addresses, written: found.written });
        }
        let gateways = Lock::leaf(strangers(gateways));
        Self { trusted, proxies: Vec::new(), xclient: Vec::new(), gateways }
    }

    /// The same with proxies that name their clients in PROXY headers.
    pub fn with_proxies(self, proxies: Vec<IpNet>) -> Self {
        Self { proxies, ..self }
    }

    /// The same with proxies that name their clients by XCLIENT.
    pub fn with_xclient(self, xclient: Vec<IpNet>) -> Self {
        Self { xclient, ..self }
    }

    /// Whether `peer` may name another client by XCLIENT.
    pub fn may_override(&self, peer: IpAddr) -> bool {
        self.xclient.iter().any(|network| network.contains(&peer))
    }

    /// Whether connections from `peer` are those of such a proxy.
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&peer))
    }

    /// The default routes have changed, as they do when a container joins another network.
    pub fn set_gateways(&self, gateways: Vec<IpAddr>) {
        *self.gateways.lock() = strangers(gateways);
    }

    /// The class of `peer`.
    pub fn standing(&self, peer: IpAddr) -> ClientClass {
        self.judged(peer).0
    }

    /// The network that `peer` is trusted by, as the property has it; `None` when it is not.
    pub fn trusted_by(&self, peer: IpAddr) -> Option<IpNet> {
        self.judged(peer).1
    }

    fn judged(&self, peer: IpAddr) -> (ClientClass, Option<IpNet>) {
        let peer = peer.to_canonical();
        let is_gateway = self.gateways.lock().contains(&peer);
        let mut standing = ClientClass::Stranger;
        for found in self.trusted.iter().filter(|found| found.addresses.contains(&peer)) {
            let network = found.addresses;
            let names_it = network.prefix_len() == network.max_prefix_len();
            let names_everybody = network.prefix_len() == 0;
            if !is_gateway || names_it || names_everybody {
                return (ClientClass::Trusted, Some(found.written));
            }
            standing = ClientClass::Gateway;
        }
        (standing, None)
    }

    /// Whether this is a default gateway of this machine: many clients may be behind it.
    pub fn is_gateway(&self, peer: IpAddr) -> bool {
        self.gateways.lock().contains(&peer.to_canonical())
    }

    /// Whether `peer` may send to anybody.
    pub fn may_relay(&self, peer: IpAddr) -> bool {
        self.standing(peer) == ClientClass::Trusted
    }

    /// Whether `peer` may send to `recipient`.
    pub fn relay(&self, peer: IpAddr, recipient: &Address) -> Verdict {
        let text = match self.standing(peer) {
            ClientClass::Trusted => return Verdict::Accept,
            ClientClass::Gateway => format!(
                "<{recipient}>: Relay access denied; [{}] is this relay's own gateway and may hide \
                any client; to trust it nevertheless, list it by itself in smtpd_trusted_networks",
                peer.to_canonical()
            ),
            ClientClass::Stranger => format!(
                "<{recipient}>: Relay access denied; [{}] is not in smtpd_trusted_networks of \
                this relay",
                peer.to_canonical()
            ),
        };
        Verdict::Refuse(Reply::new(554, (5, 7, 1), text), Refusal::Relay)
    }
}

/// The gateways that untrusted clients may be behind; the loopback address is none.
fn strangers(gateways: Vec<IpAddr>) -> Vec<IpAddr> {
    gateways
        .into_iter()
        .map(|gateway| gateway.to_canonical())
        .filter(|ip| !ip.is_loopback())
        .collect()
}

/// `::ffff:192.0.2.0/120` is 192.0.2.0/24.
fn unmapped(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else { return network };
    let Some(address) = v6.addr().to_ipv4_mapped() else { return network };
    v6.prefix_len()
        .checked_sub(96)
        .and_then(|prefix| Ipv4Net::new(address, prefix).ok())
        .map_or(network, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(trusted: &[&str], gateways: &[&str], peer: &str) -> ClientClass {
        let trusted = trusted.iter().map(|text| text.parse().unwrap()).collect();
        let gateways = gateways.iter().map(|text| text.parse().unwrap()).collect();
        Policy::new(trusted, gateways).standing(peer.parse().unwrap())
    }

    #[test]
    fn networks_of_both_families_are_trusted() {
        let trusted = ["127.0.0.1/32", "10.1.0.0/16", "2001:db8::/32", "::ffff:192.0.2.0/120"];
        for peer in ["127.0.0.1", "10.1.255.1", "::ffff:10.1.0.1", "2001:db8::1", "192.0.2.9"] {
            assert_eq!(standing(&trusted, &[], peer), ClientClass::Trusted, "{peer}");
        }
        for peer in ["127.0.0.2", "10.2.0.1", "::2", "2001:db9::1", "192.0.3.9", "::ffff:10.2.0.1"]
        {
            assert_eq!(standing(&trusted, &[], peer), ClientClass::Stranger, "{peer}");
        }
        assert_eq!(standing(&[], &[], "127.0.0.1"), ClientClass::Stranger);
    }

    #[test]
    fn this_host_is_meant_by_both_families() {
        for (trusted, expected) in [
            ("127.0.0.1/32", ClientClass::Trusted),
            ("127.0.0.0/8", ClientClass::Trusted),
            ("::ffff:127.0.0.1/128", ClientClass::Trusted),
            ("0.0.0.0/0", ClientClass::Trusted),
            ("127.0.0.2/32", ClientClass::Stranger),
            ("10.0.0.0/8", ClientClass::Stranger),
        ] {
            for peer in ["::1", "127.0.0.1", "::ffff:127.0.0.1"] {
                assert_eq!(standing(&[trusted], &[], peer), expected, "{trusted} {peer}");
            }
        }
        assert_eq!(
            standing(&["::1/128"], &[], "127.0.0.1"),
            ClientClass::Stranger,
            "who names ::1 alone has a reason"
        );
    }

    #[test]
    fn the_gateway_needs_its_own_name_or_everybodys() {
        let gateways = ["172.18.0.1", "fd00::1"];
        for (trusted, expected) in [
            ("172.18.0.0/16", ClientClass::Gateway),
            ("172.18.0.0/31", ClientClass::Gateway),
            ("::ffff:172.18.0.0/112", ClientClass::Gateway),
            ("172.18.0.1/32", ClientClass::Trusted),
            ("0.0.0.0/0", ClientClass::Trusted),
            ("10.0.0.0/8", ClientClass::Stranger),
        ] {
            for peer in ["172.18.0.1", "::ffff:172.18.0.1"] {
                assert_eq!(standing(&[trusted], &gateways, peer), expected, "{trusted} {peer}");
            }
        }
        assert_eq!(
            standing(&["172.18.0.0/16", "172.18.0.1/32"], &gateways, "172.18.0.1"),
            ClientClass::Trusted
        );
        assert_eq!(standing(&["172.18.0.0/16"], &gateways, "172.18.0.2"), ClientClass::Trusted);
        assert_eq!(standing(&["fd00::/8"], &gateways, "fd00::1"), ClientClass::Gateway);
        assert_eq!(standing(&["fd00::1/128"], &gateways, "fd00::1"), ClientClass::Trusted);
        assert_eq!(
            standing(&["127.0.0.0/8"], &["127.0.0.1"], "127.0.0.1"),
            ClientClass::Trusted,
            "loopback is no gateway"
        );
    }

    #[test]
    fn the_network_of_a_trusted_client_is_known() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "10.1.0.1/32".parse().unwrap()];
        let policy = Policy::new(networks.to_vec(), vec!["10.1.0.1".parse().unwrap()]);
        for (peer, network) in [
            ("10.2.3.4", Some(networks[0])),
            ("::ffff:10.2.3.4", Some(networks[0])),
            // The gateway is counted under its own name only.
            ("10.1.0.1", Some(networks[1])),
            ("192.0.2.1", None),
        ] {
            assert_eq!(policy.trusted_by(peer.parse().unwrap()), network, "{peer}");
        }
        // As the property has it.
        for (written, peer) in
            [("127.0.0.0/8", "::1"), ("127.0.0.1/32", "::1"), ("::ffff:192.0.2.0/120", "192.0.2.7")]
        {
            let network: IpNet = written.parse().unwrap();
            let policy = Policy::new(vec![network], Vec::new());
            assert_eq!(policy.trusted_by(peer.parse().unwrap()), Some(network), "{peer}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let policy = Policy::new(
            vec!["172.18.0.0/16".parse().unwrap()],
            vec!["172.18.0.1".parse().unwrap()],
        );
        let recipient = Address::parse("a@b.example").unwrap();
        for (peer, words) in
            [("172.18.0.1", "gateway"), ("192.0.2.1", "not in smtpd_trusted_networks")]
        {
            let Verdict::Refuse(reply, Refusal::Relay) =
                policy.relay(peer.parse().unwrap(), &recipient)
            else {
                panic!("{peer} may relay")
            };
            let text = reply.to_string();
            assert!(
                text.starts_with("554 5.7.1 <a@b.example>: Relay access denied")
                    && text.contains(words),
                "{text}"
            );
            assert!(text.len() < 512, "{text}");
        }
        assert_eq!(policy.relay("172.18.0.2".parse().unwrap(), &recipient), Verdict::Accept);
    }
}
