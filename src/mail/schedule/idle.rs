//! Couriers that wait for work with an open connection, those that have waited the longest first.
//!
//! When all couriers are out and other destinations want one, some must go home. Who has waited for
//! a while goes at once; of those that have work again and again at most [`RELIEVED_MAX`] a second
//! go, so that everybody's mail moves on and most of it still goes over connections that are open.
//! (The longest waiting alone would not do: a thousand destinations in turn would make a connection
//! for each mail.)

use super::job::DestinationId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Couriers a second that are sent home although they hardly wait.
pub const RELIEVED_MAX: u32 = 100;

/// A courier that waits: what it is rung by.
pub struct Waiting {
    pub(super) ticket: u64,
    /// There is work for its destination.
    pub bell: Arc<Notify>,
    /// Others need its place more than its destination needs a connection without work.
    pub home: Arc<Notify>,
}

/// All that wait.
#[derive(Default)]
pub struct Idlers {
    next: u64,
    waiting: BTreeMap<u64, (DestinationId, Arc<Notify>)>,
    /// Those that were told to go home and may not have gone yet.
    leaving: usize,
    /// How many were sent home in which second.
    relieved: (u32, u32),
}

impl Idlers {
    pub fn add(&mut self, id: DestinationId, bell: Arc<Notify>) -> Waiting {
        self.next += 1;
        let home = Arc::<Notify>::default();
        self.waiting.insert(self.next, (id, home.clone()));
        Waiting { ticket: self.next, bell, home }
    }

    /// It waits no more. `false`: it was told to go home.
    pub fn remove(&mut self, waiting: &Waiting) -> bool {
        self.waiting.remove(&waiting.ticket).is_some()
    }

    /// Whether it has not been told to go home.
    #[cfg(test)]
    pub fn is_waiting(&self, waiting: &Waiting) -> bool {
        self.waiting.contains_key(&waiting.ticket)
    }

    /// Whether somebody may be told to go home for so many that want a place.
    pub fn can_relieve(&self, wanted: usize, now: u32) -> bool {
        let spent = self.relieved.0 == now && self.relieved.1 >= RELIEVED_MAX;
        self.leaving < wanted && !self.waiting.is_empty() && !spent
    }

    /// Tells the one that has waited the longest to go home; whose it is.
    pub fn relieve(&mut self, now: u32) -> Option<DestinationId> {
        let (_, (id, home)) = self.waiting.pop_first()?;
        home.notify_one();
        self.leaving += 1;
        self.relieved = if self.relieved.0 == now { (now, self.relieved.1 + 1) } else { (now, 1) };
        Some(id)
    }

    /// One that has waited for a while goes by itself, where so many want a place.
    pub fn give_way(&mut self, waiting: &Waiting, wanted: usize) -> bool {
        let goes = self.leaving < wanted && self.waiting.remove(&waiting.ticket).is_some();
        self.leaving += usize::from(goes);
        goes
    }

    /// A courier has gone home, or works on although it was told to.
    pub fn has_left(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }
}
