//! A message that outlives its segment: its state is kept when its record is copied.

use crate::disk::{Events, SimDisk};
use crate::ground::disk::Disk;
use crate::history::{SMALL, entry, open, open_counted, targets};
use crate::mail::model::{MessageId, Target, TargetProgress, TargetStatus};
use crate::mail::spool::counters::SpoolCounters;
use crate::mail::spool::{INLINE_MAX, IncomingContent, SegmentLog, Spool, SpoolConfig};
use crate::world::World;
use std::time::Duration;

const CONTENT: usize = 40_000;

fn accept(world: &World, log: &SegmentLog, recipients: usize) -> MessageId {
    let mut writer = log.begin();
    world.drive(async {
        writer.write(&[b'x'; CONTENT]).await.unwrap();
        log.commit(entry(recipients, false), writer).await.unwrap().id
    })
}

fn fill(world: &World, log: &SegmentLog, messages: usize) -> Vec<MessageId> {
    (0..messages).map(|_| accept(world, log, 1)).collect()
}

#[test]
fn progress_and_hold_survive_the_move_to_a_younger_segment() {
    let world = World::enter_new(0);
    let disk = SimDisk::new(1 << 40, 0, Events::default());
    let config = SpoolConfig { segment_max: 1 << 20, ..SMALL };
    let log = open(&disk, config).unwrap();
    // Its accept record is in the first segment, its state in the second, among mail that stays.
    let old = accept(&world, &log, 2);
    let first = fill(&world, &log, 30);
    let progress = targets(2).map(|place| {
        let status = if place == 0 { TargetStatus::Delivered } else { TargetStatus::Pending };
        TargetProgress { status, ..TargetProgress::new(Target::Recipient(place)) }
    });
    log.settle(old, progress.collect());
    world.drive(log.hold(old, true)).unwrap();
    fill(&world, &log, 20);
    for id in first {
        world.drive(log.delete(id)).unwrap();
    }
    // Mail that comes and goes: its dead segments wait for the first one.
    let before = disk.paths("log/").first().cloned();
    for round in 0.. {
        if disk.paths("log/").first() != before.as_ref() {
            break;
        }
        assert!(round < 100, "the first segment is never emptied: {:?}", disk.paths("log/"));
        for id in fill(&world, &log, 10) {
            world.drive(log.delete(id)).unwrap();
        }
        world.pass(Duration::from_secs(1));
    }
    drop(log);
    let log = open(&disk, config).unwrap();
    let message = world.drive(log.load(old)).unwrap();
    assert!(message.held, "the hold is forgotten");
    let known: Vec<TargetStatus> =
        message.progress.iter().map(|progress| progress.status).collect();
    assert_eq!(
        known,
        [TargetStatus::Delivered, TargetStatus::Pending],
        "the progress is forgotten"
    );
    assert_eq!(message.body.len(), CONTENT as u64);
}

/// Nothing is submitted meanwhile: the queue empties one segment after the other by itself.
#[test]
fn much_mail_that_leaves_at_once_gives_its_room_back_within_seconds() {
    let world = World::enter_new(0);
    let disk = SimDisk::new(1 << 40, 0, Events::default());
    let config = SpoolConfig { segment_max: 1 << 20, ..SMALL };
    let log = open(&disk, config).unwrap();
    let messages = fill(&world, &log, 600);
    let segments = || disk.paths("log/").iter().filter(|path| path.ends_with(".seg")).count();
    let before = segments();
    for id in messages.iter().enumerate().filter(|(place, _)| place % 4 != 0).map(|(_, id)| *id) {
        log.settle(
            id,
            vec![TargetProgress {
                status: TargetStatus::Delivered,
                ..TargetProgress::new(Target::Recipient(0))
            }],
        );
    }
    world.pass(Duration::from_secs(3));
    // Of 600 mails 150 are left, in the space of three eighths more and a few segments.
    let wanted = before / 4 * 11 / 8 + 2 + usize::try_from(config.spare_segments).unwrap();
    assert!(
        segments() <= wanted,
        "{before} segments before, {} after, {wanted} wanted",
        segments()
    );
}

/// A segment was removed by an operator or a file system check: the content is all that is left of
/// the mail.
#[test]
fn a_content_whose_segment_is_missing_is_kept() {
    let world = World::enter_new(0);
    let disk = SimDisk::new(1 << 40, 0, Events::default());
    let log = open(&disk, SMALL).unwrap();
    let accept = || {
        let mut writer = log.begin();
        world.drive(async {
            writer.write(&[b'x'; INLINE_MAX + 1]).await.unwrap();
            log.commit(entry(1, false), writer).await.unwrap().id
        })
    };
    let (lost, finished) = (accept(), accept());
    let segments = disk.paths("log/");
    world.drive(log.delete(finished)).unwrap();
    drop(log);
    // The removal of the finished mail's content was not synced, so it exists again.
    let old = format!("body/{finished}.eml");
    if !disk.paths("body/").contains(&old) {
        disk.create(&old).unwrap();
    }
    let log = open(&disk, SMALL).unwrap();
    assert_eq!(disk.paths("body/"), [format!("body/{lost}.eml")], "what is done with goes");
    drop(log);
    for segment in segments {
        disk.remove(&segment).unwrap();
    }
    let log = open(&disk, SMALL).unwrap();
    assert!(disk.paths("body/").is_empty() && log.ids(None, usize::MAX).is_empty());
    // Compared with the manifest of the stop.
    assert_eq!(
        disk.paths("corrupt/"),
        ["corrupt/0000000003.closed".to_owned(), format!("corrupt/{lost}.eml")]
    );
}

/// It was never confirmed, so it is not damage; yet it is kept, because it looks like the one
/// above.
#[test]
fn a_content_that_was_coming_in_at_a_crash_is_no_damage() {
    let mut kept = 0;
    for calls in 0..40 {
        let world = World::enter_new(calls);
        let disk = SimDisk::new(1 << 40, calls, Events::default());
        let log = open(&disk, SMALL).unwrap();
        let mut writer = log.begin();
        let id = writer.id();
        disk.die_after(calls);
        let taken = world.drive(async {
            writer.write(&[b'x'; INLINE_MAX + 1]).await?;
            log.commit(entry(1, false), writer).await
        });
        let disk = disk.kill();
        drop(log);
        let counters = SpoolCounters::alone().unwrap();
        let log = open_counted(&disk, SMALL, &counters).unwrap();
        let damaged =
            (counters.corrupt_records_total.get(), counters.shortened_segments_total.get());
        assert_eq!(damaged, (0, 0), "after {calls} calls");
        assert!(taken.is_err() || log.ids(None, 1) == [id], "after {calls} calls");
        kept += disk
            .paths("corrupt/")
            .iter()
            .filter(|path| **path == format!("corrupt/{id}.eml"))
            .count();
    }
    assert!(kept > 0, "no crash came between the name of the content and its record");
}
