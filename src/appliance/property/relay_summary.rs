//! Describes which clients may relay: the most important check for an operator.

use super::network;
use super::settings::Settings;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A statement, and warnings.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// Which clients may relay, and what all others get.
    pub statement: String,
    /// What may be unexpected.
    pub warnings: Vec<String>,
}

/// Prefix length of the widest networks that can be private: fc00::/7 (RFC 4193); 10.0.0.0/8 (RFC
/// 1918) is narrower.
const WIDEST_OWN: u8 = 7;

/// Describes which clients may relay, given the default gateways of this machine.
pub fn who_may_relay(trusted: &[IpNet], gateways: &[IpAddr]) -> Words {
    if let Some(open) = everybody(trusted) {
        let warning = format!(
            "{open} in smtpd_trusted_networks makes an OPEN RELAY: anybody who reaches this port \
            can send mail through it \
            to any address, and its address will be on every block list within days. Name your own \
             networks instead"
        );
        let statement = format!("everybody in {} may relay.", listed(trusted));
        return Words {
            statement,
            warnings: [warning].into_iter().chain(gateway_warnings(trusted, gateways)).collect(),
        };
    }
    let wide = trusted.iter().filter(|network| network.prefix_len() < WIDEST_OWN).map(|network| {
        format!(
            "{network} in smtpd_trusted_networks is wider than any private network: \
            untrusted clients in it may relay, too"
        )
    });
    let loopback = if means_both_loopbacks(trusted) { LOOPBACK } else { "" };
    let statement = format!(
        "{} may relay; everybody else is refused with 554 5.7.1.{loopback}",
        listed(trusted)
    );
    Words { statement, warnings: wide.chain(gateway_warnings(trusted, gateways)).collect() }
}

/// Names that are listed, at most.
const NAMES_MAX: usize = 20;

/// Describes who may log in, and where; warnings about passwords in plain text. `None`: nobody.
pub fn who_may_log_in(settings: &Settings) -> Option<Words> {
    let users = &settings.smtp_users;
    if users.is_empty() {
        return None;
    }
    let mut names: Vec<&str> =
        users.iter().take(NAMES_MAX).map(|user| user.name.as_str()).collect();
    let more = format!("{} more", users.len().saturating_sub(NAMES_MAX));
    if users.len() > NAMES_MAX {
        names.push(&more);
    }
    let ports = match settings.ssl_disabled {
        true => format!("{} and {}", settings.submission_port, settings.smtp_port),
        false => format!(
            "{} (required) and {} after STARTTLS, {} (required)",
            settings.submission_port, settings.smtp_port, settings.smtps_port
        ),
    };
    let without_tls = match &settings.plaintext_auth_networks[..] {
        [] => "; never without TLS".to_owned(),
        networks => format!("; {} also without TLS", listed(networks)),
    };
    let statement = format!(
        "{} on port {ports}{without_tls}. Who has logged in may relay, as far as senders=, \
        networks= and rate= of the user and allowed_sender_domains permit.",
        names.join(", ")
    );
    let networks = &settings.plaintext_auth_networks;
    let warnings = (!networks.is_empty()).then(|| {
        format!(
            "plaintext_auth_networks lets clients in {} send passwords without TLS: whoever is on \
            the way can read them and send mail with them",
            listed(networks)
        )
    });
    let open = everybody(networks).map(|open| {
        format!("{open} in plaintext_auth_networks is everybody: name the addresses of the devices")
    });
    Some(Words { statement, warnings: warnings.into_iter().chain(open).collect() })
}

/// The limit that clients behind this machine's gateways share, if a gateway is not trusted: with a
/// container engine's published port all untrusted clients have the gateway's address. `places` are
/// the sessions for untrusted clients.
pub fn gateway_share(trusted: &[IpNet], gateways: &[IpAddr], places: u32) -> Option<String> {
    let strangers: Vec<String> = gateways
        .iter()
        .filter(|gateway| !gateway.is_loopback() && !is_named(trusted, gateway))
        .map(ToString::to_string)
        .collect();
    (!strangers.is_empty()).then(|| {
        format!(
            "connections from the default gateway ({}) may be those of many unknown clients, as \
            behind a container engine's published \
             port: they may use all {places} sessions of unknown clients, without a limit per \
             address",
            strangers.join(", ")
        )
    })
}

/// Behind a userland proxy, untrusted clients have the gateway's address. So a gateway is trusted
/// if it is named itself, or if every address is, but not because a wide network contains it.
fn gateway_warnings(trusted: &[IpNet], gateways: &[IpAddr]) -> Vec<String> {
    let around = |gateway: &IpAddr| trusted.iter().find(|network| network.contains(gateway));
    gateways
        .iter()
        .filter(|gateway| !is_named(trusted, gateway))
        .filter_map(|gateway| Some((gateway, around(gateway)?)))
        .map(|(gateway, network)| {
            format!(
                "the default gateway {gateway} is not trusted merely because {network} contains \
                it: connections through a \
                 container engine's proxy all seem to come from there. If you mean it, add \
                 {gateway} itself"
            )
        })
        .collect()
}

