use super::*;
use crate::ground::disk::{DirectoryDisk, DiskSpace, File};
use crate::mail::model::{DeliveryStatus, RecipientResult};
use std::path::Path;

fn config(size: u64) -> HistoryConfig {
    HistoryConfig {
        enabled: true,
        size,
        time: Duration::from_secs(7 * 86_400),
        content: Duration::ZERO,
        masking: Masking::None,
    }
}

fn open(directory: &Path, config: HistoryConfig) -> Arc<HistoryLog> {
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory).unwrap());
    HistoryLog::open(disk, config, HistoryCounters::alone().unwrap())
}

fn ending(to: &str, status: DeliveryStatus) -> RecipientResult {
    RecipientResult { to: to.to_owned(), status, reply: "250 2.0.0 ok".to_owned() }
}

fn finished(n: u64, to: &str, status: DeliveryStatus) -> FinishedMessage {
    FinishedMessage {
        id: MessageId(crate::ground::clock::now_micros() / 1_000_000 * 1_000_000 + n).to_string(),
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
    wanted: HistoryFilter,
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
            let status =
                if n % 10 == 0 { DeliveryStatus::Bounced } else { DeliveryStatus::Delivered };
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
        let found = page(&history, HistoryFilter::default(), after, 7).await;
        all.extend(found.finished);
        after = found.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(all.len(), 100);
    assert!(all.windows(2).all(|pair| pair[0].id > pair[1].id), "the newest first, each once");
    let bounced = page(
        &history,
        HistoryFilter { status: Some(DeliveryStatus::Bounced), ..HistoryFilter::default() },
        None,
        100,
    )
    .await;
    assert_eq!(bounced.finished.len(), 10);
    let one = page(
        &history,
        HistoryFilter { search: "C7@B".into(), ..HistoryFilter::default() },
        None,
        100,
    )
    .await;
    assert_eq!(one.finished.len(), 2);
    let none = page(
        &history,
        HistoryFilter { sender: "nobody".into(), ..HistoryFilter::default() },
        None,
        100,
    )
    .await;
    assert!(none.finished.is_empty());
}

#[tokio::test]
async fn the_tries_of_a_message_come_in_their_order_with_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(directory.path(), config(64 << 20));
    let end = finished(7, "c@b.example", DeliveryStatus::Delivered);
    for n in 0..3u64 {
        history.attempt(AttemptRecord {
            id: end.id.clone(),
            at: end.at,
            destination: "b.example".into(),
            relay: String::new(),
            tls: String::new(),
            took_ms: n,
            outcomes: vec![ending("c@b.example", DeliveryStatus::Deferred)],
            transcript: "> MAIL\n< 450 no\n".into(),
        });
        history.finished(finished(100 + n, "other@b.example", DeliveryStatus::Delivered));
    }
    history.finished(end.clone());
    drop(history);
    let history = open(directory.path(), config(64 << 20));
    let attempts =
        history.attempts(end.id.parse().unwrap(), Duration::from_secs(10)).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.took_ms).collect::<Vec<_>>(), [0, 1, 2, 0]);
    assert_eq!(attempts[3].outcomes, end.recipients);
}

