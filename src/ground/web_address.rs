//! The URL of a web site: `https://mail.example.org:8443/mta`.
//!
//! Source: RFC 3986 §3, RFC 6454 §4 (origins).

use super::host::{Host, HostSpec};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Octets of a path, at most.
const PATH_MAX: usize = 200;

/// Scheme, host, port and path of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    /// `https`, or `http`.
    pub secure: bool,
    /// In lower case; IPv6 in brackets.
    pub host: String,
    /// The scheme's default unless it was given.
    pub port: u16,
    /// `/mta`, without a slash at its end; empty at the root.
    pub path: String,
}

impl WebAddress {
    /// The origin in the form of a browser: the port only if it is not the scheme's default.
    pub fn origin(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        match self.port {
            port if port == self.usual_port() => format!("{scheme}://{}", self.host),
            port => format!("{scheme}://{}:{port}", self.host),
        }
    }

    fn usual_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }
}

impl FromStr for WebAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let complaint = || {
            "must be the page's address as browsers see it: https://host[:port][/path]".to_owned()
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(complaint)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(complaint()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let spec: HostSpec = authority.parse().map_err(|_| complaint())?;
        let host = match spec.host {
            Host::Name(_) if authority.starts_with('[') => return Err(complaint()),
            Host::Name(name) => name.trim_end_matches('.').to_owned(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        let path = path.trim_end_matches('/');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let odd = path.contains("//") || path.split('/').any(|step| matches!(step, "." | ".."));
        if path.len() > PATH_MAX || odd || !path.bytes().all(plain) {
            return Err(
                "must have a path of letters, digits, '-', '.', '_' and '~' between single slashes"
                    .to_owned(),
            );
        }
        let port = spec.port.unwrap_or(if secure { 443 } else { 80 });
        Ok(Self { secure, host, port, path: path.to_owned() })
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_scheme_host_port_and_path() {
        for (text, origin, path) in [
            ("https://Mail.Example.org", "https://mail.example.org", ""),
            ("http://mail.example.org:80/", "http://mail.example.org", ""),
            ("https://mail.example.org:8443/mta/", "https://mail.example.org:8443", "/mta"),
            ("http://192.0.2.7:8080/a/b", "http://192.0.2.7:8080", "/a/b"),
            ("https://[2001:DB8::1]/mta", "https://[2001:db8::1]", "/mta"),
        ] {
            let address: WebAddress = text.parse().unwrap();
            assert_eq!(
                (address.origin().as_str(), address.path.as_str()),
                (origin, path),
                "{text}"
            );
            assert_eq!(address.to_string().parse(), Ok(address));
        }
        for bad in [
            "mail.example.org",
            "ftp://mail.example.org",
            "https://",
            "https:///mta",
            "https://user@mail.example.org",
            "https://mail.example.org/?x",
            "https://mail.example.org/a//b",
            "https://mail.example.org/../x",
            "https://mail.example.org/a\"b",
            "https://[mail.example.org]/",
            "https://mail.example.org:0",
        ] {
            assert!(bad.parse::<WebAddress>().is_err(), "{bad}");
        }
    }
}
