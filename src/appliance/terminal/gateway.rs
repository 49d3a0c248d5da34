//! Terminal `net`: the gateway through which mail leaves.
//!
//! In: `terminal_net`, an address or a name. Out: the default route of the address's family leads
//! through it; unset, unresolvable or [`NOWHERE`](super::NOWHERE): not connected, and the
//! container's own route is kept. A name with addresses of both families sets both routes; one that
//! works is enough. Limits: the route is set once, before the core starts, and stays when the
//! appliance stops, as long as the network namespace. Security: takes CAP_NET_ADMIN, which the core
//! never gets. In the namespace of the host (`--network host`, a laptop) it is the host's route
//! that changes. A gateway is never trusted to relay; the core reads its gateways from the kernel
//! later than this.

use super::host_lookup::ResolvedHosts;
use super::late;
use super::{LOOKUP_PATIENCE, unconnected};
use crate::appliance::event::{ApplianceEvent, Severity};
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::mount::Mounter;
use crate::appliance::property::Settings;
use crate::ground::routes::{DefaultRoute, Gateway, defaults, interface_name, use_gateway};
use caps::{CapSet, Capability};
use ipnet::IpNet;
use nix::errno::Errno;
use nix::net::if_::InterfaceFlags;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

/// Networks that an error text lists, at most.
const NETWORKS_SHOWN: usize = 8;

/// Sets the default route, or removes a terminal that is not connected from the settings. Returns a
/// remark for the operator.
///
/// # Errors
/// The route cannot be set: no permission, or the gateway is not on a network of this machine.
pub fn connect(
    settings: &mut Settings,
    mounter: &Mounter<'_>,
) -> Result<Vec<ApplianceEvent>, Failure> {
    let event =
        |severity, text: String| ApplianceEvent { severity, text: format!("terminal net: {text}") };
    let Some(text) = settings.terminal_net.clone() else { return Ok(Vec::new()) };
    let gateways =
        match find(&text, &ResolvedHosts::look_up(host(settings), LOOKUP_PATIENCE, mounter)) {
            Ok(addresses) => addresses.into_iter().map(gateway),
            Err(why) => {
                settings.terminal_net = None;
                return Ok(vec![event(Severity::Warning, unused(&why))]);
            }
        };
    let mut told = Vec::new();
    let mut failed = Vec::new();
    for gateway in gateways {
        match set(gateway) {
            Ok(None) => {
                told.push(event(
                    Severity::Info,
                    format!("the default route leads through {} already", Shown(gateway)),
                ));
            }
            Ok(Some(old)) => {
                let old: Vec<_> = old.iter().map(ToString::to_string).collect();
                let old = if old.is_empty() {
                    "there was none".to_owned()
                } else {
                    format!("before: {}", old.join(", "))
                };
                let text =
                    format!("the default route now leads through {} ({old})", Shown(gateway));
                told.push(event(Severity::Info, text));
            }
            Err(error) => failed.push((gateway, error)),
        }
    }
    match failed.first() {
        Some((gateway, error)) if told.is_empty() => Err(failure(&text, *gateway, error)),
        _ => {
            let others = failed
                .iter()
                .map(|(gateway, error)| format!("{} is not used: {error}", Shown(*gateway)));
            told.extend(others.map(|text| event(Severity::Warning, text)));
            Ok(told)
        }
    }
}

/// The host that is looked up.
pub fn host(settings: &Settings) -> Option<String> {
    settings.terminal_net.as_deref().map(|text| bare(text).to_owned())
}

/// The result of [`connect`] for these settings, without changing anything: the failure that can be
/// predicted, or why the terminal is not connected.
///
/// # Errors
/// Why it is not connected.
pub fn preflight(settings: &Settings, names: &ResolvedHosts) -> Result<Option<Failure>, String> {
    let Some(text) = settings.terminal_net.as_deref() else { return Ok(None) };
    let found = find(text, names).map_err(|why| format!("terminal net: {}", unused(&why)))?;
    if let Some(late) = late(bare(text), names) {
        return Err(format!("terminal net: {late}"));
    }
    let may = caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap_or(false);
    let mut failures = found.into_iter().map(gateway).map(|gateway| {
        let is_set =
            matches!(&defaults(gateway.address).as_deref(), Ok([route]) if route.leads_to(gateway));
        let is_near = gateway.interface.is_some()
            || networks().any(|(_, network)| network.contains(&gateway.address));
        let errno = match () {
            () if is_ourselves(gateway) => Errno::EINVAL,
            () if is_set => return None,
            // The kernel checks in this order.
            () if !may => Errno::EPERM,
            () if !is_near => Errno::ENETUNREACH,
            () => return None,
        };
        Some(failure(text, gateway, &errno.into()))
    });
    // As long as one of them works, the start continues.
    let Some(first) = failures.next() else { return Ok(None) };
    Ok(if failures.all(|failure| failure.is_some()) { first } else { None })
}

fn unused(why: &str) -> String {
    format!("not connected: {why}; the container's own route is used")
}

/// The kernel accepts one of this machine's own IPv4 addresses as a gateway, and mail would go
/// nowhere; the loopback is one of them.
fn set(gateway: Gateway) -> io::Result<Option<Vec<DefaultRoute>>> {
    if is_ourselves(gateway) { Err(Errno::EINVAL.into()) } else { use_gateway(gateway) }
}

fn is_ourselves(gateway: Gateway) -> bool {
    gateway.address.is_loopback()
        || gateway.address.is_unspecified()
        || networks().any(|(_, network)| network.addr() == gateway.address)
}

