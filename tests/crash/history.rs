//! Random histories of a queue against a model of what it owes.
//!
//! The model knows of every message whether it must be there, may be, or must not; which content it
//! has; and which words about it (progress, hold, delay notice) the queue may still know after a
//! crash: those since the last answered sync.

mod check;
mod flip;

use crate::disk::{Events, SimDisk};
use crate::mail::model::{
    Address, BodyType, Destination, Envelope, Kind, Message, MessageId, Origin, Progress, Status,
    Target,
};
use crate::mail::spool::counters::SpoolCounters;
use crate::mail::spool::{
    Config, Entry, INLINE_MAX, LENDABLE, OWN, OpenError, SegmentLog, Spool, SpoolError, Writer,
};
use crate::world::World;
use postern::ground::disk::is_full;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A queue on a disk, and what its users know about it.
pub struct History {
    pub world: World,
    pub disk: SimDisk,
    pub config: Config,
    pub events: Events,
    seed: u64,
    log: Option<SegmentLog>,
    counters: Arc<SpoolCounters>,
    random: fastrand::Rng,
    mails: BTreeMap<MessageId, Mail>,
    /// Must never be seen again.
    gone: BTreeSet<MessageId>,
    /// Reads have failed in this life of the queue, so that what it was told to note may not be
    /// noted.
    reads_failed: bool,
}

/// What is known of one message.
struct Mail {
    content: Vec<u8>,
    presence: Presence,
    /// What its progress may be; the last is the newest.
    progress: Vec<Vec<Progress>>,
    held: BTreeSet<bool>,
    told: BTreeSet<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// Answered 250, and not finished.
    Owed,
    /// Finished; durable with the next answered sync.
    Leaving,
    /// Refused, or an order without an answer: may be there or not, but never torn.
    Maybe,
}

/// Octets that no history fills.
const ROOMY: u64 = 1 << 30;

/// Short segments turn over often.
pub const SMALL: Config = Config {
    segment_max: 64 << 10,
    lazy_sync: Duration::from_millis(50),
    housekeeping: Duration::from_secs(1),
    slack: 4,
    own: OWN,
    lendable: LENDABLE,
};

impl History {
    pub fn new(seed: u64, capacity: u64, config: Config) -> Self {
        Self::counted(seed, capacity, config, Events::default())
    }

    /// A history whose events are counted with others.
    pub fn counted(seed: u64, capacity: u64, config: Config, events: Events) -> Self {
        let world = World::enter_new(seed);
        let mut random = fastrand::Rng::with_seed(seed);
        let disk = SimDisk::new(capacity, random.u64(..), events.clone());
        let counters = SpoolCounters::alone().unwrap();
        let log = open_counted(&disk, config, &counters)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        Self {
            world,
            disk,
            config,
            events,
            seed,
            log: Some(log),
            counters,
            random,
            mails: BTreeMap::new(),
            gone: BTreeSet::new(),
            reads_failed: false,
        }
    }

    pub fn random(&mut self) -> &mut fastrand::Rng {
        &mut self.random
    }

    pub fn owed(&self) -> usize {
        self.mails.values().filter(|mail| mail.presence == Presence::Owed).count()
    }

    /// A random number of random acts.
    pub fn live(&mut self, acts: std::ops::Range<usize>) {
        for _ in 0..self.random.usize(acts) {
            self.step();
        }
    }

    /// One random act of a session, a courier, an operator or the clock.
    pub fn step(&mut self) {
        match self.random.u8(..32) {
            0..=11 => drop(self.accept()),
            12..=20 => self.settle(),
            21..=22 => self.hold(),
            23 => self.delay_told(),
            24..=25 => self.delete(),
            26..=27 => self.look(),
            28 => drop(self.world.let_run()),
            29..=30 => self.world.pass(Duration::from_millis(60)),
            _ => self.world.pass(Duration::from_millis(1100)),
        }
    }

