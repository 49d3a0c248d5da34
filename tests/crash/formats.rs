//! Queues written by earlier versions: every later version reads the same messages from them.
//!
//! `volumes/N`, of format N, was written by `write_a_volume_of_this_version` below, which is run by
//! hand when the format changes: `cargo test --test crash -- --ignored write_a_volume`. The file
//! `messages` next to each volume lists its contents.

use crate::disk::{Events, SimDisk};
use crate::history::{SMALL, load, open};
use crate::mail::model::{
    Address, BodyType, Destination, Envelope, MessageId, MessageKind, Origin, Target,
    TargetProgress, TargetStatus,
};
use crate::mail::spool::{IncomingContent, QueueEntry, SegmentLog, Spool, SpoolConfig};
use crate::world::World;
use postern::ground::disk::Disk;
use postern::mail::model::ConfiguredHost;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const CONFIG: SpoolConfig = SpoolConfig { segment_max: 8 << 10, ..SMALL };

fn volumes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/volumes")
}

#[test]
fn every_version_reads_what_earlier_ones_wrote() {
    let mut seen = 0;
    for volume in fs::read_dir(volumes()).unwrap().map(|entry| entry.unwrap().path()) {
        let world = World::enter_new(0);
        let disk = load_volume(&volume, |_, octets| octets);
        let expected = fs::read_to_string(volume.join("messages")).unwrap();
        // Twice: what the first start writes must not change the result.
        for _ in 0..2 {
            let log = open(&disk, SMALL).unwrap();
            assert_eq!(messages(&world, &log), expected, "{}", volume.display());
            assert!(log.close());
        }
        seen += 1;
    }
    assert!(seen >= 2, "there are volumes of each format");
}

#[test]
fn no_octets_in_a_segment_make_a_start_panic() {
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::enter_new(seed);
        let disk = load_volume(&volumes().join((1 + seed % 2).to_string()), |path, octets| {
            if path.starts_with("log/") { mutated(octets, &mut random) } else { octets }
        });
        // A header of a later version is refused; everything else starts.
        if let Ok(log) = open(&disk, SMALL) {
            for id in log.ids(None, usize::MAX) {
                drop(load(&world, &log, id));
            }
            assert!(log.close());
        }
        open(&disk, SMALL).map(drop).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// A few octets changed, removed, doubled or moved.
fn mutated(mut octets: Vec<u8>, random: &mut fastrand::Rng) -> Vec<u8> {
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..octets.len());
        let len = random.usize(..64).min(octets.len() - at);
        let to = random.usize(..octets.len());
        match random.u8(..5) {
            0 => octets[at] = random.u8(..),
            1 => drop(octets.drain(at..at + len)),
            2 => octets.extend_from_within(at..at + len),
            3 => {
                let piece = octets[at..at + len].to_vec();
                octets.splice(to..to, piece);
            }
            _ => octets.truncate(at.max(4200)),
        }
    }
    octets
}

/// A checked-in volume on a simulated disk, its files passed through `change`.
fn load_volume(volume: &Path, mut change: impl FnMut(&str, Vec<u8>) -> Vec<u8>) -> SimDisk {
    let disk = SimDisk::new(1 << 30, 0, Events::default());
    for directory in ["", "log", "spare", "body", "corrupt"] {
        let files = fs::read_dir(volume.join("data").join(directory))
            .into_iter()
            .flatten()
            .map(Result::unwrap);
        for file in files.filter(|file| file.file_type().unwrap().is_file()) {
            let name = file.file_name().into_string().unwrap();
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let to = disk.create(&path).unwrap();
            to.write_at(0, &change(&path, fs::read(file.path()).unwrap())).unwrap();
            to.sync().unwrap();
        }
        disk.sync_dir(directory).unwrap();
    }
    disk
}

