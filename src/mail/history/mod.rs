//! The history: attempts and results, kept for a while after a mail has left the queue.
//!
//! Purpose: to answer "what happened to this mail?". In: events (as a
//! [`MailEventSink`](super::model::MailEventSink)), from which `record` makes [`AttemptRecord`]s
//! (attempts that did not succeed, and notes) and [`FinishedMessage`]s. Out: these, to pages and
//! the API, by the trait [`History`].
//!
//! A thread of its own appends a line of JSON for each to files in `history/` on the data volume,
//! about once a second, without a sync: a crash may lose the last second of the history, never a
//! mail. Names are `N.jsonl`, N ascending. With [`HistoryConfig::content`] the same thread keeps
//! the content of finished messages ([`content`]).
//!
//! Limits: [`WAITING_MAX`] entries wait for the thread, and [`CONTENT_WAITING_MAX`] octets of
//! contents; further ones are dropped and counted, so that mail never waits for its history;
//! [`HistoryConfig::size`] octets on the volume, [`HistoryConfig::time`] of age, both by whole
//! files; nothing is written while less than five percent of the volume are free.
//! Security: no contents in these files, except the text of the relay's own undeliverable bounces,
//! which `mask` removes if addresses are masked; addresses are masked by `mask`.

mod content;
pub mod counters;
mod files;
mod lines;
mod mask;
mod record;
mod search;

use super::model::{
    AdminError, AdminFuture, AttemptRecord, FinishedMessage, FinishedPage, History, HistoryFilter,
    KeptMessage, MessageId,
};
use crate::ground::disk::Disk;
use crate::ground::lock::Lock;
use crate::mail::history::counters::HistoryCounters;
use content::{Contents, Draft};
pub use files::HistoryConfig;
use files::HistoryFiles;
use lines::HistoryLine;
pub use mask::{Mask, Masking};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries that wait to be written, at most.
const WAITING_MAX: usize = 4096;

/// Octets of contents that wait to be kept.
const CONTENT_WAITING_MAX: u64 = 8 << 20;

/// How often kept content is removed that is too old, or whose space mail needs.
const CONTENT_PACE: Duration = Duration::from_secs(1);

/// How long entries are collected before a write.
const GATHER: Duration = Duration::from_millis(500);

/// How long a reader waits until earlier entries are written.
const WRITTEN_PATIENCE: Duration = Duration::from_secs(2);

/// The input of the writer thread; boxed, so that an empty channel takes little memory.
enum Entry {
    Line(Box<HistoryLine>),
    Content(Box<Draft>),
    /// A reader wants everything before it: write it now, and confirm.
    Wanted(SyncSender<()>),
}

/// The channel to the writer thread.
type Entries = SyncSender<Entry>;

/// The interface of the history: entries go in, and pages and the API read them.
pub struct HistoryLog {
    disk: Arc<dyn Disk>,
    counters: Arc<HistoryCounters>,
    entries: Option<Entries>,
    content_time: Duration,
    /// Octets of contents that wait for the thread.
    waiting: Arc<AtomicU64>,
    writer: Lock<Option<JoinHandle<()>>>,
}