    pub fn accept(&mut self) -> Result<(), SpoolError> {
        let len = match self.random.u8(..24) {
            0 => 0,
            1 => self.random.usize(66_000..400_000),
            2..=5 => self.random.usize(..20_000),
            _ => self.random.usize(..2_000),
        };
        let mut content = vec![0; len];
        self.random.fill(&mut content);
        let recipients = self.random.usize(1..5);
        let entry = entry(recipients, self.random.bool());
        let progress = entry.copy.then_some(Target::Copy);
        let progress = targets(recipients)
            .map(Target::Recipient)
            .chain(progress)
            .zip(&entry.destinations)
            .map(|(target, destination)| Progress {
                destination: Some(destination.clone()),
                ..Progress::new(target)
            })
            .collect::<Vec<_>>();
        let calm = self.is_calm();
        let Some(log) = &self.log else { return Ok(()) };
        if len > INLINE_MAX {
            // Its file is written by another thread; the committer must not run beside that.
            self.world.let_run();
        }
        // Some clients wait for nothing; not while another thread writes their file.
        let gives_up = len <= INLINE_MAX && content.first().is_some_and(|octet| *octet < 12);
        let mut writer = log.begin();
        let id = writer.id();
        let result = self.world.drive(async {
            for piece in content.chunks(10_000) {
                writer.write(piece).await?;
            }
            let committed = if gives_up {
                log.commit_within(entry, writer, async {}).await
            } else {
                log.commit(entry, writer).await
            };
            committed.map(|message| assert_eq!(message.id, id))
        });
        let presence = match &result {
            Ok(()) => {
                self.events.count(if len > INLINE_MAX {
                    "accepted with a file"
                } else {
                    "accepted"
                });
                self.synced(calm);
                Presence::Owed
            }
            Err(SpoolError::Slow(_)) => {
                self.events.count("given up");
                Presence::Maybe
            }
            Err(_) => {
                self.events.count("refused");
                Presence::Maybe
            }
        };
        self.events.tell(|| format!("{id}: {presence:?}, {result:?}"));
        let mail = Mail {
            content,
            presence,
            progress: vec![progress],
            held: [false].into(),
            told: [false].into(),
        };
        self.mails.insert(id, mail);
        result
    }

    /// Some targets of a random message are delivered or fail, others have to wait.
    fn settle(&mut self) {
        let Some(id) = self.choose() else { return };
        let (Some(mail), Some(log)) = (self.mails.get_mut(&id), &self.log) else { return };
        let mut progress = mail.progress.last().cloned().unwrap_or_default();
        let finishes = self.random.u8(..3) == 0;
        for target in progress.iter_mut().filter(|target| target.status == Status::Pending) {
            target.attempts += 1;
            match self.random.u8(..4) {
                0 => target.status = Status::Delivered,
                1 => {
                    (target.status, target.reason) =
                        (Status::Failed, "550 5.1.1 no such user".to_owned())
                }
                _ if finishes => target.status = Status::Dropped,
                _ => {
                    target.due = self.random.u32(..);
                    target.reason = "451 4.2.1 später".repeat(self.random.usize(1..20));
                }
            }
        }
        let finished = progress.iter().all(|target| target.status != Status::Pending);
        self.events.tell(|| format!("{id}: settle, finished: {finished}"));
        log.settle(id, progress.clone());
        // Whoever reads it now, before the record is written, must not send it again.
        if let Ok(message) = self.world.drive(log.peek(id)) {
            assert_eq!(
                message.progress, progress,
                "seed {}: {id}: what was just settled is not seen",
                self.seed
            );
        }
        if finished {
            mail.presence = Presence::Leaving;
            self.events.count("finished");
        } else {
            mail.progress.push(progress);
            self.events.count("progress noted");
        }
        if self.random.bool() {
            self.world.let_run();
        }
    }

    fn hold(&mut self) {
        let Some(id) = self.choose() else { return };
        let calm = self.is_calm();
        let (Some(mail), Some(log)) = (self.mails.get_mut(&id), &self.log) else { return };
        let held = self.random.bool();
        let result = self.world.drive(log.hold(id, held));
        self.events.tell(|| format!("{id}: hold {held}: {result:?}"));
        if result.is_ok() {
            mail.held = [held].into();
            self.events.count(if held { "held" } else { "released" });
            self.synced(calm);
        } else {
            mail.held.insert(held);
            self.events.count("an order was refused");
        }
    }

