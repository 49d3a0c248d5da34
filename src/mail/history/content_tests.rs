//! Tests of kept contents.

use super::content::{Contents, DIRECTORY, Draft, find, spare};
use super::{HistoryConfig, HistoryLog, Masking, counters::HistoryCounters};
use crate::ground::clock;
use crate::ground::disk::{DirectoryDisk, Disk, DiskSpace, File};
use crate::mail::model::{
    Address, Body, BodyType, Delays, DeliveryAttempt, DeliveryStatus, Destination, Envelope,
    History, MailEvent, MailEventSink, Message, MessageId, MessageKind, Origin, StoredContent,
    Target, TargetProgress, TargetStatus,
};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// A message to two, of whom the second did not get it.
fn message(id: u64, body: Body) -> Message {
    let progress =
        [(0, TargetStatus::Delivered), (1, TargetStatus::Bounced)].map(|(place, status)| {
            TargetProgress { status, ..TargetProgress::new(Target::Recipient(place)) }
        });
    Message {
        id: MessageId(id),
        arrived: clock::now(),
        envelope: Envelope {
            sender: Address::parse("shop@a.example").ok(),
            recipients: ["b@b.example", "c@c.example"]
                .map(|text| Address::parse(text).unwrap())
                .into(),
            body: BodyType::EightBitMime,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin { peer: None, helo: "".into(), may_relay: false },
        kind: MessageKind::Mail,
        progress: progress.into(),
        held: false,
        delay_warning_sent: false,
        body,
    }
}

fn draft(id: u64, octets: usize, at: u32) -> Draft {
    let message = message(id, Body::Memory(vec![b'x'; octets].into()));
    Draft::new(&message, &message.progress, at)
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory.join(DIRECTORY))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A content that is read piece by piece, a few octets at a time.
struct Slowly(Vec<u8>);

impl StoredContent for Slowly {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.0[usize::try_from(offset).unwrap()..];
        let got = rest.len().min(buffer.len()).min(7);
        buffer[..got].copy_from_slice(&rest[..got]);
        Ok(got)
    }
}

#[test]
fn a_content_is_kept_as_it_was_and_for_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory.path()).unwrap());
    let mut contents = Contents::open(disk.clone(), DAY).unwrap();
    let text = b"Subject: \xc3\xbc\r\n\r\nagain\n and again\r\n".to_vec();
    let bodies = [
        Body::Memory(text.clone().into()),
        Body::Stored(Arc::new(Slowly(text.clone())), text.len() as u64),
    ];
    for (id, body) in (1..).zip(bodies) {
        let message = message(id, body);
        assert!(contents.keep(&Draft::new(&message, &message.progress, clock::now())));
        let kept = find(disk.as_ref(), MessageId(id)).unwrap().unwrap();
        assert_eq!(kept.envelope, message.envelope);
        assert_eq!(kept.statuses, [DeliveryStatus::Delivered, DeliveryStatus::Bounced]);
        assert_eq!(kept.undelivered(), [Address::parse("c@c.example").unwrap()]);
        let octets = kept.body.head(usize::MAX).unwrap();
        assert_eq!((&octets[..], crc32fast::hash(&octets)), (&text[..], kept.crc));
    }
    assert!(find(disk.as_ref(), MessageId(3)).unwrap().is_none());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let place = directory.path().join(DIRECTORY);
    assert_eq!((mode(&place), mode(&place.join(&names(directory.path())[0]))), (0o700, 0o600));
}