#[test]
#[ignore = "writes a volume to be checked in"]
fn write_a_volume_of_this_version() {
    let world = World::enter_new(1);
    let disk = SimDisk::new(1 << 20, 1, Events::default());
    let log = open(&disk, CONFIG).unwrap();
    // A segment that dies and becomes a spare.
    for _ in 0..4 {
        let id = accept(&world, &log, plain(1), &[b'-'; 2000]);
        world.drive(log.delete(id)).unwrap();
    }
    let waits =
        accept(&world, &log, plain(3), b"Subject: waits\r\n\r\nThree recipients, three fates.\r\n");
    let fates = [
        (TargetStatus::Delivered, 1, 0, ""),
        (TargetStatus::Bounced, 1, 0, "550 5.1.1 unbekannt: Müller"),
        (TargetStatus::Pending, 3, 1_800_000_900, "451 4.7.1 später, 後で"),
    ];
    let decided = || Destination::domain("example.org");
    let mut waiting = progress(&fates, None);
    waiting.iter_mut().for_each(|one| one.destination = decided());
    log.settle(waits, waiting);
    let held = accept(&world, &log, plain(1), b"Subject: held\r\n\r\n");
    world.drive(log.hold(held, true)).unwrap();
    let late = accept(&world, &log, plain(1), b"Subject: late\r\n\r\nThe sender knows.\r\n");
    log.settle(
        late,
        progress(&[(TargetStatus::Pending, 9, 1_800_100_000, "421 4.4.2 timed out")], None),
    );
    log.note_delay_warning_sent(late);
    let copy = QueueEntry {
        copy: true,
        envelope: Envelope {
            sender: Address::parse("grüße@bücher.example").ok(),
            recipients: vec![Address::parse("δοκιμή@παράδειγμα.example").unwrap()],
            body: BodyType::EightBitMime,
            smtputf8: true,
            dsn: None,
        },
        origin: Origin {
            peer: Some("2001:db8::25".parse().unwrap()),
            helo: "client.example".into(),
            may_relay: false,
        },
        destinations: vec![
            Destination::domain("παράδειγμα.example").unwrap(),
            Destination::Copy(host("copies.example:26")),
        ],
        ..plain(1)
    };
    let copied = accept(&world, &log, copy, "Subject: Grüße\r\n\r\n8 bits\r\n".as_bytes());
    log.settle(
        copied,
        progress(
            &[(TargetStatus::Delivered, 1, 0, "")],
            Some((TargetStatus::Pending, 1, 1_800_000_100, "connection refused")),
        ),
    );
    accept(
        &world,
        &log,
        QueueEntry { kind: MessageKind::Notification, ..plain(1) },
        b"Subject: bounce\r\n\r\n",
    );
    accept(&world, &log, plain(1), b"");
    // Content with a file of its own.
    let relay = Destination::SmartRelay(host("[hub.example]:2525"));
    accept(
        &world,
        &log,
        QueueEntry { destinations: vec![relay.clone(), relay], ..plain(2) },
        &b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(1030),
    );
    let damaged = accept(&world, &log, plain(1), b"Subject: this one is damaged\r\n\r\n");
    let last = accept(&world, &log, plain(1), b"Subject: last\r\n\r\n");
    let done = accept(&world, &log, plain(1), b"Subject: done\r\n\r\n");
    log.settle(done, progress(&[(TargetStatus::Delivered, 1, 0, "")], None));
    world.pass(std::time::Duration::from_secs(2));
    assert!(log.close());
    drop(log);
    spoil(&disk, b"this one is damaged");
    // A start reads the contents of segments without a summary file.
    for path in disk.paths("log/").iter().filter(|path| path.ends_with(".heads")) {
        disk.remove(path).unwrap();
    }
    let log = open(&disk, CONFIG).unwrap();
    assert_eq!(
        (log.is_held(damaged), log.is_held(held), log.is_held(last)),
        (None, Some(true), Some(false))
    );
    let told = messages(&world, &log);
    assert!(log.close());
    drop(log);
    let volume = volumes().join("2");
    for directory in ["log", "spare", "body", "corrupt"] {
        fs::create_dir_all(volume.join("data").join(directory)).unwrap();
    }
    fs::write(volume.join("messages"), told).unwrap();
    for path in disk.paths("") {
        let file = disk.open(&path).unwrap();
        let mut octets = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(0, &mut octets).unwrap();
        fs::write(volume.join("data").join(path), octets).unwrap();
    }
}

