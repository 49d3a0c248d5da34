//! `/etc/resolv.conf`, by resolv.conf(5). Unknown, mistyped and unneeded lines are ignored.

use hickory_resolver::proto::rr::Name;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Name servers that are used, at most; the C library uses three.
const SERVERS_MAX: usize = 8;

/// Search domains, at most; more would make a query for a name without a dot too slow.
const SEARCH_MAX: usize = 8;

/// The content of the file.
#[derive(Debug)]
pub(super) struct ResolvConf {
    /// Never empty: without any server, the one on 127.0.0.1.
    pub servers: Vec<IpAddr>,
    pub search: Vec<Name>,
    /// Timeout of one try of one server.
    pub timeout: Duration,
    /// Tries of each server.
    pub attempts: usize,
    /// Servers are used in rotation, not the first one first.
    pub rotate: bool,
    /// Queries use TCP.
    pub tcp_only: bool,
}

impl ResolvConf {
    /// Reads the file. Of several `search` and `domain` lines the last one counts. The option
    /// `edns0` is ignored: every answer that mail needs can come over TCP, and some name servers
    /// refuse every query that has it (RFC 6891 §7).
    pub fn parse(text: &[u8]) -> Self {
        let mut conf = Self {
            servers: Vec::new(),
            search: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 2,
            rotate: false,
            tcp_only: false,
        };
        let text = String::from_utf8_lossy(text);
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| word.parse().ok());
                    conf.servers.extend(server.filter(|server| {
                        conf.servers.len() < SERVERS_MAX && !conf.servers.contains(server)
                    }));
                }
                Some("search" | "domain") => {
                    conf.search = words.filter_map(domain).take(SEARCH_MAX).collect();
                }
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        conf
    }

    fn option(&mut self, word: &str) {
        let (name, value) = word.split_once(':').unwrap_or((word, ""));
        match (name, value.parse::<u8>()) {
            ("timeout", Ok(seconds)) => self.timeout = Duration::from_secs(seconds.max(1).into()),
            ("attempts", Ok(attempts)) => self.attempts = attempts.max(1).into(),
            ("rotate", _) => self.rotate = true,
            ("use-vc", _) => self.tcp_only = true,
            _ => {}
        }
    }
}

fn domain(word: &str) -> Option<Name> {
    Name::from_str_relaxed(word).ok().filter(|name| !name.is_root())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_line_counts_and_no_other_breaks_it() {
        let conf = ResolvConf::parse(
            b"# made by hand\nnameserver 192.0.2.53\nnameserver 192.0.2.53\nnameserver \
            fe80::1%eth0\nnameserver nonsense\n\
              domain old.example\nsearch a.example .. \xff b.example # that is all\noptions edns0 \
              ndots:0 trust-ad no-aaaa inet6\n\
              options timeout:2 attempts:9 rotate use-vc timeout:x attempts:\nsortlist \
              192.0.2.0\nNameServer 192.0.2.54\n\
              nameserver\t2001:db8::53",
        );
        assert_eq!(
            conf.servers,
            ["192.0.2.53".parse::<IpAddr>().unwrap(), "2001:db8::53".parse().unwrap()]
        );
        assert!(
            conf.search.len() >= 2 && conf.search[0].to_ascii() == "a.example",
            "{:?}",
            conf.search
        );
        assert_eq!(
            (conf.timeout, conf.attempts, conf.rotate, conf.tcp_only),
            (Duration::from_secs(2), 9, true, true)
        );
        for nothing in ["", "nameserver", "options", "search", "\0\0"] {
            let conf = ResolvConf::parse(nothing.as_bytes());
            assert_eq!(conf.servers, [IpAddr::from(Ipv4Addr::LOCALHOST)], "{nothing:?}");
            assert_eq!(
                (conf.search.len(), conf.timeout, conf.attempts),
                (0, Duration::from_secs(5), 2)
            );
        }
    }
}
