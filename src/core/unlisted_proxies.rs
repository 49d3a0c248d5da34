//! Notes trusted addresses that send PROXY headers without being listed in `proxy_networks`.
//!
//! Purpose: such a proxy makes an open relay, because all of its clients have a trusted address;
//! `postern check` fails while one is noted. In: rejected commands. Out: a line of the log for each
//! address, and a file below `run_dir`. Limits: [`NOTED_MAX`] addresses of this run.

use crate::appliance::property::proxy_rules;
use crate::ground::lock::Lock;
use crate::mail::model::{MailEvent, MailEventSink};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Addresses that are noted.
const NOTED_MAX: usize = 32;

/// The addresses, and their file.
pub(super) struct UnlistedProxies {
    path: PathBuf,
    seen: Lock<BTreeSet<IpAddr>>,
}

impl UnlistedProxies {
    /// None yet: what an earlier run has noted is removed.
    pub(super) fn new(run_dir: &Path) -> Self {
        let path = proxy_rules::unlisted(run_dir);
        let _ = std::fs::remove_file(&path);
        Self { path, seen: Lock::leaf(BTreeSet::new()) }
    }
}

impl MailEventSink for UnlistedProxies {
    fn take(&self, event: &MailEvent<'_>) {
        let MailEvent::Rejected(rejection) = event else { return };
        if rejection.command != "PROXY" || rejection.client.stranger {
            return;
        }
        let address = rejection.client.address;
        let text = {
            let mut seen = self.seen.lock();
            if seen.len() >= NOTED_MAX || !seen.insert(address) {
                return;
            }
            seen.iter().map(|address| format!("{address}\n")).collect::<String>()
        };
        let written = std::fs::write(&self.path, text);
        let failed = written.err().map(|error| error.to_string()).unwrap_or_default();
        tracing::error!(
            target: "mta", client = %address, failed,
            "a trusted client sent a PROXY header: it is a proxy, and all of its clients would be \
            trusted; list it in proxy_networks, or take it out of smtpd_trusted_networks"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::{Protocol, Refusal, Rejection, Reply, SessionClient};

    #[test]
    fn trusted_addresses_are_noted_once_and_strangers_never() {
        let run = tempfile::tempdir().unwrap();
        let path = proxy_rules::unlisted(run.path());
        std::fs::write(&path, "10.0.0.9\n").unwrap();
        let noted = UnlistedProxies::new(run.path());
        assert!(!path.exists(), "an earlier run");
        let reply = Reply::new(500, (5, 5, 2), "no");
        for (address, stranger, command) in [
            ("10.0.0.5", false, "PROXY"),
            ("10.0.0.5", false, "PROXY"),
            ("10.0.0.6", false, "UNKNOWN"),
            ("192.0.2.7", true, "PROXY"),
        ] {
            let address = address.parse().unwrap();
            noted.take(&MailEvent::Rejected(Rejection {
                client: SessionClient { address, port: None, stranger },
                helo: "",
                protocol: Protocol::Smtp,
                command,
                from: None,
                to: None,
                reason: Refusal::Syntax,
                reply: &reply,
                in_sum: false,
            }));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "10.0.0.5\n");
    }
}
