//! Why a core is not ready, or that it is being restarted, for clients that it cannot answer
//! itself.
//!
//! The supervisor writes the reason to a file in the run directory; `postern health` and `postern
//! queue` read it when the core does not answer. A file whose supervisor has ended is ignored.
//! Limits: one line, [`LIMIT`] octets of it.

use super::file_lock::is_locked;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file; it exists only while a core is not ready. One of an earlier supervisor is removed by
/// the next.
pub const FILE: &str = "not-ready";

/// The file that a supervisor locks as long as it uses the run directory.
pub const LOCK: &str = "lock";

/// Octets that are read, at most.
const LIMIT: u64 = 1024;

/// The reason, if there is one and its supervisor seems to be alive.
pub fn why(run_dir: &Path) -> Option<String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(run_dir.join(FILE)).ok()?;
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line: String = text.lines().next()?.chars().filter(|c| !c.is_control()).collect();
    (!line.is_empty() && is_locked(&run_dir.join(LOCK)) != Some(false)).then_some(line)
}
