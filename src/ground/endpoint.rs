//! The target of an outgoing HTTP request: an `http://` or `https://` URL.

use hyper::Uri;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Octets of a URL, at most.
const LONGEST: usize = 2048;

/// An HTTP URL. Its path may be a secret (everyone who knows it may post there), so `Debug` and
/// [`Endpoint::site`] omit it.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    text: String,
    /// Whether TLS is used.
    pub tls: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port; 80 or 443 unless given.
    pub port: u16,
    /// `host[:port]` for the Host header (RFC 9112 §3.2).
    pub authority: String,
    /// Path and query (RFC 9112 §3.2.1).
    pub target: String,
}

/// The text is not such a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is not an address: write https://host/path or https://host:port/path")]
pub struct EndpointError;

impl Endpoint {
    /// Scheme, host and port: the part that may be logged.
    pub fn site(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }

    /// The whole URL, path included.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        read(text).ok_or(EndpointError)
    }
}

fn read(text: &str) -> Option<Endpoint> {
    let uri: Uri = text.parse().ok().filter(|_| text.len() <= LONGEST && !text.contains('#'))?;
    let tls = match uri.scheme_str()? {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let authority = uri.authority()?.as_str();
    let host = uri.host().filter(|host| !host.is_empty())?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let bracketed = bare.len() != host.len();
    // A user and a password would appear in logs of the other side.
    if authority.contains('@') || (bracketed && bare.parse::<IpAddr>().is_err()) {
        return None;
    }
    let given = authority.strip_prefix(host)?;
    let port = match given.strip_prefix(':') {
        Some(_) => uri.port_u16().filter(|port| *port != 0)?,
        None => {
            if tls {
                443
            } else {
                80
            }
        }
    };
    Some(Endpoint {
        text: text.to_owned(),
        tls,
        host: bare.to_ascii_lowercase(),
        port,
        authority: authority.to_ascii_lowercase(),
        target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
    })
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/…", self.site())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_and_keeps_their_paths_to_itself() {
        let seen = |text: &str| {
            let endpoint: Endpoint = text.parse().unwrap();
            (endpoint.tls, endpoint.host, endpoint.port, endpoint.authority, endpoint.target)
        };
        assert_eq!(
            seen("https://Hooks.Example/services/T0/B0/xyz?a=b"),
            (
                true,
                "hooks.example".into(),
                443,
                "hooks.example".into(),
                "/services/T0/B0/xyz?a=b".into()
            )
        );
        assert_eq!(
            seen("http://app:8080"),
            (false, "app".into(), 8080, "app:8080".into(), "/".into())
        );
        assert_eq!(
            seen("http://[2001:db8::1]:8080/x"),
            (false, "2001:db8::1".into(), 8080, "[2001:db8::1]:8080".into(), "/x".into())
        );
        let endpoint: Endpoint = "https://hooks.example/s3cret".parse().unwrap();
        assert!(!format!("{endpoint:?} {}", endpoint.site()).contains("s3cret"));
        for bad in [
            "",
            "hooks.example",
            "ftp://a/",
            "https://",
            "https:///x",
            "https://u:p@a/",
            "https://a:0/",
            "https://a:99999/",
            "https://a/#x",
            "https://a b/",
            "http://[x]/",
        ] {
            assert_eq!(bad.parse::<Endpoint>(), Err(EndpointError), "{bad}");
        }
    }
}