    fn delay_told(&mut self) {
        let Some(id) = self.choose() else { return };
        let (Some(mail), Some(log)) = (self.mails.get_mut(&id), &self.log) else { return };
        log.delay_told(id);
        mail.told.insert(true);
        self.events.count("delay told");
    }

    fn delete(&mut self) {
        let Some(id) = self.choose() else { return };
        let calm = self.is_calm();
        let (Some(mail), Some(log)) = (self.mails.get_mut(&id), &self.log) else { return };
        let result = self.world.drive(log.delete(id));
        self.events.tell(|| format!("{id}: delete: {result:?}"));
        match result {
            Ok(()) => {
                self.mails.remove(&id);
                self.gone.insert(id);
                self.events.count("deleted");
                self.synced(calm);
            }
            Err(_) => {
                mail.presence = Presence::Maybe;
                self.events.count("an order was refused");
            }
        }
    }

    /// Somebody looks at a message: what was handed in last is what they see, written or not.
    fn look(&mut self) {
        let Some(id) = self.choose() else { return };
        let (Some(mail), Some(log)) = (self.mails.get(&id), &self.log) else { return };
        let well = log.ready().is_ok();
        match load(&self.world, log, id) {
            Ok(message) => {
                let what =
                    self.differs(id, mail, &message, &mail.progress[mail.progress.len() - 1..]);
                assert!(what.is_none(), "seed {}: {id}: {}", self.seed, what.unwrap_or_default());
                self.events.count("read back");
            }
            // What a sync that failed has lost is about to be written anew.
            Err(SpoolError::Failed(_)) if self.reads_failed || !well || log.ready().is_err() => {}
            Err(error) => {
                panic!("seed {}: {id} is in the queue and cannot be read: {error}", self.seed)
            }
        }
    }

    fn choose(&mut self) -> Option<MessageId> {
        let owed = self
            .mails
            .iter()
            .filter(|(_, mail)| mail.presence == Presence::Owed)
            .map(|(id, _)| *id);
        self.random.choice(owed.collect::<Vec<_>>())
    }

    /// Whether an answer from now on means that everything handed in before is durable too: it has
    /// been written, as long as the volume is well. What else is in one batch with the next order
    /// is left open.
    fn is_calm(&mut self) -> bool {
        self.random.bool() && {
            self.world.let_run();
            self.log.as_ref().is_some_and(|log| log.ready().is_ok())
        }
    }

    /// An answer came back from a sync.
    fn synced(&mut self, calm: bool) {
        if calm && self.log.as_ref().is_some_and(|log| log.ready().is_ok()) {
            self.all_is_durable();
        }
    }

    fn all_is_durable(&mut self) {
        let leaving = self.mails.extract_if(.., |_, mail| mail.presence == Presence::Leaving);
        self.gone.extend(leaving.map(|(id, _)| id));
        for mail in self.mails.values_mut().filter(|mail| mail.presence == Presence::Owed) {
            mail.progress.drain(..mail.progress.len() - 1);
            if mail.told.contains(&true) && !self.reads_failed {
                mail.told = [true].into();
            }
        }
    }

    /// The power goes, the disk comes back, the queue is opened again, and is held against the
    /// model.
    pub fn power_cut(&mut self) {
        self.events.count("power cut");
        let after = self.disk.power_cut();
        self.end(after);
        self.reopen();
    }

    /// The process is killed; what the kernel has taken stays visible, durable or not. Opened
    /// again, and held against the model.
    pub fn kill(&mut self) {
        self.events.count("kill");
        let after = self.disk.kill();
        self.end(after);
        self.reopen();
    }

    /// A clean stop and start.
    pub fn restart(&mut self) {
        self.events.count("clean restart");
        self.disk.heal();
        self.close();
        self.reopen();
    }

