//! Couriers whose next hop takes its time.
//!
//! They are left alone while nobody wants their places. When others wait and more of them are slow than their share allows,
//! those go that have been slow for the longest: first those without a connection, then those in a dialogue. One that has
//! sent the end of data is not told to go, since its mail would be sent twice; it gives its place away and stays beyond the
//! others (overtime).

use super::DestinationId;
use super::shares::{STANDINGS, Standing};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// How far a slow courier has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It has no connection that is ready for mail.
    Connecting,
    /// The dialogue before the end of data.
    Talking,
    /// The end of data is sent, or about to be.
    Final,
}

/// A slow courier's own handle.
#[derive(Debug)]
pub struct Slow {
    /// Its number, never 0.
    pub ticket: u64,
    /// Rings when it is to give its next hop up.
    pub home: Arc<Notify>,
}

/// What became of a slow courier meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Stayed,
    /// It was told to go.
    ToldToGo,
    /// It gave its place away.
    Overtime,
}

/// A courier that makes room.
pub enum Relieved {
    /// It was told to go, and will.
    Goes,
    /// It works on without a place.
    Overtime(DestinationId),
}

/// Where a slow courier stands.
enum Place {
    In(Standing, Stage),
    ToldToGo(Standing),
    Overtime,
}

/// The slow couriers of one standing by stage, those first that have been slow the longest.
type Line = BTreeMap<(Stage, u64), (DestinationId, Arc<Notify>)>;

/// All slow couriers.
#[derive(Default)]
pub struct Slowpokes {
    last: u64,
    lines: [Line; STANDINGS],
    places: BTreeMap<u64, Place>,
    /// Told to go, and not gone yet.
    leaving: [usize; STANDINGS],
    overtime: usize,
}

impl Slowpokes {
    pub fn add(&mut self, id: DestinationId, standing: Standing, stage: Stage) -> Slow {
        self.last += 1;
        let slow = Slow { ticket: self.last, home: Arc::default() };
        self.places.insert(slow.ticket, Place::In(standing, stage));
        self.lines[standing as usize].insert((stage, slow.ticket), (id, slow.home.clone()));
        slow
    }

    /// It has come to another stage. `false`: it was told to go, and must not begin what cannot be taken back; or it gave its
    /// place away to wait for one answer, and must begin nothing at all.
    pub fn advance(&mut self, ticket: u64, stage: Stage) -> bool {
        match self.places.get_mut(&ticket) {
            Some(Place::In(standing, old)) => {
                let line = &mut self.lines[*standing as usize];
                if let Some(entry) = line.remove(&(*old, ticket)) {
                    line.insert((stage, ticket), entry);
                }
                *old = stage;
                true
            }
            Some(Place::Overtime) => stage == Stage::Final,
            Some(Place::ToldToGo(_)) | None => false,
        }
    }

    /// It is slow no more.
    pub fn remove(&mut self, ticket: u64) -> Fate {
        match self.places.remove(&ticket) {
            Some(Place::In(standing, stage)) => {
                self.lines[standing as usize].remove(&(stage, ticket));
                Fate::Stayed
            }
            Some(Place::Overtime) => {
                self.overtime -= 1;
                Fate::Overtime
            }
            Some(Place::ToldToGo(standing)) => {
                self.leaving[standing as usize] -= 1;
                Fate::ToldToGo
            }
            None => Fate::Stayed,
        }
    }

    /// How many of a standing are slow and were not told to go.
    pub fn len(&self, standing: Standing) -> usize {
        self.lines[standing as usize].len()
    }

    /// How many of a standing were told to go and have not gone yet.
    pub fn leaving(&self, standing: Standing) -> usize {
        self.leaving[standing as usize]
    }

    /// How many work beyond the others.
    pub fn overtime(&self) -> usize {
        self.overtime
    }

    /// One of this standing makes room. `None`: there is nobody who could.
    pub fn relieve(&mut self, standing: Standing, may_overtime: bool) -> Option<Relieved> {
        let line = &mut self.lines[standing as usize];
        let first = |stage| line.range((stage, 0)..=(stage, u64::MAX)).next().map(|(key, _)| *key);
        let at_the_end = if may_overtime { first(Stage::Final) } else { None };
        let key = first(Stage::Connecting).or(at_the_end).or_else(|| first(Stage::Talking))?;
        let (id, home) = line.remove(&key)?;
        if key.0 == Stage::Final {
            self.overtime += 1;
            self.places.insert(key.1, Place::Overtime);
            return Some(Relieved::Overtime(id));
        }
        home.notify_one();
        self.leaving[standing as usize] += 1;
        self.places.insert(key.1, Place::ToldToGo(standing));
        Some(Relieved::Goes)
    }
}
