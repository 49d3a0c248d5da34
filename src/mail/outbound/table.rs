//! Messages that are in memory: fresh ones, and those being tried.
//!
//! One entry a message, shared by the couriers that try its destinations at the same time, so that the progress they record is
//! one truth.

use super::FRESH_MAX;
use crate::mail::model::{Body, Message, MessageId, Progress, Status, Target};
use crate::mail::schedule::DestinationId;
use std::collections::HashMap;
use std::sync::Arc;

/// The table.
#[derive(Default)]
pub struct Table {
    entries: HashMap<MessageId, Entry>,
    /// Messages that couriers are reading from the disk, and how many do. Their entries do not leave meanwhile: what was read
    /// before somebody else's progress must not be taken for the truth after it.
    loading: HashMap<MessageId, u32>,
    fresh_octets: u64,
}

struct Entry {
    message: Arc<Message>,
    progress: Vec<Progress>,
    /// Destinations that have not taken their job since the message came in.
    fresh: u32,
    /// Destinations that are being tried now.
    busy: Vec<DestinationId>,
    /// The sender was told of the delay, or is being told.
    delay_claimed: bool,
}

impl Entry {
    fn new(message: Message, fresh: u32) -> Self {
        let (progress, delay_claimed) = (message.progress.clone(), message.delay_told);
        Self { message: Arc::new(message), progress, fresh, busy: Vec::new(), delay_claimed }
    }
}

impl Table {
    /// Keeps a message that just came in for its first tries, if there is room.
    pub fn keep_fresh(&mut self, message: &Message, jobs: u32) {
        let octets = in_memory(message);
        if jobs == 0 || self.fresh_octets + octets > FRESH_MAX || self.entries.contains_key(&message.id) {
            return;
        }
        self.fresh_octets += octets;
        self.entries.insert(message.id, Entry::new(message.clone(), jobs));
    }

    /// Whether the message must be loaded, and given to [`Table::loaded`], before a try.
    pub fn must_load(&mut self, id: MessageId) -> bool {
        let missing = !self.entries.contains_key(&id);
        if missing {
            *self.loading.entry(id).or_default() += 1;
        }
        missing
    }

    /// The end of a load: the message, unless it could not be read; it counts only where nobody else was quicker.
    pub fn loaded(&mut self, id: MessageId, message: Option<Message>) {
        if let Some(loads) = self.loading.get_mut(&id) {
            *loads -= 1;
            if *loads == 0 {
                self.loading.remove(&id);
            }
        }
        match message {
            Some(message) => drop(self.entries.entry(id).or_insert_with(|| Entry::new(message, 0))),
            None => self.leave_if_unused(id),
        }
    }

    /// Begins a try: the message and its pending targets among `wanted`. `None` when there is nothing to do, or the same
    /// destination is being tried already.
    pub fn begin(
        &mut self,
        id: MessageId,
        destination: DestinationId,
        wanted: impl Fn(&Message, Target) -> bool,
    ) -> Option<(Arc<Message>, Vec<Target>)> {
        let entry = self.entries.get_mut(&id)?;
        let targets: Vec<Target> = entry
            .progress
            .iter()
            .filter(|progress| progress.status == Status::Pending && wanted(&entry.message, progress.target))
            .map(|progress| progress.target)
            .collect();
        let idle = targets.is_empty() || entry.busy.contains(&destination);
        if entry.fresh > 0 {
            entry.fresh -= 1;
            if entry.fresh == 0 {
                self.fresh_octets -= in_memory(&entry.message);
            }
        }
        if idle {
            self.leave_if_unused(id);
            return None;
        }
        entry.busy.push(destination);
        Some((entry.message.clone(), targets))
    }

    /// Changes the progress of a message; gives back all of it.
    pub fn update(&mut self, id: MessageId, change: impl Fn(&mut Progress)) -> Option<Vec<Progress>> {
        let entry = self.entries.get_mut(&id)?;
        entry.progress.iter_mut().for_each(change);
        Some(entry.progress.clone())
    }

    /// Whether the sender is yet to be told of the delay; asked once, because who asks tells.
    pub fn claim_delay_notice(&mut self, id: MessageId) -> bool {
        self.entries.get_mut(&id).is_some_and(|entry| !std::mem::replace(&mut entry.delay_claimed, true))
    }

    /// Ends a try.
    pub fn end(&mut self, id: MessageId, destination: DestinationId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.busy.retain(|busy| *busy != destination);
        }
        self.leave_if_unused(id);
    }

    /// Whether couriers have a message in hand, or are about to. Once it is held and [`Table::evict`] was called, it stays `false`.
    pub fn is_being_tried(&self, id: MessageId) -> bool {
        self.entries.get(&id).is_some_and(|entry| !entry.busy.is_empty()) || self.loading.contains_key(&id)
    }

    /// Whether it is in memory, fresh or in a try.
    pub fn is_in_hand(&self, id: MessageId) -> bool {
        self.entries.contains_key(&id) || self.loading.contains_key(&id)
    }

    /// Forgets a message unless it is being tried.
    pub fn evict(&mut self, id: MessageId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            if entry.fresh > 0 {
                self.fresh_octets -= in_memory(&entry.message);
                entry.fresh = 0;
            }
            self.leave_if_unused(id);
        }
    }

    /// Forgets fresh messages for a destination that is down: they would wait long, and others need the room.
    pub fn evict_waiting(&mut self, waits: impl Fn(&Message) -> bool) {
        let ids: Vec<MessageId> = self
            .entries
            .values()
            .filter(|entry| entry.fresh > 0 && waits(&entry.message))
            .map(|entry| entry.message.id)
            .collect();
        for id in ids {
            self.evict(id);
        }
    }

    fn leave_if_unused(&mut self, id: MessageId) {
        let unused = self.entries.get(&id).is_some_and(|entry| entry.fresh == 0 && entry.busy.is_empty());
        if unused && !self.loading.contains_key(&id) {
            self.entries.remove(&id);
        }
    }
}

/// What a message weighs: its content if that is in memory, and its envelope.
fn in_memory(message: &Message) -> u64 {
    let content = match &message.body {
        Body::Memory(octets) => octets.len() as u64,
        Body::Stored(..) => 0,
    };
    let envelope: usize = message.envelope.recipients.iter().map(|recipient| recipient.as_str().len() + 96).sum();
    content + envelope as u64 + 512
}
