//! The default routes of this network namespace, read and replaced through netlink.
//!
//! In: a gateway. Out: one default route of its family in the main table, through that gateway, and
//! what was there before. Other routes, the other family and other tables (policy routing) are left
//! alone; the two halves 0.0.0.0/1 and 128.0.0.0/1 of VPN software are such other routes. The new
//! route is added before an old one is removed, so after a failure the old ones remain. Limits: an
//! answer has at most [`PIECES_MAX`] pieces, and the kernel answers within [`PATIENCE`]. Later
//! changes of routes (a router advertisement, an engine that attaches another network) are not
//! watched. Security: only the kernel's answers are accepted; a change needs CAP_NET_ADMIN in this
//! namespace. Source: rtnetlink(7), netlink(7).

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

/// Pieces of one answer, at most; each has some hundred routes.
const PIECES_MAX: usize = 10_000;
/// How long an answer of the kernel may take, in seconds.
const PATIENCE: i64 = 5;
/// Octets of one piece of a dump, at most (rtnetlink's own limit is 32 KiB).
const PIECE: usize = 64 * 1024;
/// The length and the type of a message come first, in a header of this size (netlink(7)).
const HEADER: usize = 16;

/// A gateway, and its interface if the address alone is not enough (link-local ones, fe80::/10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// Its address.
    pub address: IpAddr,
    /// The number of the interface.
    pub interface: Option<u32>,
}

/// One default route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultRoute(RouteMessage);

/// The default routes of the family of `address`, in the kernel's order.
///
/// # Errors
/// There is no netlink, or the kernel does not answer.
pub fn defaults(address: IpAddr) -> io::Result<Vec<DefaultRoute>> {
    Netlink::open()?.defaults(family(address))
}

/// Makes the gateway the only default route of its family; returns the removed routes. `None`: it
/// was that already, and nothing was changed.
///
/// # Errors
/// `EPERM`: CAP_NET_ADMIN is missing. `ENETUNREACH`, `EHOSTUNREACH`, `EINVAL`: it is on no network
/// of this machine, or is this machine.
pub fn use_gateway(gateway: Gateway) -> io::Result<Option<Vec<DefaultRoute>>> {
    let mut netlink = Netlink::open()?;
    let family = family(gateway.address);
    let before = netlink.defaults(family)?;
    let is_there = before.iter().any(|route| route.leads_to(gateway));
    if is_there && before.len() == 1 {
        return Ok(None);
    }
    if !is_there {
        let new = RouteNetlinkMessage::NewRoute(through(gateway));
        netlink.order(new, NLM_F_CREATE | NLM_F_REPLACE)?;
    }
    for route in netlink.defaults(family)?.into_iter().filter(|route| !route.leads_to(gateway)) {
        match netlink.order(RouteNetlinkMessage::DelRoute(route.to_delete()), 0) {
            // Another program was quicker.
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => {}
            other => other?,
        }
    }
    Ok(Some(before.into_iter().filter(|route| !route.leads_to(gateway)).collect()))
}

impl DefaultRoute {
    /// Whether it leads through this gateway and nowhere else.
    pub fn leads_to(&self, gateway: Gateway) -> bool {
        let has_interface = gateway.interface.is_none_or(|number| self.interface() == Some(number));
        self.gateway() == Some(gateway.address) && has_interface
    }

    fn gateway(&self) -> Option<IpAddr> {
        self.0.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
            RouteAttribute::Gateway(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
            _ => None,
        })
    }

    fn interface(&self) -> Option<u32> {
        self.0.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(number) => Some(*number),
            _ => None,
        })
    }

    /// A default route of the main table that can be used for mail; the kernel's own "unreachable"
    /// routes cannot.
    fn find(message: RouteMessage) -> Option<Self> {
        let table = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Table(number) => Some(*number),
            _ => None,
        });
        let header = &message.header;
        let found = header.destination_prefix_length == 0
            && header.source_prefix_length == 0
            && header.kind == RouteType::Unicast
            && !header.flags.contains(RouteFlags::Cloned)
            && table.unwrap_or_else(|| header.table.into())
                == u32::from(RouteHeader::RT_TABLE_MAIN);
        found.then_some(Self(message))
    }

    /// The attributes that identify this route among those of the same destination, without those
    /// that are only informative.
    fn to_delete(&self) -> RouteMessage {
        let mut message = self.0.clone();
        message.header.flags = RouteFlags::empty();
        let by_number =
            message.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::NhId(_)));
        message.attributes.retain(|attribute| match attribute {
            RouteAttribute::Table(_) | RouteAttribute::Priority(_) | RouteAttribute::NhId(_) => {
                true
            }
            RouteAttribute::Oif(_)
            | RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::MultiPath(_) => !by_number,
            _ => false,
        });
        message
    }
}

