//! The files of upstreams: passwords, secrets of OAuth2, authorities, client certificates.
//!
//! Purpose: only the supervisor may read them, and they change while the relay runs. In: the
//! properties. Out: the content of each file, checked, for the core. Limits: [`FILE_MAX`] octets a
//! file; [`VALUE_LIMIT`] of a secret. Security: read as root, or as the core's user where a file
//! server denies root. The content is sent only to the core, through a pipe; no error text has any
//! of it.

use super::file_watch::WatchedFiles;
use super::identity::Identity;
use super::orders::{UpstreamFileContents, UpstreamFileMap};
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::upstream::ConfiguredUpstream;
use crate::appliance::property::{Settings, VALUE_LIMIT, value_of_file};
use crate::appliance::start_errors;
use crate::ground::tls::upstream_client;
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Octets of a file of certificates or of a key, at most: more than any list of authorities.
pub const FILE_MAX: u64 = 512 * 1024;

/// The upstreams that have files.
#[derive(Debug, Clone)]
pub struct UpstreamFiles(Vec<ConfiguredUpstream>);

impl UpstreamFiles {
    /// Those of the properties; `None`: there are no such files.
    pub fn of(settings: &Settings) -> Option<Self> {
        let has_files = |upstream: &ConfiguredUpstream| {
            let oauth = upstream.oauth.as_ref();
            upstream.password_file.is_some()
                || oauth.is_some_and(|oauth| oauth.client_secret_file.is_some())
                || oauth.is_some_and(|oauth| oauth.refresh_token_file.is_some())
                || upstream.ca.is_some()
                || upstream.certificate.is_some()
        };
        let upstreams: Vec<_> = settings.upstreams().into_iter().filter(has_files).collect();
        (!upstreams.is_empty()).then_some(Self(upstreams))
    }

    /// The failure of a start for this reason.
    pub fn failure(why: impl Into<String>) -> Failure {
        Failure::new(Exit::Input, start_errors::UPSTREAM_FILES, why)
    }
}

impl WatchedFiles for UpstreamFiles {
    type Content = UpstreamFileMap;

    fn read(&self, identity: &Identity) -> Result<UpstreamFileMap, String> {
        let read = |upstream: &ConfiguredUpstream| {
            Ok((upstream.name.clone(), contents(upstream, identity)?))
        };
        self.0.iter().map(read).collect()
    }

    fn not_answering(&self, why: &str) -> String {
        let names: Vec<&str> = self.0.iter().map(|upstream| upstream.prefix.as_str()).collect();
        format!("the files of {} cannot be read: {why}", names.join(", "))
    }
}

fn contents(
    upstream: &ConfiguredUpstream,
    identity: &Identity,
) -> Result<UpstreamFileContents, String> {
    let property = |field: &str| format!("{}_{field}", upstream.prefix);
    let value = |field: &str, path: &PathBuf| {
        let name = property(field);
        let octets = file(&name, path, VALUE_LIMIT as u64 + 2, identity)?;
        let value = value_of_file(&name, path, octets);
        value.map_err(|why| format!("{} ({name}): {why}", path.display()))
    };
    let oauth = upstream.oauth.as_ref();
    let secret_file = oauth.and_then(|oauth| oauth.client_secret_file.as_ref());
    let token_file = oauth.and_then(|oauth| oauth.refresh_token_file.as_ref());
    let password = upstream.password_file.as_ref().map(|path| value("password", path));
    let client_secret = secret_file.map(|path| value("oauth_client_secret", path));
    let refresh_token = token_file.map(|path| value("oauth_refresh_token", path));
    let text = |field: &str, path: &Path| {
        let octets = file(&property(field), path, FILE_MAX, identity)?;
        Ok::<_, String>(String::from_utf8_lossy(&octets).into_owned())
    };
    let authorities = upstream.ca.as_deref().map(|path| text("ca", path)).transpose()?;
    let certificate = match &upstream.certificate {
        Some((chain, key)) => Some((text("cert_file", chain)?, text("key_file", key)?)),
        None => None,
    };
    let found = UpstreamFileContents {
        password: password.transpose()?,
        client_secret: client_secret.transpose()?,
        refresh_token: refresh_token.transpose()?,
        authorities,
        certificate,
    };
    if let Some(path) = &upstream.ca {
        upstream_client(found.authorities.as_deref().map(str::as_bytes), None)
            .map_err(|error| format!("{} ({}): {error}", path.display(), property("ca")))?;
    }
    if let Some((chain, key)) = &upstream.certificate {
        upstream_client(None, found.pair()).map_err(|error| {
            format!(
                "{} and {} ({}): {error}",
                chain.display(),
                key.display(),
                property("cert_file")
            )
        })?;
    }
    Ok(found)
}