    /// The power goes, or the process is killed, while the queue is being opened, again and again.
    pub fn crash_in_recovery(&mut self) {
        let mut after = self.disk.power_cut();
        for _ in 0..self.random.usize(1..4) {
            self.end(after);
            let calls = self.random.u64(..40);
            self.disk.die_after(calls);
            self.events.count(match open_counted(&self.disk, self.config, &self.counters) {
                Ok(log) => {
                    self.log = Some(log);
                    "crash right after a recovery"
                }
                Err(_) => "crash in a recovery",
            });
            after = if self.random.bool() { self.disk.power_cut() } else { self.disk.kill() };
        }
        self.end(after);
        self.reopen();
    }

    /// Calls fail while the queue is being opened. It may refuse to, but must not think less of
    /// what it owes.
    pub fn trouble_in_recovery(&mut self) {
        let after = if self.random.bool() { self.disk.power_cut() } else { self.disk.kill() };
        self.end(after);
        let error = self.some_error();
        let (calls, times) = (self.random.u64(..20), self.random.u64(1..4));
        self.disk.fail_after(calls, times, error);
        match open_counted(&self.disk, self.config, &self.counters) {
            Ok(log) => {
                self.log = Some(log);
                self.events.count("opened in spite of errors");
                self.check();
                self.disk.heal();
                self.distrust();
            }
            Err(_) => {
                self.events.count("refused to open");
                self.disk.heal();
                self.reopen();
            }
        }
    }

    /// Blocks cannot be read for the time of one recovery. What is served is whole; what is not
    /// comes back.
    pub fn unreadable_in_recovery(&mut self) {
        self.close();
        self.disk = self.disk.kill();
        let reads = self.random.u64(..12);
        self.disk.fail_reads_after(reads);
        match open_counted(&self.disk, self.config, &self.counters) {
            Ok(log) => {
                self.events.count("opened with blocks that cannot be read");
                for id in log.ids(None, usize::MAX) {
                    if let (Ok(message), Some(mail)) =
                        (load(&self.world, &log, id), self.mails.get(&id))
                    {
                        let content = message.body.head(usize::MAX);
                        assert!(
                            content.is_err()
                                || content.is_ok_and(|content| content == mail.content),
                            "seed {}: {id} is changed",
                            self.seed
                        );
                    }
                }
                self.world.pass(Duration::from_secs(3));
                drop(log);
            }
            Err(_) => self.events.count("refused to open"),
        }
        self.disk.heal();
        self.reopen();
    }

    /// Errors at some calls, for a while; then the disk is well again, and so must be the queue.
    pub fn trouble(&mut self) {
        match self.random.u8(..8) {
            0..=2 => {
                let (syncs, lies) = (self.random.u64(..12), self.random.bool());
                self.disk.fail_sync_after(syncs, lies);
            }
            3..=5 => {
                let error = self.some_error();
                let (calls, times) = (self.random.u64(..40), self.random.u64(1..12));
                self.disk.fail_after(calls, times, error);
            }
            _ => {
                self.reads_failed = true;
                let reads = self.random.u64(..20);
                self.disk.fail_reads_after(reads);
            }
        }
    }

    /// The disk is well again, and so is the queue, by itself; unless the power had gone.
    pub fn recover(&mut self) {
        self.disk.heal();
        if self.disk.is_dead() {
            return self.power_cut();
        }
        self.disk.set_capacity(ROOMY);
        self.world.pass(Duration::from_secs(4));
        self.events.count("well again by itself");
        loop {
            match self.accept() {
                Ok(()) => return,
                // A client that waits for nothing says nothing of the queue.
                Err(SpoolError::Slow(_)) => {}
                Err(error) => {
                    panic!("seed {}: the disk is well, the queue is not: {error}", self.seed)
                }
            }
        }
    }

    /// The end of a history: what is in the queue is finished, and its room comes back.
    pub fn clear(&mut self) {
        self.disk.set_capacity(ROOMY);
        self.restart();
        self.world.pass(Duration::from_secs(4));
        let Some(log) = &self.log else { return };
        for id in log.ids(None, usize::MAX) {
            let result = self.world.drive(log.delete(id));
            assert!(result.is_ok(), "seed {}: {id} does not go: {result:?}", self.seed);
        }
        self.gone.extend(std::mem::take(&mut self.mails).into_keys());
        assert_eq!(
            log.totals(),
            (0, 0, 0),
            "seed {}: the queue is empty, its sums are not",
            self.seed
        );
        let segments = self.disk.paths("log/");
        assert!(
            segments.len() <= 1,
            "seed {}: the queue is empty and keeps {segments:?}",
            self.seed
        );
        self.restart();
    }

