//! A disk that records how long its calls take.
//!
//! Purpose: a call to a disk that hangs does not return, so its thread cannot report it. So each
//! call is recorded before it begins, and other threads read the records. In: any [`Disk`]. Out:
//! the same, and [`DiskCalls`]. Limits: one record for each thread that is in a call. Time in which
//! the whole process was paused (a paused container) does not count: the watching thread calls
//! [`DiskCalls::turn`] each second, and longer gaps are subtracted.

use super::{Disk, DiskSpace, File};
use crate::ground::lock::{Guard, Level, Lock};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A sync or another call that takes longer than this is slow: no new mail is accepted before it
/// has returned. Healthy disks answer within milliseconds, busy network volumes within a second or
/// two.
pub const SLOW: Duration = Duration::from_secs(5);

/// The longest time between two calls of [`DiskCalls::turn`] that counts as time of the disk.
const TURN_MAX: Duration = Duration::from_secs(2);

/// The calls that have begun and not returned.
pub struct DiskCalls(Lock<Running>);

impl Default for DiskCalls {
    fn default() -> Self {
        Self(Lock::new(Level::Last, Running::default()))
    }
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    calls: BTreeMap<u64, (DiskCall, Instant)>,
    slow: u64,
    /// The last call of [`DiskCalls::turn`]; `None`: it is not called.
    turn: Option<Instant>,
}

impl Running {
    /// How long a call has been running, without the time in which this process was paused.
    fn age(&self, since: Instant, now: Instant) -> Duration {
        now.saturating_duration_since(since).saturating_sub(self.lost(now))
    }

    /// Time since the last turn in which the process was paused.
    fn lost(&self, now: Instant) -> Duration {
        self.turn.map_or(Duration::ZERO, |turn| {
            now.saturating_duration_since(turn).saturating_sub(TURN_MAX)
        })
    }
}

/// The kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskCall {
    /// fdatasync(2), or fsync(2) of a directory.
    Sync,
    /// Reads content or attributes of files.
    Read,
    /// Writes content.
    Write,
    /// Creates, opens, renames or removes.
    Name,
}

impl DiskCall {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Read => "read",
            Self::Write => "write",
            Self::Name => "change of a directory",
        }
    }
}

impl DiskCalls {
    /// To be called each second by one thread: a longer gap means that the whole process was
    /// paused.
    pub fn turn(&self) {
        self.turn_at(Instant::now());
    }

    fn turn_at(&self, now: Instant) {
        let mut running = self.lock();
        let lost = running.lost(now);
        running.turn = Some(now);
        if !lost.is_zero() {
            running.calls.values_mut().for_each(|(_, since)| *since = (*since + lost).min(now));
        }
    }

    /// The call that has been running longest, and how long.
    pub fn oldest(&self) -> Option<(DiskCall, Duration)> {
        self.oldest_at(Instant::now(), |_| true)
    }

    /// The sync that has been running longest.
    pub fn oldest_sync(&self) -> Option<Duration> {
        self.oldest_at(Instant::now(), |call| call == DiskCall::Sync).map(|(_, age)| age)
    }

    fn oldest_at(
        &self,
        now: Instant,
        wanted: impl Fn(DiskCall) -> bool,
    ) -> Option<(DiskCall, Duration)> {
        let running = self.lock();
        // Numbers ascend with time, so the first is the oldest.
        let mut calls = running.calls.values().filter(|(call, _)| wanted(*call));
        calls.next().map(|(call, since)| (*call, running.age(*since, now)))
    }

    /// Syncs that took longer than [`SLOW`] and have returned.
    pub fn slow_syncs(&self) -> u64 {
        self.lock().slow
    }

    fn watch<T>(&self, call: DiskCall, work: impl FnOnce() -> T) -> T {
        let mut running = self.lock();
        let number = running.next;
        running.next += 1;
        running.calls.insert(number, (call, Instant::now()));
        drop(running);
        // A panic in a disk call leaves its record until the process ends: such a defect should be
        // visible.
        let result = work();
        let mut running = self.lock();
        if let Some((DiskCall::Sync, since)) = running.calls.remove(&number)
            && running.age(since, Instant::now()) >= SLOW
        {
            running.slow += 1;
        }
        result
    }

