//! The state of one destination: its ready jobs and its recent history.

use super::job::Job;
use super::job_source::FlowKey;
use super::rate_state::{DestinationLimiter, RatePause};
use super::ready_jobs::ReadyJobs;
use super::shares::{DestinationReputation, LIVELY_TIME, Rank};
use crate::mail::model::{Destination, LastError, RateWait};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use tokio::sync::Notify;

/// What the schedule knows of a destination.
pub struct DestinationState {
    pub destination: Destination,
    /// Jobs that may be attempted now.
    pub ready: ReadyJobs,
    /// Jobs of this destination that wait for their due time.
    pub deferred: u32,
    /// Jobs that agents have taken.
    pub active: u32,
    /// Agents at work or idle.
    pub agents: u32,
    /// Of these, idle with an open connection.
    pub idle: u32,
    /// Of these, beyond the limit: they hold no slot.
    pub overtime: u32,
    /// Of these, slow, with or without a slot.
    pub slow: u32,
    /// Client and sender of the jobs for which the agents with a slot were started.
    pub sources: Vec<FlowKey>,
    /// Client and sender of the jobs for which agents are being started.
    pub starting_sources: Vec<FlowKey>,
    /// Its reputation.
    pub reputation: DestinationReputation,
    /// Since when it cannot be reached, in seconds of the schedule's clock.
    pub unreachable_since: Option<u32>,
    /// The present concurrency: agents that are allowed now.
    pub window: u32,
    /// Agents with an open connection.
    pub connected: u32,
    /// Agents that have received nothing for long; and of these, those with an open connection.
    pub silent: u32,
    /// See [`DestinationState::silent`].
    pub silent_open: u32,
    /// When any agent last received anything, and when a mail was last answered, in seconds of the
    /// schedule's clock; 0 = never.
    pub last_heard_at: Arc<AtomicU32>,
    /// See [`DestinationState::last_heard_at`].
    pub answered_at: u32,
    /// The observed connection limit of the destination, and until when it is assumed to hold.
    pub ceiling: (u32, u32),
    /// How often in a row nothing was attempted because its hosts had all the connections that they
    /// may have.
    pub host_waits: u8,
    /// No attempt before this time.
    pub suspended_until: u32,
    /// Paused by an operator.
    pub paused: bool,
    /// Its rate, if it has one.
    pub rate: Option<Box<DestinationLimiter>>,
    /// It waits for its rate, or for that of its upstream.
    pub rate_pause: Option<Box<RatePause>>,
    /// Permits of its rate when that was last asked; without a rate [`u32::MAX`].
    pub permits: u32,
    /// The error of the last failed attempt.
    pub last_error: LastError,
    /// Wakes idle agents.
    pub work_notify: Arc<Notify>,
}

impl DestinationState {
    pub fn new(destination: Destination, window: u32) -> Self {
        Self {
            destination,
            ready: ReadyJobs::default(),
            deferred: 0,
            active: 0,
            agents: 0,
            idle: 0,
            overtime: 0,
            slow: 0,
            sources: Vec::new(),
            starting_sources: Vec::new(),
            reputation: DestinationReputation::New,
            unreachable_since: None,
            window,
            connected: 0,
            silent: 0,
            silent_open: 0,
            last_heard_at: Arc::default(),
            answered_at: 0,
            ceiling: (u32::MAX, 0),
            host_waits: 0,
            suspended_until: 0,
            paused: false,
            rate: None,
            rate_pause: None,
            permits: u32::MAX,
            last_error: LastError::default(),
            work_notify: Arc::new(Notify::new()),
        }
    }

    /// Whether another agent would find work now.
    pub fn wants_agent(&self, now: u32) -> bool {
        self.could_use_agent() && !self.is_suspended(now)
    }

    /// Whether one of the agents must stop, with a connection or without. Agents without one are
    /// counted behind all others, so that no connection is closed for them.
    pub fn has_too_many(&self, open: bool) -> bool {
        self.window < self.counted(open)
    }

    /// Whether there are more ready jobs, and permits of its rate, than agents without a job (idle,
    /// or being started), and the concurrency allows another.
    pub fn could_use_agent(&self) -> bool {
        let free_handed = self.agents.saturating_sub(self.active);
        self.ready.len() > free_handed as usize
            && self.permits > free_handed
            && self.counted(false) < self.window
    }

    /// A flow that wants another agent and is not queued for one; it is queued from now on.
    pub fn enqueue(&mut self) -> Option<FlowKey> {
        // Agents that ended without a job are no longer expected.
        self.starting_sources
            .truncate(self.agents.saturating_sub(self.active + self.idle) as usize);
        self.ready.enqueue(&self.starting_sources)
    }

    /// The next job of an agent, which has a connection (`open`) or was just started for a certain
    /// flow.
    pub fn pop(&mut self, open: bool) -> Option<Job> {
        let source = if open { None } else { self.starting_sources.pop() };
        source.and_then(|source| self.ready.pop_of(source)).or_else(|| self.ready.pop())
    }

    /// The rate that it waits for, by the schedule's clock.
    pub fn rate_wait(&self) -> Option<RateWait> {
        Some(self.rate_pause.as_ref()?.wait())
    }

    /// Open connections, without those from which nothing has come for long.
    pub fn heard_open(&self) -> u32 {
        self.connected.saturating_sub(self.silent_open)
    }

    /// Agents that hold a slot.
    pub fn slots_held(&self) -> u32 {
        self.agents.saturating_sub(self.overtime)
    }

    /// In which queue it waits; `configured`: an operator configured it.
    pub fn rank(&self, configured: bool, now: u32) -> Rank {
        let answered_lately =
            self.answered_at > 0 && now.saturating_sub(self.answered_at) <= LIVELY_TIME;
        match self.reputation {
            DestinationReputation::Known if self.slow == 0 && (configured || answered_lately) => {
                Rank::Lively
            }
            DestinationReputation::Known => Rank::Known,
            DestinationReputation::New => Rank::New,
            DestinationReputation::Suspect => Rank::Suspect,
        }
    }

    /// The client for which the slow agent counts; where there are several, one of them.
    pub fn charged_client(&self) -> u8 {
        let slow = self.slow.saturating_sub(self.overtime) as usize;
        self.sources.get(slow).or(self.sources.last()).map_or(0, |source| source.client)
    }

    /// One agent's slot is released, preferably one that counts for this client.
    pub fn release_slot(&mut self, client: u8) -> FlowKey {
        match self.sources.iter().position(|source| source.client == client) {
            Some(place) => self.sources.swap_remove(place),
            None => self.sources.pop().unwrap_or_default(),
        }
    }

    /// Messages that wait here or are being attempted.
    pub fn messages(&self) -> u64 {
        self.ready.len() as u64 + u64::from(self.deferred) + u64::from(self.active)
    }
}
