//! Reads and checks the private key and the certificate chain.
//!
//! In: the directory of the key volume or terminal `fs`, and the two file names. Out: the text of
//! both files, or an error text. Limits: a file of [`FILE_MAX`] octets. Security: read as root, or
//! as the core's user if a file server denies root (root_squash). The text is sent only to the
//! core, through a pipe. No error text contains the content of a file.

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::mounts;
use crate::appliance::property::Settings;
use crate::appliance::start_errors;
use crate::appliance::supervise::file_watch::WatchedFiles;
use crate::appliance::supervise::identity::Identity;
use crate::appliance::supervise::orders::Keys;
use crate::ground::clock;
use crate::ground::tls::KeyPair;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// Octets of a key or certificate file, at most.
pub const FILE_MAX: u64 = 256 * 1024;

const LINE: &str = start_errors::NO_KEYS;
const UNDEFINED_LINE: &str = start_errors::KEYS_UNDEFINED;

/// The bit of a file's mode that lets all users read it.
const OTHERS_READ: u32 = 0o004;

/// The bit of a directory's mode that lets all users enter it.
const OTHERS_ENTER: u32 = 0o001;

/// The paths of the pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFiles {
    /// Root of the key volume, or of the export.
    pub directory: PathBuf,
    /// The private key, below it.
    pub key: PathBuf,
    /// The certificate chain, below it.
    pub certificate: PathBuf,
    /// A description of the directory.
    pub place: &'static str,
}

impl KeyFiles {
    /// The files that the properties name, in `directory`; `None` while TLS is off.
    ///
    /// # Errors
    /// TLS is on, and there is no directory, or a name leaves it.
    pub fn of(settings: &Settings, directory: Option<&Path>) -> Result<Option<Self>, Failure> {
        if settings.ssl_disabled {
            return Ok(None);
        }
        let (Some(directory), Some(key), Some(certificate)) =
            (directory, &settings.ssl_key_file, &settings.ssl_cert_file)
        else {
            let cause = "attach a key volume (MTA_VOLUME_KEY) or connect terminal fs \
            (MTA_TERMINAL_FS), or set MTA_SSL_DISABLED=yes";
            return Err(Failure::new(Exit::Property, UNDEFINED_LINE, cause));
        };
        let place = if settings.terminal_fs.is_some() { "terminal fs" } else { "the key volume" };
        Ok(Some(Self {
            directory: directory.to_owned(),
            key: below("ssl_key_file", key, place)?,
            certificate: below("ssl_cert_file", certificate, place)?,
            place,
        }))
    }

    /// A warning that other users can read the private key; `None`: nobody else, by the modes of
    /// the file and of the directories above it up to the mount point. May hang as
    /// [`WatchedFiles::read`].
    pub fn exposed(&self, identity: &Identity) -> Option<String> {
        let path = self.directory.join(&self.key);
        let found = match open_to_all(&path) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && identity.changes => {
                identity.within(|| open_to_all(&path))
            }
            other => other,
        };
        let mode = found.ok()??;
        let (advice, uid) = (Source::of(&path).advice(), identity.uid);
        Some(format!(
            "the private key {} (ssl_key_file) can be read by every user (mode {mode:o}): \
            {advice}; root or uid {uid} must still be \
             able to read it",
            path.display()
        ))
    }

    /// The failure of a start for this reason.
    pub fn failure(why: impl Into<String>) -> Failure {
        Failure::new(Exit::Input, LINE, why)
    }

    fn file(&self, property: &str, name: &Path, identity: &Identity) -> Result<Vec<u8>, String> {
        let path = self.directory.join(name);
        let read = match read_file(&path, FILE_MAX) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && identity.changes => {
                identity.within(|| read_file(&path, FILE_MAX))
            }
            other => other,
        };
        let content = read.map_err(|error| {
            let hint = match error.kind() {
                ErrorKind::NotFound => {
                    let place = self.place;
                    format!(
                        "; {property} is a path below {place}: put the file there, or set MTA_{}",
                        property.to_uppercase()
                    )
                }
                ErrorKind::PermissionDenied => {
                    format!(
                        "; let it be readable for root, or for uid {} (chown it, or chmod g+r)",
                        identity.uid
                    )
                }
                _ => String::new(),
            };
            format!("{} ({property}): {error}{hint}", path.display())
        })?;
        if content.is_empty() {
            Err(format!("{} ({property}) is empty", path.display()))
        } else {
            Ok(content)
        }
    }
}

impl WatchedFiles for KeyFiles {
    type Content = Keys;

    /// Reads both, and checks that a server can use them now.
    fn read(&self, identity: &Identity) -> Result<Keys, String> {
        let key = self.file("ssl_key_file", &self.key, identity)?;
        let chain = self.file("ssl_cert_file", &self.certificate, identity)?;
        KeyPair::from_pem(&key, &chain, clock::now()).map_err(|error| {
            format!(
                "{} and {} on {}: {error}",
                self.key.display(),
                self.certificate.display(),
                self.place
            )
        })?;
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        Ok(Keys { private_key: text(&key), certificate_chain: text(&chain) })
    }

