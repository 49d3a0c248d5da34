//! Names of other machines and their addresses, all of them looked up at once.
//!
//! In: hosts as properties name them. Out: for each its addresses, or why there are none, in words.
//! Limits: [`HOSTS_MAX`] hosts; whoever has no answer when the time is up counts as unknown. The system's resolver is asked
//! (`/etc/hosts`, `/etc/resolv.conf`), in a child process of the supervisor, since it may be silent for long.

use crate::appliance::mount::Mounter;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Hosts that are looked up at once; of those beyond nothing is known.
pub const HOSTS_MAX: usize = 64;

/// What the child may take beyond the look-ups themselves.
const SLACK: Duration = Duration::from_millis(500);

/// What is known of hosts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Names(BTreeMap<String, Result<Vec<SocketAddr>, String>>);

impl Names {
    /// Looks hosts up in a child, for `patience` in all. Nothing is known of any when a signal ended the start meanwhile.
    pub fn look_up(hosts: impl IntoIterator<Item = String>, patience: Duration, mounter: &Mounter<'_>) -> Self {
        let hosts: BTreeSet<String> = hosts.into_iter().collect();
        if hosts.is_empty() {
            return Self::default();
        }
        match mounter.look(patience, || Ok(Self::ask(&hosts, patience.saturating_sub(SLACK)))) {
            Ok(names) => names.unwrap_or_default(),
            Err(why) => Self(hosts.into_iter().map(|host| (host.clone(), Err(unknown(&host, &why)))).collect()),
        }
    }

    /// The addresses of a host, or why it has none; `None` when nothing is known.
    pub fn of(&self, host: &str) -> Option<Result<&[SocketAddr], &str>> {
        self.0.get(host).map(|found| found.as_deref().map_err(String::as_str))
    }

    /// The same in this process, by one thread a host.
    pub(super) fn ask(hosts: &BTreeSet<String>, patience: Duration) -> Self {
        let deadline = Instant::now() + patience;
        let (sender, answers) = channel();
        for host in hosts.iter().take(HOSTS_MAX) {
            let (sender, host) = (sender.clone(), host.clone());
            // Without a thread there is no answer, which is told below.
            let _ = std::thread::Builder::new().name("name".to_owned()).spawn(move || {
                let found = resolve(&host);
                // Nobody listens any more once the time is up.
                let _ = sender.send((host, found));
            });
        }
        drop(sender);
        let late =
            |host: &String| (host.clone(), Err(unknown(host, &format!("no answer within {} s", patience.as_secs_f32()))));
        let mut names: BTreeMap<_, _> = hosts.iter().take(HOSTS_MAX).map(late).collect();
        while let Ok((host, found)) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            names.insert(host, found);
        }
        Self(names)
    }
}

fn resolve(host: &str) -> Result<Vec<SocketAddr>, String> {
    (host, 0).to_socket_addrs().map(Iterator::collect).map_err(|error| unknown(host, &error.to_string()))
}

fn unknown(host: &str, why: &str) -> String {
    format!("{host} does not resolve ({why})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_gets_its_own_answer() {
        let hosts = ["192.0.2.1", "nobody.invalid", "::1"].map(str::to_owned).into_iter().collect();
        let names = Names::ask(&hosts, Duration::from_secs(30));
        let addresses = |host: &str| names.of(host).unwrap().unwrap().iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        assert!(addresses("192.0.2.1").contains(&"192.0.2.1:0".to_owned()));
        assert!(addresses("::1").contains(&"[::1]:0".to_owned()));
        assert!(names.of("nobody.invalid").unwrap().unwrap_err().starts_with("nobody.invalid does not resolve ("));
        assert!(names.of("else.invalid").is_none());
    }

    #[test]
    fn whoever_does_not_answer_in_time_is_unknown() {
        let hosts = ["nobody.invalid"].map(str::to_owned).into_iter().collect();
        let names = Names::ask(&hosts, Duration::ZERO);
        assert!(names.of("nobody.invalid").unwrap().is_err());
    }
}
