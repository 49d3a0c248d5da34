//! Destinations that want one more agent, and the order in which they get it.
//!
//! There is one queue for each rank. In each, clients are served in turn, and within each client
//! its senders ([`FairQueue`]).
//!
//! Clients and senders are told apart by [`TAGS`] hash tags each; the key of the hash changes at
//! every start. Two that share a tag share a turn; a client cannot choose with which other one.

use super::job::DestinationId;
use super::job_source::{FlowKey, TAGS};
use super::shares::{RANKS, Rank};
use crate::ground::fair_queue::FairQueue;

/// All that wait for an agent.
pub struct DestinationQueue {
    lines: [FairQueue<DestinationId>; RANKS],
    /// How many wait for each client.
    waiting: Box<[u32; TAGS]>,
}

impl Default for DestinationQueue {
    fn default() -> Self {
        Self { lines: Default::default(), waiting: Box::new([0; TAGS]) }
    }
}

impl DestinationQueue {
    /// A destination joins the end of the queue of a flow that has mail for it.
    pub fn push(&mut self, rank: Rank, source: FlowKey, id: DestinationId) {
        self.lines[rank as usize].push(source.marks(), id);
        self.waiting[usize::from(source.client)] += 1;
    }

    /// The next of this rank whose client and sender `may` have another agent.
    pub fn pop(
        &mut self,
        rank: Rank,
        mut may: impl FnMut(FlowKey) -> bool,
    ) -> Option<(FlowKey, DestinationId)> {
        let source = |(client, sender)| FlowKey { client, sender };
        let (marks, id) = self.lines[rank as usize].pop(|marks| may(source(marks)))?;
        self.waiting[usize::from(marks.0)] -= 1;
        Some((source(marks), id))
    }

    /// How many of this rank wait.
    pub fn len(&self, rank: Rank) -> usize {
        self.lines[rank as usize].len()
    }

    /// How many wait for an agent for a client's mail.
    pub fn waiting(&self, client: u8) -> u32 {
        self.waiting[usize::from(client)]
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(FairQueue::is_empty)
    }
}