    fn lock(&self) -> Guard<'_, Running> {
        self.0.lock()
    }
}

/// A disk whose calls are recorded.
pub struct Watched<D> {
    disk: D,
    calls: Arc<DiskCalls>,
}

impl<D: Disk> Watched<D> {
    /// Wraps a disk.
    pub fn new(disk: D) -> Self {
        Self { disk, calls: Arc::default() }
    }

    /// The records.
    pub fn calls(&self) -> Arc<DiskCalls> {
        self.calls.clone()
    }

    fn file(&self, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(WatchedFile { file, calls: self.calls.clone() })
    }
}

impl<D: Disk> Disk for Watched<D> {
    fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.calls.watch(DiskCall::Name, || self.disk.create(path)).map(|file| self.file(file))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
        self.calls.watch(DiskCall::Name, || self.disk.open(path)).map(|file| self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.calls.watch(DiskCall::Name, || self.disk.rename(from, to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.calls.watch(DiskCall::Name, || self.disk.remove(path))
    }

    fn sync_dir(&self, directory: &str) -> io::Result<()> {
        self.calls.watch(DiskCall::Sync, || self.disk.sync_dir(directory))
    }

    fn create_dir(&self, directory: &str) -> io::Result<()> {
        self.calls.watch(DiskCall::Name, || self.disk.create_dir(directory))
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.calls.watch(DiskCall::Read, || self.disk.list(directory))
    }

    fn space(&self) -> io::Result<DiskSpace> {
        self.calls.watch(DiskCall::Read, || self.disk.space())
    }

    fn slow(&self) -> Option<Duration> {
        self.calls.oldest().map(|(_, since)| since).filter(|since| *since >= SLOW)
    }
}

struct WatchedFile {
    file: Arc<dyn File>,
    calls: Arc<DiskCalls>,
}

impl File for WatchedFile {
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.calls.watch(DiskCall::Write, || self.file.write_at(offset, data))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls.watch(DiskCall::Read, || self.file.read_at(offset, buffer))
    }

    fn sync(&self) -> io::Result<()> {
        self.calls.watch(DiskCall::Sync, || self.file.sync())
    }

    fn read_anew(&self) {
        self.file.read_anew();
    }

    fn length(&self) -> io::Result<u64> {
        self.calls.watch(DiskCall::Read, || self.file.length())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_seen_while_it_runs_and_not_after() {
        let calls = DiskCalls::default();
        assert_eq!(calls.oldest(), None);
        calls.watch(DiskCall::Sync, || {
            calls.watch(DiskCall::Read, || {
                assert_eq!(
                    calls.oldest().map(|(call, _)| call),
                    Some(DiskCall::Sync),
                    "the older one"
                );
            });
            assert!(calls.oldest_sync().is_some());
        });
        calls.watch(DiskCall::Write, || assert_eq!(calls.oldest_sync(), None));
        assert_eq!(calls.oldest(), None);
        assert_eq!(calls.slow_syncs(), 0);
    }
    #[test]
    fn time_in_which_the_process_had_no_turn_is_not_the_disks() {
        let (calls, start) = (DiskCalls::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let age = |seconds| calls.oldest_at(at(seconds), |_| true).map(|(_, age)| age.as_secs());
        calls.watch(DiskCall::Sync, || {
            assert_eq!(age(12), Some(11), "nobody looks, so all of it counts");
            calls.turn_at(at(1));
            assert_eq!(age(2), Some(1));
            assert_eq!(age(60), Some(2), "before the next turn");
            calls.turn_at(at(60));
            assert_eq!(age(61), Some(3), "and after it");
            (62..70).for_each(|second| calls.turn_at(at(second)));
            assert_eq!(age(70), Some(12), "a disk that is slow is slow");
        });
    }
}
