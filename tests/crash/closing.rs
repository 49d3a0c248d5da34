//! If parts of an orderly closed queue are removed, the next start reports that, and nothing else.

use crate::disk::{Events, SimDisk};
use crate::history::{SMALL, entry, load, open, open_counted};
use crate::mail::model::{
    DamageMeaning, MessageId, OfflineQueue, Target, TargetProgress, TargetStatus,
};
use crate::mail::spool::counters::SpoolCounters;
use crate::mail::spool::{IncomingContent, OfflineSpool, SegmentLog, Spool, SpoolConfig};
use crate::world::World;
use postern::ground::disk::Disk;
use std::sync::Arc;

/// Few messages to a segment.
const CONFIG: SpoolConfig = SpoolConfig { segment_max: 8 << 10, ..SMALL };

/// The magic of a frame.
const MARK: &[u8] = b"\xf5PR\xf5";

fn accept(world: &World, log: &SegmentLog, octets: usize) -> MessageId {
    let mut writer = log.begin();
    world.drive(async {
        writer.write(&vec![b'x'; octets]).await.unwrap();
        log.commit(entry(1, false), writer).await.unwrap().id
    })
}

/// A queue in several segments, some of its mail finished, closed in order.
fn closed(world: &World, seed: u64) -> SimDisk {
    let mut random = fastrand::Rng::with_seed(seed);
    let disk = SimDisk::new(1 << 40, seed, Events::default());
    for _ in 0..2 {
        let log = open(&disk, CONFIG).unwrap();
        for _ in 0..random.usize(8..30) {
            let id = accept(world, &log, random.usize(..3000));
            if random.u8(..4) == 0 {
                let status =
                    if random.bool() { TargetStatus::Delivered } else { TargetStatus::Pending };
                log.settle(
                    id,
                    vec![TargetProgress { status, ..TargetProgress::new(Target::Recipient(0)) }],
                );
            }
        }
        assert!(log.close());
    }
    disk
}

/// Opens the queue and closes it; gives how many segments are reported as shortened, and how many
/// messages there are.
fn start(disk: &SimDisk) -> (u64, usize) {
    let counters = SpoolCounters::alone().unwrap();
    let log = open_counted(disk, CONFIG, &counters).unwrap();
    let messages = log.ids(None, usize::MAX).len();
    assert!(log.close());
    (counters.shortened_segments_total.get(), messages)
}

/// What is missing, by a check that changes nothing.
fn missing(disk: &SimDisk) -> Vec<String> {
    let found = OfflineSpool::new(Arc::new(disk.clone())).verify(&mut |_| {}).unwrap();
    found
        .damages
        .into_iter()
        .filter(|damage| damage.meaning == DamageMeaning::Missing)
        .map(|damage| damage.file)
        .collect()
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.paths("log/").into_iter().filter(|path| path.ends_with(".seg")).collect()
}

fn octets(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path).unwrap();
    let mut octets = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
    file.read_at(0, &mut octets).unwrap();
    octets
}

/// Where the records of a segment begin.
fn records(octets: &[u8]) -> Vec<usize> {
    octets
        .windows(MARK.len())
        .enumerate()
        .filter(|(_, window)| *window == MARK)
        .map(|(at, _)| at)
        .collect()
}

/// The file ends here from now on.
fn cut(disk: &SimDisk, path: &str, len: usize) {
    let octets = octets(disk, path);
    disk.remove(path).unwrap();
    let file = disk.create(path).unwrap();
    file.write_at(0, &octets[..len]).unwrap();
    file.sync().unwrap();
    disk.sync_dir("log").unwrap();
}

#[test]
fn a_segment_that_is_gone_is_told_once_with_or_without_its_neighbours() {
    for seed in 0..60 {
        let world = World::enter_new(seed);
        let disk = closed(&world, seed);
        let all = segments(&disk);
        let first = fastrand::Rng::with_seed(seed).usize(..all.len());
        let gone = &all[first..all.len().min(first + 1 + usize::try_from(seed % 3).unwrap())];
        gone.iter().for_each(|path| disk.remove(path).unwrap());
        assert_eq!(missing(&disk), gone, "seed {seed}");
        assert_eq!(missing(&disk), gone, "seed {seed}: looking changes nothing");
        assert_eq!(start(&disk).0, gone.len() as u64, "seed {seed}");
        assert_eq!(
            (missing(&disk), start(&disk).0),
            (Vec::new(), 0),
            "seed {seed}: it was told before"
        );
        let again = segments(&disk);
        assert!(
            gone.iter().all(|path| !again.contains(path)),
            "seed {seed}: a backup would meet another file of its number"
        );
    }
}

