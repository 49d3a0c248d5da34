//! Finds out whether a file is locked with flock(2), without trying to lock it: an attempt could
//! make its owner's attempt fail.
//!
//! Limits: locks of processes that this one cannot see (another PID namespace, another host) are
//! not listed.
//! Source: proc_locks(5), proc_pid_mountinfo(5), proc_pid_fdinfo(5).

use nix::libc::{O_NOFOLLOW, O_PATH};
use std::fs::{File, OpenOptions, read_to_string};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Major and minor number.
type Device = (u32, u32);

/// Whether the file is locked; a missing file is not. `None`: unknown.
pub fn is_locked(path: &Path) -> Option<bool> {
    // Needs no permission to read it, and does not block on a pipe.
    let file = match OpenOptions::new().read(true).custom_flags(O_PATH | O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(false),
        Err(_) => return None,
    };
    let inode = file.metadata().ok()?.ino();
    Some(is_listed(device(&file), inode, &read_to_string("/proc/locks").ok()?))
}

/// The device of a file's file system as the kernel lists it. stat(2) gives another one on btrfs
/// and on overlays.
fn device(file: &File) -> Option<Device> {
    let about = read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let mount = about.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().to_owned();
    let mounts = read_to_string("/proc/self/mountinfo").ok()?;
    let mut fields = mounts
        .lines()
        .map(|line| line.split(' '))
        .find_map(|mut fields| (fields.next()? == mount).then_some(fields))?;
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Whether a list of locks contains the file: the sixth field is the device, in hexadecimal digits,
/// and the inode.
fn is_listed(device: Option<Device>, inode: u64, locks: &str) -> bool {
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    locks.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, place) = (fields.next(), fields.nth(3).unwrap_or_default());
        let mut place = place.split(':');
        let (major, minor, found) =
            (place.next().and_then(number), place.next().and_then(number), place.next());
        kind == Some("FLOCK")
            && found.is_some_and(|found| found.parse() == Ok(inode))
            && device.is_none_or(|device| (major, minor) == (Some(device.0), Some(device.1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{Flock, FlockArg};

    #[test]
    fn a_lock_is_seen_as_long_as_it_lasts() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert_eq!(is_locked(&path), Some(false));
        let file = File::create(&path).unwrap();
        assert!(device(&file).is_some());
        assert_eq!(is_locked(&path), Some(false));
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        assert_eq!(is_locked(&path), Some(true));
        drop(lock);
        assert_eq!(is_locked(&path), Some(false));
    }

    #[test]
    fn the_list_of_locks_is_read() {
        let locks = "1: POSIX  ADVISORY  WRITE 700 08:01:4242 0 EOF\n2: FLOCK  ADVISORY  WRITE 701 \
        00:2f:4243 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 7 00:2f:4244 0 EOF\n";
        for device in [None, Some((0, 47))] {
            assert!(is_listed(device, 4243, locks));
            assert!(
                !is_listed(device, 4242, locks)
                    && !is_listed(device, 4244, locks)
                    && !is_listed(device, 42, locks)
            );
        }
        assert!(!is_listed(Some((8, 1)), 4243, locks), "a file of another file system");
    }
}
