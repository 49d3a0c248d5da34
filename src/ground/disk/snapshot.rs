//! A read-only directory: the queue of a stopped relay, a backup of one, a read-only snapshot.

use super::volume::{LOCK, OpenFile, names, space};
use super::{Disk, DiskSpace, File};
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::libc;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory in which nothing can be changed.
pub struct Snapshot {
    root: PathBuf,
    _lock: Option<Flock<fs::File>>,
}

impl Snapshot {
    /// Opens a directory for reading, and prevents changes meanwhile by a shared lock on its lock
    /// file, if it has one. Several readers are possible.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: a process uses it. [`io::ErrorKind::NotFound`] and
    /// [`io::ErrorKind::NotADirectory`]: there is no such directory. Anything else: it cannot be
    /// read.
    pub fn open(root: &Path) -> io::Result<Self> {
        if !fs::metadata(root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let lock = match read_only(&root.join(LOCK)) {
            // A copy without the lock file.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
            Ok(file) => match Flock::lock(file, FlockArg::LockSharedNonblock) {
                Ok(lock) => Some(lock),
                // A file system without locks: no process can hold one there.
                Err((_, nix::errno::Errno::ENOLCK | nix::errno::Errno::EOPNOTSUPP)) => None,
                Err((_, errno)) => return Err(errno.into()),
            },
        };
        Ok(Self { root: root.to_owned(), _lock: lock })
    }
}

/// Opens without following a link, and without waiting for the other end of a pipe.
fn read_only(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::EROFS))
}

impl Disk for Snapshot {
    fn create(&self, _path: &str) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let file = read_only(&self.root.join(path))?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Arc::new(OpenFile(file)))
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _path: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _directory: &str) -> io::Result<()> {
        refused()
    }

    fn create_dir(&self, _directory: &str) -> io::Result<()> {
        refused()
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        names(&self.root.join(directory))
    }

    fn space(&self) -> io::Result<DiskSpace> {
        space(&self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::super::DirectoryDisk;
    use super::*;

    #[test]
    fn nothing_changes_and_nobody_else_may_change_it() {
        let directory = tempfile::tempdir().unwrap();
        let volume = DirectoryDisk::open(directory.path()).unwrap();
        volume.create_dir("log").unwrap();
        volume.create("log/a").unwrap().write_at(0, b"octets").unwrap();
        assert_eq!(
            Snapshot::open(directory.path()).err().map(|e| e.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        drop(volume);

        let first = Snapshot::open(directory.path()).unwrap();
        let second = Snapshot::open(directory.path()).unwrap();
        assert_eq!(
            DirectoryDisk::open(directory.path()).err().map(|e| e.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        assert_eq!(second.list("log").unwrap(), ["a"]);
        let file = second.open("log/a").unwrap();
        assert_eq!(file.length().unwrap(), 6);
        assert!(file.write_at(0, b"x").is_err());
        for refused in [
            second.create("log/b").err(),
            second.rename("log/a", "log/b").err(),
            second.remove("log/a").err(),
            second.sync_dir("log").err(),
            second.create_dir("spare").err(),
        ] {
            assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::ReadOnlyFilesystem));
        }
        drop((first, second));
        DirectoryDisk::open(directory.path()).unwrap();
    }

    #[test]
    fn a_link_is_not_followed_and_a_missing_lock_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("log")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", directory.path().join("log/a")).unwrap();
        let snapshot = Snapshot::open(directory.path()).unwrap();
        assert!(snapshot.open("log/a").is_err());
        assert!(snapshot.list("log").unwrap_err().to_string().contains("log/a is a symbolic link"));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        assert!(Snapshot::open(&directory.path().join("none")).is_err());
    }
}