impl HistoryLog {
    /// Opens the history on a volume; a history that is disabled is removed. If the volume cannot
    /// take it, only a line is logged.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: HistoryConfig,
        counters: Arc<HistoryCounters>,
    ) -> Arc<Self> {
        let waiting = Arc::new(AtomicU64::new(0));
        let content_time = if config.enabled { config.content } else { Duration::ZERO };
        let begun = if config.enabled {
            Self::begin(&disk, config, (counters.clone(), waiting.clone()))
        } else {
            // Webhook events are masked with the same key, whether or not a history is kept.
            let key = (config.masking == Masking::Hash).then_some(mask::KEY);
            HistoryFiles::remove_all(disk.as_ref(), key).map(|()| None)
        };
        let writer = begun.unwrap_or_else(|error| {
            tracing::warn!(target: "mta", cause = %error, "no history is kept");
            None
        });
        if content_time.is_zero()
            && let Err(error) = Contents::remove_all(disk.as_ref())
        {
            tracing::warn!(target: "mta", cause = %error, "the content of finished messages cannot \
            be removed");
        }
        let (entries, writer) = writer.unzip();
        let writer = Lock::leaf(writer);
        Arc::new(Self { disk, counters, entries, content_time, waiting, writer })
    }

    fn begin(
        disk: &Arc<dyn Disk>,
        config: HistoryConfig,
        (counters, waiting): (Arc<HistoryCounters>, Arc<AtomicU64>),
    ) -> io::Result<Option<(Entries, JoinHandle<()>)>> {
        let (files, mask) =
            (HistoryFiles::open(disk.clone(), config)?, Mask::open(disk.as_ref(), config.masking)?);
        let (sender, entries) = sync_channel(WAITING_MAX);
        let (thread, disk) = (std::thread::Builder::new().name("history".to_owned()), disk.clone());
        let work = move || {
            // What there is may be much: nobody waits for that look.
            let contents = Keeper::open(disk, config.content, waiting, counters.clone());
            write(&entries, files, &mask, (&counters, contents));
        };
        Ok(Some((sender, thread.spawn(work)?)))
    }

    /// Whether entries are wanted at all; if not, they need not be made.
    pub fn is_wanted(&self) -> bool {
        self.entries.is_some()
    }

    /// An attempt that did not succeed. Returns at once.
    pub fn attempt(&self, attempt: AttemptRecord) {
        self.hand_in(HistoryLine::Attempt(attempt));
    }

    /// A message has left the queue. Returns at once.
    pub fn finished(&self, finished: FinishedMessage) {
        self.hand_in(HistoryLine::Finished(finished));
    }

    /// The content of a message that has left the queue, where that is kept. Returns at once.
    fn keep(&self, draft: impl FnOnce() -> Draft) {
        let Some(entries) = self.entries.as_ref().filter(|_| !self.content_time.is_zero()) else {
            return;
        };
        let draft = draft();
        let cost = draft.cost();
        let waiting = self.waiting.fetch_add(cost, Ordering::Relaxed) + cost;
        if waiting > CONTENT_WAITING_MAX
            || entries.try_send(Entry::Content(Box::new(draft))).is_err()
        {
            self.waiting.fetch_sub(cost, Ordering::Relaxed);
            self.counters.history_content_dropped_total.inc();
        }
    }

    fn hand_in(&self, line: HistoryLine) {
        let Some(entries) = &self.entries else { return };
        if let Err(TrySendError::Full(_)) = entries.try_send(Entry::Line(Box::new(line))) {
            self.counters.history_dropped_total.inc();
        }
    }
}

impl Drop for HistoryLog {
    /// All submitted entries are written.
    fn drop(&mut self) {
        self.entries = None;
        let writer = self.writer.lock().take();
        // A panic of the thread has been logged.
        let _ = writer.map(JoinHandle::join);
    }
}

impl History for HistoryLog {
    fn is_kept(&self) -> bool {
        self.is_wanted()
    }

    fn content_time(&self) -> Duration {
        self.content_time
    }

    fn kept(&self, id: MessageId) -> AdminFuture<'_, Option<KeptMessage>> {
        let (disk, entries) = (self.disk.clone(), self.entries.clone());
        let is_wanted = !self.content_time.is_zero();
        Box::pin(async move {
            search_blocking(move || {
                written(entries.as_ref());
                // The thread ends when nobody can hand in any more.
                drop(entries);
                if is_wanted { content::find(disk.as_ref(), id) } else { Ok(None) }
            })
            .await
        })
    }

    fn attempts(&self, id: MessageId, patience: Duration) -> AdminFuture<'_, Vec<AttemptRecord>> {
        let (disk, entries) = (self.disk.clone(), self.entries.clone());
        Box::pin(async move {
            search_blocking(move || {
                written(entries.as_ref());
                // The thread ends when the channel is closed.
                drop(entries);
                search::attempts(disk.as_ref(), id, Instant::now() + patience)
            })
            .await
        })
    }

    fn finished(
        &self,
        wanted: HistoryFilter,
        after: Option<String>,
        limit: usize,
        patience: Duration,
    ) -> AdminFuture<'_, FinishedPage> {
        let (disk, entries) = (self.disk.clone(), self.entries.clone());
        Box::pin(async move {
            search_blocking(move || {
                written(entries.as_ref());
                // The thread ends when the channel is closed.
                drop(entries);
                search::finished(
                    disk.as_ref(),
                    &wanted,
                    after.as_deref(),
                    limit,
                    Instant::now() + patience,
                )
            })
            .await
        })
    }
}

