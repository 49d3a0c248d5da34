//! For tests: a volume whose calls can be made to block, like those of a disk that hangs.

use super::{DirectoryDisk, Disk, DiskSpace, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long a test waits for an expected event.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A volume that blocks in every change of a directory for which `halts` is true.
pub struct Halting {
    volume: DirectoryDisk,
    halts: fn(call: &str, path: &str) -> bool,
    /// Receives each blocked call, with the means to continue it.
    tell: Sender<Sender<()>>,
}

impl Halting {
    /// The volume, and the receiver of its blocked calls: each continues when the received value is
    /// used or dropped.
    pub fn open(
        path: &Path,
        halts: fn(&str, &str) -> bool,
    ) -> (Arc<dyn Disk>, Receiver<Sender<()>>) {
        let (tell, told) = channel();
        (Arc::new(Self { volume: DirectoryDisk::open(path).unwrap(), halts, tell }), told)
    }

    fn call(&self, call: &str, path: &str) {
        if (self.halts)(call, path) {
            let (go, goes) = channel();
            let _ = self.tell.send(go);
            let _ = goes.recv_timeout(PATIENCE * 2);
        }
    }
}

impl Disk for Halting {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.volume.create(path)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.volume.open(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call("rename", from);
        self.volume.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.call("remove", path);
        self.volume.remove(path)
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.call("sync", directory);
        self.volume.sync_dir(directory)
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.volume.create_dir(directory)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.volume.list(directory)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.volume.space()
    }
}

/// The result of `work` in a thread of its own; fails the test if it does not end.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(work()));
    told.recv_timeout(PATIENCE).expect("it waits for the disk")
}
