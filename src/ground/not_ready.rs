//! Why a core is not ready, or that it is about to be started again, for those whom it cannot tell
//! itself.
//!
//! The supervisor leaves the reason in a file of the run directory; `postern health` and
//! `postern queue` read it when the core does not answer. One that outlived its supervisor says
//! nothing about anybody.
//! Limits: one line, [`LIMIT`] octets of it.

use super::locked::is_locked;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file; there only while a core is not ready. One that outlived a supervisor is removed by the
/// next.
pub const FILE: &str = "not-ready";

/// What a supervisor locks as long as the run directory is its own.
pub const LOCK: &str = "lock";

/// Octets that are read.
const LIMIT: u64 = 1024;

/// The reason, where there is one and its supervisor lives, as far as one can see.
pub fn why(run_dir: &Path) -> Option<String> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(run_dir.join(FILE)).ok()?;
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line: String = text.lines().next()?.chars().filter(|c| !c.is_control()).collect();
    (!line.is_empty() && is_locked(&run_dir.join(LOCK)) != Some(false)).then_some(line)
}
