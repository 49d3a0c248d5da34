//! Import of mail on a disk that fails: it comes in with its past or not at all. And a read-only
//! check finds the same as a start.

use crate::disk::{Events, SimDisk};
use crate::history::{SMALL, entry, load, open};
use crate::mail::model::{MessageId, OfflineQueue, Target, TargetProgress, TargetStatus};
use crate::mail::spool::{
    IncomingContent, OfflineSpool, PriorProgress, SegmentLog, Spool, SpoolError,
};
use crate::world::World;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const SEEDS: u64 = 400;

fn past(held: bool) -> PriorProgress {
    let mut progress =
        [Target::Recipient(0), Target::Recipient(1)].map(TargetProgress::new).to_vec();
    progress[0].status = TargetStatus::Delivered;
    progress[0].reason = "250 2.0.0 taken".to_owned();
    progress[1].attempts = 7;
    PriorProgress { arrived: 1_763_800_000, progress, held, delay_warning_sent: true }
}

/// The ids, by a check that changes nothing.
fn seen(disk: &SimDisk) -> Vec<MessageId> {
    let rest = OfflineSpool::new(Arc::new(disk.clone()));
    rest.verify(&mut |_| {}).unwrap();
    rest.ids(&mut |_| {}).unwrap()
}

/// Imports a mail of so many octets.
fn accept(
    world: &World,
    log: &SegmentLog,
    recipients: usize,
    octets: usize,
) -> Result<MessageId, SpoolError> {
    let mut writer = log.begin();
    world.drive(async {
        writer.write(&vec![b'x'; octets]).await?;
        log.commit(entry(recipients, false), writer).await.map(|message| message.id)
    })
}

#[test]
fn a_mail_comes_in_with_its_past_or_not_at_all() {
    let (mut whole, mut absent) = (0, 0);
    for seed in 0..SEEDS {
        let world = World::enter_new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::new(1 << 40, seed, Events::default());
        let log = open(&disk, SMALL).unwrap();
        for _ in 0..random.usize(..4) {
            accept(&world, &log, 2, random.usize(..2000)).unwrap();
        }
        disk.die_after(random.u64(..14));
        let past = past(random.bool());
        let mut writer = log.begin();
        let id = writer.id();
        let content = vec![b'y'; if random.u8(..4) == 0 { 300_000 } else { 500 }];
        let taken = world.drive(async {
            writer.write(&content).await?;
            log.import(entry(2, false), past.clone(), writer, std::future::pending())
                .await
                .map(drop)
        });
        let after = if random.bool() { disk.power_cut() } else { disk.kill() };
        drop(log);
        let expected = seen(&after);
        let log = open(&after, SMALL).unwrap();
        assert_eq!(log.ids(None, usize::MAX), expected, "seed {seed}");
        match load(&world, &log, id) {
            Ok(message) => {
                whole += 1;
                assert_eq!(message.progress, past.progress, "seed {seed}");
                assert_eq!(
                    (message.held, message.delay_warning_sent, message.arrived),
                    (past.held, true, past.arrived),
                    "seed {seed}"
                );
                assert_eq!(message.body.head(usize::MAX).unwrap(), content, "seed {seed}");
            }
            Err(_) => {
                absent += 1;
                assert!(taken.is_err(), "seed {seed}: it was confirmed");
            }
        }
        // The same once more, after a start that wrote nothing of it.
        drop(log);
        assert_eq!(seen(&after), expected, "seed {seed}");
    }
    assert!(whole > 20 && absent > 20, "{whole} whole, {absent} absent");
}

/// An import that was aborted while the disk did not answer may be repeated: nothing of the first
/// one stays.
#[test]
fn an_import_that_was_given_up_leaves_nothing() {
    for stage in 0..2 {
        let world = World::enter_new(stage);
        let disk = SimDisk::new(1 << 40, stage, Events::default());
        let log = open(&disk, SMALL).unwrap();
        let past = PriorProgress {
            arrived: 1,
            progress: vec![TargetProgress::new(Target::Recipient(0))],
            held: false,
            delay_warning_sent: false,
        };
        // Before the record of the mail is there, or after it and before that of its state.
        let is_time = || stage == 0 || !log.ids(None, 1).is_empty();
        let taken = world.drive(async {
            let mut writer = log.begin();
            writer.write(b"Subject: x\r\n\r\n").await.unwrap();
            let give_up =
                std::future::poll_fn(|_| if is_time() { Poll::Ready(()) } else { Poll::Pending });
            log.import(entry(1, false), past, writer, give_up).await
        });
        assert!(matches!(taken, Err(SpoolError::Slow(_))), "{taken:?}");
        world.pass(Duration::from_secs(1));
        assert!(log.ids(None, usize::MAX).is_empty(), "stage {stage}");
        drop(log);
        assert!(open(&disk, SMALL).unwrap().ids(None, usize::MAX).is_empty(), "stage {stage}");
    }
}

#[test]
fn who_only_looks_sees_what_a_start_sees() {
    for seed in 0..SEEDS / 4 {
        let world = World::enter_new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::new(1 << 40, seed, Events::default());
        let log = open(&disk, SMALL).unwrap();
        disk.die_after(random.u64(5..120));
        for _ in 0..60 {
            let octets = if random.u8(..12) == 0 { 290_000 } else { random.usize(..9000) };
            // It fails once the disk has failed.
            let _ = accept(&world, &log, 1, octets);
            let ids = log.ids(None, usize::MAX);
            if let (Some(id), true) = (random.choice(ids), random.bool()) {
                let mut progress = TargetProgress::new(Target::Recipient(0));
                progress.status =
                    if random.bool() { TargetStatus::Delivered } else { TargetStatus::Pending };
                log.settle(id, vec![progress]);
            }
        }
        let after = if random.bool() { disk.power_cut() } else { disk.kill() };
        drop(log);
        if random.bool() {
            after.flip_bit("log/");
        }
        let expected = seen(&after);
        assert_eq!(open(&after, SMALL).unwrap().ids(None, usize::MAX), expected, "seed {seed}");
    }
}
