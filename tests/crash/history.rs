//! Random histories of a queue, compared with a model of its guarantees.
//!
//! The model knows of every message whether it must be there, may be, or must not; which content it
//! has; and which of its states (progress, hold, delay warning) the queue may have after a crash:
//! those since the last confirmed sync.

mod check;
mod ends;
mod flip;

use crate::disk::{Events, SimDisk};
use crate::mail::model::{
    Address, BodyType, Destination, Envelope, Message, MessageId, MessageKind, Origin, Target,
    TargetProgress, TargetStatus,
};
use crate::mail::spool::counters::SpoolCounters;
use crate::mail::spool::{
    BUFFER_OWN, BUFFER_SHARED, INLINE_MAX, IncomingContent, OpenError, QueueEntry, SegmentLog,
    Spool, SpoolConfig, SpoolError,
};
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A queue on a disk, and what its users know about it.
pub struct History {
    pub world: World,
    pub disk: SimDisk,
    pub config: SpoolConfig,
    pub events: Events,
    seed: u64,
    log: Option<SegmentLog>,
    counters: Arc<SpoolCounters>,
    random: fastrand::Rng,
    mails: BTreeMap<MessageId, Mail>,
    /// Must never appear again.
    gone: BTreeSet<MessageId>,
    /// Reads have failed in this run, so a submitted change may be missing.
    reads_failed: bool,
}

/// What is known of one message.
struct Mail {
    content: Vec<u8>,
    presence: Presence,
    /// Its possible progress; the last is the newest.
    progress: Vec<Vec<TargetProgress>>,
    held: BTreeSet<bool>,
    told: BTreeSet<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Presence {
    /// Answered 250, and not finished.
    Owed,
    /// Finished; durable with the next confirmed sync.
    Leaving,
    /// Refused, or an order without an answer: may be there or not, but never torn.
    Maybe,
}

/// More octets than any history needs.
const ROOMY: u64 = 1 << 30;

/// Short segments are released often.
pub const SMALL: SpoolConfig = SpoolConfig {
    segment_max: 64 << 10,
    lazy_sync: Duration::from_millis(50),
    housekeeping: Duration::from_secs(1),
    spare_segments: 4,
    buffer_own: BUFFER_OWN,
    buffer_shared: BUFFER_SHARED,
};

impl History {
    pub fn new(seed: u64, capacity: u64, config: SpoolConfig) -> Self {
        Self::counted(seed, capacity, config, Events::default())
    }

    /// A history whose events are counted with others.
    pub fn counted(seed: u64, capacity: u64, config: SpoolConfig, events: Events) -> Self {
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

    /// One random action of a session, a delivery agent, an operator or the clock.
    pub fn step(&mut self) {
        match self.random.u8(..32) {
            0..=11 => drop(self.accept()),
            12..=20 => self.settle(),
            21..=22 => self.hold(),
            23 => self.note_delay_warning_sent(),
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
            .map(|(target, destination)| TargetProgress {
                destination: Some(destination.clone()),
                ..TargetProgress::new(target)
            })
            .collect::<Vec<_>>();
        let calm = self.is_calm();
        let Some(log) = &self.log else { return Ok(()) };
        if len > INLINE_MAX {
            // Its file is written by another thread; the committer must not run at the same time.
            self.world.let_run();
        }
        // Some clients disconnect without waiting; not while another thread writes their file.
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
        for target in progress.iter_mut().filter(|target| target.status == TargetStatus::Pending) {
            target.attempts += 1;
            match self.random.u8(..4) {
                0 => target.status = TargetStatus::Delivered,
                1 => {
                    (target.status, target.reason) =
                        (TargetStatus::Bounced, "550 5.1.1 no such user".to_owned())
                }
                _ if finishes => target.status = TargetStatus::Dropped,
                _ => {
                    target.due = self.random.u32(..);
                    target.reason = "451 4.2.1 später".repeat(self.random.usize(1..20));
                }
            }
        }
        let finished = progress.iter().all(|target| target.status != TargetStatus::Pending);
        self.events.tell(|| format!("{id}: settle, finished: {finished}"));
        log.settle(id, progress.clone());
        // A reader before the record is written must not send it again.
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

    fn note_delay_warning_sent(&mut self) {
        let Some(id) = self.choose() else { return };
        let (Some(mail), Some(log)) = (self.mails.get_mut(&id), &self.log) else { return };
        log.note_delay_warning_sent(id);
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

    /// A message is read: it must show what was submitted last, written or not.
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
            // Records lost by a failed sync are about to be written again.
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

    /// Whether an answer from now on means that everything submitted before is durable too: it has
    /// been written, as long as the volume works. Operations in one batch with the next order are
    /// left open.
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
}

/// Reads a message; the committer runs before and after, not at the same time.
pub fn load(world: &World, log: &SegmentLog, id: MessageId) -> Result<Message, SpoolError> {
    world.let_run();
    let result = world.drive(log.load(id));
    world.let_run();
    result
}

pub fn open(disk: &SimDisk, config: SpoolConfig) -> Result<SegmentLog, OpenError> {
    open_counted(disk, config, &SpoolCounters::alone().unwrap())
}

pub fn open_counted(
    disk: &SimDisk,
    config: SpoolConfig,
    counters: &Arc<SpoolCounters>,
) -> Result<SegmentLog, OpenError> {
    SegmentLog::open(Arc::new(disk.clone()), config, counters.clone(), &|_| {})
}

pub fn targets(recipients: usize) -> std::ops::Range<u16> {
    0..u16::try_from(recipients).unwrap()
}

pub fn entry(recipients: usize, copy: bool) -> QueueEntry {
    let copies = || Destination::Copy(Arc::new("[copies.example]:26".parse().unwrap()));
    let recipients: Vec<Address> =
        (0..recipients).map(|n| Address::parse(&format!("r{n}@bücher.example")).unwrap()).collect();
    QueueEntry {
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
            dsn: None,
        },
        origin: Origin { peer: None, helo: "test".into(), may_relay: false },
        kind: MessageKind::Mail,
        copy,
    }
}
