//! The queue itself, its committer and its clients: an answer comes only after a sync that began
//! after the record was written.
//!
//! Every order with at most [`PREEMPTIONS`] interruptions of a thread that could have gone on; such
//! few are known to find nearly all defects of this kind (Musuvathi and Qadeer, PLDI 2007).

use crate::device::Device;
use crate::mail::model::{
    Address, BodyType, Envelope, MessageId, MessageKind, Origin, Target, TargetProgress,
    TargetStatus,
};
use crate::mail::spool::counters::SpoolCounters;
use crate::mail::spool::{IncomingContent, QueueEntry, SegmentLog, Spool, SpoolConfig, SpoolError};
use crate::sync::{block_on, thread};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

const PREEMPTIONS: usize = 2;

static COUNTERS: LazyLock<Arc<SpoolCounters>> = LazyLock::new(|| SpoolCounters::alone().unwrap());

fn check(lazy_sync: Duration, story: impl Fn(&Device, Arc<SegmentLog>) + Send + Sync + 'static) {
    let _ = *COUNTERS;
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(PREEMPTIONS);
    model.max_branches = 100_000;
    model.check(move || {
        let disk = Device::new();
        let config = SpoolConfig {
            segment_max: 1 << 20,
            lazy_sync,
            housekeeping: Duration::MAX,
            ..SpoolConfig::default()
        };
        let log =
            SegmentLog::open(Arc::new(disk.clone()), config, COUNTERS.clone(), &|_| {}).unwrap();
        story(&disk, Arc::new(log));
    });
}

/// One session: its result, and the message.
fn accept(disk: &Device, log: &SegmentLog, content: &[u8]) -> Result<MessageId, SpoolError> {
    let mut writer = log.begin();
    let result = block_on(async {
        writer.write(content).await?;
        log.commit(entry(), writer).await
    });
    if result.is_ok() {
        assert!(disk.has_synced(content), "250 before the sync");
    }
    result.map(|message| message.id)
}

fn session(
    disk: &Device,
    log: &Arc<SegmentLog>,
    content: &'static [u8],
) -> thread::JoinHandle<bool> {
    let (disk, log) = (disk.clone(), log.clone());
    thread::spawn(move || accept(&disk, &log, content).is_ok())
}

#[test]
fn an_answer_comes_after_the_sync_of_its_record() {
    check(Duration::MAX, |disk, log| {
        let other = session(disk, &log, b"the first mail");
        accept(disk, &log, b"the second mail").unwrap();
        assert!(other.join().unwrap());
        assert_eq!(log.totals().0, 2);
        assert!(log.close());
    });
}

#[test]
fn a_client_that_gave_up_has_no_mail_in_the_queue() {
    check(Duration::MAX, |disk, log| {
        let inside = log.clone();
        let client = thread::spawn(move || {
            let mut writer = inside.begin();
            let result = block_on(async {
                writer.write(b"a mail of an impatient client").await?;
                inside.commit_within(entry(), writer, async {}).await
            });
            assert!(matches!(result, Ok(_) | Err(SpoolError::Slow(_))), "{result:?}");
            result.is_ok()
        });
        accept(disk, &log, b"a mail of a patient client").unwrap();
        let accepted = client.join().unwrap();
        assert!(log.close());
        assert!(disk.is_all_synced());
        assert_eq!(log.totals().0, 1 + u64::from(accepted));
    });
}

#[test]
fn the_close_leaves_nothing_unsynced_and_nobody_waiting() {
    check(Duration::MAX, |disk, log| {
        let late = session(disk, &log, b"a mail at the last moment");
        assert!(log.close());
        assert!(disk.is_all_synced());
        let accepted = late.join().unwrap();
        assert_eq!(log.totals().0, u64::from(accepted));
    });
}

#[test]
fn what_nobody_waits_for_is_durable_after_the_close() {
    for lazy_sync in [Duration::MAX, Duration::ZERO] {
        check(lazy_sync, |disk, log| {
            let id = accept(disk, &log, b"a mail").unwrap();
            let other = session(disk, &log, b"another mail");
            log.settle(
                id,
                vec![TargetProgress {
                    status: TargetStatus::Delivered,
                    ..TargetProgress::new(Target::Recipient(0))
                }],
            );
            assert!(other.join().unwrap());
            assert!(log.close());
            assert!(disk.is_all_synced());
            assert_eq!(log.totals().0, 1);
        });
    }
}

fn entry() -> QueueEntry {
    QueueEntry {
        envelope: Envelope {
            sender: None,
            recipients: vec![Address::parse("r@example.org").unwrap()],
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin { peer: None, helo: "test".into(), may_relay: false },
        kind: MessageKind::Mail,
        copy: false,
        destinations: Vec::new(),
    }
}