/// Flips a bit of the segment record that contains these octets.
fn spoil(disk: &SimDisk, octets: &[u8]) {
    for path in disk.paths("log/") {
        let file = disk.open(&path).unwrap();
        let mut content = vec![0; usize::try_from(file.length().unwrap()).unwrap()];
        file.read_at(0, &mut content).unwrap();
        if let Some(at) = content.windows(octets.len()).position(|window| window == octets) {
            file.write_at(at as u64, &[content[at] ^ 1]).unwrap();
        }
    }
}

fn host(text: &str) -> Arc<ConfiguredHost> {
    Arc::new(text.parse().unwrap())
}

fn accept(world: &World, log: &SegmentLog, entry: QueueEntry, content: &[u8]) -> MessageId {
    world.let_run();
    let mut writer = log.begin();
    world.drive(async {
        writer.write(content).await.unwrap();
        log.commit(entry, writer).await.unwrap().id
    })
}

fn plain(recipients: usize) -> QueueEntry {
    let recipients: Vec<Address> =
        (1..=recipients).map(|n| Address::parse(&format!("r{n}@example.org")).unwrap()).collect();
    let destinations = recipients.iter().map(Destination::domain_of).collect();
    QueueEntry {
        envelope: Envelope {
            sender: Address::parse("s@example.com").ok(),
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin {
            peer: Some("192.0.2.25".parse().unwrap()),
            helo: "[192.0.2.25]".into(),
            may_relay: false,
        },
        kind: MessageKind::Mail,
        copy: false,
        destinations,
    }
}

type Fate = (TargetStatus, u16, u32, &'static str);

fn progress(recipients: &[Fate], copy: Option<Fate>) -> Vec<TargetProgress> {
    let places = (0..).map(Target::Recipient).zip(recipients.iter().copied());
    places
        .chain(copy.map(|fate| (Target::Copy, fate)))
        .map(|(target, (status, attempts, due, reason))| TargetProgress {
            target,
            destination: None,
            status,
            attempts,
            due,
            reason: reason.to_owned(),
        })
        .collect()
}

/// All messages, as text.
fn messages(world: &World, log: &SegmentLog) -> String {
    let mut out = String::new();
    for id in log.ids(None, usize::MAX) {
        let message = load(world, log, id).unwrap();
        let (envelope, origin) = (&message.envelope, &message.origin);
        let content = message.body.head(usize::MAX).unwrap();
        writeln!(
            out,
            "{id}: {:?}, arrived {}, held {}, delay told {}",
            message.kind, message.arrived, message.held, message.delay_warning_sent
        )
        .unwrap();
        writeln!(
            out,
            "  from {:?} at {:?}, {:?}",
            envelope.sender.as_ref().map(Address::as_str),
            origin.peer,
            origin.helo
        )
        .unwrap();
        writeln!(
            out,
            "  {:?}, SMTPUTF8 {}, {} octets, CRC-32 {:08x}",
            envelope.body,
            envelope.smtputf8,
            content.len(),
            crc32fast::hash(&content)
        )
        .unwrap();
        for recipient in &envelope.recipients {
            writeln!(out, "  to {}", recipient.as_str()).unwrap();
        }
        for TargetProgress { target, destination, status, attempts, due, reason } in
            &message.progress
        {
            let to = destination.as_ref().map(|to| format!(" to {to:?}")).unwrap_or_default();
            writeln!(out, "  {target:?}{to}: {status:?}, {attempts} tries, due {due}, {reason:?}")
                .unwrap();
        }
    }
    out
}
