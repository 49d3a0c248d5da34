//! Random histories of a queue against a model of what it owes.

use crate::disk::SimDisk;
use postern::appliance::counter::Counters;
use postern::mail::model::{Address, BodyType, Envelope, Kind, Message, MessageId, Origin, Status};
use postern::mail::spool::{Config, Entry, SegmentLog, Spool, SpoolError, Writer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A queue on a disk, and what its users know about it.
pub struct History {
    pub disk: SimDisk,
    log: Option<SegmentLog>,
    random: fastrand::Rng,
    /// Answered 250, and not known to be finished: content and the recipients known to be done.
    owed: BTreeMap<MessageId, Owed>,
    /// Refused, or without an answer: may be there or not, but never torn.
    maybe: BTreeMap<MessageId, Vec<u8>>,
    /// Must never be seen again.
    gone: BTreeSet<MessageId>,
    /// Handed in, durable with the next answered sync.
    lazily_gone: BTreeSet<MessageId>,
    next: u64,
}

struct Owed {
    content: Vec<u8>,
    /// As last confirmed; `None` while nobody knows.
    held: Option<bool>,
    recipients: usize,
    done: BTreeSet<u16>,
    lazily_done: BTreeSet<u16>,
}

impl History {
    pub fn new(seed: u64, capacity: u64) -> Self {
        let disk = SimDisk::new(capacity);
        let log = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        Self {
            disk,
            log: Some(log),
            random: fastrand::Rng::with_seed(seed),
            owed: BTreeMap::new(),
            maybe: BTreeMap::new(),
            gone: BTreeSet::new(),
            lazily_gone: BTreeSet::new(),
            next: 0,
        }
    }

    pub fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// A random number of random acts.
    pub async fn live(&mut self, acts: std::ops::Range<usize>) {
        for _ in 0..self.random.usize(acts) {
            self.step().await;
        }
    }

    /// One random act of a session, a courier or an operator.
    pub async fn step(&mut self) {
        match self.random.u8(..10) {
            0..=4 => drop(self.accept().await),
            5..=7 => self.settle(),
            8 => self.hold().await,
            _ => self.delete().await,
        }
    }

    pub async fn accept(&mut self) -> Result<(), SpoolError> {
        self.next += 1;
        let len = match self.random.u8(..10) {
            0 => 0,
            1 => self.random.usize(60_000..200_000),
            _ => self.random.usize(..8_000),
        };
        let content: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(len).collect();
        let recipients = self.random.usize(1..4);
        let Some(log) = &self.log else { return Ok(()) };
        let mut writer = log.begin();
        let id = writer.id();
        let mut result = Ok(());
        for piece in content.chunks(10_000) {
            result = result.and(writer.write(piece).await);
        }
        let result = match result {
            Ok(()) => log.commit(entry(recipients), writer).await.map(|message| assert_eq!(message.id, id)),
            Err(error) => Err(error),
        };
        match &result {
            Ok(()) => {
                self.synced();
                let owed = Owed { content, held: Some(false), recipients, done: BTreeSet::new(), lazily_done: BTreeSet::new() };
                self.owed.insert(id, owed);
            }
            Err(_) => {
                self.maybe.insert(id, content);
            }
        }
        result
    }

    /// A random recipient of a random message is delivered.
    fn settle(&mut self) {
        let Some(id) = self.random.choice(self.owed.keys().copied().collect::<Vec<_>>()) else { return };
        let (Some(owed), Some(log)) = (self.owed.get_mut(&id), &self.log) else { return };
        let place = u16::try_from(self.random.usize(..owed.recipients)).unwrap();
        owed.lazily_done.insert(place);
        let progress = targets(owed.recipients, |place| owed.done.contains(&place) || owed.lazily_done.contains(&place));
        let finished = progress.iter().all(|target| target.status != Status::Pending);
        log.settle(id, progress);
        if finished {
            self.lazily_gone.insert(id);
            let owed = self.owed.remove(&id).map(|owed| owed.content);
            self.maybe.insert(id, owed.unwrap_or_default());
        }
    }

    async fn hold(&mut self) {
        let Some(id) = self.random.choice(self.owed.keys().copied().collect::<Vec<_>>()) else { return };
        let Some(log) = &self.log else { return };
        let held = self.random.bool();
        let confirmed = log.hold(id, held).await.is_ok();
        if let Some(owed) = self.owed.get_mut(&id) {
            owed.held = if confirmed || owed.held == Some(held) { Some(held) } else { None };
        }
        if confirmed {
            self.synced();
        }
    }

    async fn delete(&mut self) {
        let Some(id) = self.random.choice(self.owed.keys().copied().collect::<Vec<_>>()) else { return };
        let Some(log) = &self.log else { return };
        let result = log.delete(id).await;
        let content = self.owed.remove(&id).map(|owed| owed.content).unwrap_or_default();
        if result.is_ok() {
            self.synced();
            self.gone.insert(id);
        } else {
            self.maybe.insert(id, content);
        }
    }

    /// An answer came back from a sync: what was handed in before is durable too.
    fn synced(&mut self) {
        for id in std::mem::take(&mut self.lazily_gone) {
            self.maybe.remove(&id);
            self.gone.insert(id);
        }
        for owed in self.owed.values_mut() {
            owed.done.append(&mut owed.lazily_done);
        }
    }

    /// The power goes, the disk comes back, the queue is opened again, and is held against the model.
    pub async fn power_cut(&mut self, seed: u64) {
        let after = self.disk.power_cut(&mut self.random);
        // The old process has not survived either; what it still does reaches a disk that nobody reads.
        self.disk.die_after(0);
        drop(self.log.take());
        self.disk = after;
        self.reopen(seed).await;
    }

    /// The process is killed; what the kernel has taken stays visible, durable or not. Opened again, and held against the
    /// model.
    pub async fn kill(&mut self, seed: u64) {
        let after = self.disk.kill();
        self.disk.die_after(0);
        drop(self.log.take());
        self.disk = after;
        self.reopen(seed).await;
    }

    /// A clean stop and start.
    pub async fn restart(&mut self, seed: u64) {
        self.disk.heal();
        drop(self.log.take());
        self.synced();
        self.reopen(seed).await;
    }

    /// A clean stop, a bit of a segment or a content file turns over, and a start: at most one message may be missing, none
    /// may be changed.
    pub async fn flip_a_bit(&mut self, seed: u64) {
        drop(self.log.take());
        let prefix = if self.random.bool() { "log/" } else { "body/" };
        let Some(hit) = self.disk.flip_bit(prefix, &mut self.random) else { return };
        let log = open(&self.disk).unwrap_or_else(|error| panic!("seed {seed}, {hit}: {error}"));
        let mut lost = Vec::new();
        for (id, owed) in &self.owed {
            match log.load(*id).await {
                Ok(message) => {
                    assert!(message.body.head(usize::MAX).unwrap() == owed.content, "seed {seed}, {hit}: {id} is changed")
                }
                Err(SpoolError::Unknown | SpoolError::Damaged) => lost.push(*id),
                Err(error) => panic!("seed {seed}, {hit}: {id}: {error}"),
            }
        }
        assert!(lost.len() <= 1, "seed {seed}, {hit}: {lost:?} are lost");
        if let Some(id) = lost.first() {
            // The committer sets it aside and takes it off the queue.
            assert!(log.delete(*id).await.is_err(), "seed {seed}, {hit}: {id} is damaged and still in the queue");
            assert!(!self.disk.paths("corrupt/").is_empty(), "seed {seed}, {hit}: nothing was set aside");
        }
    }

    async fn reopen(&mut self, seed: u64) {
        let log = open(&self.disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        self.log = Some(log);
        self.check(seed).await;
    }

    /// What is in the queue now against what it owes.
    pub async fn check(&mut self, seed: u64) {
        let Some(log) = &self.log else { return };
        let present: BTreeSet<MessageId> = log.ids(None, usize::MAX).into_iter().collect();
        for id in self.owed.keys() {
            assert!(present.contains(id), "seed {seed}: {id} was answered 250 and is lost");
        }
        for id in &present {
            assert!(!self.gone.contains(id), "seed {seed}: {id} was finished and is back");
            let message = match log.load(*id).await {
                Ok(message) => message,
                Err(error) => panic!("seed {seed}: {id} is in the queue and cannot be read: {error}"),
            };
            let content = message.body.head(usize::MAX).unwrap();
            match (self.owed.get(id), self.maybe.get(id)) {
                (Some(owed), _) => {
                    assert!(content == owed.content, "seed {seed}: {id} came back changed");
                    assert!(owed.held.is_none_or(|held| held == message.held), "seed {seed}: {id} forgot whether it is held");
                    for (place, target) in (0u16..).zip(&message.progress) {
                        let known = owed.done.contains(&place);
                        assert!(
                            !known || target.status == Status::Delivered,
                            "seed {seed}: {id}/{place} would be delivered again"
                        );
                        let never = !known && !owed.lazily_done.contains(&place);
                        assert!(!never || target.status == Status::Pending, "seed {seed}: {id}/{place} was never delivered");
                    }
                }
                (None, Some(maybe)) => assert!(content == *maybe, "seed {seed}: {id} came back torn"),
                (None, None) => panic!("seed {seed}: {id} was never handed in"),
            }
        }
        // What chance let survive is owed from now on, with what is recorded of it.
        for id in present {
            let message = log.peek(id).await.unwrap();
            let recorded = recorded(&message);
            if let Some(content) = self.maybe.remove(&id) {
                self.lazily_gone.remove(&id);
                let recipients = message.progress.len();
                self.owed.insert(
                    id,
                    Owed { content, held: Some(message.held), recipients, done: recorded, lazily_done: BTreeSet::new() },
                );
            } else if let Some(owed) = self.owed.get_mut(&id) {
                owed.held = Some(message.held);
                owed.done = recorded;
                owed.lazily_done.clear();
            }
        }
        // The rest of it must not appear later.
        self.gone.extend(std::mem::take(&mut self.maybe).into_keys());
        self.lazily_gone.clear();
    }
}

fn recorded(message: &Message) -> BTreeSet<u16> {
    (0u16..).zip(&message.progress).filter(|(_, target)| target.status == Status::Delivered).map(|(place, _)| place).collect()
}

pub fn targets(recipients: usize, done: impl Fn(u16) -> bool) -> Vec<postern::mail::model::Progress> {
    use postern::mail::model::{Progress, Target};
    (0..u16::try_from(recipients).unwrap())
        .map(|place| {
            let status = if done(place) { Status::Delivered } else { Status::Pending };
            Progress { status, ..Progress::new(Target::Recipient(place)) }
        })
        .collect()
}

pub fn open(disk: &SimDisk) -> Result<SegmentLog, postern::mail::spool::OpenError> {
    let config = Config { segment_max: 1 << 20, lazy_sync: Duration::from_millis(5), housekeeping: Duration::from_millis(2) };
    SegmentLog::open(Arc::new(disk.clone()), config, Arc::new(Counters::new(&[]).unwrap()), &|_| {})
}

pub fn entry(recipients: usize) -> Entry {
    let recipients = (0..recipients).map(|n| Address::parse(&format!("r{n}@example.org")).unwrap()).collect();
    Entry {
        envelope: Envelope {
            sender: Address::parse("s@example.org").ok(),
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
        },
        origin: Origin { peer: None, helo: "test".into() },
        kind: Kind::Mail,
        copy: false,
    }
}
