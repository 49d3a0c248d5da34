//! A directory given by an operator, with files that may come from untrusted sources.
//!
//! Every file is named relative to the open directory and by a single name, so nothing outside of
//! it can be reached, whatever links or renames are made meanwhile. Security: links are not
//! followed, pipes and devices are not opened; new files have mode 0600, new directories 0700.
//! Source: POSIX openat(2), renameat(2).

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// An exclusive lock on a directory; it ends with its process.
pub struct FolderLock(#[expect(dead_code, reason = "only its end matters")] Option<Flock<OwnedFd>>);

/// An open directory.
pub struct Folder {
    handle: OwnedFd,
}

impl Folder {
    /// Opens the directory at `path`, which may be a link because the operator gave it.
    ///
    /// # Errors
    /// It does not exist, is not a directory, or cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = std::fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_DIRECTORY.bits())
            .open(path)?;
        Ok(Self { handle: handle.into() })
    }

    /// The same; a missing directory is created with mode 0700.
    ///
    /// # Errors
    /// As [`Folder::open`], and: it cannot be created.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::open(path),
        }
    }

    /// Locks this directory until the result is dropped; `None`: another process has locked it. On
    /// a file system without locks for directories there is no protection; on NFS there is none
    /// against other hosts.
    ///
    /// # Errors
    /// Those of flock(2).
    pub fn lock(&self) -> io::Result<Option<FolderLock>> {
        match Flock::lock(self.handle.try_clone()?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(FolderLock(Some(lock)))),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((
                _,
                Errno::EBADF | Errno::EINVAL | Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS,
            )) => Ok(Some(FolderLock(None))),
            Err((_, errno)) => Err(errno.into()),
        }
    }

    /// A directory in this one; it is created if it is missing.
    ///
    /// # Errors
    /// A file has the name, or it cannot be created.
    pub fn inner(&self, name: &str) -> io::Result<Self> {
        single(name)?;
        match mkdirat(&self.handle, name, Mode::S_IRWXU) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self { handle: openat(&self.handle, name, flags, Mode::empty())? })
    }

    /// The names of the regular files in it, sorted; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut names = Vec::new();
        for entry in Dir::openat(&self.handle, ".", flags, Mode::empty())?.iter() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let regular = match entry.file_type() {
                Some(kind) => kind == Type::File,
                // Some file systems do not give the type.
                None => self.read(name).is_ok(),
            };
            if regular {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// It is missing, not a regular file, or cannot be read.
    pub fn read(&self, name: &str) -> io::Result<File> {
        single(name)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.handle, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// All of a small regular file; `None` when it is missing.
    ///
    /// # Errors
    /// As [`Folder::read`], and: it has more than `limit` octets.
    pub fn read_small(&self, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match self.read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut octets = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut octets)?;
        if octets.len() > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {limit} octets"),
            ));
        }
        Ok(Some(octets))
    }

    /// Whether there is an entry of this name.
    pub fn has(&self, name: &str) -> bool {
        single(name).is_ok()
            && nix::sys::stat::fstatat(&self.handle, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok()
    }

    /// An empty file for writing; it replaces an entry of the same name.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn write_anew(&self, name: &str) -> io::Result<File> {
        self.remove(name)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.handle, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
    }

    /// Renames a file, maybe into another directory of the same file system. Durable after
    /// [`Folder::sync`] of both.
    ///
    /// # Errors
    /// The file is missing, or a directory cannot be written.
    pub fn rename(&self, from: &str, other: &Self, to: &str) -> io::Result<()> {
        single(from)?;
        single(to)?;
        Ok(renameat(&self.handle, from, &other.handle, to)?)
    }

    /// Removes a file if it exists.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        single(name)?;
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// The disk failed.
    pub fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(&self.handle)?)
    }
}

/// Checks that it is a name, not a path.
fn single(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no name of a file"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn nothing_outside_is_reached() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("folder");
        let folder = Folder::open_or_create(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        symlink(outside.path().join("secret"), path.join("link")).unwrap();
        symlink(outside.path(), path.join("imported")).unwrap();
        nix::unistd::mkfifo(&path.join("pipe"), Mode::S_IRWXU).unwrap();
        assert!(folder.names().unwrap().is_empty());
        assert!(
            folder.read("link").is_err()
                && folder.read("pipe").is_err()
                && folder.inner("imported").is_err()
        );
        for name in ["", ".", "..", "../secret", "/etc/passwd", "a/b"] {
            assert!(folder.read(name).is_err() && folder.write_anew(name).is_err(), "{name}");
        }
        // A link is replaced by the new file; its target stays.
        folder.write_anew("link").unwrap().write_all(b"new").unwrap();
        assert_eq!(std::fs::read_to_string(outside.path().join("secret")).unwrap(), "x");
        assert_eq!(folder.read_small("link", 3).unwrap().as_deref(), Some(&b"new"[..]));
        assert!(folder.read_small("link", 2).is_err());
        assert!(folder.read_small("none", 2).unwrap().is_none());
    }

    #[test]
    fn files_move_between_directories() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::open(directory.path()).unwrap();
        let inner = folder.inner("imported").unwrap();
        folder.write_anew("a").unwrap();
        folder.write_anew("a").unwrap();
        folder.rename("a", &inner, "b").unwrap();
        folder.sync().unwrap();
        assert!(inner.has("b") && !folder.has("a"));
        assert_eq!(inner.names().unwrap(), ["b"]);
        inner.remove("b").unwrap();
        inner.remove("b").unwrap();
        assert!(inner.names().unwrap().is_empty());
    }
}
