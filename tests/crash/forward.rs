//! A message that outlives its segment: what is known of it goes along when its record is copied forward.

use crate::disk::SimDisk;
use crate::history::{entry, open, targets};
use postern::mail::model::{MessageId, Status};
use postern::mail::spool::{SegmentLog, Spool, Writer};
use std::time::{Duration, Instant};

const CONTENT: usize = 40_000;

async fn accept(log: &SegmentLog, recipients: usize) -> MessageId {
    let mut writer = log.begin();
    writer.write(&[b'x'; CONTENT]).await.unwrap();
    log.commit(entry(recipients), writer).await.unwrap().id
}

async fn fill(log: &SegmentLog, messages: usize) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for _ in 0..messages {
        ids.push(accept(log, 1).await);
    }
    ids
}

#[tokio::test]
async fn progress_and_hold_survive_the_move_to_a_younger_segment() {
    let disk = SimDisk::new(1 << 40);
    let log = open(&disk).unwrap();
    // Its accept record stands in the first segment, its state in the second, among mail that stays.
    let old = accept(&log, 2).await;
    let first = fill(&log, 30).await;
    log.settle(old, targets(2, |place| place == 0));
    log.hold(old, true).await.unwrap();
    fill(&log, 20).await;
    for id in first {
        log.delete(id).await.unwrap();
    }
    // Mail that comes and goes: its dead segments wait for the first one.
    let before = disk.paths("log/").first().cloned();
    let patience = Instant::now() + Duration::from_secs(60);
    while disk.paths("log/").first() == before.as_ref() {
        assert!(Instant::now() < patience, "the first segment is never emptied: {:?}", disk.paths("log/"));
        for id in fill(&log, 10).await {
            log.delete(id).await.unwrap();
        }
    }
    drop(log);
    let log = open(&disk).unwrap();
    let message = log.load(old).await.unwrap();
    assert!(message.held, "the hold is forgotten");
    let known: Vec<Status> = message.progress.iter().map(|progress| progress.status).collect();
    assert_eq!(known, [Status::Delivered, Status::Pending], "the progress is forgotten");
    assert_eq!(message.body.len(), CONTENT as u64);
}