#[test]
fn a_segment_that_is_cut_is_told_wherever_it_is_cut() {
    for seed in 0..100 {
        let world = World::enter_new(seed);
        let disk = closed(&world, seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let path = random.choice(segments(&disk)).unwrap();
        let text = octets(&disk, &path);
        let Some(at) = random.choice(records(&text)) else { continue };
        let at = if random.bool() { at } else { random.usize(at..text.len()) };
        // After the last record there is an older use of the file.
        let is_less = at < usize::try_from(end_of_records(&disk, &path)).unwrap();
        cut(&disk, &path, at);
        let expected = if is_less { vec![path.clone()] } else { Vec::new() };
        assert_eq!(missing(&disk), expected, "seed {seed}, {path} at {at}");
        assert_eq!(start(&disk).0, expected.len() as u64, "seed {seed}, {path} at {at}");
        assert_eq!(
            (missing(&disk), start(&disk).0),
            (Vec::new(), 0),
            "seed {seed}: it was told before"
        );
    }
}

/// Where the records of a segment end, as it was written down at the stop.
fn end_of_records(disk: &SimDisk, path: &str) -> u64 {
    let number: u32 = path.trim_start_matches("log/").trim_end_matches(".seg").parse().unwrap();
    let text = String::from_utf8(octets(disk, "closed")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{number} "))).unwrap();
    line.split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn a_full_segment_that_is_cut_is_told_after_a_kill_too() {
    let world = World::enter_new(0);
    let disk = SimDisk::new(1 << 40, 0, Events::default());
    let config = SpoolConfig { segment_max: 64 << 10, ..SMALL };
    let log = open(&disk, config).unwrap();
    for _ in 0..60 {
        accept(&world, &log, 3000);
    }
    let disk = disk.kill();
    drop(log);
    let path = segments(&disk).remove(0);
    let text = octets(&disk, &path);
    cut(&disk, &path, *records(&text).last().unwrap());
    assert_eq!(missing(&disk), [path]);
    assert_eq!(start(&disk), (1, 59));
    assert_eq!((missing(&disk), start(&disk).0), (Vec::new(), 0), "it was told before");
}

#[test]
fn a_crash_in_a_stop_or_in_a_start_is_no_loss() {
    for seed in 0..36 {
        let world = World::enter_new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut disk = closed(&world, seed);
        let messages = {
            let log = open(&disk, CONFIG).unwrap();
            let id = accept(&world, &log, 1000);
            world.drive(log.hold(id, true)).unwrap();
            let messages = log.ids(None, usize::MAX).len();
            disk.die_after(seed % 12);
            log.close();
            messages
        };
        for start in 0..4 {
            disk = if random.bool() { disk.power_cut() } else { disk.kill() };
            assert_eq!(missing(&disk), [""; 0], "seed {seed}, start {start}");
            let counters = SpoolCounters::alone().unwrap();
            if start < 3 {
                disk.die_after(random.u64(..30));
            }
            if let Ok(log) = open_counted(&disk, CONFIG, &counters) {
                assert_eq!(log.ids(None, usize::MAX).len(), messages, "seed {seed}, start {start}");
                log.close();
            }
            assert_eq!(counters.shortened_segments_total.get(), 0, "seed {seed}, start {start}");
        }
    }
}

#[test]
fn a_crash_in_the_start_that_tells_hides_nothing() {
    for seed in 0..120 {
        let world = World::enter_new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = closed(&world, seed);
        disk.remove(&random.choice(segments(&disk)).unwrap()).unwrap();
        disk.sync_dir("log").unwrap();
        disk.die_after(random.u64(..30));
        let counters = SpoolCounters::alone().unwrap();
        let log = open_counted(&disk, CONFIG, &counters);
        let disk = if random.bool() { disk.power_cut() } else { disk.kill() };
        drop(log);
        // Reported by the start that was completed, or kept until one is.
        let told = counters.shortened_segments_total.get() + start(&disk).0;
        let kept = disk.paths("corrupt/").into_iter().any(|path| path.ends_with(".closed"));
        assert!(told > 0 || kept, "seed {seed}");
    }
}

#[test]
fn a_version_that_does_not_know_the_file_leaves_no_alarm_behind() {
    let world = World::enter_new(0);
    let disk = closed(&world, 0);
    let file = octets(&disk, "closed");
    // It skips the file, works, and releases segments.
    let log = open(&disk, CONFIG).unwrap();
    for id in log.ids(None, usize::MAX) {
        world.drive(log.delete(id)).unwrap();
    }
    let kept = accept(&world, &log, 100);
    assert!(log.close());
    disk.remove("closed").unwrap();
    disk.create("closed").unwrap().write_at(0, &file).unwrap();
    assert_eq!(missing(&disk), [""; 0]);
    assert_eq!(start(&disk), (0, 1));
    load(&world, &open(&disk, CONFIG).unwrap(), kept).unwrap();
}