    fn not_answering(&self, why: &str) -> String {
        format!(
            "{} ({}) cannot be read: {why}; is its file server up?",
            self.directory.display(),
            self.place
        )
    }
}

/// The mode of a file that every user can read; `None` if its mode, or that of a directory above it
/// on the same mount, denies it.
fn open_to_all(path: &Path) -> io::Result<Option<u32>> {
    let path = path.canonicalize()?;
    let mode = |path: &Path| io::Result::Ok(path.metadata()?.permissions().mode() & 0o777);
    let own = mode(&path)?;
    let mount = mounts::mount_point(&path);
    for directory in path.ancestors().skip(1).take_while(|directory| directory.starts_with(&mount))
    {
        if mode(directory)? & OTHERS_ENTER == 0 {
            return Ok(None);
        }
    }
    Ok(Some(own).filter(|mode| mode & OTHERS_READ != 0))
}

/// Where the mode of a file can be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Here,
    /// What is mounted read-only was made elsewhere.
    ReadOnly,
    /// A share whose protocol has no modes: those of all files are set by its mount options.
    Mount,
    /// The file server.
    Server,
}

impl Source {
    fn of(path: &Path) -> Self {
        let read_only =
            statvfs(path).is_ok_and(|figures| figures.flags().contains(FsFlags::ST_RDONLY));
        match mounts::kind(path).as_deref() {
            Some("cifs" | "smb3" | "vfat" | "exfat") => Self::Mount,
            Some("nfs" | "nfs4") => Self::Server,
            _ if read_only => Self::ReadOnly,
            _ => Self::Here,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Here => "remove that with chmod o-rwx",
            Self::ReadOnly => {
                "it is mounted read-only here, so remove that at its source: with chmod \
                o-rwx on the host, or with \
                 defaultMode of a Kubernetes secret"
            }
            Self::Mount => {
                "its mode is that of the mount, so remove that with the mount's options: \
                file_mode=0600 (SMB), fmask=0177 (FAT)"
            }
            Self::Server => "remove that on the file server, with chmod o-rwx",
        }
    }
}

fn below(property: &str, name: &str, place: &str) -> Result<PathBuf, Failure> {
    let relative = Path::new(name.trim_start_matches('/'));
    if relative.components().any(|part| part == Component::ParentDir) {
        let cause =
            format!("{property} is '{name}', which leaves {place}; write a path below its root");
        return Err(KeyFiles::failure(cause));
    }
    Ok(relative.to_owned())
}

/// Reads a file of at most `max` octets.
pub(super) fn read_file(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    // A pipe in its place must not block this process.
    let file = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut content = Vec::new();
    file.take(max + 1).read_to_end(&mut content)?;
    if content.len() as u64 > max {
        return Err(io::Error::other(format!(
            "it has more than {max} octets and is not a key or certificate"
        )));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};

    #[test]
    fn a_private_key_that_everybody_can_read_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let files = KeyFiles {
            directory: directory.path().to_owned(),
            key: "server.key".into(),
            certificate: "server.pem".into(),
            place: "the key volume",
        };
        set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let exposed = |mode| {
            write(directory.path().join("server.key"), "x").unwrap();
            set_permissions(directory.path().join("server.key"), Permissions::from_mode(mode))
                .unwrap();
            files.exposed(&Identity::same())
        };
        let told = exposed(0o644).unwrap();
        assert!(
            told.contains("server.key (ssl_key_file) can be read by every user (mode 644)"),
            "{told}"
        );
        assert!(told.contains("with chmod o-rwx;"), "{told}");
        assert_eq!([exposed(0o640), exposed(0o600)], [None, None]);
    }

    /// As with certbot: links in one directory, and the files in another one.
    #[test]
    fn a_key_in_a_directory_that_lets_nobody_in_is_not_told() {
        let volume = tempfile::tempdir().unwrap();
        let let_in = |name: &str, mode| {
            set_permissions(volume.path().join(name), Permissions::from_mode(mode)).unwrap()
        };
        let_in("", 0o755);
        for directory in ["live", "archive"] {
            std::fs::create_dir(volume.path().join(directory)).unwrap();
            let_in(directory, 0o755);
        }
        write(volume.path().join("archive/key1.pem"), "x").unwrap();
        let_in("archive/key1.pem", 0o644);
        std::os::unix::fs::symlink("../archive/key1.pem", volume.path().join("live/key.pem"))
            .unwrap();
        let told = || open_to_all(&volume.path().join("live/key.pem")).unwrap();
        assert_eq!(told(), Some(0o644));
        let_in("live", 0o700);
        assert_eq!(told(), Some(0o644), "the way over the link is not the only one");
        let_in("archive", 0o700);
        assert_eq!(told(), None);
        let_in("archive", 0o755);
        let_in("", 0o750);
        assert_eq!(told(), None, "nor in one above");
    }

    #[test]
    fn the_advice_says_where_a_mode_comes_from() {
        assert!(Source::Mount.advice().contains("file_mode=0600"));
        assert!(Source::Server.advice().contains("on the file server"));
        assert!(Source::ReadOnly.advice().contains("defaultMode"));
        assert_eq!(Source::of(Path::new("/tmp")), Source::Here);
    }
}
