//! Looks up the names of other machines, all at once.
//!
//! In: hosts in properties. Out: for each its addresses, or why there are none, as text. Limits:
//! the first [`HOSTS_MAX`] hosts; a host without an answer within the time limit counts as unknown,
//! or as late if the time was shorter than that of a start. The system's resolver is used
//! (`/etc/hosts`, `/etc/resolv.conf`), in a child process of the supervisor, since it may block for
//! long.

use crate::appliance::mount::Mounter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Hosts that are looked up, at most; nothing is known about others.
pub const HOSTS_MAX: usize = 64;

/// Extra time for the child beyond the lookups.
const SLACK: Duration = Duration::from_millis(500);

/// The results of the lookups.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct ResolvedHosts {
    found: BTreeMap<String, Result<Vec<SocketAddr>, String>>,
    /// Hosts that may still resolve: a start waits longer for them.
    late: BTreeSet<String>,
}

impl ResolvedHosts {
    /// Looks hosts up in a child process, within `patience` in total. Nothing is known about any
    /// host if a signal ended the start meanwhile.
    pub fn look_up(
        hosts: impl IntoIterator<Item = String>,
        patience: Duration,
        mounter: &Mounter<'_>,
    ) -> Self {
        Self { late: BTreeSet::new(), ..Self::look_up_briefly(hosts, patience, mounter) }
    }

    /// The same with a shorter time than that of a start: a host without an answer is late.
    pub fn look_up_briefly(
        hosts: impl IntoIterator<Item = String>,
        patience: Duration,
        mounter: &Mounter<'_>,
    ) -> Self {
        let hosts = first(hosts);
        if hosts.is_empty() {
            return Self::default();
        }
        match mounter.look(patience, || Ok(Self::ask(&hosts, patience.saturating_sub(SLACK)))) {
            Ok(names) => names.unwrap_or_default(),
            Err(why) => Self::none_answered(&hosts, &why),
        }
    }

    /// Whether a host's addresses are not known yet.
    pub fn is_unanswered(&self, host: &str) -> bool {
        self.late.contains(host)
    }

    /// The addresses of a host, or why it has none; `None` when nothing is known.
    pub fn of(&self, host: &str) -> Option<Result<&[SocketAddr], &str>> {
        self.found.get(host).map(|found| found.as_deref().map_err(String::as_str))
    }

    /// The same in this process, with one thread for each host.
    pub(super) fn ask(hosts: &[String], patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        let (sender, answers) = channel();
        for host in hosts {
            let (sender, host) = (sender.clone(), host.clone());
            // Without a thread there is no answer, which is reported below.
            let _ = std::thread::Builder::new().name("name".to_owned()).spawn(move || {
                let found = resolve(&host);
                // Nobody reads the result once the time is up.
                let _ = sender.send((host, found));
            });
        }
        drop(sender);
        let mut names =
            Self::none_answered(hosts, &format!("no answer within {} s", patience.as_secs_f32()));
        while let Ok((host, found)) =
            answers.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            names.late.remove(&host);
            names.found.insert(host, found);
        }
        names
    }

    /// No host has been resolved yet.
    pub(super) fn none_answered(hosts: &[String], why: &str) -> Self {
        let found = hosts.iter().map(|host| (host.clone(), Err(unknown(host, why)))).collect();
        Self { found, late: hosts.iter().cloned().collect() }
    }
}

/// Each host once, in their order.
fn first(hosts: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    hosts.into_iter().filter(|host| seen.insert(host.clone())).take(HOSTS_MAX).collect()
}

fn resolve(host: &str) -> Result<Vec<SocketAddr>, String> {
    (host, 0)
        .to_socket_addrs()
        .map(Iterator::collect)
        .map_err(|error| unknown(host, &error.to_string()))
}

fn unknown(host: &str, why: &str) -> String {
    format!("{host} does not resolve ({why})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_gets_its_own_answer() {
        let hosts = ["192.0.2.1", "nobody.invalid", "::1"].map(str::to_owned);
        let names = ResolvedHosts::ask(&hosts, Duration::from_secs(30));
        let addresses = |host: &str| {
            names.of(host).unwrap().unwrap().iter().map(SocketAddr::to_string).collect::<Vec<_>>()
        };
        assert!(addresses("192.0.2.1").contains(&"192.0.2.1:0".to_owned()));
        assert!(addresses("::1").contains(&"[::1]:0".to_owned()));
        assert!(
            names
                .of("nobody.invalid")
                .unwrap()
                .unwrap_err()
                .starts_with("nobody.invalid does not resolve (")
        );
        assert!(names.of("else.invalid").is_none() && names.late.is_empty());
    }

    #[test]
    fn whoever_does_not_answer_in_time_is_unknown() {
        let names = ResolvedHosts::ask(&["nobody.invalid".to_owned()], Duration::ZERO);
        assert!(names.of("nobody.invalid").unwrap().is_err());
    }

    #[test]
    fn what_is_named_first_is_looked_up_first() {
        let terminals = ["nas", "gateway", "nas"].map(str::to_owned);
        let hosts =
            first(terminals.into_iter().chain((0..HOSTS_MAX).map(|number| format!("a{number}"))));
        assert_eq!(
            (hosts.len(), &hosts[..3]),
            (HOSTS_MAX, &["nas", "gateway", "a0"].map(str::to_owned)[..])
        );
    }
}
