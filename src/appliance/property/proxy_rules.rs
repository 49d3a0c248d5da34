//! The proxies of property `proxy_networks`, and those that are missing there.

use super::network;
use super::proxy::ProxiedProtocols;
use super::settings::Settings;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The name of the file below `run_dir` with the trusted addresses that have sent PROXY headers
/// without being listed, one a line.
const UNLISTED: &str = "unlisted_proxies";

/// Octets of that file that are read.
const UNLISTED_MAX: usize = 4096;

impl Settings {
    /// The proxies whose SMTP connections begin with a PROXY header.
    pub fn smtp_proxies(&self) -> Vec<IpNet> {
        self.proxies(ProxiedProtocols::Http)
    }

    /// The proxies whose HTTP requests may name a client.
    pub fn http_proxies(&self) -> Vec<IpNet> {
        self.proxies(ProxiedProtocols::Smtp)
    }

    fn proxies(&self, except: ProxiedProtocols) -> Vec<IpNet> {
        let proxies = self.proxy_networks.iter().filter(|proxy| proxy.passes != except);
        proxies.map(|proxy| proxy.network).collect()
    }

    /// An entry of `xclient_networks` that is trusted even before the proxy has named a client.
    pub(super) fn trusted_xclient_proxy(&self) -> Option<String> {
        let overlaps = |proxy: &&IpNet| {
            let trusted = &self.smtpd_trusted_networks;
            trusted.iter().any(|network| network.contains(*proxy) || proxy.contains(network))
        };
        self.xclient_networks.iter().find(overlaps).map(network::text)
    }

    /// Trusted addresses from which the appliance of this `run_dir` has got PROXY headers, and
    /// which are not listed: all clients of such a proxy would have its address, and its trust.
    pub(super) fn unlisted_proxies(&self) -> Vec<IpAddr> {
        let contain = |networks: &[IpNet], address: &IpAddr| {
            networks.iter().any(|network| network.contains(address))
        };
        let proxies = self.smtp_proxies();
        let text = std::fs::read_to_string(unlisted(&self.run_dir)).unwrap_or_default();
        let text = text.get(..UNLISTED_MAX).unwrap_or(&text);
        text.lines()
            .filter_map(|line| line.parse().ok())
            .filter(|address| contain(&self.smtpd_trusted_networks, address))
            .filter(|address| !contain(&proxies, address))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}

/// Where [`Settings::unlisted_proxies`] are noted.
pub fn unlisted(run_dir: &Path) -> PathBuf {
    run_dir.join(UNLISTED)
}

#[cfg(test)]
mod tests {
    use super::super::proxy::proxy_networks;
    use super::*;

    fn settings() -> Settings {
        let Ok(loaded) = super::super::load() else { panic!("the defaults are right") };
        loaded.settings
    }

    #[test]
    fn each_protocol_has_its_proxies() {
        let read = proxy_networks("10.0.0.5, http:172.18.0.0/16, smtp:[2001:db8::]/64, smtp:::1");
        let read = read.unwrap();
        let settings = Settings { proxy_networks: read, ..settings() };
        let text =
            |networks: Vec<IpNet>| networks.iter().map(network::text).collect::<Vec<_>>().join(" ");
        assert_eq!(text(settings.smtp_proxies()), "10.0.0.5 2001:db8::/64 ::1");
        assert_eq!(text(settings.http_proxies()), "10.0.0.5 172.18.0.0/16");
    }

    #[test]
    fn a_proxy_that_is_trusted_before_it_names_a_client_is_told() {
        let with = |proxies: &str| Settings {
            smtpd_trusted_networks: network::networks("127.0.0.1, 10.0.0.0/8").unwrap(),
            xclient_networks: network::networks(proxies).unwrap_or_default(),
            ..settings()
        };
        let told = |proxies: &str| with(proxies).trusted_xclient_proxy();
        assert_eq!(["", "192.0.2.7", "11.0.0.0/8"].map(told), [None, None, None]);
        assert_eq!(told("192.0.2.7, 10.1.2.3").as_deref(), Some("10.1.2.3"));
        assert_eq!(told("8.0.0.0/5").as_deref(), Some("8.0.0.0/5"));
    }

    #[test]
    fn a_trusted_proxy_that_was_seen_must_be_listed() {
        let run = tempfile::tempdir().unwrap();
        let with = |proxies: &str| Settings {
            run_dir: run.path().to_owned(),
            smtpd_trusted_networks: network::networks("10.0.0.0/8").unwrap(),
            proxy_networks: proxy_networks(proxies).unwrap_or_default(),
            ..settings()
        };
        assert!(with("").unlisted_proxies().is_empty(), "nothing was seen");
        std::fs::write(unlisted(run.path()), "10.0.0.5\n192.0.2.7\n10.0.0.6\n\n10.0").unwrap();
        let seen = |proxies: &str| with(proxies).unlisted_proxies().len();
        assert_eq!(["", "10.0.0.5", "10.0.0.0/24", "http:10.0.0.5"].map(seen), [2, 1, 0, 2]);
    }
}
