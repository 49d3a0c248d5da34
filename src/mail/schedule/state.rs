//! The state of one destination: its ready jobs and how it has been lately.

use super::job::Job;
use super::ready::Ready;
use super::shares::{LIVELY_TIME, Rank, Standing};
use super::source::Source;
use crate::mail::model::Destination;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use tokio::sync::Notify;

/// What the schedule knows of a destination.
pub struct DestinationState {
    pub destination: Destination,
    /// Jobs that may be tried now.
    pub ready: Ready,
    /// Jobs of this destination that wait for their time.
    pub deferred: u32,
    /// Jobs that couriers have taken.
    pub active: u32,
    /// Couriers at work or waiting.
    pub couriers: u32,
    /// Of these, waiting with an open connection.
    pub idle: u32,
    /// Of these, working beyond the others: they hold no place.
    pub overtime: u32,
    /// Of these, slow, with a place or without one.
    pub slow: u32,
    /// By whose hands the jobs came for which the couriers with a place set out.
    pub sources: Vec<Source>,
    /// By whose hands the jobs came for which couriers are on their way.
    pub coming: Vec<Source>,
    /// How it has been lately.
    pub standing: Standing,
    /// Since when it cannot be reached, seconds of the schedule's clock.
    pub down_since: Option<u32>,
    /// Couriers that are allowed now.
    pub window: u32,
    /// Of the couriers, those with an open connection.
    pub connected: u32,
    /// Of the couriers, those that have heard nothing for long; and of these, those with an open
    /// connection.
    pub silent: u32,
    /// See [`DestinationState::silent`].
    pub silent_open: u32,
    /// When any courier last heard anything, and when a mail was last answered, seconds of the
    /// schedule's clock; 0 = never.
    pub heard_at: Arc<AtomicU32>,
    /// See [`DestinationState::heard_at`].
    pub answered_at: u32,
    /// Connections that the destination was seen to allow, and until when that is believed.
    pub ceiling: (u32, u32),
    /// How often in a row nothing was tried because its hosts had all the connections that they may
    /// have.
    pub host_waits: u8,
    /// No try before this moment.
    pub suspended_until: u32,
    /// An operator lets nothing go there.
    pub paused: bool,
    /// What the last failed try said.
    pub last_error: String,
    /// Rings for waiting couriers.
    pub bell: Arc<Notify>,
}

impl DestinationState {
    pub fn new(destination: Destination, window: u32) -> Self {
        Self {
            destination,
            ready: Ready::default(),
            deferred: 0,
            active: 0,
            couriers: 0,
            idle: 0,
            overtime: 0,
            slow: 0,
            sources: Vec::new(),
            coming: Vec::new(),
            standing: Standing::New,
            down_since: None,
            window,
            connected: 0,
            silent: 0,
            silent_open: 0,
            heard_at: Arc::default(),
            answered_at: 0,
            ceiling: (u32::MAX, 0),
            host_waits: 0,
            suspended_until: 0,
            paused: false,
            last_error: String::new(),
            bell: Arc::new(Notify::new()),
        }
    }

    /// Whether one more courier would find work now.
    pub fn wants_courier(&self, now: u32) -> bool {
        self.is_short_handed() && !self.is_left_alone(now)
    }

    /// Whether one of the couriers must go home, with a connection or without: those without are
    /// counted behind all others, so that no connection is closed for them.
    pub fn has_too_many(&self, open: bool) -> bool {
        self.window < self.counted(open)
    }

    /// More ready jobs than couriers without one (waiting, or on their way), and room in the
    /// window.
    pub fn is_short_handed(&self) -> bool {
        let free_handed = self.couriers.saturating_sub(self.active);
        self.ready.len() > free_handed as usize && self.counted(false) < self.window
    }

    /// A source that wants one courier more and does not stand in the turn; it does from now on.
    pub fn line_up(&mut self) -> Option<Source> {
        // Those that went home without a job come no more.
        self.coming.truncate(self.couriers.saturating_sub(self.active + self.idle) as usize);
        self.ready.line_up(&self.coming)
    }

    /// The next job of a courier, which has a connection (`open`) or has just set out for
    /// somebody's.
    pub fn pop(&mut self, open: bool) -> Option<Job> {
        let source = if open { None } else { self.coming.pop() };
        source.and_then(|source| self.ready.pop_of(source)).or_else(|| self.ready.pop())
    }

    /// Couriers that hold a place.
    pub fn placed(&self) -> u32 {
        self.couriers.saturating_sub(self.overtime)
    }

    /// In which line it waits; `named`: an operator did so.
    pub fn rank(&self, named: bool, now: u32) -> Rank {
        let answered_lately =
            self.answered_at > 0 && now.saturating_sub(self.answered_at) <= LIVELY_TIME;
        match self.standing {
            Standing::Known if self.slow == 0 && (named || answered_lately) => Rank::Lively,
            Standing::Known => Rank::Known,
            Standing::New => Rank::New,
            Standing::Suspect => Rank::Suspect,
        }
    }

    /// The client at whose cost the courier that turns out to be slow set out: one of those, where
    /// there are several.
    pub fn payer(&self) -> u8 {
        let slow = self.slow.saturating_sub(self.overtime) as usize;
        self.sources.get(slow).or(self.sources.last()).map_or(0, |source| source.client)
    }

    /// One courier's place is given up, best one at the cost of this client.
    pub fn give_up_place(&mut self, client: u8) -> Source {
        match self.sources.iter().position(|source| source.client == client) {
            Some(place) => self.sources.swap_remove(place),
            None => self.sources.pop().unwrap_or_default(),
        }
    }

    /// Messages that wait here or are being tried.
    pub fn messages(&self) -> u64 {
        self.ready.len() as u64 + u64::from(self.deferred) + u64::from(self.active)
    }
}
