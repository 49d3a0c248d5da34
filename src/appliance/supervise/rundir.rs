//! The run directory: control socket of the core, readiness file of the supervisor.
//!
//! Security: root's run directory belongs to root, with the core's group and the sticky bit: the
//! core can add its socket, but neither remove nor replace root's files. An ordinary user's is
//! private to that user; one of another user is refused, because under /tmp any user could have
//! created it first.

use super::identity::Identity;
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::volume::may_write;
use crate::ground::file_lock::is_locked;
use crate::ground::not_ready;
pub use crate::ground::not_ready::LOCK;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, PROC_SUPER_MAGIC, SYSFS_MAGIC};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Creates the directory, or uses the existing one.
///
/// # Errors
/// It cannot be created or written, is a link, or belongs to another user.
pub fn prepare(path: &Path, identity: &Identity) -> Result<(), Failure> {
    make(path, identity).map_err(|cause| {
        let hint = "mount a tmpfs there or set MTA_RUN_DIR";
        Failure::preconfigure(Exit::Create, format!("run_dir {}: {cause}; {hint}", path.display()))
    })
}

/// As [`prepare`].
///
/// # Errors
/// Only the cause.
pub fn make(path: &Path, identity: &Identity) -> Result<(), String> {
    let is_new = !path.exists();
    if path.symlink_metadata().is_ok_and(|meta| !meta.is_dir()) {
        return Err("it is not a directory".to_owned());
    }
    // Directories created above it are for others, too, because the core has another user.
    let above = path
        .parent()
        .map_or(Ok(()), |above| DirBuilder::new().recursive(true).mode(0o755).create(above));
    above
        .and_then(|()| DirBuilder::new().recursive(true).mode(0o700).create(path))
        .map_err(|error| error.to_string())?;
    let meta = path.symlink_metadata().map_err(|error| error.to_string())?;
    let me = nix::unistd::geteuid();
    if !meta.is_dir() {
        return Err("it is not a directory".to_owned());
    }
    let in_tmp = path
        .parent()
        .is_some_and(|parent| parent.metadata().is_ok_and(|meta| meta.mode() & 0o002 != 0));
    if in_tmp && meta.uid() != me.as_raw() {
        return Err(format!("it belongs to uid {}, not to uid {me} of this process", meta.uid()));
    }
    // A directory that others use, such as /run itself, keeps its owner and its mode.
    let is_ours = is_new || meta.gid() == identity.gid.as_raw() || is_empty(path);
    if identity.changes && is_ours {
        std::os::unix::fs::chown(path, Some(me.as_raw()), Some(identity.gid.as_raw()))
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o1775)))
            .map_err(|error| error.to_string())?;
    }
    let is_closed = identity
        .within(|| path.metadata())
        .is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    identity.within(|| try_entry(path)).map_err(|error| match is_closed {
        true => format!("a directory above it is closed to uid {} (the SMTP core)", identity.uid),
        false => format!("it cannot be written: {error}"),
    })
}

/// The failures of [`prepare`], without changing anything.
pub fn preflight(path: &Path, identity: &Identity) -> Option<Failure> {
    let failure = |cause: String| {
        let hint = "mount a tmpfs there or set MTA_RUN_DIR";
        Failure::preconfigure(Exit::Create, format!("run_dir {}: {cause}; {hint}", path.display()))
    };
    // A missing directory will be created in the first existing one above it.
    let there =
        path.ancestors().find(|place| place.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    match there.metadata() {
        Ok(meta) if !meta.is_dir() => {
            return Some(failure(format!("{} is not a directory", there.display())));
        }
        Err(error) => return Some(failure(error.to_string())),
        Ok(_) if path.symlink_metadata().is_ok_and(|meta| meta.is_symlink()) => {
            return Some(failure("it is not a directory".to_owned()));
        }
        Ok(_) => {}
    }
    let kind = nix::sys::statfs::statfs(there).map(|stat| stat.filesystem_type());
    if kind.is_ok_and(|kind| [PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP2_SUPER_MAGIC].contains(&kind)) {
        return Some(failure(format!(
            "{} shows the kernel's own state and keeps no files",
            there.display()
        )));
    }
    // An existing one that is not empty and not the core's is not changed: then the core itself
    // must be able to write.
    let stays = there == path
        && !is_empty(path)
        && path.metadata().is_ok_and(|meta| meta.gid() != identity.gid.as_raw());
    let may = if stays { identity.within(|| may_write(there)) } else { may_write(there) };
    may.err().map(|error| failure(format!("{} cannot be written: {error}", there.display())))
}

/// Removes what is at the path of the core's control socket: the socket of a dead core (unless the
/// core `lives`), or anything else, which is renamed. Gives what it was, if it was not a socket.
///
/// # Errors
/// It cannot be renamed.
pub fn make_room_for_socket(run_dir: &Path, lives: bool) -> io::Result<Option<PathBuf>> {
    let socket = run_dir.join(SOCKET);
    let kind = match socket.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?.file_type(),
    };
    if kind.is_socket() && lives {
        return Ok(None);
    }
    if kind.is_socket() {
        return std::fs::remove_file(&socket).map(|()| None);
    }
    let aside = run_dir.join(format!("{SOCKET}.{}", crate::ground::clock::now()));
    std::fs::rename(&socket, &aside).map(|()| Some(aside))
}

