//! Property `proxy_networks`: proxies that say whose connections they pass on.
//!
//! A plain entry is a proxy for both kinds of connections: one at the SMTP ports must begin with
//! the header of the PROXY protocol, and a request at `ui_port` may name its client in a header
//! field. A proxy of web pages alone, in whose network mail clients are too, is written with
//! `http:` in front; one of SMTP alone with `smtp:`.

use super::network;
use super::to_text::Written;
use super::value::{ValueError, list};
use ipnet::IpNet;

/// An entry of `proxy_networks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyNetwork {
    /// Its addresses.
    pub network: IpNet,
    /// What its proxies pass on.
    pub passes: ProxiedProtocols,
}

/// The kinds of connections that a proxy passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxiedProtocols {
    /// SMTP and HTTP.
    Both,
    /// Requests at `ui_port`.
    Http,
    /// Connections at the SMTP ports.
    Smtp,
}

/// Proxies.
pub fn proxy_networks(text: &str) -> Result<Vec<ProxyNetwork>, ValueError> {
    let mut all = Vec::new();
    for item in list(text, |item| Ok(item.to_owned()))? {
        let prefixed = [("http:", ProxiedProtocols::Http), ("smtp:", ProxiedProtocols::Smtp)]
            .into_iter()
            .find_map(|(prefix, passes)| Some((item.strip_prefix(prefix)?, passes)));
        let (network, passes) = prefixed.unwrap_or((&item, ProxiedProtocols::Both));
        let networks = network::networks(network)?;
        all.extend(networks.into_iter().map(|network| ProxyNetwork { network, passes }));
    }
    Ok(all)
}

impl Written for ProxyNetwork {
    fn to_text(&self) -> String {
        let prefix = match self.passes {
            ProxiedProtocols::Both => "",
            ProxiedProtocols::Http => "http:",
            ProxiedProtocols::Smtp => "smtp:",
        };
        format!("{prefix}{}", network::text(&self.network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_what_its_proxies_pass_on() {
        let text = "10.0.0.5, http:172.18.0.0/16, smtp:[2001:db8::]/64, smtp:::1";
        let read = proxy_networks(text).unwrap();
        assert_eq!(read.to_text(), "10.0.0.5, http:172.18.0.0/16, smtp:2001:db8::/64, smtp:::1");
        assert_eq!(proxy_networks(&read.to_text()), Ok(read));
        for wrong in ["imap:10.0.0.5", "http:", "http:example.com", "smtp:10.0.0.5/8", "http: ::1"]
        {
            assert!(proxy_networks(wrong).is_err(), "{wrong}");
        }
    }
}
