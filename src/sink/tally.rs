//! The settings of a sink, and its counters.

use super::failures::InjectedFailure;
use crate::mail::accept::Limits;
use crate::mail::parse::SessionLimits;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Octets of the content, at most.
pub(super) const CONTENT_MAX: u64 = 1 << 30;

pub(super) struct Sink {
    pub(super) rules: SessionLimits,
    pub(super) limits: Limits,
    pub(super) fail: Vec<InjectedFailure>,
    pub(super) maildir: Option<PathBuf>,
    pub(super) tally: Tally,
}

/// Counts so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) sessions: AtomicU64,
    pub(super) mails: AtomicU64,
    pub(super) recipients: AtomicU64,
    pub(super) octets: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "sessions={} mails={} recipients={} octets={} failures={}",
            of(&self.sessions),
            of(&self.mails),
            of(&self.recipients),
            of(&self.octets),
            of(&self.failures)
        )
    }
}
