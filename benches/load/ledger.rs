//! The record of each mail of the run: when its content was written, when 250 was read, when the
//! sink had it.
//!
//! Written by two threads, read at the end. Times are nanoseconds on one clock; 0 means not yet.

use crate::mail::Id;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

pub struct Ledger {
    pub run: u32,
    clock: Instant,
    mails: Vec<Times>,
    answers: AtomicU64,
    /// Mails of this run, each counted once.
    arrivals: AtomicU64,
    duplicates: AtomicU64,
    /// Mails without an id of this run.
    foreign: AtomicU64,
    last_arrival: AtomicU64,
    /// The generator will send no more; its number of 250 replies is final.
    all_sent: AtomicBool,
}

#[derive(Default)]
struct Times {
    written: AtomicU64,
    answered: AtomicU64,
    arrived: AtomicU64,
}

impl Ledger {
    pub fn new(messages: u32) -> Self {
        Self {
            run: fastrand::u32(..),
            clock: Instant::now(),
            mails: (0..messages).map(|_| Times::default()).collect(),
            answers: AtomicU64::new(0),
            arrivals: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            foreign: AtomicU64::new(0),
            last_arrival: AtomicU64::new(0),
            all_sent: AtomicBool::new(false),
        }
    }

    /// Nanoseconds since the run began, never 0.
    pub fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    pub fn written(&self, number: u32) {
        self.mails[number as usize].written.store(self.now(), Relaxed);
    }

    pub fn answered(&self, number: u32, now: u64) {
        self.mails[number as usize].answered.store(now, Relaxed);
        self.answers.fetch_add(1, Relaxed);
    }

    pub fn arrived(&self, id: Option<Id>) {
        let now = self.now();
        self.last_arrival.store(now, Relaxed);
        let mail = id
            .filter(|(run, _)| *run == self.run)
            .and_then(|(_, number)| self.mails.get(number as usize));
        match mail {
            Some(mail) if mail.arrived.load(Relaxed) == 0 => {
                mail.arrived.store(now, Relaxed);
                self.arrivals.fetch_add(1, Relaxed);
            }
            Some(_) => drop(self.duplicates.fetch_add(1, Relaxed)),
            None => drop(self.foreign.fetch_add(1, Relaxed)),
        }
    }

    pub fn close(&self) {
        self.all_sent.store(true, Relaxed);
    }

    /// Nothing more will come: all confirmed mails have arrived.
    pub fn is_complete(&self) -> bool {
        self.all_sent.load(Relaxed) && self.arrivals() >= self.answers()
    }

    pub fn is_all_sent(&self) -> bool {
        self.all_sent.load(Relaxed)
    }

    pub fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    pub fn arrivals(&self) -> u64 {
        self.arrivals.load(Relaxed)
    }

    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Relaxed)
    }

    pub fn foreign(&self) -> u64 {
        self.foreign.load(Relaxed)
    }

    pub fn last_arrival(&self) -> u64 {
        self.last_arrival.load(Relaxed)
    }

    /// Mails that were confirmed and never arrived.
    pub fn lost(&self) -> u64 {
        self.mails
            .iter()
            .filter(|mail| mail.answered.load(Relaxed) > 0 && mail.arrived.load(Relaxed) == 0)
            .count() as u64
    }

    /// For each mail that arrived: when it was written, answered, and had arrived.
    pub fn times(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let times = self.mails.iter().map(|mail| {
            (mail.written.load(Relaxed), mail.answered.load(Relaxed), mail.arrived.load(Relaxed))
        });
        times.filter(|(written, answered, arrived)| *written > 0 && *answered > 0 && *arrived > 0)
    }

    /// The ids that were answered with 250.
    pub fn acknowledged(&self) -> impl Iterator<Item = Id> + '_ {
        let answered =
            self.mails.iter().zip(0u32..).filter(|(mail, _)| mail.answered.load(Relaxed) > 0);
        answered.map(|(_, number)| (self.run, number))
    }
}