    /// The process is gone; the next one finds this disk.
    fn end(&mut self, after: SimDisk) {
        self.count_copies();
        drop(self.log.take());
        self.disk = after;
    }

    fn count_copies(&self) {
        if self.counters.spool_copied_bytes_total.get() > 0 {
            self.counters.spool_copied_bytes_total.reset();
            self.events.count("records were copied forward");
        }
    }

    fn close(&mut self) {
        let Some(log) = self.log.take() else { return };
        self.count_copies();
        if log.close() {
            self.all_is_durable();
        } else {
            self.events.count("closed without its last sync");
        }
        drop(log);
        // A process that ended leaves no open files.
        self.disk = self.disk.kill();
    }

    fn reopen(&mut self) {
        self.reads_failed = false;
        let kept = self.disk.paths("corrupt/").len();
        let log = match open_counted(&self.disk, self.config, &self.counters) {
            // Every start needs a new segment; the reserve is enough for one. Then somebody has to
            // make room.
            Err(OpenError::Disk(error)) if is_full(&error) => {
                self.events.count("refused to open, being full");
                self.disk.set_capacity(ROOMY);
                open_counted(&self.disk, self.config, &self.counters)
            }
            other => other,
        };
        let log = log.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        let set_aside = self.disk.paths("corrupt/");
        for name in &set_aside[kept.min(set_aside.len())..] {
            self.events.count(match name.rsplit_once('.') {
                Some((_, "tail")) => "recovery: an unfinished write set aside",
                Some((_, "seg")) => "recovery: a segment set aside",
                Some((_, "eml")) => "recovery: a content set aside",
                _ => "recovery: a damaged record set aside",
            });
        }
        self.events.count("recovery");
        self.log = Some(log);
        self.check();
        self.distrust();
    }

    /// On a disk that lies, what a new process has read may not be there any more after the power
    /// was gone, and nobody could know: the power goes at once.
    fn distrust(&mut self) {
        if self.disk.lies() {
            self.events.count("recovery on a disk that lies");
            let after = self.disk.power_cut();
            self.end(after);
            self.reopen();
        }
    }

    fn some_error(&mut self) -> std::io::ErrorKind {
        if self.random.bool() { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::Other }
    }
}

/// Reads a message; the committer runs before and after, not beside.
pub fn load(world: &World, log: &SegmentLog, id: MessageId) -> Result<Message, SpoolError> {
    world.let_run();
    let result = world.drive(log.load(id));
    world.let_run();
    result
}

pub fn open(disk: &SimDisk, config: Config) -> Result<SegmentLog, OpenError> {
    open_counted(disk, config, &SpoolCounters::alone().unwrap())
}

pub fn open_counted(
    disk: &SimDisk,
    config: Config,
    counters: &Arc<SpoolCounters>,
) -> Result<SegmentLog, OpenError> {
    SegmentLog::open(Arc::new(disk.clone()), config, counters.clone(), &|_| {})
}

pub fn targets(recipients: usize) -> std::ops::Range<u16> {
    0..u16::try_from(recipients).unwrap()
}

pub fn entry(recipients: usize, copy: bool) -> Entry {
    let copies = || Destination::Copy(Arc::new("[copies.example]:26".parse().unwrap()));
    let recipients: Vec<Address> =
        (0..recipients).map(|n| Address::parse(&format!("r{n}@bücher.example")).unwrap()).collect();
    Entry {
        destinations: recipients
            .iter()
            .map(Destination::domain_of)
            .chain(copy.then(copies))
            .collect(),
        envelope: Envelope {
            sender: Address::parse("s@example.org").ok(),
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
        },
        origin: Origin { peer: None, helo: "test".into() },
        kind: Kind::Mail,
        copy,
    }
}
