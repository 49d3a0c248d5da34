//! Dovecot as the place where Postfix asks for passwords, with accounts of the test.

use super::program::{Program, find, need_root, open_directory};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running authentication server.
pub struct DovecotAuth {
    _program: Program,
    directory: TempDir,
}

impl DovecotAuth {
    /// One that offers these mechanisms, and has one account.
    pub fn start(mechanisms: &str, name: &str, password: &str) -> Self {
        let directory = open_directory();
        let path = directory.path().display().to_string();
        let passdb = format!("driver = passwd-file\n args = scheme=PLAIN {path}/users");
        Self::run(Self::write_users(directory, name, password), mechanisms, &passdb)
    }

    /// One that asks this endpoint (RFC 7662) whether an access token is good; `ca` verifies its
    /// certificate.
    pub fn asking(mechanisms: &str, endpoint: &str, ca: &Path) -> Self {
        let directory = open_directory();
        let conf = format!(
            "introspection_mode = post\nintrospection_url = {endpoint}\n\
             username_attribute = username\nactive_attribute = active\nactive_value = true\n\
             tls_ca_cert_file = {}\n",
            ca.display()
        );
        let file = directory.path().join("oauth2.conf");
        fs::write(&file, conf).unwrap();
        let passdb =
            format!("driver = oauth2\n mechanisms = {mechanisms}\n args = {}", file.display());
        Self::run(directory, mechanisms, &passdb)
    }

    fn run(dovecot: TempDir, mechanisms: &str, passdb: &str) -> Self {
        need_root("Dovecot starts its parts under users of their own");
        let path = dovecot.path().display().to_string();
        let conf = format!(
            "base_dir = {path}/run\nlog_path = {path}/log\nprotocols =\nssl = no\n\
             auth_mechanisms = {mechanisms}\n\
             auth_failure_delay = 0\n\
             disable_plaintext_auth = no\n\
             passdb {{\n {passdb}\n}}\n\
             userdb {{\n driver = static\n args = uid=65534 gid=65534 home=/nonexistent\n}}\n\
             service auth {{\n unix_listener {path}/auth {{\n  mode = 0666\n }}\n}}\n"
        );
        let file = dovecot.path().join("dovecot.conf");
        fs::write(&file, conf).unwrap();
        let mut command = Command::new(find("dovecot"));
        command.arg("-F").arg("-c").arg(&file);
        let program = Program::start(dovecot.path(), "dovecot", command);
        let until = Instant::now() + Duration::from_secs(20);
        while !dovecot.path().join("auth").exists() {
            assert!(Instant::now() < until, "Dovecot does not listen: {}", program.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { _program: program, directory: dovecot }
    }

    fn write_users(directory: TempDir, name: &str, password: &str) -> TempDir {
        let file = directory.path().join("users");
        fs::write(&file, format!("{name}:{{PLAIN}}{password}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        directory
    }

    /// Gives the account another password; Dovecot looks at the file for every login.
    pub fn set_password(&self, name: &str, password: &str) {
        let file = self.directory.path().join("users");
        fs::write(file, format!("{name}:{{PLAIN}}{password}\n")).unwrap();
    }

    /// Where Postfix asks it.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("auth")
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}