#[tokio::test]
async fn the_try_that_ended_a_message_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let history = open(directory.path(), config(64 << 20));
    let end = finished(7, "c@b.example", DeliveryStatus::Bounced);
    let attempt = AttemptRecord {
        id: end.id.clone(),
        at: end.at,
        destination: "b.example".into(),
        relay: end.relay.clone(),
        tls: String::new(),
        took_ms: 1,
        outcomes: vec![ending("c@b.example", DeliveryStatus::Bounced)],
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
    let (id, other) = (
        finished(8, "", DeliveryStatus::Delivered).id,
        ending("d@b.example", DeliveryStatus::Bounced),
    );
    let recipients = vec![ending("c@b.example", DeliveryStatus::Bounced), other.clone()];
    let tries = [attempt.outcomes.clone(), vec![other]].map(|outcomes| AttemptRecord {
        id: id.clone(),
        outcomes,
        ..attempt.clone()
    });
    history.attempt(tries[0].clone());
    history.finished(FinishedMessage { id: id.clone(), recipients, ..end });
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
    for (n, first) in [
        ending("c@b.example", DeliveryStatus::Delivered),
        ending("***@b.example", DeliveryStatus::Bounced),
    ]
    .into_iter()
    .enumerate()
    {
        let last = ending("***@b.example", DeliveryStatus::Bounced);
        let end = FinishedMessage {
            recipients: vec![first, last.clone()],
            ..finished(n as u64, "", DeliveryStatus::Delivered)
        };
        history.attempt(AttemptRecord {
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
        let end = finished(n, "c@b.example", DeliveryStatus::Moved);
        history.finished(end.clone());
        let found = page(&history, HistoryFilter::default(), None, 1).await;
        assert_eq!(found.finished.first().map(|found| found.id.as_str()), Some(end.id.as_str()));
        assert_eq!(
            history.attempts(end.id.parse().unwrap(), Duration::from_secs(10)).await.unwrap().len(),
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
        history.finished(FinishedMessage {
            at,
            arrived: at,
            ..finished(run as u64, "c@b.example", DeliveryStatus::Delivered)
        });
    }
    let history = open(directory.path(), config(64 << 20));
    let look = async |second: u64, patience| {
        let id = MessageId(second * 1_000_000).to_string();
        let wanted = HistoryFilter { id: id.clone(), search: id, ..HistoryFilter::default() };
        History::finished(&*history, wanted, None, 1, patience).await.unwrap()
    };
    let young = look(now - 500, Duration::ZERO).await;
    assert_eq!((young.finished.len(), young.next), (0, None), "older files tell nothing of it");
    let old = look(now - 5000, Duration::ZERO).await;
    assert!(old.next.is_some(), "files are left that may tell of it");
    // The last search may use the remaining time.
    let last = History::finished(
        &*history,
        HistoryFilter::default(),
        Some("1-9".into()),
        9,
        Duration::ZERO,
    )
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
            history.finished(finished(part * 1000 + n, "c@b.example", DeliveryStatus::Delivered))
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
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory.path()).unwrap());
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
struct Tight(DirectoryDisk, Arc<std::sync::atomic::AtomicBool>);

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
    fn space(&self) -> io::Result<DiskSpace> {
        let is_full = self.1.load(Ordering::Relaxed);
        Ok(DiskSpace { free: if is_full { 4 } else { 50 }, size: 100 })
    }
}

#[test]
fn a_full_volume_interrupts_the_history_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let is_full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let disk: Arc<dyn Disk> =
        Arc::new(Tight(DirectoryDisk::open(directory.path()).unwrap(), is_full.clone()));
    let mut book = HistoryFiles::open(disk, config(64 << 20)).unwrap();
    assert_eq!(book.write(b"1\n"), 0);
    is_full.store(true, Ordering::Relaxed);
    assert_eq!((book.write(b"2\n3\n"), book.write(b"4\n")), (2, 1));
    is_full.store(false, Ordering::Relaxed);
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
    history.finished(finished(1, "c@b.example", DeliveryStatus::Delivered));
    drop(history);
    let history = open(directory.path(), HistoryConfig { enabled: false, ..config(1 << 20) });
    history.finished(finished(2, "c@b.example", DeliveryStatus::Delivered));
    assert!(!history.is_wanted());
    drop(history);
    assert_eq!(std::fs::read_dir(directory.path().join("history")).unwrap().count(), 0);
}

/// Lines as the version before wrote them, in every word that it had, and one of a later version.
const FORMER: &str = include_str!("former.jsonl");

#[tokio::test]
async fn what_a_former_version_wrote_is_read() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("history")).unwrap();
    std::fs::write(directory.path().join("history/0000000001.jsonl"), FORMER).unwrap();
    let history = open(directory.path(), config(64 << 20));
    let found = page(&history, HistoryFilter::default(), None, 100).await.finished;
    let ends: Vec<DeliveryStatus> =
        found.iter().rev().map(|finished| finished.recipients[0].status).collect();
    let all = [
        DeliveryStatus::Delivered,
        DeliveryStatus::Bounced,
        DeliveryStatus::Dropped,
        DeliveryStatus::Deleted,
        DeliveryStatus::Moved,
    ];
    assert_eq!(ends, all, "a word that nobody knows is passed over, and nothing else is");
    let wanted = HistoryFilter { status: Some(DeliveryStatus::Moved), ..HistoryFilter::default() };
    let moved = page(&history, wanted, None, 100).await.finished;
    assert_eq!((moved.len(), moved[0].mark.as_str()), (1, "0123456789abcdef"));
    let id = moved[0].id.parse().unwrap();
    let attempts = History::attempts(&*history, id, Duration::from_secs(10)).await.unwrap();
    assert_eq!(attempts[0].outcomes[0].status, DeliveryStatus::Deferred);
}
