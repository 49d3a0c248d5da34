//! The client of a request that comes through a proxy.
//!
//! Security: a request through a proxy is never trusted by its address. A proxy in `proxy_networks`
//! may name the client, which then counts for limits and appears in logs. Source: RFC 7239
//! (Forwarded), RFC 9110 §7.6.3 (Via); X-Forwarded-For as Apache, nginx and Traefik write it.

use hyper::header::{self, HeaderMap};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// The header fields that proxies add.
const MARKS: [&str; 6] =
    ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];

/// Hops of a chain of proxies that are evaluated, the nearest first.
const PROXIES_MAX: usize = 20;

/// The origin of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestClient {
    /// For limits and logs.
    pub(crate) address: IpAddr,
    /// Whether there is no proxy in between, as far as detectable.
    pub(crate) direct: bool,
}

impl RequestClient {
    /// The client of a request from `peer`.
    pub(crate) fn of(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let trusted = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
        if !MARKS.iter().any(|mark| headers.contains_key(*mark)) {
            // A configured proxy that adds no field is a proxy all the same.
            return Self { address: peer, direct: !trusted(&peer) };
        }
        if !trusted(&peer) {
            return Self { address: peer, direct: false };
        }
        // The nearest proxy wrote the last entry; the first address that is not a configured proxy
        // is the client.
        let mut address = peer;
        for hop in hops(headers) {
            let Some(hop) = hop else { break };
            address = hop;
            if !trusted(&hop) {
                break;
            }
        }
        Self { address, direct: false }
    }
}

/// The addresses of a chain, the nearest first; `None` for an entry that is not an address. A proxy
/// writes one kind of field and may pass on the client's own fields: if the kinds do not agree on
/// the nearest hop, none of them is used.
fn hops(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let texts = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| {
                value.split(',').map(|entry| entry.trim().to_owned()).collect::<Vec<_>>()
            })
            .collect()
    };
    let forwarded = texts(header::FORWARDED.as_str())
        .iter()
        .map(|entry| parameter_for(entry).and_then(node))
        .collect();
    let [through, client] = ["x-forwarded-for", "x-real-ip"]
        .map(|name| texts(name).iter().map(|text| node(text)).collect::<Vec<_>>());
    let mut chains: Vec<Vec<Option<IpAddr>>> = vec![forwarded, through, client];
    chains.retain(|chain| !chain.is_empty());
    if chains.windows(2).any(|pair| pair[0].last() != pair[1].last()) {
        return Vec::new();
    }
    let mut hops = chains.into_iter().next().unwrap_or_default();
    hops.reverse();
    hops.truncate(PROXIES_MAX);
    hops
}

fn parameter_for(entry: &str) -> Option<&str> {
    entry.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    })
}

/// An address, with or without quotes, brackets and a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(text, |(address, _)| address);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn client(peer: &str, fields: &[(&'static str, &'static str)]) -> (String, bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let proxies = ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let client = RequestClient::of(peer.parse().unwrap(), &headers, &proxies);
        (client.address.to_string(), client.direct)
    }

    #[test]
    fn a_proxy_of_ours_names_its_client_and_nobody_elses_does() {
        for (peer, fields, address) in [
            ("10.0.0.1", &[("x-forwarded-for", "192.0.2.9")][..], "192.0.2.9"),
            ("10.0.0.1", &[("x-forwarded-for", "127.0.0.1, 192.0.2.9, 10.0.0.7")], "192.0.2.9"),
            (
                "10.0.0.1",
                &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-for", "192.0.2.9")],
                "192.0.2.9",
            ),
            (
                "::1",
                &[("forwarded", "for=127.0.0.1, FOR=\"[2001:db8::7]:4711\";proto=https")],
                "2001:db8::7",
            ),
            ("10.0.0.1", &[("x-real-ip", "192.0.2.9")], "192.0.2.9"),
            ("10.0.0.1", &[("x-forwarded-for", "unknown")], "10.0.0.1"),
            ("10.0.0.1", &[("via", "1.1 proxy")], "10.0.0.1"),
            ("192.0.2.1", &[("x-forwarded-for", "127.0.0.1")], "192.0.2.1"),
            ("127.0.0.1", &[("via", "1.1 proxy")], "127.0.0.1"),
        ] {
            assert_eq!(client(peer, fields), (address.to_owned(), false), "{peer} {fields:?}");
        }
        assert_eq!(client("192.0.2.1", &[("accept", "*/*")]), ("192.0.2.1".to_owned(), true));
    }
}
