//! The history: attempts and results, kept for a while after a mail has left the queue.
//!
//! Purpose: to answer "what happened to this mail?". In: events (as a
//! [`MailEventSink`](super::model::MailEventSink)), from which `record` makes [`Attempt`]s that did
//! not succeed and [`Finished`] messages. Out: these, to pages and the API, by the trait
//! [`History`].
//!
//! A thread of its own appends a line of JSON for each to files in `history/` on the data volume,
//! about once a second, without a sync: a crash may lose the last second of the history, never a
//! mail. Names are `N.jsonl`, N ascending. Limits: [`WAITING_MAX`] entries wait for the thread,
//! further ones are dropped and counted, so that mail never waits for its history;
//! [`HistoryConfig::size`] octets on the volume, [`HistoryConfig::time`] of age, both by whole
//! files; nothing is written while less than five percent of the volume are free. Security: no
//! contents, except the text of the relay's own undeliverable bounces, which `mask` removes if
//! addresses are masked; addresses are masked by `mask`.

pub mod counters;
mod files;
mod lines;
mod mask;
mod record;
mod search;

use super::model::{
    AdminError, Answer, Attempt, Finished, FinishedPage, History, MessageId, Wanted,
};
use crate::ground::disk::Disk;
use crate::ground::lock::Lock;
use crate::mail::history::counters::HistoryCounters;
pub use files::HistoryConfig;
use files::HistoryFiles;
use lines::Line;
pub use mask::{Mask, Masking};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Entries that wait to be written, at most.
const WAITING_MAX: usize = 4096;

/// How long entries are collected before a write.
const GATHER: Duration = Duration::from_millis(500);

/// How long a reader waits until earlier entries are written.
const WRITTEN_PATIENCE: Duration = Duration::from_secs(2);

