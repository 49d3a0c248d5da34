//! Users that log in by SMTP: common clients with each mechanism, senders, rates, the throttle, new
//! users while the relay runs, and that no password is anywhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod clients;
mod dialogue;
mod examples;
mod rules;
mod runtimes;
mod secrets;
#[path = "../support/mod.rs"]
mod support;
mod users_file;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::ClientConfig;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use support::appliance::{Appliance, Sink};
use support::client::Client;
use support::keys::{Authority, EC, read};
use support::program::{free_port, open_directory};
use tempfile::TempDir;

/// The users of most tests: `{PLAIN}` serves every mechanism, the hash (of `s3cret`) only those
/// that send the password.
const USERS: &str = "anna:{PLAIN}s3cret-of-anna\n\
    ben:$2y$08$CZM96xlIpNfntPgNwuzarOpLYAyZ6cu6cpTY13vi6HW.96Y68EfDS\n";

/// A relay with users, its next hop, and what its clients need to trust it.
pub struct Submission {
    /// The relay.
    pub appliance: Appliance,
    /// Its next hop.
    pub sink: Sink,
    /// Who signed its certificate.
    pub authority: Authority,
    /// A client that trusts it.
    pub believing: Arc<ClientConfig>,
    /// The port that demands a login.
    pub submission: SocketAddr,
    /// The file of the users.
    pub users: PathBuf,
    _directories: (TempDir, TempDir),
}

impl Submission {
    /// Clients on this machine are strangers.
    pub fn start(users: &str, properties: &[(&str, &str)]) -> Self {
        let (authority, volume, directory) = (Authority::new(), open_directory(), open_directory());
        let believing = support::tls::believing(&read(&authority.root()));
        let issued = authority.issue("server", EC, "mail.example");
        for (name, content) in [("server.key", &issued.key), ("server.pem", &issued.chain)] {
            put(&volume.path().join(name), &read(content));
        }
        let file = directory.path().join("users");
        put(&file, users.as_bytes());
        let (sink, port) = (Sink::start(""), free_port());
        let texts = [
            ("MTA_SMART_RELAY", sink.relay()),
            ("MTA_SSL_DISABLED", "no".to_owned()),
            ("MTA_VOLUME_KEY", volume.path().display().to_string()),
            ("MTA_SMTP_USERS_FILE", file.display().to_string()),
            ("MTA_SUBMISSION_PORT", port.to_string()),
            ("MTA_SMTPD_TRUSTED_NETWORKS", "192.0.2.1".to_owned()),
        ];
        let usual = texts.iter().map(|(name, text)| (*name, text.as_str()));
        let all: Vec<_> = usual.chain(properties.iter().copied()).collect();
        let appliance = Appliance::start(&all);
        let submission = SocketAddr::from(([127, 0, 0, 1], port));
        let _directories = (volume, directory);
        Self { appliance, sink, authority, believing, submission, users: file, _directories }
    }

    /// A session under TLS at the port for submission.
    pub fn hello(&self) -> Client {
        Client::hello_inside_tls(self.submission, &self.believing)
    }

    /// The same, logged in.
    pub fn logged_in(&self, name: &str, password: &str) -> Client {
        let mut client = self.hello();
        client.ask(&plain(name, password), "235 2.7.0");
        client
    }

    /// The mails of the next hop with their Received fields, once there are so many.
    pub fn received(&self, count: usize) -> Vec<String> {
        self.sink.mails(count);
        let files = fs::read_dir(self.sink.maildir()).unwrap();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }

    /// Whether a line of the log has all of these.
    pub fn has_logged(&self, words: &[&str]) -> bool {
        let has = |line: &String| words.iter().all(|word| line.contains(word));
        self.appliance.log().iter().any(has)
    }
}

/// A file that everybody may read, at once.
pub fn put(path: &std::path::Path, content: &[u8]) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
    fs::rename(new, path).unwrap();
}

/// The command of a login by PLAIN.
pub fn plain(name: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", coded(&format!("\0{name}\0{password}")))
}

/// Base 64.
pub fn coded(text: &str) -> String {
    BASE64_STANDARD.encode(text)
}
