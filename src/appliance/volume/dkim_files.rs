//! Reads the DKIM keys of the key volume: `dkim/DOMAIN/SELECTOR.pem`.
//!
//! In: the directory of the key volume or terminal `fs`. Out: the text of each key file, or why it
//! cannot be read. Limits: [`FILES_MAX`] files, [`FILE_MAX`] octets each, [`OCTETS_MAX`] in total.
//! Security: read as root, or as the core's user if a file server denies root; sent only to the
//! core, through a pipe. No error text contains the content of a file.

use super::keys::read_file;
use crate::appliance::supervise::file_watch::WatchedFiles;
use crate::appliance::supervise::identity::Identity;
use crate::appliance::supervise::orders::DkimKeyFile;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The directory of the keys, below the root of the key volume.
pub const DIRECTORY: &str = "dkim";

/// Key files, at most: two selectors with two keys each for `dkim_domains` of the largest size.
pub const FILES_MAX: usize = 1200;

/// Octets of a key file, at most.
pub const FILE_MAX: u64 = 16 * 1024;

/// Octets of all key files, at most: they fit into one order to the core.
pub const OCTETS_MAX: usize = 1 << 20;

/// What a key file's name ends in.
const EXTENSION: &str = "pem";

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimDirectory(PathBuf);

impl WatchedFiles for DkimDirectory {
    type Content = Vec<DkimKeyFile>;

    fn read(&self, identity: &Identity) -> Result<Vec<DkimKeyFile>, String> {
        match self.all(identity) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            other => other.map_err(|error| format!("{}: {error}", self.0.display())),
        }
    }

    fn not_answering(&self, why: &str) -> String {
        format!("{}: {why}; is its file server up?", self.0.display())
    }
}

impl DkimDirectory {
    /// Below the root of the key volume or of the export.
    pub fn new(root: &Path) -> Self {
        Self(root.join(DIRECTORY))
    }

    fn all(&self, identity: &Identity) -> io::Result<Vec<DkimKeyFile>> {
        let (mut files, mut octets) = (Vec::new(), 0);
        for domain in names(&self.0, identity)? {
            let directory = self.0.join(&domain);
            // Hidden ones are those of the kubelet, and links lead to them.
            if domain.starts_with('.') || !directory.is_dir() {
                continue;
            }
            let names = match names(&directory, identity) {
                // It was removed just now.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => other?,
            };
            for name in names {
                let Some(selector) = selector(&name) else { continue };
                if files.len() >= FILES_MAX {
                    let text = format!("there are more than {FILES_MAX} key files");
                    return Err(io::Error::other(text));
                }
                let path = directory.join(&name);
                let content = read_as(identity, || read_file(&path, FILE_MAX))
                    .and_then(|content| {
                        String::from_utf8(content).map_err(|_| io::Error::other("it is no text"))
                    })
                    .map_err(|error| format!("{}: {error}", path.display()));
                octets += content.as_ref().map_or(0, String::len);
                if octets > OCTETS_MAX {
                    let text = format!("the key files have more than {OCTETS_MAX} octets");
                    return Err(io::Error::other(text));
                }
                files.push(DkimKeyFile {
                    domain: domain.to_ascii_lowercase(),
                    selector: selector.to_ascii_lowercase(),
                    content,
                });
            }
        }
        Ok(files)
    }
}

/// The name of a key file without its extension.
fn selector(name: &str) -> Option<&str> {
    let (selector, extension) = name.rsplit_once('.')?;
    (extension == EXTENSION && !selector.is_empty() && !name.starts_with('.')).then_some(selector)
}

/// The names in a directory, sorted.
fn names(directory: &Path, identity: &Identity) -> io::Result<Vec<String>> {
    let list = || {
        let entries = fs::read_dir(directory)?;
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is no domain.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    let mut names = read_as(identity, list)?;
    names.sort_unstable();
    Ok(names)
}

/// As this process, or as the core's user where that is denied.
fn read_as<T>(identity: &Identity, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match read() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied && identity.changes => {
            identity.within(&read)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_are_found_by_domain_and_selector() {
        let volume = tempfile::tempdir().unwrap();
        let directory = DkimDirectory::new(volume.path());
        let read = || directory.read(&Identity::same()).unwrap();
        assert_eq!(read(), []);
        let write = |name: &str, text: &[u8]| {
            let path = volume.path().join(DIRECTORY).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("B.example/s1.pem", b"one");
        write("a.example/s.2.pem", b"two");
        write("a.example/s3.pem", b"\xff");
        write("a.example/notes.txt", b"x");
        write("..data/x.pem", b"x");
        write("stray.pem", b"x");
        let found: Vec<_> = read()
            .into_iter()
            .map(|file| {
                (file.domain, file.selector, file.content.map_err(|why| why.contains("no text")))
            })
            .collect();
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(
            found,
            [
                ("b.example".into(), "s1".into(), text("one")),
                ("a.example".into(), "s.2".into(), text("two")),
                ("a.example".into(), "s3".into(), Err(true)),
            ]
        );
        write("a.example/large.pem", &b"x".repeat(20_000));
        let large = read().into_iter().find(|file| file.selector == "large").unwrap();
        assert!(large.content.unwrap_err().contains("has more than 16384 octets"));
    }
}