/// The gateways that are meant: the first address of each family; or why there is none.
fn find(text: &str, names: &ResolvedHosts) -> Result<Vec<SocketAddr>, String> {
    let host = bare(text);
    if let Some(why) = unconnected(host, false, names) {
        return Err(why);
    }
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in names.of(host).and_then(Result::ok).unwrap_or_default() {
        if found.iter().all(|known| known.is_ipv4() != address.is_ipv4()) {
            found.push(*address);
        }
    }
    Ok(found)
}

fn bare(text: &str) -> &str {
    text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text)
}

fn gateway(address: SocketAddr) -> Gateway {
    let interface = match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => Some(address.scope_id()),
        _ => None,
    };
    Gateway { address: address.ip(), interface }
}

fn failure(text: &str, gateway: Gateway, error: &io::Error) -> Failure {
    let link_local =
        matches!(gateway.address, IpAddr::V6(address) if address.is_unicast_link_local());
    let (exit, why) = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => (
            Exit::Permission,
            "changing the default route needs CAP_NET_ADMIN: add cap_add: [NET_ADMIN] and run the \
            container as user 0, or leave \
             terminal_net empty"
                .to_owned(),
        ),
        _ if link_local && gateway.interface.is_none() => (
            Exit::Unavailable,
            format!(
                "a link-local address needs its interface: write \
            {}%eth0",
                gateway.address
            ),
        ),
        _ if is_ourselves(gateway) => (
            Exit::Unavailable,
            "that is an address of this machine; name the \
        gateway's"
                .to_owned(),
        ),
        Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EINVAL) => (
            Exit::Unavailable,
            format!(
                "it is not on any network of this machine ({}); connect the container to the \
                network of the gateway, or correct \
                 MTA_TERMINAL_NET",
                our_networks(gateway.address)
            ),
        ),
        _ => (Exit::Unavailable, "the kernel does not take the route; see terminal_net".to_owned()),
    };
    let name = if text == gateway.address.to_string() {
        String::new()
    } else {
        format!(" ({})", Shown(gateway))
    };
    Failure::preconfigure(exit, format!("MTA_TERMINAL_NET is '{text}'{name}: {error}: {why}"))
}

/// The networks of this machine in an address's family, as text.
fn our_networks(address: IpAddr) -> String {
    let same = networks().filter(|(_, network)| network.addr().is_ipv4() == address.is_ipv4());
    let shown: Vec<_> =
        same.take(NETWORKS_SHOWN).map(|(name, network)| format!("{network} on {name}")).collect();
    if shown.is_empty() { "none of its family".to_owned() } else { shown.join(", ") }
}

/// Addresses of this machine with their networks, by interface, without the loopback.
fn networks() -> impl Iterator<Item = (String, IpNet)> {
    let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
    all.filter(|interface| !interface.flags.contains(InterfaceFlags::IFF_LOOPBACK)).filter_map(
        |interface| {
            let (address, mask) = (interface.address?, interface.netmask?);
            let network = match (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
                (Some(address), Some(mask)) => {
                    IpNet::with_netmask(address.ip().into(), mask.ip().into())
                }
                _ => IpNet::with_netmask(
                    address.as_sockaddr_in6()?.ip().into(),
                    mask.as_sockaddr_in6()?.ip().into(),
                ),
            };
            Some((interface.interface_name, network.ok()?))
        },
    )
}

/// For display: `fe80::1 on eth0`.
struct Shown(Gateway);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.interface.and_then(interface_name) {
            Some(name) => write!(f, "{} on {name}", self.0.address),
            None => write!(f, "{}", self.0.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<Vec<SocketAddr>, String> {
        super::find(text, &ResolvedHosts::ask(&[bare(text).to_owned()], LOOKUP_PATIENCE))
    }

    #[test]
    fn we_are_no_gateway_of_our_own() {
        for text in ["127.0.0.1", "::1", "0.0.0.0", "127.1.2.3"] {
            assert!(is_ourselves(gateway(find(text).unwrap()[0])), "{text}");
        }
        let failure =
            failure("127.0.0.1", gateway(find("127.0.0.1").unwrap()[0]), &Errno::EINVAL.into());
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.cause.contains("an address of this machine"), "{failure}");
    }

    #[test]
    fn addresses_are_found_in_every_form() {
        let found = |text: &str| {
            find(text)
                .unwrap()
                .into_iter()
                .map(|address| address.ip().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(found("192.0.2.1"), ["192.0.2.1"]);
        assert_eq!(found("2001:db8::1"), ["2001:db8::1"]);
        assert_eq!(found("[2001:db8::1]"), ["2001:db8::1"]);
        assert_eq!(gateway(find("fe80::1%lo").unwrap()[0]).interface, Some(1));
        assert!(find("0.255.255.255").unwrap_err().contains("0.255.255.255"));
        assert!(find("nobody.invalid").unwrap_err().contains("does not resolve"));
    }

    #[test]
    fn causes_say_what_to_do() {
        let told = |text: &str, errno: Errno| {
            failure(text, gateway(find(text).unwrap()[0]), &errno.into())
        };
        let denied = told("192.0.2.1", Errno::EPERM);
        assert_eq!(
            (denied.exit, denied.line.as_str()),
            (Exit::Permission, "Error: failed to preconfigure the MTA")
        );
        assert!(denied.cause.contains("cap_add: [NET_ADMIN]"), "{denied}");
        let far = told("192.0.2.1", Errno::ENETUNREACH);
        assert_eq!(far.exit, Exit::Unavailable);
        assert!(
            far.cause.starts_with("MTA_TERMINAL_NET is '192.0.2.1': ")
                && far.cause.contains("network of this machine"),
            "{far}"
        );
        assert!(told("fe80::1", Errno::EINVAL).cause.ends_with("write fe80::1%eth0"));
    }
}