/// For logs: `via 10.0.0.1 (eth0)`.
impl fmt::Display for DefaultRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gateway() {
            Some(address) => write!(f, "via {address}")?,
            None => f.write_str("via several gateways or none")?,
        }
        match self.interface().and_then(interface_name) {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

/// The name of an interface, such as `eth0`.
pub fn interface_name(number: u32) -> Option<String> {
    let name = nix::net::if_::if_indextoname(number).ok()?;
    Some(name.to_string_lossy().into_owned())
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

/// A default route through a gateway, as an administrator would add it.
fn through(gateway: Gateway) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(gateway.address),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Universe,
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes.push(RouteAttribute::Gateway(gateway.address.into()));
    message.attributes.extend(gateway.interface.map(RouteAttribute::Oif));
    message
}

/// A netlink connection to the kernel for routes.
struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    fn open() -> io::Result<Self> {
        let family = socket::AddressFamily::Netlink;
        let socket = socket::socket(
            family,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        socket::setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    fn defaults(&mut self, family: AddressFamily) -> io::Result<Vec<DefaultRoute>> {
        let mut question = RouteMessage::default();
        question.header.address_family = family;
        let mut found = Vec::new();
        self.ask(RouteNetlinkMessage::GetRoute(question), NLM_F_DUMP, |message| {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                found.extend(DefaultRoute::find(route));
            }
        })?;
        Ok(found)
    }

    fn order(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(message, flags | NLM_F_ACK, |_| {})
    }

    /// Sends one message and reads the answer to its end.
    fn ask(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut hear: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        socket::sendto(
            self.socket.as_raw_fd(),
            &octets,
            &NetlinkAddr::new(0, 0),
            MsgFlags::empty(),
        )?;
        let mut piece = vec![0; PIECE];
        for _ in 0..PIECES_MAX {
            let (length, from) =
                socket::recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut piece)?;
            if from.is_none_or(|from| from.pid() != 0) {
                continue;
            }
            for octets in messages(&piece[..length]) {
                // An answer of an unknown kind is not about a route that could be used.
                let Ok(answer) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(octets) else {
                    continue;
                };
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => hear(message),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) if error.code.is_some() => {
                        return Err(error.to_io());
                    }
                    NetlinkPayload::Error(_) => return Ok(()),
                    _ => {}
                }
            }
        }
        Err(io::Error::other("the kernel's answer has no end"))
    }
}

/// Splits the received octets into messages; each begins with its length and is followed by up to
/// three octets of padding.
fn messages(mut octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(octets.get(..4)?.try_into().ok()?);
        let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
        let message = octets.get(..length)?;
        octets = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, Parseable};
    use std::net::{Ipv4Addr, Ipv6Addr};

    const FOUR: Gateway =
        Gateway { address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), interface: None };

    #[test]
    fn the_octets_of_a_new_route_are_those_of_the_manual() {
        let message = through(Gateway { interface: Some(7), ..FOUR });
        let mut octets = vec![0; message.buffer_len()];
        message.emit(&mut octets);
        // struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope,
        // type, flags.
        assert_eq!(octets[..12], [2, 0, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0]);
        // RTA_GATEWAY is 5, RTA_OIF is 4; each is preceded by its length, in the byte order of this
        // machine.
        let word = |number: u16| number.to_ne_bytes();
        let expected =
            [&word(8)[..], &word(5), &[192, 0, 2, 1], &word(8), &word(4), &7_u32.to_ne_bytes()]
                .concat();
        assert_eq!(octets[12..], expected);
        assert_eq!(RouteMessage::parse(&octets[..]).unwrap(), message);
    }

    #[test]
    fn only_default_routes_of_the_main_table_are_found() {
        let default = through(FOUR);
        let changed = |change: fn(&mut RouteMessage)| {
            let mut message = default.clone();
            change(&mut message);
            DefaultRoute::find(message).is_some()
        };
        assert!(changed(|_| {}));
        assert!(
            !changed(|message| message.header.destination_prefix_length = 1),
            "a half of the world is another route"
        );
        assert!(!changed(|message| message.header.kind = RouteType::Unreachable));
        assert!(!changed(|message| message.attributes.push(RouteAttribute::Table(100))));
        let found = DefaultRoute::find(default).unwrap();
        assert!(found.leads_to(FOUR));
        assert!(
            !found.leads_to(Gateway { address: IpAddr::V6(Ipv6Addr::LOCALHOST), interface: None })
        );
        assert!(
            !found.leads_to(Gateway { interface: Some(9), ..FOUR }),
            "the same address elsewhere is another gateway"
        );
        assert_eq!(found.to_string(), "via 192.0.2.1");
    }

    #[test]
    fn what_came_at_once_is_cut_into_messages() {
        let mut octets = Vec::new();
        for length in [17_u32, 16] {
            octets.extend(length.to_ne_bytes());
            octets.resize(octets.len() + (length as usize).next_multiple_of(4) - 4, 1);
        }
        assert_eq!(messages(&octets).map(<[u8]>::len).collect::<Vec<_>>(), [17, 16]);
        assert_eq!(messages(&octets[..18]).count(), 1, "the rest of a torn one is left");
        assert_eq!(messages(&[0; 64]).count(), 0, "a length of nothing ends it");
    }

    #[test]
    fn the_kernel_tells_what_proc_tells() {
        let proc = crate::ground::gateway::default_gateways();
        for address in [FOUR.address, IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let netlink = defaults(address).unwrap();
            assert!(
                netlink
                    .iter()
                    .filter_map(DefaultRoute::gateway)
                    .all(|gateway| proc.contains(&gateway)),
                "{netlink:?} {proc:?}"
            );
        }
    }
}