#[test]
fn the_oldest_contents_are_removed_by_age_and_share() {
    let directory = tempfile::tempdir().unwrap();
    // A tenth of it has room for six small files, each of which counts 16 KiB.
    let free = Arc::new(AtomicU64::new(SIZE));
    let volume = DirectoryDisk::open(directory.path()).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(Sized(volume, free.clone()));
    let mut contents = Contents::open(disk.clone(), DAY).unwrap();
    let now = clock::now();
    assert!(contents.keep(&draft(1, 10, now - 90_000)) && contents.keep(&draft(2, 10, now - 10)));
    contents.forget();
    assert_eq!(names(directory.path()).len(), 1, "the older one is over a day");
    for id in 3..9 {
        assert!(contents.keep(&draft(id, 10, now)));
    }
    let left = names(directory.path());
    assert!(
        (2..=6).contains(&left.len()) && left.last().unwrap().contains(&id_text(8)),
        "{left:?}"
    );
    let kept = names(directory.path()).len();
    assert!(!contents.keep(&draft(20, 150_000, now)), "it is larger than the share");
    assert_eq!(names(directory.path()).len(), kept, "nothing was removed for it");
    // Another process finds what is there.
    assert!(contents.keep(&draft(21, 10, now)));
    let mut contents = Contents::open(disk.clone(), DAY).unwrap();
    assert_eq!(names(directory.path()).len(), (kept + 1).min(6));
    // Mail comes first.
    free.store(SIZE / 1000, Ordering::Relaxed);
    contents.forget();
    assert!(!contents.keep(&draft(22, 10, now)));
    assert_eq!(names(directory.path()), [""; 0]);
    free.store(SIZE, Ordering::Relaxed);
    assert!(contents.keep(&draft(23, 10, now)));
    Contents::remove_all(disk.as_ref()).unwrap();
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn a_tenth_of_a_volume_stays_free_and_no_more_than_4_gib() {
    assert_eq!([10_000, 1 << 30, 1 << 40].map(spare), [1000, (1 << 30) / 10, 4 << 30]);
}

fn id_text(id: u64) -> String {
    MessageId(id).to_string()
}

#[test]
fn what_a_crash_tore_is_told_from_what_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory.path()).unwrap());
    let mut contents = Contents::open(disk.clone(), DAY).unwrap();
    assert!(contents.keep(&draft(1, 50, clock::now())));
    let path = directory.path().join(DIRECTORY).join(&names(directory.path())[0]);
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let Ok(Some(kept)) = find(disk.as_ref(), MessageId(1)) else { continue };
        assert_ne!(crc32fast::hash(&kept.body.head(usize::MAX).unwrap()), kept.crc, "{len}");
    }
    let mut turned = whole;
    *turned.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &turned).unwrap();
    let kept = find(disk.as_ref(), MessageId(1)).unwrap().unwrap();
    assert_ne!(crc32fast::hash(&kept.body.head(usize::MAX).unwrap()), kept.crc);
}

#[tokio::test]
async fn a_message_that_left_by_itself_is_kept_and_none_else() {
    let directory = tempfile::tempdir().unwrap();
    let config = HistoryConfig {
        enabled: true,
        size: 1 << 20,
        time: 7 * DAY,
        content: DAY,
        masking: Masking::Smart,
    };
    let open = |config| {
        let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory.path()).unwrap());
        HistoryLog::open(disk, config, HistoryCounters::alone().unwrap())
    };
    let history = open(config);
    let [gone, waits, deleted] =
        [1, 2, 3].map(|id| message(id, Body::Memory("Subject: x\r\n\r\n".into())));
    let attempt = |message, over| DeliveryAttempt {
        message,
        destination: Box::leak(Box::new(Destination::domain("b.example").unwrap())),
        outcomes: &[],
        relay: "",
        tls: false,
        security: "",
        transcript: "",
        at: clock::now(),
        due: 0,
        delays: Delays::default(),
        progress: Some(&gone.progress),
        over,
    };
    history.take(&MailEvent::Attempted(attempt(&gone, true)));
    history.take(&MailEvent::Attempted(attempt(&waits, false)));
    let deletion = crate::mail::model::Deletion::Deleted;
    history.take(&MailEvent::Deleted { message: &deleted, deletion, at: clock::now() });
    let kept = history.kept(gone.id).await.unwrap().unwrap();
    assert_eq!(kept.envelope, gone.envelope, "a masked address could not be sent to");
    for other in [&waits, &deleted] {
        assert!(history.kept(other.id).await.unwrap().is_none());
    }
    assert_eq!(names(directory.path()).len(), 1);
    drop(history);
    let history = open(HistoryConfig { content: Duration::ZERO, ..config });
    history.take(&MailEvent::Attempted(attempt(&gone, true)));
    assert!(history.kept(gone.id).await.unwrap().is_none());
    assert_eq!(names(directory.path()), [""; 0], "what is not to be kept is removed");
}

/// The size of a volume in these tests, in octets.
const SIZE: u64 = 1_000_000;

/// A volume of [`SIZE`] octets.
struct Sized(DirectoryDisk, Arc<AtomicU64>);

impl Disk for Sized {
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
        Ok(DiskSpace { free: self.1.load(Ordering::Relaxed), size: SIZE })
    }
}
