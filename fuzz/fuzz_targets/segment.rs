#![no_main]
//! For any damage of a queue's octets, it can be verified and opened, and it contains no mail that
//! was not submitted.
//!
//! The input is a list of changes of a small real queue: a file, an offset, and the change.

use libfuzzer_sys::fuzz_target;
use postern::ground::disk::{DirectoryDisk, Disk, Snapshot};
use postern::mail::model::{
    Address, BodyType, Envelope, Message, MessageId, MessageKind, OfflineQueue, Origin,
    TargetProgress, TargetStatus,
};
use postern::mail::spool::counters::SpoolCounters;
use postern::mail::spool::{
    IncomingContent, OfflineSpool, QueueEntry, SegmentLog, Spool, SpoolConfig,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// A queue: its files, and the submitted mails.
struct Original {
    files: Vec<(PathBuf, Vec<u8>)>,
    mails: BTreeMap<MessageId, (String, Vec<u8>)>,
}

static ORIGINAL: LazyLock<Original> = LazyLock::new(Original::make);

fuzz_target!(|blows: &[u8]| {
    let original = &*ORIGINAL;
    let directory = directory();
    let mut files = original.files.clone();
    for blow in blows.chunks_exact(6).take(16) {
        let [file, kind, a, b, c, value] = blow else { unreachable!() };
        let place = usize::from(*file) % files.len();
        let octets = &mut files[place].1;
        if octets.is_empty() {
            continue;
        }
        let at = (usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c)) % octets.len();
        match kind % 5 {
            0 => octets[at] ^= value | 1,
            1 => octets.truncate(at),
            2 => octets[at..].iter_mut().take(1 << (value % 16)).for_each(|octet| *octet = 0),
            3 => drop(octets.splice(at..at, std::iter::repeat_n(*value, 7))),
            _ => {
                let length = at.min(octets.len() - at);
                octets.copy_within(..length, at);
            }
        }
    }
    for (path, octets) in &files {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, octets).unwrap();
    }
    look(directory.path());
    // A second recovery finds the same.
    let first = open(original, directory.path());
    let second = open(original, directory.path());
    assert_eq!(first, second);
});

fn look(directory: &Path) {
    let rest = OfflineSpool::new(Arc::new(Snapshot::open(directory).unwrap()));
    let _ = rest.verify(&mut |_| {});
    for id in rest.ids(&mut |_| {}).unwrap_or_default() {
        let _ = rest.load(id);
    }
}

/// Opens the queue, reads all of it, closes it; gives the intact messages. `None`: it cannot be
/// opened.
fn open(original: &Original, directory: &Path) -> Option<Vec<MessageId>> {
    let spool = start(directory)?;
    let mut whole = Vec::new();
    for id in spool.ids(None, 1000) {
        if let Ok(message) = wait(spool.load(id)) {
            let (sender, content) = original.mails.get(&id).expect("it was handed in");
            assert_eq!(message.envelope.sender_text(), sender);
            assert_eq!(&message.body.head(usize::MAX).unwrap()[..], &content[..], "a torn mail");
            whole.push(id);
        }
    }
    spool.close();
    Some(whole)
}

impl Original {
    fn make() -> Self {
        let directory = directory();
        let spool = start(directory.path()).unwrap();
        let mut mails = BTreeMap::new();
        for number in 0..12_usize {
            let content = format!(
                "Subject: {number}\r\n\r\n{}",
                "some words\r\n".repeat(number * number * 10)
            )
            .into_bytes();
            let message = accept(&spool, number, &content);
            match number % 4 {
                0 => spool.settle(message.id, progress(&message, TargetStatus::Delivered)),
                1 => spool.settle(message.id, progress(&message, TargetStatus::Pending)),
                2 => wait(spool.hold(message.id, true)).unwrap(),
                _ => {}
            }
            mails.insert(message.id, (message.envelope.sender_text().to_owned(), content));
        }
        assert!(spool.close());
        let mut files = Vec::new();
        for folder in ["", "log", "body"] {
            for entry in std::fs::read_dir(directory.path().join(folder)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() && entry.file_name() != "reserve" {
                    let path = Path::new(folder).join(entry.file_name());
                    let mut octets = std::fs::read(entry.path()).unwrap();
                    octets.truncate(
                        octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 100),
                    );
                    files.push((path, octets));
                }
            }
        }
        files.sort();
        Self { files, mails }
    }
}

fn accept(spool: &SegmentLog, number: usize, content: &[u8]) -> Message {
    let envelope = Envelope {
        sender: Some(address(&format!("s{number}@a.example"))),
        recipients: vec![address("b@b.example"), address("c@c.example")],
        body: BodyType::SevenBit,
        smtputf8: false, dsn: None, };
    let entry = QueueEntry {
        envelope,
        origin: Origin { peer: None, helo: "".into(), may_relay: false },
        kind: MessageKind::Mail,
        copy: false,
        destinations: Vec::new(),
    };
    let mut writer = spool.begin();
    wait(async {
        writer.write(content).await?;
        spool.commit(entry, writer).await
    })
    .unwrap()
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// The second recipient is done, the first has this status.
fn progress(message: &Message, first: TargetStatus) -> Vec<TargetProgress> {
    let mut progress = message.progress.clone();
    progress[0].status = first;
    progress[1].status = TargetStatus::Delivered;
    progress
}

fn start(directory: &Path) -> Option<SegmentLog> {
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory).unwrap());
    let config = SpoolConfig { segment_max: 64 << 10, ..SpoolConfig::default() };
    SegmentLog::open(disk, config, SpoolCounters::alone().unwrap(), &|_| {}).ok()
}

/// In memory if possible: nothing here needs a durable disk.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).build().unwrap()
    });
    RUNTIME.block_on(work)
}
