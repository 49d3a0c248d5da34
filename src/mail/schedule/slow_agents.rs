//! Delivery agents whose next hop is slow.
//!
//! They continue while their slots are not needed. When others wait and a reputation class has more
//! slow agents than its share, agents stop of the client that has the most of them. When mail of a
//! client waits because the client, or its sender, has all the agents that it may have, agents of
//! that client stop, those for the worst reputation first. In both cases the agents that have been
//! slow the longest stop first, and those without a connection before the others. An agent that has
//! sent the end of data is not stopped, since its mail would be sent twice; it releases its slot
//! and continues beyond the limit (overtime). This is done before an agent in a dialogue is
//! stopped.

use super::job::DestinationId;
use super::job_source::TAGS;
use super::shares::{DestinationReputation, OVERTIME_CLIENT_TIMES_FREE, STANDINGS, Shares};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// How far a slow agent has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentStage {
    /// It has no connection that is ready for mail.
    Connecting,
    /// The dialogue before the end of data.
    Talking,
    /// The end of data is sent, or about to be.
    Final,
}

/// The handle of a slow agent.
#[derive(Debug)]
pub struct SlowAgent {
    /// Its number, never 0.
    pub ticket: u64,
    /// Notified when the agent must abort its attempt.
    pub stop_notify: Arc<Notify>,
}

/// What happened to a slow agent meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowOutcome {
    /// Nothing.
    Stayed,
    /// It was asked to stop.
    ToldToGo,
    /// It released its slot.
    Overtime,
}

/// An agent that frees its slot.
pub enum RelievedAgent {
    /// It was asked to stop, and will.
    Goes,
    /// It works on without a slot; the slot belonged to its destination and counted for this
    /// client.
    Overtime(DestinationId, u8),
}

/// Where a slow agent is listed.
enum Place {
    In(DestinationReputation, u8, AgentStage),
    ToldToGo(DestinationReputation, u8),
    Overtime(DestinationReputation, u8),
}

/// The slow agents of one reputation by client and stage, those that have been slow the longest
/// first.
type Line = BTreeMap<(u8, AgentStage, u64), (DestinationId, Arc<Notify>)>;

/// Slow agents of a client: before the end of data, and after it.
#[derive(Clone, Copy, Default)]
struct Count {
    early: u32,
    last: u32,
}

impl Count {
    fn of(&mut self, stage: AgentStage) -> &mut u32 {
        if stage == AgentStage::Final { &mut self.last } else { &mut self.early }
    }
}

/// All slow agents.
pub struct SlowAgents {
    last: u64,
    lines: [Line; STANDINGS],
    counts: Box<[[Count; TAGS]; STANDINGS]>,
    slots: BTreeMap<u64, Place>,
    /// Asked to stop and not ended yet: for each reputation class, and for each client.
    leaving: [usize; STANDINGS],
    leaving_of: Box<[u32; TAGS]>,
    /// Beyond the limit: for each reputation class, and for each client.
    overtime: [u32; STANDINGS],
    overtime_of: Box<[u32; TAGS]>,
}

impl Default for SlowAgents {
    fn default() -> Self {
        Self {
            last: 0,
            lines: Default::default(),
            counts: Box::new([[Count::default(); TAGS]; STANDINGS]),
            slots: BTreeMap::new(),
            leaving: [0; STANDINGS],
            leaving_of: Box::new([0; TAGS]),
            overtime: [0; STANDINGS],
            overtime_of: Box::new([0; TAGS]),
        }
    }
}

impl SlowAgents {
    /// An agent of a destination, which counts for `client`, is slow.
    pub fn add(
        &mut self,
        id: DestinationId,
        reputation: DestinationReputation,
        client: u8,
        stage: AgentStage,
    ) -> SlowAgent {
        self.last += 1;
        let slow = SlowAgent { ticket: self.last, stop_notify: Arc::default() };
        self.slots.insert(slow.ticket, Place::In(reputation, client, stage));
        *self.counts[reputation as usize][usize::from(client)].of(stage) += 1;
        self.lines[reputation as usize]
            .insert((client, stage, slow.ticket), (id, slow.stop_notify.clone()));
        slow
    }

    /// It has reached another stage. `false`: it was asked to stop and must not begin what cannot
    /// be undone; or it released its slot to wait for one reply and must begin nothing at all.
    pub fn advance(&mut self, ticket: u64, stage: AgentStage) -> bool {
        match self.slots.get_mut(&ticket) {
            Some(Place::In(reputation, client, old)) => {
                let line = &mut self.lines[*reputation as usize];
                let count = &mut self.counts[*reputation as usize][usize::from(*client)];
                *count.of(*old) -= 1;
                *count.of(stage) += 1;
                if let Some(entry) = line.remove(&(*client, *old, ticket)) {
                    line.insert((*client, stage, ticket), entry);
                }
                *old = stage;
                true
            }
            Some(Place::Overtime(..)) => stage == AgentStage::Final,
            Some(Place::ToldToGo(..)) | None => false,
        }
    }

