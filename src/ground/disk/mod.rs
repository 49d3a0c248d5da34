//! The queue's interface to the disk: few calls, each with a stated guarantee.
//!
//! Purpose: the only interface between the queue and the file system, so that tests can replace it
//! by a disk with torn writes, lost writes and false success. [`DirectoryDisk`] is the real one,
//! [`Snapshot`] a read-only one. Limits: paths are relative to the volume, `directory/file` at
//! most; nothing outside the volume can be named. Security: files are created with mode 0600,
//! directories with 0700. Source: POSIX fdatasync(2), fsync(2) of a directory, rename(2).

#[cfg(test)]
pub mod halting;
mod snapshot;
mod volume;
mod watched;

use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use snapshot::Snapshot;
pub use volume::DirectoryDisk;
pub use watched::{DiskCall, DiskCalls, SLOW, Watched};

/// Free space and size in octets, for an unprivileged process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Octets that can still be written.
    pub free: u64,
    /// Octets in total.
    pub size: u64,
}

/// A directory tree of depth one on stable storage.
pub trait Disk: Send + Sync + 'static {
    /// Creates a file that must not exist, for reading and writing. It survives a power cut only
    /// after its content was synced and [`Disk::sync_dir`] returned.
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, path: &str) -> io::Result<Arc<dyn File>>;

    /// Renames a file and replaces an existing one; durable after [`Disk::sync_dir`] of both
    /// directories.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; durable after [`Disk::sync_dir`].
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes creations, renames and removals in a directory durable; `""` is the volume itself.
    fn sync_dir(&self, directory: &str) -> io::Result<()>;

    /// Creates a directory unless it exists.
    fn create_dir(&self, directory: &str) -> io::Result<()>;

    /// The names of the files in a directory, sorted.
    fn list(&self, directory: &str) -> io::Result<Vec<String>>;

    /// Free space and size of the volume.
    fn space(&self) -> io::Result<DiskSpace>;

    /// How long a slow call has been running; `None` while the disk answers.
    fn slow(&self) -> Option<Duration> {
        None
    }
}

/// An open file.
pub trait File: Send + Sync + 'static {
    /// Writes all of `data` at `offset`. After an error any part of it may have been written.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset` on and gives how much there was; less than requested only at
    /// the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Everything written before this call is on stable storage when it returns `Ok`. After an
    /// error nothing is known about writes since the last success, not even when a later sync
    /// succeeds.
    fn sync(&self) -> io::Result<()>;

    /// Drops the page cache of the file, so that reads show the device's content, and not data that
    /// a failed sync left in memory. To be called after a sync; best effort, since the kernel may
    /// keep pages.
    fn read_anew(&self);

    /// The length in octets.
    fn length(&self) -> io::Result<u64>;
}

/// Replaces a file in the root of the volume as a whole, through `NAME.new`. Durable when this
/// returns `Ok`; a crash leaves the former content or the new one.
///
/// # Errors
/// The volume's; the former content is still there then, unless only the last sync failed.
pub fn replace(disk: &dyn Disk, name: &str, content: &[u8]) -> io::Result<()> {
    let fresh = format!("{name}.new");
    match disk.remove(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&fresh)?;
    file.write_at(0, content)?;
    file.sync()?;
    disk.rename(&fresh, name)?;
    disk.sync_dir("")
}

/// Whether an error means that there is no space: ENOSPC, EDQUOT, EFBIG.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
