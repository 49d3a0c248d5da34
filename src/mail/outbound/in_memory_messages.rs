//! Messages that are in memory: new ones, and those being attempted.
//!
//! There is one entry for each message, shared by the agents that attempt its destinations at the
//! same time, so that they all work on the same progress.

use crate::mail::model::{Body, Message, MessageId, Target, TargetProgress, TargetStatus};
use crate::mail::schedule::DestinationId;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Octets of new messages that may wait in memory for their first attempt, where there is enough
/// memory.
pub const FRESH_MAX: u64 = 16 << 20;

/// The table.
pub struct MessageTable {
    /// Octets of new messages that may be kept.
    pub fresh_max: u64,
    entries: HashMap<MessageId, Entry>,
    /// Messages that agents are about to attempt, and how many agents. Their entries stay
    /// meanwhile: a message that was there must not disappear, and a copy read from the disk before
    /// another agent's progress must not replace newer progress.
    claims: HashMap<MessageId, u32>,
    fresh_octets: u64,
}

struct Entry {
    message: Arc<Message>,
    progress: Vec<TargetProgress>,
    /// Destinations that have not taken their job since the message was accepted.
    fresh: u32,
    /// Destinations that are being attempted now.
    busy: Vec<DestinationId>,
    /// The delay warning was sent, or is being sent.
    delay_warning_claimed: bool,
}

impl Entry {
    fn new(message: Arc<Message>, fresh: u32) -> Self {
        let (progress, delay_warning_claimed) =
            (message.progress.clone(), message.delay_warning_sent);
        Self { message, progress, fresh, busy: Vec::new(), delay_warning_claimed }
    }
}

impl Default for MessageTable {
    fn default() -> Self {
        Self {
            fresh_max: FRESH_MAX,
            entries: HashMap::new(),
            claims: HashMap::new(),
            fresh_octets: 0,
        }
    }
}

impl MessageTable {
    /// Keeps a new message for its first attempts, if there is room.
    pub fn keep_fresh(&mut self, message: Arc<Message>, jobs: u32) {
        let octets = in_memory(&message);
        if jobs == 0
            || self.fresh_octets + octets > self.fresh_max
            || self.entries.contains_key(&message.id)
        {
            return;
        }
        self.fresh_octets += octets;
        self.entries.insert(message.id, Entry::new(message, jobs));
    }

    /// Keeps a message in memory until [`MessageTable::begin`] or [`MessageTable::unclaim`]. One
    /// that is not there is to be read from the disk and passed to [`MessageTable::loaded`].
    pub fn claim(&mut self, id: MessageId) -> Option<Arc<Message>> {
        *self.claims.entry(id).or_default() += 1;
        self.entries.get(&id).map(|entry| entry.message.clone())
    }

    /// A claimed message was read; it is used only if no other thread was quicker. Gives back the
    /// one in use.
    pub fn loaded(&mut self, message: Arc<Message>) -> Arc<Message> {
        self.entries.entry(message.id).or_insert_with(|| Entry::new(message, 0)).message.clone()
    }

    /// The end of a claim.
    pub fn unclaim(&mut self, id: MessageId) {
        if let Some(claims) = self.claims.get_mut(&id) {
            *claims -= 1;
            if *claims == 0 {
                self.claims.remove(&id);
            }
        }
        self.leave_if_unused(id);
    }

    /// Ends a claim and begins an attempt: its pending targets among those `here`, which stand in
    /// their order. `None` when there are none, or the same destination is being attempted already.
    pub fn begin(
        &mut self,
        id: MessageId,
        destination: DestinationId,
        here: &[Target],
    ) -> Option<Vec<Target>> {
        let begun = self.entries.get_mut(&id).and_then(|entry| {
            if entry.fresh > 0 {
                entry.fresh -= 1;
                if entry.fresh == 0 {
                    self.fresh_octets -= in_memory(&entry.message);
                }
            }
            let mut here = here.iter().copied().peekable();
            let there = entry
                .progress
                .iter()
                .filter(|progress| here.next_if_eq(&progress.target).is_some());
            let pending = there.filter(|progress| progress.status == TargetStatus::Pending);
            let targets: Vec<Target> = pending.map(|progress| progress.target).collect();
            let begins = !targets.is_empty() && !entry.busy.contains(&destination);
            begins.then(|| {
                entry.busy.push(destination);
                targets
            })
        });
        self.unclaim(id);
        begun
    }

    /// Changes the progress of a message; gives back all of it.
    pub fn update(
        &mut self,
        id: MessageId,
        change: impl Fn(&mut TargetProgress),
    ) -> Option<Vec<TargetProgress>> {
        let entry = self.entries.get_mut(&id)?;
        entry.progress.iter_mut().for_each(change);
        Some(entry.progress.clone())
    }

    /// Whether the delay warning is yet to be sent; `true` only once, because the caller then sends
    /// it.
    pub fn claim_delay_warning(&mut self, id: MessageId) -> bool {
        self.entries
            .get_mut(&id)
            .is_some_and(|entry| !std::mem::replace(&mut entry.delay_warning_claimed, true))
    }

    /// Ends an attempt.
    pub fn end(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.busy.retain(|busy| *busy != destination);
        }
        self.leave_if_unused(id);
    }

    /// Whether agents are attempting a message, or are about to. Once it is held and
    /// [`MessageTable::evict`] was called, it stays `false`.
    pub fn is_being_tried(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| !entry.busy.is_empty())
            || self.claims.contains_key(&id)
    }

    /// The messages of which [`MessageTable::is_being_tried`] is true.
    pub fn being_tried(&self) -> HashSet<MessageId> {
        let busy =
            self.entries.iter().filter(|(_, entry)| !entry.busy.is_empty()).map(|(id, _)| *id);
        busy.chain(self.claims.keys().copied()).collect()
    }

    /// Whether it is in memory, new or in an attempt.
    pub fn is_in_memory(&self, id: MessageId) -> bool {
        self.entries.contains_key(&id) || self.claims.contains_key(&id)
    }

    /// Forgets a message unless it is being attempted.
    pub fn evict(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            if entry.fresh > 0 {
                self.fresh_octets -= in_memory(&entry.message);
                entry.fresh = 0;
            }
            self.leave_if_unused(id);
        }
    }

    /// The messages that wait here for a first attempt.
    pub fn fresh(&self) -> Vec<Arc<Message>> {
        self.entries
            .values()
            .filter(|entry| entry.fresh > 0)
            .map(|entry| entry.message.clone())
            .collect()
    }

    fn leave_if_unused(&mut self, id: MessageId) {
        let unused =
            self.entries.get(&id).is_some_and(|entry| entry.fresh == 0 && entry.busy.is_empty());
        if unused && !self.claims.contains_key(&id) {
            self.entries.remove(&id);
        }
    }
}

/// Octets that a message occupies: its content if that is in memory, and its envelope.
fn in_memory(message: &Message) -> u64 {
    let content = match &message.body {
        Body::Memory(octets) => octets.len() as u64,
        Body::Stored(..) => 0,
    };
    let envelope: usize =
        message.envelope.recipients.iter().map(|recipient| recipient.as_str().len() + 96).sum();
    content + envelope as u64 + 512
}
