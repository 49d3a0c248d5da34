//! The token endpoint and the mail server of `oauth_server.py`.

use crate::support::appliance::{Appliance, ORDINARY};
use crate::support::keys::{Authority, EC};
use crate::support::patience::until;
use crate::support::program::{Program, free_port, open_directory};
use serde_json::Value;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The secret of the client.
pub const CLIENT_SECRET: &str = "planted-client-s3cret";
/// The refresh token of the mailbox.
pub const REFRESH_TOKEN: &str = "planted-refresh-first";

/// Where the script's packages are; `scripts/install-peers.sh` puts them there.
const PYTHON: &str = "/usr/local/lib/postern-peers/python/bin/python3";

/// Both servers.
pub struct TokenServer {
    _program: Option<Program>,
    directory: TempDir,
    /// Who signed their certificate.
    pub authority: Authority,
    mechanisms: String,
    token_port: u16,
    smtp_port: u16,
}

impl TokenServer {
    /// Both, with these mechanisms of the mail server.
    pub fn start(mechanisms: &str) -> Self {
        let mut server = Self::prepare(mechanisms);
        server.run();
        server
    }

    /// The same, not yet running.
    pub fn prepare(mechanisms: &str) -> Self {
        let authority = Authority::new();
        authority.issue("mx", EC, "mx.example");
        Self {
            _program: None,
            directory: open_directory(),
            authority,
            mechanisms: mechanisms.to_owned(),
            token_port: free_port(),
            smtp_port: free_port(),
        }
    }

    /// Starts the program.
    pub fn run(&mut self) {
        assert!(Path::new(PYTHON).exists(), "run scripts/install-peers.sh as root");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstream/oauth_server.py");
        let mut command = Command::new(PYTHON);
        command.arg(script).arg(self.directory.path());
        command.args([self.authority.path("mx.pem"), self.authority.path("mx.key")]);
        command.args([self.token_port.to_string(), self.smtp_port.to_string()]);
        command.arg(&self.mechanisms);
        let program = Program::start(self.directory.path(), "oauth_server", command);
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = program.listening(address(self.smtp_port));
        self._program = Some(program.listening(address(self.token_port)));
    }

    /// What they do from now on.
    pub fn control(&self, control: &Value) {
        let (file, new) = (self.directory.path().join("control"), self.path("control.new"));
        fs::write(&new, control.to_string()).unwrap();
        fs::rename(new, file).unwrap();
    }

    /// What they did that begins so.
    pub fn events(&self, start: &str) -> Vec<String> {
        let events = fs::read_to_string(self.path("events")).unwrap_or_default();
        events.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
    }

    /// A file beside theirs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file that the appliance may read.
    pub fn secret_file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        chown(&path, Some(ORDINARY), Some(ORDINARY)).unwrap();
        path.display().to_string()
    }

    /// The token endpoint.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/token", self.token_port)
    }

    /// The endpoint for Dovecot.
    pub fn introspection(&self) -> String {
        format!("https://127.0.0.1:{}/introspect", self.token_port)
    }

    /// An appliance with these properties beside those for the login with client credentials.
    pub fn appliance(&self, more: &[(&str, &str)]) -> Appliance {
        let relay = format!("127.0.0.1:{}", self.smtp_port);
        self.appliance_at(&relay, more)
    }

    /// The same with another mail server.
    pub fn appliance_at(&self, relay: &str, more: &[(&str, &str)]) -> Appliance {
        let (ca, url) = (self.authority.root().display().to_string(), self.url());
        let usual = [
            ("MTA_SMART_RELAY", relay),
            ("MTA_SMART_RELAY_CA", &ca),
            ("MTA_SMART_RELAY_USERNAME", "box@here.example"),
            ("MTA_SMART_RELAY_OAUTH_TOKEN_URL", &url),
            ("MTA_SMART_RELAY_OAUTH_CLIENT_ID", "client"),
            ("MTA_SMART_RELAY_OAUTH_CLIENT_SECRET", CLIENT_SECRET),
        ];
        let is_named = |name: &str| {
            more.iter().any(|(other, _)| *other == name || *other == format!("{name}_FILE"))
        };
        let usual: Vec<_> = usual.into_iter().filter(|(name, _)| !is_named(name)).collect();
        Appliance::start(&[&usual[..], more].concat())
    }

    /// Waits until the mail server has so many mails.
    pub fn until_mails(&self, count: usize, appliance: &Appliance) {
        until("the mail is there", || match self.events("mail").len() {
            found if found == count => Ok(()),
            found => Err(format!("{found} mails; {:#?}", appliance.log().last())),
        });
    }
}
