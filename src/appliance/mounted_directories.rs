//! The paths of terminals and volumes in the file system, once they are mounted.
//!
//! In: the mounts made or found by `terminal` and `volume`. Out: paths for the code that reads and
//! writes there, whatever the properties named: a share, an export, a block device or a directory.
//! Limits: a server or a disk may disappear at any time, so an access to these paths can fail, or
//! hang until the kernel gives up.

use std::path::PathBuf;

/// The directories that are known only after everything has been mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountPaths {
    /// The log share, which the core's user may write; `None` = logs are off.
    pub log: Option<PathBuf>,
    /// The directory of `ssl_key_file` and `ssl_cert_file`: the key volume or the export of
    /// terminal `fs`, read only. `None` = neither is connected.
    pub keys: Option<PathBuf>,
    /// Whether the data volume must be the working directory of its users, because its path is not
    /// accessible to them.
    pub data_as_working_directory: bool,
}