async fn search_blocking<T: Send + 'static>(
    look: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, AdminError> {
    let failed = |error: &dyn std::fmt::Display| {
        AdminError::Storage(format!("the history cannot be read: {error}"))
    };
    tokio::task::spawn_blocking(look)
        .await
        .map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))
}

/// Waits until submitted entries are written: a user who has just deleted a mail looks for it in
/// the history at once.
fn written(entries: Option<&Entries>) {
    let (tell, told) = sync_channel(1);
    // If the channel is full, the thread is busy anyway, and a slow disk must not hide the entries
    // that exist.
    if entries.is_some_and(|entries| entries.try_send(Entry::Wanted(tell)).is_ok()) {
        let _ = told.recv_timeout(WRITTEN_PATIENCE);
    }
}

/// What the thread keeps of contents.
struct Keeper {
    /// `None`: they are not to be kept, or cannot be.
    contents: Option<Contents>,
    waiting: Arc<AtomicU64>,
    counters: Arc<HistoryCounters>,
    looked: Instant,
}

impl Keeper {
    fn open(
        disk: Arc<dyn Disk>,
        time: Duration,
        waiting: Arc<AtomicU64>,
        counters: Arc<HistoryCounters>,
    ) -> Self {
        let opened = (!time.is_zero()).then(|| Contents::open(disk, time)).transpose();
        let contents = opened.unwrap_or_else(|error| {
            tracing::warn!(target: "mta", cause = %error, "the content of finished messages is not \
            kept");
            None
        });
        Self { contents, waiting, counters, looked: Instant::now() }
    }

    fn keep(&mut self, draft: &Draft) {
        if !self.contents.as_mut().is_some_and(|contents| contents.keep(draft)) {
            self.counters.history_content_dropped_total.inc();
        }
        self.waiting.fetch_sub(draft.cost(), Ordering::Relaxed);
    }

    /// When [`Keeper::forget`] is due, at the latest.
    fn next_check(&self) -> Duration {
        if self.contents.as_ref().is_some_and(Contents::has_any) {
            CONTENT_PACE
        } else {
            Duration::from_secs(3600)
        }
    }

    fn forget(&mut self) {
        if self.looked.elapsed() >= CONTENT_PACE
            && let Some(contents) = &mut self.contents
        {
            contents.forget();
            self.looked = Instant::now();
        }
    }
}

/// Writes entries until the channel is closed.
fn write(
    entries: &Receiver<Entry>,
    mut files: HistoryFiles,
    mask: &Mask,
    (counters, mut keeper): (&HistoryCounters, Keeper),
) {
    let (mut lines, mut readers) = (Vec::new(), Vec::new());
    let mut open = true;
    while open {
        let mut deadline = None;
        loop {
            let wait = deadline.map_or_else(
                || keeper.next_check(),
                |at: Instant| at.saturating_duration_since(Instant::now()),
            );
            match entries.recv_timeout(wait) {
                Ok(Entry::Wanted(reader)) => {
                    readers.push(reader);
                    break;
                }
                Ok(Entry::Content(draft)) => keeper.keep(&draft),
                Ok(Entry::Line(mut line)) => {
                    mask.apply(&mut line);
                    if serde_json::to_writer(&mut lines, &line).is_ok() {
                        lines.push(b'\n');
                    }
                    deadline.get_or_insert_with(|| Instant::now() + GATHER);
                    if lines.len() >= files::WRITE_MAX {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    open = false;
                    break;
                }
            }
        }
        counters.history_dropped_total.inc_by(files.write(&lines));
        lines.clear();
        lines.shrink_to(files::WRITE_MAX);
        keeper.forget();
        for reader in readers.drain(..) {
            // A reader that does not wait any more needs no confirmation.
            let _ = reader.try_send(());
        }
    }
}

#[cfg(test)]
mod content_tests;
#[cfg(test)]
mod tests;
