//! The real disk: a directory.

use super::{Disk, DiskSpace, File};
use nix::fcntl::{Flock, FlockArg, OFlag, PosixFadviseAdvice, posix_fadvise};
use nix::unistd::geteuid;
use std::fs::{self, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory that only this process uses.
pub struct DirectoryDisk {
    root: PathBuf,
    _lock: Flock<fs::File>,
}

/// The name of the lock file; the file stays on the volume, only the lock on it comes and goes.
pub(super) const LOCK: &str = "lock";

impl DirectoryDisk {
    /// Locks the directory for this process (flock, which ends with its process, so that no stale
    /// lock can remain).
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`]: another process uses it. Anything else: the directory cannot
    /// be written.
    pub fn open(root: &Path) -> io::Result<Self> {
        let path = root.join(LOCK);
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| named(&path, error))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|(_, errno)| io::Error::from(errno))?;
        Ok(Self { root: root.to_owned(), _lock: lock })
    }
}

impl Disk for DirectoryDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.root.join(path);
        let file =
            OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(&path);
        Ok(Arc::new(OpenFile(file.map_err(|error| named(&path, error))?)))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        let path = self.root.join(path);
        plain(&path, fs::symlink_metadata(&path)?.file_type())?;
        // In case it has changed since: without following a link, and without waiting for the other
        // end of a pipe.
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        Ok(Arc::new(OpenFile(file.map_err(|error| named(&path, error))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.root.join(path))
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        fs::File::open(self.root.join(directory))?.sync_all()
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(self.root.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let path = self.root.join(directory);
                let kind = fs::symlink_metadata(&path)?.file_type();
                if kind.is_dir() { Ok(()) } else { Err(strange(&path, kind, "a directory")) }
            }
            other => other,
        }
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let path = self.root.join(directory);
        names(&path).map_err(|error| named(&path, error))
    }

    fn space(&self) -> io::Result<DiskSpace> {
        space(&self.root)
    }
}

/// The names of the files in a directory, sorted.
///
/// # Errors
/// It cannot be read, or it contains something else than files, perhaps in place of a file: mail
/// might be taken for lost, or contents for unneeded.
pub(super) fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        plain(&entry.path(), entry.file_type()?)?;
        // A name that is not UTF-8 is not Postern's.
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn plain(path: &Path, kind: FileType) -> io::Result<()> {
    if kind.is_file() { Ok(()) } else { Err(strange(path, kind, "a file")) }
}

/// A permission error must be solved by the operator: the text contains the file, and what to do.
fn named(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let is_now = match fs::symlink_metadata(path) {
        Ok(meta) => {
            format!("it belongs to user {} and has mode {:03o}", meta.uid(), meta.mode() & 0o777)
        }
        Err(_) => "this user may not enter its directory".to_owned(),
    };
    io::Error::new(
        error.kind(),
        format!(
            "{} cannot be opened: {error}; {is_now}: change its owner to user {}, with mode 600 (a \
            directory: 700); nothing was deleted",
            path.display(),
            geteuid()
        ),
    )
}

/// An entry that was not made by this program.
fn strange(path: &Path, kind: FileType, wanted: &str) -> io::Error {
    let found = match kind {
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_file() => "a file",
        _ => "a device",
    };
    let path = path.display();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{path} is {found} and not {wanted}, so the volume was changed from outside; restore \
            the original, nothing was deleted"
        ),
    )
}

/// Free space and size of the volume that contains a directory.
pub(super) fn space(directory: &Path) -> io::Result<DiskSpace> {
    let stat = nix::sys::statvfs::statvfs(directory)?;
    Ok(DiskSpace {
        free: stat.blocks_available() * stat.fragment_size(),
        size: stat.blocks() * stat.fragment_size(),
    })
}

pub(super) struct OpenFile(pub(super) fs::File);

impl File for OpenFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn read_anew(&self) {
        // A file system without this call has no such cache.
        let _ = posix_fadvise(&self.0, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_one_user() {
        let directory = tempfile::tempdir().unwrap();
        let first = DirectoryDisk::open(directory.path()).unwrap();
        assert_eq!(
            DirectoryDisk::open(directory.path()).err().map(|e| e.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        drop(first);
        DirectoryDisk::open(directory.path()).unwrap();
    }

    #[test]
    fn what_is_no_file_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let volume = DirectoryDisk::open(directory.path()).unwrap();
        volume.create_dir("log").unwrap();
        volume.create("log/a").unwrap();
        let stranger = directory.path().join("log/b");
        std::os::unix::fs::symlink(directory.path().join("log/a"), &stranger).unwrap();
        let refused = [volume.list("log").err(), volume.open("log/b").err()];
        assert!(refused.iter().all(|error| {
            error.as_ref().is_some_and(|e| e.to_string().contains("log/b is a symbolic link"))
        }));
        fs::remove_file(&stranger).unwrap();
        nix::unistd::mkfifo(&stranger, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(volume.list("log").unwrap_err().to_string().contains("log/b is a named pipe"));
        fs::remove_file(&stranger).unwrap();
        fs::create_dir(&stranger).unwrap();
        assert!(volume.list("log").unwrap_err().to_string().contains("log/b is a directory"));
        assert!(stranger.exists());
        std::os::unix::fs::symlink("log", directory.path().join("body")).unwrap();
        assert!(
            volume
                .create_dir("body")
                .unwrap_err()
                .to_string()
                .contains("body is a symbolic link and not a directory")
        );
    }

    #[test]
    fn files_come_back_as_written() {
        let directory = tempfile::tempdir().unwrap();
        let volume = DirectoryDisk::open(directory.path()).unwrap();
        volume.create_dir("log").unwrap();
        volume.create_dir("log").unwrap();
        let file = volume.create("log/b").unwrap();
        assert!(volume.create("log/b").is_err());
        file.write_at(3, b"three").unwrap();
        file.sync().unwrap();
        volume.rename("log/b", "log/a").unwrap();
        volume.sync_dir("log").unwrap();
        assert_eq!(volume.list("log").unwrap(), ["a"]);
        let mut buffer = [9; 16];
        assert_eq!(volume.open("log/a").unwrap().read_at(1, &mut buffer).unwrap(), 7);
        assert_eq!(&buffer[..7], b"\0\0three");
        assert!(volume.space().unwrap().free > 0);
    }
}