/// Whether a gateway may relay: it is listed itself, or every address is.
fn is_named(trusted: &[IpNet], gateway: &IpAddr) -> bool {
    trusted.iter().any(|network| {
        network.contains(gateway) && (is_everybody(network) || *network == IpNet::from(*gateway))
    })
}

const LOOPBACK: &str = " 127.0.0.1 means this host by both families: ::1 may relay as well.";

/// Whether `::1` may relay without being named, by the rule in `mail/admit`.
fn means_both_loopbacks(trusted: &[IpNet]) -> bool {
    let contain = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    contain(Ipv4Addr::LOCALHOST.into()) && !contain(Ipv6Addr::LOCALHOST.into())
}

/// The networks that include every address, as text: one alone, or several that together cover a
/// family.
pub(super) fn everybody(networks: &[IpNet]) -> Option<String> {
    if let Some(open) = networks.iter().find(|network| is_everybody(network)) {
        return Some(open.to_string());
    }
    let whole = IpNet::aggregate(&networks.to_vec()).into_iter().find(is_everybody)?;
    let parts: Vec<IpNet> =
        networks.iter().copied().filter(|network| whole.contains(network)).collect();
    Some(format!("{} (together {whole})", listed(&parts)))
}

fn is_everybody(network: &IpNet) -> bool {
    network.prefix_len() == 0
}

fn listed(trusted: &[IpNet]) -> String {
    let names: Vec<_> = trusted.iter().map(network::text).collect();
    match names.split_last() {
        None => "nobody".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_the_places_of_all_strangers_unless_it_is_trusted() {
        let share = |trusted: &str, gateway: &str| {
            gateway_share(&[trusted.parse().unwrap()], &[gateway.parse().unwrap()], 800)
        };
        let words = share("172.18.0.0/16", "172.18.0.1").unwrap();
        assert!(words.contains("(172.18.0.1)") && words.contains("all 800 sessions"), "{words}");
        assert_eq!(
            (share("172.18.0.1/32", "172.18.0.1"), share("127.0.0.1/32", "127.0.0.1")),
            (None, None)
        );
    }

    fn words(trusted: &[&str], gateway: &str) -> Words {
        let trusted: Vec<IpNet> = trusted.iter().map(|text| text.parse().unwrap()).collect();
        who_may_relay(&trusted, &[gateway.parse().unwrap()])
    }

    #[test]
    fn the_default_is_one_address() {
        let words = words(&["127.0.0.1/32"], "172.17.0.1");
        assert_eq!(
            words.statement,
            "127.0.0.1 may relay; everybody else is refused with 554 5.7.1. 127.0.0.1 means this \
            host by both families: ::1 may relay as well."
        );
        assert!(words.warnings.is_empty());
    }

    #[test]
    fn the_other_loopback_is_told_unless_it_is_named_or_refused() {
        let told = |trusted: &[&str]| {
            words(trusted, "172.17.0.1").statement.contains("::1 may relay as well")
        };
        assert!(told(&["127.0.0.0/8", "10.0.0.0/8"]));
        assert!(
            !told(&["127.0.0.1/32", "::1/128"])
                && !told(&["10.0.0.0/8"])
                && !told(&["127.0.0.2/32"])
        );
    }

    #[test]
    fn a_gateway_is_trusted_only_by_its_name() {
        let wide = words(&["127.0.0.1/32", "172.16.0.0/12"], "172.17.0.1");
        assert!(wide.statement.starts_with("127.0.0.1 and 172.16.0.0/12 may relay;"));
        assert!(wide.warnings[0].starts_with(
            "the default gateway 172.17.0.1 is not trusted merely because 172.16.0.0/12"
        ));
        assert!(words(&["172.16.0.0/12", "172.17.0.1/32"], "172.17.0.1").warnings.is_empty());
    }

    #[test]
    fn an_open_relay_is_called_so() {
        for open in ["0.0.0.0/0", "::/0"] {
            assert!(words(&[open], "192.0.2.1").warnings[0].contains("OPEN RELAY"));
        }
        let halves = words(&["10.0.0.0/8", "0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/2"], "192.0.2.1");
        assert!(
            halves.warnings[0].contains("128.0.0.0/2 and 192.0.0.0/2 (together 0.0.0.0/0)"),
            "{:?}",
            halves.warnings
        );
        assert!(
            halves.warnings[0].contains("OPEN RELAY")
                && halves.statement.starts_with("everybody in ")
        );
        assert!(
            !words(&["0.0.0.0/1", "128.0.0.0/2"], "10.0.0.1").warnings[0].contains("OPEN RELAY")
        );
        assert_eq!(
            words(&["0.0.0.0/0"], "192.0.2.1").warnings.len(),
            1,
            "everybody is trusted, the gateway as well"
        );
        assert!(
            words(&["128.0.0.0/1"], "10.0.0.1").warnings[0]
                .contains("wider than any private network")
        );
    }
}