/// The input of the writer thread; boxed, so that an empty channel takes little memory.
enum Entry {
    Line(Box<Line>),
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
        let begun = if config.enabled {
            Self::begin(&disk, config, counters.clone())
        } else {
            // Webhook events are masked with the same key, whether or not a history is kept.
            let key = (config.masking == Masking::Hash).then_some(mask::KEY);
            HistoryFiles::remove_all(disk.as_ref(), key).map(|()| None)
        };
        let writer = begun.unwrap_or_else(|error| {
            tracing::warn!(target: "mta", cause = %error, "no history is kept");
            None
        });
        let (entries, writer) = writer.unzip();
        Arc::new(Self { disk, counters, entries, writer: Lock::leaf(writer) })
    }

    fn begin(
        disk: &Arc<dyn Disk>,
        config: HistoryConfig,
        counters: Arc<HistoryCounters>,
    ) -> io::Result<Option<(Entries, JoinHandle<()>)>> {
        let (book, mask) =
            (HistoryFiles::open(disk.clone(), config)?, Mask::open(disk.as_ref(), config.masking)?);
        let (sender, entries) = sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new().name("history".to_owned());
        Ok(Some((sender, thread.spawn(move || write(&entries, book, &mask, &counters))?)))
    }

    /// Whether entries are wanted at all; if not, they need not be made.
    pub fn is_wanted(&self) -> bool {
        self.entries.is_some()
    }

    /// An attempt that did not succeed. Returns at once.
    pub fn attempt(&self, attempt: Attempt) {
        self.take(Line::Attempt(attempt));
    }

    /// A message has left the queue. Returns at once.
    pub fn finished(&self, finished: Finished) {
        self.take(Line::Finished(finished));
    }

    fn take(&self, line: Line) {
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

    fn attempts(&self, id: MessageId, patience: Duration) -> Answer<'_, Vec<Attempt>> {
        let (disk, entries) = (self.disk.clone(), self.entries.clone());
        Box::pin(async move {
            looked(move || {
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
        wanted: Wanted,
        after: Option<String>,
        limit: usize,
        patience: Duration,
    ) -> Answer<'_, FinishedPage> {
        let (disk, entries) = (self.disk.clone(), self.entries.clone());
        Box::pin(async move {
            looked(move || {
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

async fn looked<T: Send + 'static>(
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

/// Writes entries until the channel is closed.
fn write(
    entries: &Receiver<Entry>,
    mut book: HistoryFiles,
    mask: &Mask,
    counters: &HistoryCounters,
) {
    let (mut lines, mut readers) = (Vec::new(), Vec::new());
    let mut open = true;
    while open {
        let mut deadline = None;
        loop {
            let wait = deadline.map_or(Duration::from_secs(3600), |at: Instant| {
                at.saturating_duration_since(Instant::now())
            });
            match entries.recv_timeout(wait) {
                Ok(Entry::Wanted(reader)) => {
                    readers.push(reader);
                    break;
                }
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
        counters.history_dropped_total.inc_by(book.write(&lines));
        lines.clear();
        lines.shrink_to(files::WRITE_MAX);
        for reader in readers.drain(..) {
            // A reader that does not wait any more needs no confirmation.
            let _ = reader.try_send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::disk::{File, Space, Volume};
    use crate::mail::model::Ending;
    use std::path::Path;

    fn config(size: u64) -> HistoryConfig {
        HistoryConfig {
            enabled: true,
            size,
            time: Duration::from_secs(7 * 86_400),
            masking: Masking::None,
        }
    }

    fn open(directory: &Path, config: HistoryConfig) -> Arc<HistoryLog> {
        let disk: Arc<dyn Disk> = Arc::new(Volume::open(directory).unwrap());
        HistoryLog::open(disk, config, HistoryCounters::alone().unwrap())
    }

    fn ending(to: &str, status: &str) -> Ending {
        Ending { to: to.to_owned(), status: status.to_owned(), reply: "250 2.0.0 ok".to_owned() }
    }

    fn finished(n: u64, to: &str, status: &str) -> Finished {
        Finished {
            id: MessageId(crate::ground::clock::now_micros() / 1_000_000 * 1_000_000 + n)
                .to_string(),
            arrived: crate::ground::clock::now(),
            at: crate::ground::clock::now(),
            sender: "shop@a.example".to_owned(),
            size: 5000,
            client: "192.0.2.7".to_owned(),
            relay: "mx.b.example[192.0.2.1]:25".to_owned(),
            tls: String::new(),
            mark: String::new(),
            recipients: vec![ending(to, status)],
        }
    }

    async fn page(
        history: &HistoryLog,
        wanted: Wanted,
        after: Option<String>,
        limit: usize,
    ) -> FinishedPage {
        History::finished(history, wanted, after, limit, Duration::from_secs(10)).await.unwrap()
    }

    #[tokio::test]
    async fn what_ended_is_found_page_by_page_the_newest_first_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        for run in 0..2u64 {
            let history = open(directory.path(), config(64 << 20));
            for n in 0..50 {
                let status = if n % 10 == 0 { "bounced" } else { "delivered" };
                history.finished(finished(run * 100 + n, &format!("c{n}@b.example"), status));
            }
        }
        // A line that a crash has torn.
        let torn = directory.path().join("history/0000000002.jsonl");
        let mut text = std::fs::read(&torn).unwrap();
        text.extend_from_slice(b"{\"what\":\"finished\",\"id\":\"0");
        std::fs::write(&torn, text).unwrap();
        let history = open(directory.path(), config(64 << 20));
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let found = page(&history, Wanted::default(), after, 7).await;
            all.extend(found.finished);
            after = found.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all.len(), 100);
        assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id), "the newest first, each once");
        let bounced =
            page(&history, Wanted { status: "bounced".into(), ..Wanted::default() }, None, 100)
                .await;
        assert_eq!(bounced.finished.len(), 10);
        let one =
            page(&history, Wanted { search: "C7@B".into(), ..Wanted::default() }, None, 100).await;
        assert_eq!(one.finished.len(), 2);
        let none =
            page(&history, Wanted { sender: "nobody".into(), ..Wanted::default() }, None, 100)
                .await;
        assert!(none.finished.is_empty());
    }

    #[tokio::test]
    async fn the_tries_of_a_message_come_in_their_order_with_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let history = open(directory.path(), config(64 << 20));
        let end = finished(7, "c@b.example", "delivered");
        for n in 0..3u64 {
            history.attempt(Attempt {
                id: end.id.clone(),
                at: end.at,
                destination: "b.example".into(),
                relay: String::new(),
                tls: String::new(),
                took_ms: n,
                outcomes: vec![ending("c@b.example", "deferred")],
                transcript: "> MAIL\n< 450 no\n".into(),
            });
            history.finished(finished(100 + n, "other@b.example", "delivered"));
        }
        history.finished(end.clone());
        drop(history);
        let history = open(directory.path(), config(64 << 20));
        let attempts =
            history.attempts(end.id.parse().unwrap(), Duration::from_secs(10)).await.unwrap();
        assert_eq!(
            attempts.iter().map(|attempt| attempt.took_ms).collect::<Vec<_>>(),
            [0, 1, 2, 0]
        );
        assert_eq!(attempts[3].outcomes, end.recipients);
    }

    #[tokio::test]
    async fn the_try_that_ended_a_message_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let history = open(directory.path(), config(64 << 20));
        let end = finished(7, "c@b.example", "bounced");
        let attempt = Attempt {
            id: end.id.clone(),
            at: end.at,
            destination: "b.example".into(),
            relay: end.relay.clone(),
            tls: String::new(),
            took_ms: 1,
            outcomes: vec![ending("c@b.example", "bounced")],
            transcript: "> RCPT\n< 550 no\n".into(),
        };
        history.attempt(attempt.clone());
        history.finished(end.clone());
        assert_eq!(
            history.attempts(end.id.parse().unwrap(), Duration::from_secs(10)).await.unwrap(),
            std::slice::from_ref(&attempt)
        );
        // Another agent that ended at the same time wrote the end before this one wrote its
        // attempt.
        let (id, other) = (finished(8, "", "").id, ending("d@b.example", "bounced"));
        let recipients = vec![ending("c@b.example", "bounced"), other.clone()];
        let tries = [attempt.outcomes.clone(), vec![other]].map(|outcomes| Attempt {
            id: id.clone(),
            outcomes,
            ..attempt.clone()
        });
        history.attempt(tries[0].clone());
        history.finished(Finished { id: id.clone(), recipients, ..end });
        history.attempt(tries[1].clone());
        assert_eq!(
            history.attempts(id.parse().unwrap(), Duration::from_secs(10)).await.unwrap(),
            tries
        );
    }

    /// The attempts may be removed already, or were made by another relay; and masked addresses are
    /// equal.
    #[tokio::test]
    async fn an_end_that_tells_more_than_the_tries_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let history = open(directory.path(), config(64 << 20));
        for (n, first) in [ending("c@b.example", "delivered"), ending("***@b.example", "bounced")]
            .into_iter()
            .enumerate()
        {
            let last = ending("***@b.example", "bounced");
            let end =
                Finished { recipients: vec![first, last.clone()], ..finished(n as u64, "", "") };
            history.attempt(Attempt {
                id: end.id.clone(),
                at: end.at,
                destination: "b.example".into(),
                relay: end.relay.clone(),
                tls: String::new(),
                took_ms: 1,
                outcomes: vec![last],
                transcript: "> RCPT\n< 550 no\n".into(),
            });
            history.finished(end.clone());
            let told =
                history.attempts(end.id.parse().unwrap(), Duration::from_secs(10)).await.unwrap();
            assert_eq!(told.last().map(|last| &last.outcomes), Some(&end.recipients));
            assert_eq!(told.len(), 2);
        }
    }

    #[tokio::test]
    async fn whoever_reads_finds_what_has_just_ended() {
        let directory = tempfile::tempdir().unwrap();
        let history = open(directory.path(), config(64 << 20));
        for n in 0..20 {
            let end = finished(n, "c@b.example", "moved");
            history.finished(end.clone());
            let found = page(&history, Wanted::default(), None, 1).await;
            assert_eq!(
                found.finished.first().map(|found| found.id.as_str()),
                Some(end.id.as_str())
            );
            assert_eq!(
                history
                    .attempts(end.id.parse().unwrap(), Duration::from_secs(10))
                    .await
                    .unwrap()
                    .len(),
                1
            );
        }
    }

    /// One file for each run. A search without any time reads one file.
    #[tokio::test]
    async fn a_look_that_has_read_all_that_may_tell_of_a_message_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let now = u64::from(crate::ground::clock::now());
        for (run, at) in [now - 3000, now - 2000, now - 1000].into_iter().enumerate() {
            let history = open(directory.path(), config(64 << 20));
            let at = u32::try_from(at).unwrap();
            history.finished(Finished {
                at,
                arrived: at,
                ..finished(run as u64, "c@b.example", "delivered")
            });
        }
        let history = open(directory.path(), config(64 << 20));
        let look = async |second: u64, patience| {
            let id = MessageId(second * 1_000_000).to_string();
            let wanted = Wanted { id: id.clone(), search: id, ..Wanted::default() };
            History::finished(&*history, wanted, None, 1, patience).await.unwrap()
        };
        let young = look(now - 500, Duration::ZERO).await;
        assert_eq!((young.finished.len(), young.next), (0, None), "older files tell nothing of it");
        let old = look(now - 5000, Duration::ZERO).await;
        assert!(old.next.is_some(), "files are left that may tell of it");
        // The last search may use the remaining time.
        let last =
            History::finished(&*history, Wanted::default(), Some("1-9".into()), 9, Duration::ZERO)
                .await
                .unwrap();
        assert_eq!((last.finished.len(), last.next), (1, None));
    }

    #[test]
    fn the_budget_holds_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let budget = 2 << 20;
        for part in 0..20 {
            // Waits until all of it is written: more at once would be dropped.
            let history = open(directory.path(), config(budget));
            (0..1000).for_each(|n| {
                history.finished(finished(part * 1000 + n, "c@b.example", "delivered"))
            });
            drop(history);
        }
        let files = std::fs::read_dir(directory.path().join("history")).unwrap();
        let octets: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(octets <= budget && octets > budget / 2, "{octets}");
    }

    #[test]
    fn without_a_history_the_key_of_the_hashes_is_kept_for_events() {
        let directory = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Volume::open(directory.path()).unwrap());
        let config = HistoryConfig { enabled: false, masking: Masking::Hash, ..config(1 << 20) };
        let mut keys = Vec::new();
        for _ in 0..2 {
            drop(HistoryLog::open(disk.clone(), config, HistoryCounters::alone().unwrap()));
            Mask::open(disk.as_ref(), Masking::Hash).unwrap();
            keys.push(std::fs::read(directory.path().join(mask::KEY)).unwrap());
        }
        assert_eq!(keys[0], keys[1]);
        // Without masking no key is needed.
        drop(HistoryLog::open(
            disk.clone(),
            HistoryConfig { masking: Masking::None, ..config },
            HistoryCounters::alone().unwrap(),
        ));
        assert!(!directory.path().join(mask::KEY).exists());
    }

    /// A volume that is full when the flag is set.
    struct Tight(Volume, Arc<std::sync::atomic::AtomicBool>);

    impl Disk for Tight {
        fn create(&self, path: &str) -> io::Result<Arc<dyn File>> {
            self.0.create(path)
        }
        fn open(&self, path: &str) -> io::Result<Arc<dyn File>> {
            self.0.open(path)
        }
        fn rename(&self, from: &str, to: &str) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove(&self, path: &str) -> io::Result<()> {
            self.0.remove(path)
        }
        fn sync_dir(&self, directory: &str) -> io::Result<()> {
            self.0.sync_dir(directory)
        }
        fn create_dir(&self, directory: &str) -> io::Result<()> {
            self.0.create_dir(directory)
        }
        fn list(&self, directory: &str) -> io::Result<Vec<String>> {
            self.0.list(directory)
        }
        fn space(&self) -> io::Result<Space> {
            let is_full = self.1.load(std::sync::atomic::Ordering::Relaxed);
            Ok(Space { free: if is_full { 4 } else { 50 }, size: 100 })
        }
    }

    #[test]
    fn a_full_volume_interrupts_the_history_and_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let is_full = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let disk: Arc<dyn Disk> =
            Arc::new(Tight(Volume::open(directory.path()).unwrap(), is_full.clone()));
        let mut book = HistoryFiles::open(disk, config(64 << 20)).unwrap();
        assert_eq!(book.write(b"1\n"), 0);
        is_full.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!((book.write(b"2\n3\n"), book.write(b"4\n")), (2, 1));
        is_full.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(book.write(b"5\n"), 0);
        let files = std::fs::read_dir(directory.path().join("history")).unwrap();
        let text: String =
            files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        assert_eq!(text, "1\n5\n");
    }

    #[test]
    fn what_is_not_to_be_kept_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let history = open(directory.path(), config(1 << 20));
        history.finished(finished(1, "c@b.example", "delivered"));
        drop(history);
        let history = open(directory.path(), HistoryConfig { enabled: false, ..config(1 << 20) });
        history.finished(finished(2, "c@b.example", "delivered"));
        assert!(!history.is_wanted());
        drop(history);
        assert_eq!(std::fs::read_dir(directory.path().join("history")).unwrap().count(), 0);
    }
}