/// Reads a file, as root or as the core's user.
fn file(property: &str, path: &Path, most: u64, identity: &Identity) -> Result<Vec<u8>, String> {
    let read = match read(path, most) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && identity.changes => {
            identity.within(|| read(path, most))
        }
        other => other,
    };
    read.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => {
                format!("; let it be readable for root, or for uid {}", identity.uid)
            }
            _ => String::new(),
        };
        format!("{} ({property}): {error}{hint}", path.display())
    })
}

fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Without waiting for the writer of a pipe.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    let mut octets = Vec::new();
    file.take(most + 1).read_to_end(&mut octets)?;
    if octets.len() as u64 > most {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("it has more than {most} octets"),
        ));
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property;
    use std::ffi::OsString;

    fn files(vars: &[(&str, &Path)]) -> UpstreamFiles {
        let fixed =
            [("MTA_SMART_RELAY", "relay.example:587"), ("MTA_SMART_RELAY_USERNAME", "anna")];
        let fixed = fixed.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let vars = vars.iter().map(|(name, path)| (OsString::from(name), path.into()));
        let machine = property::Machine {
            uid: 1000,
            key_volume: false,
            writable_run: false,
            runtime_dir: None,
        };
        let loaded = property::read(fixed.chain(vars), &machine).unwrap();
        UpstreamFiles::of(&loaded.settings).unwrap()
    }

    #[test]
    fn files_are_read_again_and_no_error_tells_their_content() {
        let directory = tempfile::tempdir().unwrap();
        let (password, ca) = (directory.path().join("password"), directory.path().join("ca.pem"));
        let made = rcgen::generate_simple_self_signed(["relay.example".to_owned()]).unwrap();
        std::fs::write(&password, "hunter2\n").unwrap();
        std::fs::write(&ca, made.cert.pem()).unwrap();
        let vars = [("MTA_SMART_RELAY_PASSWORD_FILE", &*password), ("MTA_SMART_RELAY_CA", &*ca)];
        let files = files(&vars);
        let first = files.read(&Identity::same()).unwrap();
        assert_eq!(first["default"].password.as_deref(), Some("hunter2"));
        assert!(!format!("{first:?}").contains("hunter2"));
        std::fs::write(&password, "hunter3\r\n").unwrap();
        let next = files.read(&Identity::same()).unwrap();
        assert_eq!(next["default"].password.as_deref(), Some("hunter3"));
        for (path, content, words) in [
            (&password, "hunter4\nhunter5\n", "more than one line"),
            (&password, "\n", "is empty"),
            (&ca, "hunter6", "no certificates of authorities"),
        ] {
            let before = std::fs::read(path).unwrap();
            std::fs::write(path, content).unwrap();
            let told = files.read(&Identity::same()).unwrap_err();
            assert!(told.contains(words) && !told.contains("hunter"), "{told}");
            std::fs::write(path, before).unwrap();
        }
        std::fs::remove_file(&ca).unwrap();
        let told = files.read(&Identity::same()).unwrap_err();
        assert!(told.contains("ca.pem (smart_relay_ca): No such file"), "{told}");
    }
}
