//! The file on the share.
//!
//! Its directories are created as needed. It is opened again for each batch, so that a renamed file
//! is not written any more, a share that was not reachable is found again, and no handle becomes
//! stale. Security: names on a share are controlled by everyone who can write there; links are not
//! followed, and only regular files are written. Source: open(2), O_NOFOLLOW and O_APPEND.

use super::segment::FileIdentity;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The target of the mail log.
pub(super) struct LogTarget {
    share: PathBuf,
    directories: Vec<String>,
    name: String,
    /// Device and inode of the share's top directory at the start.
    identity: Option<(u64, u64)>,
    /// Detects mounts since then.
    mounts: Option<File>,
}

/// The opened file.
pub(super) enum OpenedLog {
    /// To be appended to, with its present state.
    File(File, FileIdentity),
    /// Another file system is mounted where the share was.
    AnotherShare,
}

impl LogTarget {
    /// `file` is relative to `share`, whether or not it begins with a slash.
    ///
    /// # Errors
    /// The name leads out of the share, or is not valid.
    pub(super) fn new(share: &Path, file: &str) -> io::Result<Self> {
        let mut parts: Vec<String> =
            file.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect();
        let name = parts
            .pop()
            .filter(|name| name != "..")
            .filter(|_| !parts.iter().any(|part| part == ".."));
        let name = name.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "this names no file below the share")
        })?;
        let identity = directory(share).and_then(|directory| identity(&directory)).ok();
        let mounts = File::open("/proc/self/mountinfo").ok();
        Ok(Self { share: share.to_owned(), directories: parts, name, identity, mounts })
    }

    /// Opens it, and creates missing directories.
    ///
    /// # Errors
    /// The share's.
    pub(super) fn open(&self) -> io::Result<OpenedLog> {
        match self.walk() {
            // Device and inode may be the same again after a mount, but the Landlock rules of this
            // process are for the old mount.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && self.has_mounts_changed() =>
            {
                Ok(OpenedLog::AnotherShare)
            }
            opened => opened,
        }
    }

    fn walk(&self) -> io::Result<OpenedLog> {
        let mut at = directory(&self.share)?;
        if Some(identity(&at)?) != self.identity {
            return Ok(OpenedLog::AnotherShare);
        }
        for name in &self.directories {
            at = below(&at, name)?;
        }
        let flags = OFlag::O_RDWR
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC
            | OFlag::O_NONBLOCK;
        let file = openat(&at, self.name.as_str(), flags, Mode::from_bits_truncate(0o640))?;
        let stat = fstat(&file)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "this is no ordinary file"));
        }
        let mark = FileIdentity {
            inode: stat.st_ino,
            length: u64::try_from(stat.st_size).unwrap_or_default(),
        };
        Ok(OpenedLog::File(File::from(file), mark))
    }

    /// proc_pid_mounts(5): the kernel reports a change as an exceptional condition.
    fn has_mounts_changed(&self) -> bool {
        let Some(mounts) = &self.mounts else { return false };
        let mut asked = [PollFd::new(mounts.as_fd(), PollFlags::POLLPRI)];
        poll(&mut asked, PollTimeout::ZERO).is_ok_and(|count| count > 0)
    }

    /// Its name, for messages.
    pub(super) fn shown(&self) -> String {
        let parts: Vec<&str> =
            self.directories.iter().chain([&self.name]).map(String::as_str).collect();
        format!("{}/{}", self.share.display(), parts.join("/"))
    }
}

fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn below(at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(at, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => {
            match mkdirat(at, name, Mode::from_bits_truncate(0o750)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            Ok(openat(at, name, flags, Mode::empty())?)
        }
        opened => Ok(opened?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn append(target: &LogTarget, text: &str) -> io::Result<u64> {
        match target.open()? {
            OpenedLog::File(mut file, mark) => {
                file.write_all(text.as_bytes()).map(|()| mark.length)
            }
            OpenedLog::AnotherShare => Err(io::ErrorKind::StaleNetworkFileHandle.into()),
        }
    }

    #[test]
    fn directories_come_into_being_and_a_slash_in_front_means_nothing() {
        let share = tempfile::tempdir().unwrap();
        for (number, name) in ["/srv1/logs/maillog", "srv1//logs/./maillog"].into_iter().enumerate()
        {
            let before = append(&LogTarget::new(share.path(), name).unwrap(), "x\n").unwrap();
            assert_eq!(before, 2 * number as u64);
        }
        assert_eq!(fs::read_to_string(share.path().join("srv1/logs/maillog")).unwrap(), "x\nx\n");
    }

    #[test]
    fn names_and_links_do_not_lead_out() {
        let (share, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["", "/", "..", "../x", "a/../../x", "a/.."] {
            assert!(LogTarget::new(share.path(), name).is_err(), "{name}");
        }
        symlink(elsewhere.path(), share.path().join("link")).unwrap();
        symlink(elsewhere.path().join("x"), share.path().join("file")).unwrap();
        fs::create_dir(share.path().join("directory")).unwrap();
        nix::unistd::mkfifo(&share.path().join("fifo"), Mode::S_IRWXU).unwrap();
        for name in ["link/x", "file", "directory", "fifo"] {
            assert!(append(&LogTarget::new(share.path(), name).unwrap(), "x").is_err(), "{name}");
        }
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_share_in_the_same_place_is_noticed() {
        let above = tempfile::tempdir().unwrap();
        let (share, away) = (above.path().join("share"), above.path().join("away"));
        fs::create_dir(&share).unwrap();
        let target = LogTarget::new(&share, "maillog").unwrap();
        append(&target, "x").unwrap();
        fs::rename(&share, &away).unwrap();
        assert_eq!(append(&target, "x").unwrap_err().kind(), io::ErrorKind::NotFound);
        fs::create_dir(&share).unwrap();
        assert!(matches!(target.open(), Ok(OpenedLog::AnotherShare)));
    }
}
