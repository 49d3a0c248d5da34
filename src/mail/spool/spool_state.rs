//! State shared by the spool's interface, the writers of content and the committer.

use super::commit_queue::CommitQueue;
use super::config::SpoolConfig;
use super::counters::SpoolCounters;
use super::index::Index;
use super::record::Op;
use super::spool_trait::SpoolError;
use super::unwritten_progress::RecentProgress;
use crate::ground::clock;
use crate::ground::disk::{self, Disk};
use crate::ground::lock::{Guard, Level, Lock};
use crate::ground::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::mail::model::MessageId;
use std::io;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// State shared by the spool's interface, the readers, the writers and the committer.
pub struct SpoolState {
    pub disk: Arc<dyn Disk>,
    pub counters: Arc<SpoolCounters>,
    index: Lock<Index>,
    /// Records on their way to the committer.
    pub commit_queue: CommitQueue<Op>,
    health: AtomicU8,
    problem: Lock<String>,
    last_id: AtomicU64,
    /// Memory that writers of content may borrow, in octets.
    pub buffer_shared: Arc<Semaphore>,
    /// Octets of content that every writer may keep in memory without borrowing.
    pub buffer_own: usize,
    /// Longer content gets a file of its own; octets.
    pub inline_max: usize,
    /// Progress that was submitted and is not written yet; every reader of a message must see it.
    pub recent: RecentProgress,
}

/// The state of the data volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum VolumeHealth {
    Well = 0,
    Full = 1,
    Failed = 2,
}

impl SpoolState {
    /// The shared state around an index that was just recovered.
    pub fn new(
        disk: Arc<dyn Disk>,
        counters: Arc<SpoolCounters>,
        index: Index,
        config: &SpoolConfig,
    ) -> Self {
        Self {
            disk,
            counters,
            inline_max: config.inline_max(),
            buffer_own: config.buffer_own.max(1),
            buffer_shared: Arc::new(Semaphore::new(config.buffer_shared)),
            last_id: AtomicU64::new(index.last_id()),
            index: Lock::new(Level::Index, index),
            commit_queue: CommitQueue::new(),
            health: AtomicU8::new(VolumeHealth::Well as u8),
            problem: Lock::default(),
            recent: RecentProgress::default(),
        }
    }

    /// What is wrong with the volume, as text.
    pub fn problem(&self) -> String {
        self.problem.lock().clone()
    }

    /// Submits a record to the committer.
    pub fn submit(&self, op: Op) {
        self.commit_queue.submit(op);
    }

    /// Files that are not needed; the committer removes them later.
    pub fn discard(&self, paths: &[String]) {
        self.submit(Op::Discard(paths.to_vec()));
    }

    pub fn lock_index(&self) -> Guard<'_, Index> {
        self.index.lock()
    }

    pub fn health(&self) -> VolumeHealth {
        match self.health.load(Ordering::Relaxed) {
            0 => VolumeHealth::Well,
            1 => VolumeHealth::Full,
            _ => VolumeHealth::Failed,
        }
    }

    /// Sets the state of the volume, and logs each change once.
    pub fn set_health(&self, health: VolumeHealth, problem: &str) {
        if self.health.swap(health as u8, Ordering::Relaxed) == health as u8 {
            return;
        }
        problem.clone_into(&mut self.problem.lock());
        match health {
            VolumeHealth::Well => {
                tracing::info!(target: "mta", "the data volume has recovered; mail is accepted")
            }
            VolumeHealth::Full => {
                tracing::error!(target: "mta", cause = problem, "the data volume is full; new \
                mail is answered 452")
            }
            VolumeHealth::Failed => {
                tracing::error!(target: "mta", cause = problem, "the data volume fails; new mail \
                is answered 452 until it recovers");
            }
        }
    }

    /// Removes a file that is not needed. A failure is logged, and the next start removes the file.
    pub fn remove(&self, path: &str) {
        match self.disk.remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(
                    target: "mta", path, cause = %error, "an unneeded file could not be removed"
                );
            }
            _ => {}
        }
    }

    /// The error for a caller. A content file that cannot be written does not change the volume's
    /// state: the committer decides that by its own writes.
    pub fn storage_error(&self, error: &io::Error) -> SpoolError {
        if disk::is_full(error) { SpoolError::Full } else { SpoolError::Failed(error.to_string()) }
    }

    /// Unique and ascending, also across restarts. By the monotonic clock: with a wall clock that
    /// jumps and returns, ids would have wrong times.
    pub fn next_id(&self) -> MessageId {
        let now = clock::steady_micros();
        let next = |last: u64| Some(now.max(last + 1));
        let last =
            self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(now);
        MessageId(now.max(last + 1))
    }
}
