//! The host names of this server.
//!
//! Another site can let its own name resolve to this relay (DNS rebinding); the browser then treats
//! both as the same site. Its `Host` field has the other name, so requests for unknown names are
//! answered 421. Addresses, `localhost` and names without a dot cannot belong to another site.
//! Source: RFC 9112 §3.2 (Host), RFC 9110 §15.5.20 (421).

use hyper::header::{self, HeaderMap};
use hyper::{Uri, Version};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Characters of a name that are shown in an answer.
const SHOWN: usize = 80;

/// The server's names with a dot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(BTreeSet<String>);

/// The host and port of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    /// In lower case, without a dot at the end; IPv6 in brackets.
    pub(crate) host: String,
    /// As given.
    pub(crate) port: Option<u16>,
}

impl AllowedHosts {
    /// These names, in any case.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            names.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect(),
        )
    }

    /// Whether the server has this name.
    pub(crate) fn knows(&self, host: &str) -> bool {
        let address = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
        address || !host.contains('.') || self.0.contains(host)
    }
}

/// The host of a request; `None` if there is none, as in HTTP/1.0. A target in absolute form has
/// precedence over the field `Host` (RFC 9112 §3.2.2).
///
/// # Errors
/// The request must be answered 400 with this text.
pub(crate) fn authority(
    uri: &Uri,
    headers: &HeaderMap,
    version: Version,
) -> Result<Option<Authority>, String> {
    let mut fields = headers.get_all(header::HOST).iter();
    let (field, further) = (fields.next(), fields.next());
    if further.is_some() {
        return Err("more than one Host field (RFC 9112 §3.2)".to_owned());
    }
    let field = field.map(|field| field.to_str().unwrap_or("?"));
    if field.is_none() && version == Version::HTTP_11 {
        return Err("HTTP/1.1 needs a Host field (RFC 9112 §3.2)".to_owned());
    }
    let parsed = |text: &str| {
        let shown: String = text.chars().take(SHOWN).collect();
        Authority::parse(text)
            .ok_or_else(|| format!("'{shown}' in Host is no host with an optional port"))
    };
    let field = field.map(str::trim).filter(|field| !field.is_empty()).map(parsed).transpose()?;
    match uri.authority() {
        Some(authority) => parsed(authority.as_str()).map(Some),
        None => Ok(field),
    }
}

impl Authority {
    /// `host`, `host:port`, `[IPv6]:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (format!("[{}]", address.parse::<Ipv6Addr>().ok()?), port)
            }
            None => {
                let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
                let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
                let plain =
                    |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
                    return None;
                }
                (host, port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            // An empty port means the scheme's default (RFC 3986 §3.2.3).
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// In the form for a URL.
    pub(crate) fn text(&self) -> String {
        self.port.map_or_else(|| self.host.clone(), |port| format!("{}:{port}", self.host))
    }

    /// The port, or the scheme's default.
    pub(crate) fn port_of(&self, secure: bool) -> u16 {
        self.port.unwrap_or(if secure { 443 } else { 80 })
    }

    /// The answer text for a request with an unknown host.
    pub(crate) fn misdirected(&self) -> String {
        let shown: String = self.host.chars().take(SHOWN).collect();
        format!(
            "this relay does not answer to the name '{shown}' (the request's Host): if it is meant \
            to, name it in ui_hosts \
             (MTA_UI_HOSTS), or in ui_url where a proxy stands in front"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn our_names_are_known_and_others_are_not() {
        let hosts = AllowedHosts::new(["mta.shop.example", "Relay.Example."]);
        let knows = |text: &str| {
            Authority::parse(text).is_some_and(|authority| hosts.knows(&authority.host))
        };
        for known in [
            "mta.shop.example",
            "MTA.Shop.Example.",
            "relay.example:8080",
            "localhost:1",
            "mta",
            "my_relay-1:80",
            "127.0.0.1",
            "192.0.2.7:65535",
            "[::1]",
            "[2001:DB8::7]:8080",
            "mta:",
        ] {
            assert!(knows(known), "{known}");
        }
        for other in [
            "evil.example",
            "mta.shop.example.evil.example",
            "evil.mta.shop.example",
            "127.0.0.1.evil.example",
            "127.1",
            "0x7f.0.0.1",
            "localhost.evil.example",
            "mta.shop.example..",
        ] {
            assert!(!knows(other), "{other}");
        }
    }

    #[test]
    fn what_names_no_host_is_told_apart() {
        for bad in [
            "",
            ":80",
            "a b",
            "a/b",
            "user@mta",
            "mta:80:81",
            "mta:x",
            "mta:65536",
            "::1",
            "[::1",
            "[mta]",
            "[::1]x",
            "m\u{e4}",
        ] {
            assert_eq!(Authority::parse(bad), None, "{bad}");
        }
        let asked = |uri: &str, fields: &[&'static str], version| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::HOST, HeaderValue::from_static(field));
            }
            authority(&uri.parse().unwrap(), &headers, version)
                .map(|found| found.map(|found| found.text()))
        };
        assert_eq!(asked("/", &["MTA:80"], Version::HTTP_11), Ok(Some("mta:80".to_owned())));
        assert_eq!(asked("/", &[], Version::HTTP_10), Ok(None));
        assert_eq!(asked("/", &[""], Version::HTTP_11), Ok(None));
        assert!(asked("/", &[], Version::HTTP_11).is_err());
        assert!(asked("/", &["mta", "mta"], Version::HTTP_11).is_err());
        assert!(asked("/", &["mta", "mta"], Version::HTTP_10).is_err());
        assert_eq!(
            asked("http://other/x", &["mta"], Version::HTTP_11),
            Ok(Some("other".to_owned()))
        );
        assert!(asked("http://user@other/x", &["mta"], Version::HTTP_11).is_err());
    }
}
