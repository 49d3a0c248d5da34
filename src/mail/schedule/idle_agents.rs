//! Idle delivery agents, which wait for work with an open connection; those that have been idle the
//! longest come first.
//!
//! When all agents are in use and other destinations need one, some idle agents must stop. An agent
//! that has been idle for a while stops at once. Of those that get work again and again at most
//! [`RELIEVED_MAX`] a second stop, so that all mail moves on and most of it still uses open
//! connections. (To stop only the longest idle would not do: with a thousand destinations in turn
//! each mail would need a new connection.)

use super::job::DestinationId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Agents a second that are stopped although they are idle only for moments.
pub const RELIEVED_MAX: u32 = 100;

/// An idle agent, and what wakes it.
pub struct IdleAgent {
    pub(super) ticket: u64,
    /// There is work for its destination.
    pub work_notify: Arc<Notify>,
    /// Its slot is needed elsewhere: the agent stops.
    pub stop_notify: Arc<Notify>,
}

/// All idle agents.
#[derive(Default)]
pub struct IdleAgents {
    next: u64,
    waiting: BTreeMap<u64, (DestinationId, Arc<Notify>)>,
    /// Those that were asked to stop and may not have ended yet.
    leaving: usize,
    /// How many were stopped in which second.
    relieved: (u32, u32),
}

impl IdleAgents {
    pub fn add(&mut self, id: DestinationId, work_notify: Arc<Notify>) -> IdleAgent {
        self.next += 1;
        let stop_notify = Arc::<Notify>::default();
        self.waiting.insert(self.next, (id, stop_notify.clone()));
        IdleAgent { ticket: self.next, work_notify, stop_notify }
    }

    /// It is idle no more. `false`: it was asked to stop.
    pub fn remove(&mut self, waiting: &IdleAgent) -> bool {
        self.waiting.remove(&waiting.ticket).is_some()
    }

    /// Whether it has not been asked to stop.
    #[cfg(test)]
    pub fn is_waiting(&self, waiting: &IdleAgent) -> bool {
        self.waiting.contains_key(&waiting.ticket)
    }

    /// Whether an idle agent may be stopped when so many destinations want a slot.
    pub fn can_relieve(&self, wanted: usize, now: u32) -> bool {
        let spent = self.relieved.0 == now && self.relieved.1 >= RELIEVED_MAX;
        self.leaving < wanted && !self.waiting.is_empty() && !spent
    }

    /// Asks the agent that has been idle the longest to stop; gives its destination.
    pub fn relieve(&mut self, now: u32) -> Option<DestinationId> {
        let (_, (id, stop_notify)) = self.waiting.pop_first()?;
        stop_notify.notify_one();
        self.leaving += 1;
        self.relieved = if self.relieved.0 == now { (now, self.relieved.1 + 1) } else { (now, 1) };
        Some(id)
    }

    /// An agent that has been idle for a while stops by itself when so many destinations want a
    /// slot.
    pub fn yield_slot(&mut self, waiting: &IdleAgent, wanted: usize) -> bool {
        let goes = self.leaving < wanted && self.waiting.remove(&waiting.ticket).is_some();
        self.leaving += usize::from(goes);
        goes
    }

    /// An idle agent has ended, or works on although it was asked to stop.
    pub fn has_left(&mut self) {
        self.leaving = self.leaving.saturating_sub(1);
    }
}
