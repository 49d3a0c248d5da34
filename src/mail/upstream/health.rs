//! What is known against one upstream: its pause, who asks it again, and the senders it refuses.
//!
//! In: refusals, and the time as an argument. Out: whether mail waits for it or passes it over.
//! Limits: [`SENDERS_MAX`] refused senders. Pure, but for the wall clock of the first refusal.

use crate::ground::clock;
use crate::mail::model::{UpstreamAvailability, UpstreamRefusal};
use std::collections::HashMap;

/// Seconds of the first pause.
pub const PAUSE: u32 = 60;

/// Seconds of the longest pause.
pub const PAUSE_MAX: u32 = 600;

/// Seconds for which an upstream that cannot be reached is passed over at first.
pub const UNREACHABLE_PAUSE: u32 = 15;

/// The longest of these.
pub const UNREACHABLE_PAUSE_MAX: u32 = 300;

/// Seconds for which one that asks an upstream again is alone with it.
pub const PROBE_TIME: u32 = 30;

/// Seconds for which a refused sender waits.
pub const SENDER_PAUSE: u32 = 600;

/// Refused senders of an upstream that are remembered; one that is forgotten is asked about again.
pub const SENDERS_MAX: usize = 1000;

/// What is known against one upstream.
#[derive(Debug, Default)]
pub(super) struct Health {
    pub(super) refusal: Option<UpstreamRefusal>,
    /// By the wall clock.
    pub(super) since: u32,
    pub(super) last_error: String,
    /// By the monotonic clock.
    pub(super) paused_until: u32,
    /// The length of the last pause; zero: there was none since all was well.
    pause: u32,
    /// Until when somebody asks it again, and others do not.
    probed_until: u32,
    /// Which of all pauses its last one is.
    pub(super) number: u64,
    /// Until when, and what was said.
    pub(super) senders: HashMap<String, (u32, String)>,
}

impl Health {
    pub(super) fn pause(&mut self, refusal: UpstreamRefusal, error: String, now: u32) {
        if self.refusal.is_none() {
            self.since = clock::now();
        }
        // One that could not be reached is there again, and refuses: another pause.
        if self.refusal == Some(UpstreamRefusal::Connection) && self.refusal != Some(refusal) {
            (self.paused_until, self.pause) = (0, 0);
        }
        (self.refusal, self.last_error) = (Some(refusal), error);
        let (least, most) = match refusal {
            UpstreamRefusal::Connection => (UNREACHABLE_PAUSE, UNREACHABLE_PAUSE_MAX),
            _ => (PAUSE, PAUSE_MAX),
        };
        // Several connections hear the same: one pause.
        if now >= self.paused_until {
            self.pause = (self.pause * 2).clamp(least, most);
            self.paused_until = now.saturating_add(self.pause);
        }
    }

    /// Whether mail waits for it, and not only passes it over.
    pub(super) fn refuses(&self, now: u32) -> bool {
        self.paused_until > now && self.refusal != Some(UpstreamRefusal::Connection)
    }

    pub(super) fn availability(&self, now: u32) -> UpstreamAvailability {
        let is_down = self.refusal == Some(UpstreamRefusal::Connection);
        if self.refusal.is_none() {
            return UpstreamAvailability::Open;
        }
        if self.paused_until <= now && self.probed_until <= now {
            return UpstreamAvailability::Open;
        }
        match is_down {
            true => UpstreamAvailability::Unreachable,
            false => UpstreamAvailability::Refuses(self.last_error.clone()),
        }
    }

    /// Whether the caller may ask it: nothing is known against it, or it is the first to ask again.
    pub(super) fn may_probe(&mut self, now: u32) -> bool {
        let may = self.availability(now) == UpstreamAvailability::Open;
        if may && self.refusal.is_some() {
            self.probed_until = now.saturating_add(PROBE_TIME);
        }
        may
    }

    /// It may be asked again, and so may the senders that it refused; nothing was heard yet.
    pub(super) fn end_pauses(&mut self) {
        (self.paused_until, self.probed_until) = (0, 0);
        self.senders.clear();
    }

    pub(super) fn recover(&mut self) {
        self.refusal = None;
        (self.paused_until, self.pause, self.probed_until) = (0, 0, 0);
    }

    pub(super) fn refuse(&mut self, sender: &str, error: String, now: u32) {
        if self.senders.len() >= SENDERS_MAX {
            self.senders.retain(|_, (until, _)| *until > now);
        }
        if self.senders.len() < SENDERS_MAX {
            self.senders.insert(sender.to_ascii_lowercase(), (now + SENDER_PAUSE, error));
        }
    }

    /// Whether nothing is known against the upstream.
    pub(super) fn is_well(&self) -> bool {
        self.refusal.is_none() && self.senders.is_empty()
    }
}
