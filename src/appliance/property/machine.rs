//! The properties of the machine on which defaults depend.

use crate::appliance::class::Property;
use std::path::{Path, PathBuf};

/// What variable defaults depend on.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The user of the program.
    pub uid: u32,
    /// Whether /key is a block device or a directory that is not empty.
    pub key_volume: bool,
    /// Whether /run/postern can be used.
    pub writable_run: bool,
    /// `XDG_RUNTIME_DIR`, where it is set.
    pub runtime_dir: Option<PathBuf>,
}

const RUN_DIR: &str = "/run/postern";
const KEY_VOLUME: &str = "/key";

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        Self {
            uid: nix::unistd::geteuid().as_raw(),
            key_volume: is_key_volume(Path::new(KEY_VOLUME)),
            writable_run: is_writable(Path::new(RUN_DIR))
                || (!Path::new(RUN_DIR).exists() && is_writable(Path::new("/run"))),
            runtime_dir: std::env::var_os("XDG_RUNTIME_DIR")
                .map(PathBuf::from)
                .filter(|path| is_writable(path)),
        }
    }

    /// The directory of the control socket unless a property sets it.
    pub fn run_dir(&self) -> String {
        match &self.runtime_dir {
            _ if self.writable_run => RUN_DIR.to_owned(),
            Some(dir) if dir.is_absolute() => dir.join("postern").display().to_string(),
            _ => format!("/tmp/postern-{}", self.uid),
        }
    }

    /// The default of a property.
    pub fn default_of(&self, property: &Property) -> String {
        match property.name.as_str() {
            "run_dir" => self.run_dir(),
            "volume_key" if self.key_volume => KEY_VOLUME.to_owned(),
            _ => property.default.clone(),
        }
    }
}

fn is_writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .is_ok()
}

/// An empty directory is a mount point for a volume, not a volume.
fn is_key_volume(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    match path.metadata() {
        Ok(meta) if meta.is_dir() => {
            path.read_dir().is_ok_and(|mut entries| entries.next().is_some())
        }
        Ok(meta) => meta.file_type().is_block_device(),
        Err(_) => false,
    }
}
