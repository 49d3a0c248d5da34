//! The directory of a demo: its queue, its logs and the delivered mail.

use crate::appliance::supervise::identity::Identity;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

/// The directory of the demo; a temporary one is removed when this is dropped.
pub(super) struct DemoDirectory {
    pub(super) path: PathBuf,
    pub(super) is_temporary: bool,
    /// Whether an earlier demo has left its mail here.
    pub(super) is_old: bool,
}

impl DemoDirectory {
    pub(super) fn make(wanted: Option<PathBuf>, identity: &Identity) -> io::Result<Self> {
        let place = match wanted {
            Some(path) => {
                fs::create_dir_all(&path)?;
                let path = path.canonicalize()?;
                Self { is_old: path.join("data").exists(), is_temporary: false, path }
            }
            None => {
                let template = std::env::temp_dir().join("postern-demo-XXXXXX");
                let path = nix::unistd::mkdtemp(&template)?;
                Self { is_old: false, is_temporary: true, path }
            }
        };
        if identity.changes && place.is_temporary {
            // The relay has a user of its own, which must have access.
            chown(&place.path, Some(identity.uid.as_raw()), Some(identity.gid.as_raw()))?;
        }
        ["data", "run", "sink"].iter().try_for_each(|name| place.folder(name, identity))?;
        Ok(place)
    }

    fn folder(&self, name: &str, identity: &Identity) -> io::Result<()> {
        let path: &Path = &self.path.join(name);
        if path.is_dir() {
            return Ok(());
        }
        DirBuilder::new().mode(0o700).create(path)?;
        if identity.changes {
            chown(path, Some(identity.uid.as_raw()), Some(identity.gid.as_raw()))?;
        }
        Ok(())
    }
}

impl Drop for DemoDirectory {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("Error: {} could not be removed: {error}", self.path.display());
        }
    }
}
