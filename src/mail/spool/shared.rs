//! What the door, the writers of content and the committer have in common.

use super::commit_queue::CommitQueue;
use super::config::Config;
use super::counters::SpoolCounters;
use super::index::Index;
use super::recent::Recent;
use super::record::Op;
use super::store::SpoolError;
use crate::ground::clock;
use crate::ground::disk::{self, Disk};
use crate::ground::lock::{Guard, Level, Lock};
use crate::ground::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use crate::mail::model::MessageId;
use std::io;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What the door, the readers, the writers and the committer have in common.
pub struct Shared {
    pub disk: Arc<dyn Disk>,
    pub counters: Arc<SpoolCounters>,
    index: Lock<Index>,
    /// Records on their way to the committer.
    pub commit_queue: CommitQueue<Op>,
    health: AtomicU8,
    complaint: Lock<String>,
    last_id: AtomicU64,
    /// Memory that writers of content may borrow, in octets.
    pub lendable: Arc<Semaphore>,
    /// Octets of content that every writer may keep in memory without borrowing.
    pub own: usize,
    /// Longer content gets a file of its own; octets.
    pub inline_max: usize,
    /// Progress that was handed in and is not written yet; whoever reads a message must see it.
    pub recent: Recent,
}

/// How the data volume is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Health {
    Well = 0,
    Full = 1,
    Failed = 2,
}

impl Shared {
    /// What an index that was just recovered is shared with.
    pub fn new(
        disk: Arc<dyn Disk>,
        counters: Arc<SpoolCounters>,
        index: Index,
        config: &Config,
    ) -> Self {
        Self {
            disk,
            counters,
            inline_max: config.inline_max(),
            own: config.own.max(1),
            lendable: Arc::new(Semaphore::new(config.lendable)),
            last_id: AtomicU64::new(index.last_id()),
            index: Lock::new(Level::Index, index),
            commit_queue: CommitQueue::new(),
            health: AtomicU8::new(Health::Well as u8),
            complaint: Lock::default(),
            recent: Recent::default(),
        }
    }

    /// What is wrong with the volume, in words.
    pub fn complaint(&self) -> String {
        self.complaint.lock().clone()
    }

    /// Hands a record to the committer.
    pub fn submit(&self, op: Op) {
        self.commit_queue.submit(op);
    }

    /// Files that nobody needs; removed by the committer in passing.
    pub fn discard(&self, paths: &[String]) {
        self.submit(Op::Discard(paths.to_vec()));
    }

    pub fn lock_index(&self) -> Guard<'_, Index> {
        self.index.lock()
    }

    pub fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Well,
            1 => Health::Full,
            _ => Health::Failed,
        }
    }

    /// Notes how the volume is, and says so once at each change.
    pub fn set_health(&self, health: Health, complaint: &str) {
        if self.health.swap(health as u8, Ordering::Relaxed) == health as u8 {
            return;
        }
        complaint.clone_into(&mut self.complaint.lock());
        match health {
            Health::Well => {
                tracing::info!(target: "mta", "the data volume has recovered; mail is accepted")
            }
            Health::Full => {
                tracing::error!(target: "mta", cause = complaint, "the data volume is full; new \
                mail is answered 452")
            }
            Health::Failed => {
                tracing::error!(target: "mta", cause = complaint, "the data volume fails; new mail \
                is answered 452 until it recovers");
            }
        }
    }

    /// Removes a file that nobody needs. What cannot be removed is told, and left to the next
    /// start.
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

    /// The error for a caller. A content file that cannot be written does not make the volume
    /// unwell: the committer decides that by its own writes.
    pub fn unwell(&self, error: &io::Error) -> SpoolError {
        if disk::is_full(error) { SpoolError::Full } else { SpoolError::Failed(error.to_string()) }
    }

    /// Unique and rising, also across restarts. By the steady clock: a wall clock that jumps and
    /// comes back would leave ids of another time.
    pub fn next_id(&self) -> MessageId {
        let now = clock::steady_micros();
        let next = |last: u64| Some(now.max(last + 1));
        let last =
            self.last_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(now);
        MessageId(now.max(last + 1))
    }
}
