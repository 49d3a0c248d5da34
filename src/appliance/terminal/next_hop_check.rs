//! Checks of next hops and webhook receivers before a start: names that do not resolve, next hops
//! that are this relay.
//!
//! In: `smart_relay`, `cc_mta`, `webhook_url`. Out: warnings; none of them stops a start, since the
//! other host may start later. Limits: only addresses are looked up here, not MX records; and by
//! the system's resolver, not by `dns_servers`.

use super::host_lookup::ResolvedHosts;
use crate::appliance::property::Settings;
use crate::ground::host::{Host, HostSpec};
use std::net::{IpAddr, SocketAddr};

/// The hosts that [`preflight`] looks up.
pub fn hosts(settings: &Settings) -> Vec<String> {
    let hops = settings.configured_hosts().into_iter().filter_map(|(_, hop)| name(&hop));
    let receivers = settings
        .webhook_url
        .iter()
        .map(|hook| hook.endpoint.host.clone())
        .filter(|host| !is_address(host));
    hops.chain(receivers).collect()
}

/// Warnings about them.
pub fn preflight(settings: &Settings, names: &ResolvedHosts) -> Vec<String> {
    let own: Vec<IpAddr> = own_addresses().collect();
    let hops =
        settings.configured_hosts().into_iter().filter_map(|(property, hop)| match &hop.host {
            // The loopback and listening addresses need no check of the machine:
            // `Settings::warnings`.
            Host::Address(address) => settings
                .comes_back(&property, &hop, &[*address], &own)
                .filter(|_| settings.comes_back(&property, &hop, &[*address], &[]).is_none()),
            Host::Name(name) => match names.of(name)? {
                Ok(addresses) => settings.comes_back(&property, &hop, &bare(addresses), &own),
                Err(why) => Some(missing(settings, &property, &hop, why)),
            },
        });
    let receivers =
        settings.webhook_url.iter().filter(|hook| !is_address(&hook.endpoint.host)).filter_map(
            |hook| {
                let site = hook.endpoint.site();
                match names.of(&hook.endpoint.host)? {
                    Ok(addresses) => bare(addresses)
                        .into_iter()
                        .find_map(|address| settings.unreachable_receiver(&site, address)),
                    Err(why) => Some(format!(
                        "{site} of webhook_url: {why}; it gets no events until it does"
                    )),
                }
            },
        );
    hops.chain(receivers).collect()
}

fn missing(settings: &Settings, property: &str, hop: &HostSpec, why: &str) -> String {
    let has_mx = !hop.exact && name(hop).is_some_and(|name| name.contains('.'));
    let waits = if property == "cc_mta" { "copies of mail wait" } else { "mail waits" };
    let end = match has_mx {
        true => {
            format!("unless it has MX records, which were not asked for, {waits} until it does")
        }
        false => format!("{waits} until it does"),
    };
    let asked = if settings.dns_servers.is_empty() { "" } else { " (dns_servers was not asked)" };
    format!("{property} is {hop}: {why}{asked}; {end}")
}

fn name(hop: &HostSpec) -> Option<String> {
    match &hop.host {
        Host::Name(name) => Some(name.clone()),
        Host::Address(_) => None,
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

fn bare(addresses: &[SocketAddr]) -> Vec<IpAddr> {
    addresses.iter().map(SocketAddr::ip).collect()
}

/// Addresses of this machine.
fn own_addresses() -> impl Iterator<Item = IpAddr> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter_map(|interface| {
        let address = interface.address?;
        let four = address.as_sockaddr_in().map(|four| IpAddr::V4(four.ip()));
        four.or_else(|| address.as_sockaddr_in6().map(|six| IpAddr::V6(six.ip())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property::{Machine, read};
    use std::ffi::OsString;
    use std::time::Duration;

    fn told(vars: &[(&str, &str)]) -> Vec<String> {
        let vars = vars.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let machine = Machine { uid: 1, key_volume: false, writable_run: true, runtime_dir: None };
        let settings = read(vars, &machine).unwrap().settings;
        preflight(&settings, &ResolvedHosts::ask(&hosts(&settings), Duration::from_secs(30)))
    }

    #[test]
    fn names_that_do_not_resolve_are_told() {
        for (vars, start, end) in [
            (
                ("MTA_SMART_RELAY", "relay.invalid:2525"),
                "smart_relay is relay.invalid:2525: relay.invalid does not resolve",
                "MX records",
            ),
            (
                ("MTA_SMART_RELAY", "[relay.invalid]"),
                "smart_relay is [relay.invalid]: relay.invalid does not resolve",
                "; mail waits until it does",
            ),
            (
                ("MTA_CC_MTA", "[copies.invalid]"),
                "cc_mta is [copies.invalid]",
                "copies of mail wait until it does",
            ),
            (
                ("MTA_WEBHOOK_URL", "https://hook.invalid/s3cret"),
                "https://hook.invalid of webhook_url: hook.invalid does",
                "gets no events",
            ),
        ] {
            let told = told(&[vars]);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(
                told[0].starts_with(start) && told[0].contains(end) && !told[0].contains("s3cret"),
                "{told:?}"
            );
        }
        let asked =
            told(&[("MTA_SMART_RELAY", "[relay.invalid]"), ("MTA_DNS_SERVERS", "192.0.2.1")]);
        assert!(asked[0].contains("dns_servers was not asked"), "{asked:?}");
    }

    #[test]
    fn names_that_lead_here_are_told() {
        assert!(
            told(&[("MTA_SMART_RELAY", "localhost")])[0].contains("this relay's own smtp_port")
        );
        assert!(
            told(&[("MTA_WEBHOOK_URL", "http://localhost:8080/x")])[0].contains("gets no events")
        );
        assert_eq!(told(&[("MTA_SMART_RELAY", "localhost:2526")]), [""; 0]);
        // Found from the properties alone.
        assert_eq!(told(&[("MTA_SMART_RELAY", "127.0.0.1")]), [""; 0]);
    }
}
