//! Where the box's doors and disks are in the file system, once they are mounted.
//!
//! In: what `terminal` and `volume` mounted, or found mounted. Out: plain paths for those who read
//! and write there, whatever the properties called them: a share, an export, a block device or a
//! directory.
//! Limits: a server or a disk may go away at any time, so touching these paths can fail, or hang
//! until the kernel gives up.

use std::path::PathBuf;

/// The directories that are known only after everything has been mounted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// The log share, which the core's user may write; `None` = logs are off.
    pub log: Option<PathBuf>,
    /// Where `ssl_key_file` and `ssl_cert_file` are: the key volume or the export of terminal `fs`,
    /// read only. `None` = neither is connected.
    pub keys: Option<PathBuf>,
    /// Whether the data volume must be the working directory of those who use it: its path is
    /// closed to them.
    pub data_as_working_directory: bool,
}
