//! A refresh token that the token endpoint gave in place of the configured one, on the data volume.
//!
//! In and out: the file `oauth-NAME`, with the token and the hash of the configured token that it
//! came from: a newer configured token has precedence. Limits: [`FILE_MAX`]. Security: mode 600, as
//! all files of the volume; the hash does not tell the token, which no one can guess. The file is
//! replaced as a whole and synced, because the former token may be void from then on.

use crate::ground::credential::secret::Secret;
use crate::ground::disk::{self, Disk};
use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use std::io;

/// Octets of the file, at most.
const FILE_MAX: usize = 64 * 1024;

/// A refresh token, and the configured one that it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredToken {
    /// The token in use.
    pub(super) secret: Secret,
    /// SHA-256 of the configured token, in hexadecimal digits.
    pub(super) configured: String,
}

#[derive(Serialize, Deserialize)]
struct File {
    configured_sha256: String,
    refresh_token: String,
}

impl StoredToken {
    /// The configured token itself.
    pub(super) fn first(configured: &Secret) -> Self {
        let hash = digest::digest(&digest::SHA256, configured.expose().as_bytes());
        let configured_hash = hash.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        Self { secret: configured.clone(), configured: configured_hash }
    }

    /// The one of an upstream; `None`: there is none.
    ///
    /// # Errors
    /// The volume's, or the file holds something else.
    pub(super) fn read(name: &str, disk: &dyn Disk) -> io::Result<Option<Self>> {
        let file = match disk.open(&path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut content = vec![0; FILE_MAX];
        let length = file.read_at(0, &mut content)?;
        // The error of the parser could tell a part of the content.
        let File { configured_sha256, refresh_token } =
            serde_json::from_slice(content.get(..length).unwrap_or_default())
                .map_err(|_| io::Error::other(format!("{} is damaged", path(name))))?;
        Ok(Some(Self { secret: Secret::new(refresh_token), configured: configured_sha256 }))
    }

    /// Durable when this returns.
    ///
    /// # Errors
    /// The volume's.
    pub(super) fn write(&self, name: &str, disk: &dyn Disk) -> io::Result<()> {
        let file = File {
            configured_sha256: self.configured.clone(),
            refresh_token: self.secret.expose().to_owned(),
        };
        let content = serde_json::to_vec(&file)?;
        disk::replace(disk, &path(name), &content)
    }
}

fn path(name: &str) -> String {
    format!("oauth-{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::DirectoryDisk;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_is_read_back_from_a_file_of_mode_600() {
        let directory = tempfile::tempdir().unwrap();
        let disk = DirectoryDisk::open(directory.path()).unwrap();
        assert_eq!(StoredToken::read("default", &disk).unwrap(), None);
        let first = StoredToken::first(&Secret::new("abc".to_owned()));
        // FIPS 180-2, B.1.
        assert!(first.configured.starts_with("ba7816bf8f01cfea"), "{first:?}");
        let rotated = StoredToken { secret: Secret::new("def\"\n".to_owned()), ..first };
        for _ in 0..2 {
            rotated.write("default", &disk).unwrap();
            assert_eq!(StoredToken::read("default", &disk).unwrap(), Some(rotated.clone()));
        }
        let path = directory.path().join("oauth-default");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "{\"refresh_token\":\"hunter2\"").unwrap();
        let told = StoredToken::read("default", &disk).unwrap_err().to_string();
        assert_eq!(told, "oauth-default is damaged");
        assert_eq!(StoredToken::read("other", &disk).unwrap(), None);
    }
}