/// The control socket of the core.
pub const SOCKET: &str = "control.sock";

/// Locks the directory for this supervisor, as long as the guard exists: a second one would replace
/// the first one's control socket, and orders would reach the wrong queue.
///
/// # Errors
/// Another supervisor has it.
pub fn claim(path: &Path) -> Result<Flock<File>, Failure> {
    let lock = path.join(LOCK);
    let no_link = nix::libc::O_NOFOLLOW;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(no_link)
        .open(&lock);
    let file = file.map_err(|error| {
        Failure::preconfigure(Exit::Create, format!("{}: {error}", lock.display()))
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        let cause = format!(
            "another Postern uses run_dir {}; set MTA_RUN_DIR to another directory",
            path.display()
        );
        Failure::preconfigure(Exit::Unavailable, cause)
    })
}

/// Whether an appliance uses the directory now. It does not try to lock it: that could prevent
/// another start.
pub fn is_in_use(path: &Path) -> bool {
    is_locked(&path.join(LOCK)) == Some(true) || UnixStream::connect(path.join(SOCKET)).is_ok()
}

/// Whether there is a control socket without a listener, such as one that a dead core left and the
/// next could not remove. Never waits, as the supervisor must not; a core with a full backlog
/// counts as listening.
pub fn is_stale_socket(run_dir: &Path) -> bool {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let Ok(socket) = socket(AddressFamily::Unix, SockType::Stream, flags, None) else {
        return false;
    };
    let Ok(address) = UnixAddr::new(&run_dir.join(SOCKET)) else { return false };
    connect(socket.as_raw_fd(), &address) == Err(Errno::ECONNREFUSED)
}

fn is_empty(path: &Path) -> bool {
    path.read_dir().is_ok_and(|mut entries| entries.next().is_none())
}

fn try_entry(dir: &Path) -> io::Result<()> {
    let trial = dir.join(format!(".trial-{}", std::process::id()));
    DirBuilder::new().create(&trial).and_then(|()| std::fs::remove_dir(&trial))
}

/// The readiness file.
#[derive(Debug)]
pub struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Not ready; a file that an earlier process left is removed.
    pub fn new(run_dir: &Path) -> Self {
        let readiness = Self(run_dir.join("ready"));
        readiness.clear();
        readiness
    }

    /// Whether the file exists.
    pub fn is_set(&self) -> bool {
        self.0.exists()
    }

    /// Creates the file.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn set(&self) -> io::Result<()> {
        self.clear();
        OpenOptions::new().write(true).create_new(true).mode(0o644).open(&self.0).map(drop)
    }

    /// Removes the file.
    pub fn clear(&self) {
        // Usually it does not exist, and a failing run directory is reported when the file is
        // created.
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(self.0.with_file_name(not_ready::FILE));
    }

    /// Removes the file, and records the reason for those who ask a core that does not answer.
    pub fn clear_because(&self, reason: &str) {
        self.clear();
        let place = self.0.with_file_name(not_ready::FILE);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(place);
        // It is only informative, and nothing depends on it.
        let _ = file.and_then(|mut file| writeln!(file, "{reason}"));
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_made_private_and_readiness_comes_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path().join("above");
        let run = above.join("postern");
        prepare(&run, &Identity::same()).unwrap();
        assert_eq!(run.metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(above.metadata().unwrap().mode() & 0o055, 0o055, "the core passes through it");
        let claimed = claim(&run).unwrap();
        let readiness = ReadyFile::new(&run);
        readiness.set().unwrap();
        readiness.set().unwrap();
        assert!(run.join("ready").exists());
        assert_eq!(not_ready::why(&run), None);
        readiness.clear_because("it\thangs");
        assert!(!run.join("ready").exists());
        assert_eq!(not_ready::why(&run).as_deref(), Some("ithangs"));
        readiness.set().unwrap();
        assert_eq!(not_ready::why(&run), None);
        readiness.clear_because("it was killed");
        drop(claimed);
        assert_eq!(not_ready::why(&run), None, "nobody is there any more of whom it would be true");
        drop(readiness);
        std::fs::remove_file(run.join(LOCK)).unwrap();
        assert!(run.read_dir().unwrap().next().is_none());
    }

    #[test]
    fn whoever_asks_for_an_appliance_does_not_disturb_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_in_use(dir.path()));
        let claimed = claim(dir.path()).unwrap();
        assert!(is_in_use(dir.path()));
        drop(claimed);
        assert!(!is_in_use(dir.path()));
        let socket = std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        assert!(is_in_use(dir.path()) && !is_stale_socket(dir.path()));
        // As many connections as the backlog takes; one more would wait.
        let waiting: Vec<_> =
            std::iter::repeat_with(|| is_stale_socket(dir.path())).take(5000).collect();
        assert!(!waiting.contains(&true), "nobody has time for it, but somebody listens");
        drop(socket);
        assert!(!is_in_use(dir.path()) && is_stale_socket(dir.path()), "what a dead core left");
        std::fs::remove_file(dir.path().join(SOCKET)).unwrap();
        assert!(!is_stale_socket(dir.path()), "there is none");
    }

    #[test]
    fn a_link_or_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(prepare(&link, &Identity::same()).unwrap_err().cause.contains("not a directory"));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(prepare(&file, &Identity::same()).unwrap_err().exit, Exit::Create);
    }
}