    /// It is slow no more.
    pub fn remove(&mut self, ticket: u64) -> SlowOutcome {
        match self.slots.remove(&ticket) {
            Some(Place::In(reputation, client, stage)) => {
                *self.counts[reputation as usize][usize::from(client)].of(stage) -= 1;
                self.lines[reputation as usize].remove(&(client, stage, ticket));
                SlowOutcome::Stayed
            }
            Some(Place::Overtime(reputation, client)) => {
                self.overtime[reputation as usize] -= 1;
                self.overtime_of[usize::from(client)] -= 1;
                SlowOutcome::Overtime
            }
            Some(Place::ToldToGo(reputation, client)) => {
                self.leaving[reputation as usize] -= 1;
                self.leaving_of[usize::from(client)] -= 1;
                SlowOutcome::ToldToGo
            }
            None => SlowOutcome::Stayed,
        }
    }

    /// How many of a reputation class are slow and were not asked to stop.
    pub fn len(&self, reputation: DestinationReputation) -> usize {
        self.lines[reputation as usize].len()
    }

    /// The same for a client, of any reputation.
    pub fn len_of(&self, client: u8) -> u32 {
        let count = |reputation: DestinationReputation| {
            self.counts[reputation as usize][usize::from(client)]
        };
        DestinationReputation::ALL
            .into_iter()
            .map(|reputation| count(reputation).early + count(reputation).last)
            .sum()
    }

    /// How many of a reputation class were asked to stop and have not ended yet.
    pub fn leaving(&self, reputation: DestinationReputation) -> usize {
        self.leaving[reputation as usize]
    }

    /// The same for a client.
    pub fn leaving_of(&self, client: u8) -> u32 {
        self.leaving_of[usize::from(client)]
    }

    /// How many work beyond the limit.
    pub fn overtime(&self) -> usize {
        self.overtime.iter().sum::<u32>() as usize
    }

    /// Whether one of this reputation and client may work beyond the limit.
    fn may_overtime(&self, reputation: DestinationReputation, client: u8, shares: &Shares) -> bool {
        let taken: u32 = self.overtime.iter().sum();
        let unproven = taken - self.overtime[DestinationReputation::Known as usize];
        let free = shares.overtime.saturating_sub(taken);
        self.overtime_of[usize::from(client)] < free.saturating_mul(OVERTIME_CLIENT_TIMES_FREE)
            && (reputation == DestinationReputation::Known || unproven < shares.overtime_unproven)
    }

    /// How many of this reputation and client could free a slot.
    fn movable(&self, reputation: DestinationReputation, client: u8, shares: &Shares) -> u32 {
        let count = self.counts[reputation as usize][usize::from(client)];
        count.early
            + if count.last > 0 && self.may_overtime(reputation, client, shares) {
                count.last
            } else {
                0
            }
    }

    /// Whether any agent of a client could free a slot.
    pub fn can_relieve(&self, client: u8, shares: &Shares) -> bool {
        DestinationReputation::ALL
            .into_iter()
            .any(|reputation| self.movable(reputation, client, shares) > 0)
    }

    /// An agent of this reputation frees its slot, of the client that has the most. `None`: there
    /// is none that could.
    pub fn relieve(
        &mut self,
        reputation: DestinationReputation,
        shares: &Shares,
    ) -> Option<RelievedAgent> {
        let most = (0..=u8::MAX).max_by_key(|client| self.movable(reputation, *client, shares))?;
        self.relieve_one(reputation, most, shares)
    }

    /// An agent of this client frees its slot, of the worst reputation first.
    pub fn relieve_of(&mut self, client: u8, shares: &Shares) -> Option<RelievedAgent> {
        DestinationReputation::ALL
            .into_iter()
            .rev()
            .find_map(|reputation| self.relieve_one(reputation, client, shares))
    }

    fn relieve_one(
        &mut self,
        reputation: DestinationReputation,
        client: u8,
        shares: &Shares,
    ) -> Option<RelievedAgent> {
        let may_overtime = self.may_overtime(reputation, client, shares);
        let line = &mut self.lines[reputation as usize];
        let first = |stage| {
            line.range((client, stage, 0)..=(client, stage, u64::MAX)).next().map(|(key, _)| *key)
        };
        let at_the_end = if may_overtime { first(AgentStage::Final) } else { None };
        let key =
            first(AgentStage::Connecting).or(at_the_end).or_else(|| first(AgentStage::Talking))?;
        let (id, stop_notify) = line.remove(&key)?;
        *self.counts[reputation as usize][usize::from(client)].of(key.1) -= 1;
        if key.1 == AgentStage::Final {
            self.overtime[reputation as usize] += 1;
            self.overtime_of[usize::from(client)] += 1;
            self.slots.insert(key.2, Place::Overtime(reputation, client));
            return Some(RelievedAgent::Overtime(id, client));
        }
        stop_notify.notify_one();
        self.leaving[reputation as usize] += 1;
        self.leaving_of[usize::from(client)] += 1;
        self.slots.insert(key.2, Place::ToldToGo(reputation, client));
        Some(RelievedAgent::Goes)
    }
}
