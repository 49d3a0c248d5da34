//! A host in a property: `host[:port]`, `[host]:port`, an IPv4 address, `[IPv6]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The host, and whether its MX records are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostSpec {
    /// A name or an address.
    pub host: Host,
    /// The port, where one was given.
    pub port: Option<u16>,
    /// Square brackets around a name mean: this host itself, without an MX lookup (as in Postfix).
    pub exact: bool,
}

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name.
    Name(String),
    /// An IP address.
    Address(IpAddr),
}

/// The text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a host: write host, host:port, [host]:port, an IPv4 address or [IPv6]:port")]
pub struct HostError(String);

impl FromStr for HostSpec {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        parse(text.trim()).ok_or_else(|| HostError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<HostSpec> {
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(HostSpec { host: Host::Address(address.into()), port: None, exact: true });
    }
    let (host, port, bracketed) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']')?;
            let port = if after.is_empty() { None } else { Some(after.strip_prefix(':')?) };
            (inner, port, true)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port), false),
            None => (text, None, false),
        },
    };
    let port = match port {
        Some(digits) => Some(digits.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Some(HostSpec { host: Host::Address(address.into()), port, exact: true });
    }
    if bracketed && let Ok(address) = host.trim_start_matches("IPv6:").parse::<Ipv6Addr>() {
        return Some(HostSpec { host: Host::Address(address.into()), port, exact: true });
    }
    is_name(host).then(|| HostSpec {
        host: Host::Name(host.to_lowercase()),
        port,
        exact: bracketed,
    })
}

/// Letters, digits, hyphens and underscores in labels of 1 to 63 octets; not only digits, which
/// would be a mistyped address.
fn is_name(text: &str) -> bool {
    let labels = text.trim_end_matches('.');
    labels.len() <= 253
        && labels.contains(|c: char| c.is_ascii_alphabetic())
        && labels.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

impl fmt::Display for HostSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) if self.exact => write!(f, "[{name}]")?,
            Host::Name(name) => f.write_str(name)?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_and_writes_it_back() {
        for (text, exact) in [
            ("relay.example", false),
            ("relay.example:587", false),
            ("[relay.example]", true),
            ("[relay.example]:2525", true),
            ("192.0.2.1", true),
            ("192.0.2.1:26", true),
            ("[2001:db8::1]", true),
            ("[2001:db8::1]:26", true),
        ] {
            let spec: HostSpec = text.parse().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!((spec.to_string().as_str(), spec.exact), (text, exact));
        }
        assert_eq!("2001:db8::1".parse::<HostSpec>().unwrap().to_string(), "[2001:db8::1]");
    }

    #[test]
    fn refuses_what_is_no_host() {
        for bad in [
            "",
            ":",
            "a:b",
            "a:0",
            "a:65536",
            "[a",
            "[a]b",
            "a b",
            "1.2.3",
            "-a",
            "a..b",
            "user@host",
            "smtp://host",
        ] {
            assert!(bad.parse::<HostSpec>().is_err(), "{bad:?}");
        }
    }
}
