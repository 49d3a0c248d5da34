//! The share of the log for untrusted clients, so that their lines never displace those of mail.
//!
//! Limits: [`STRANGERS_OCTETS`] in each minute.

use crate::ground::lock::{Level, Lock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Octets of lines that untrusted clients may cause in a minute, in each output.
pub const STRANGERS_OCTETS: usize = 256 * 1024;

/// Lines caused by untrusted clients that exceeded the share, of all outputs, since the start.
static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

const MINUTE: Duration = Duration::from_secs(60);

/// The rest of the share.
#[derive(Debug)]
pub struct LogQuota {
    used: Lock<(Instant, usize)>,
}

/// Lines caused by untrusted clients that were left out since the start.
pub fn left_out() -> u64 {
    LEFT_OUT.load(Ordering::Relaxed)
}

impl LogQuota {
    /// A full share.
    pub fn new() -> Self {
        Self { used: Lock::new(Level::Log, (Instant::now(), 0)) }
    }

    /// Whether so many octets fit, which are taken then. Otherwise the lines count as left out.
    pub fn takes(&self, lines: &str) -> bool {
        self.takes_at(lines, Instant::now())
    }

    /// Counts lines caused by untrusted clients that are left out for another reason.
    pub fn leave_out(lines: &str) {
        LEFT_OUT.fetch_add(
            lines.bytes().filter(|octet| *octet == b'\n').count() as u64,
            Ordering::Relaxed,
        );
    }

    fn takes_at(&self, lines: &str, now: Instant) -> bool {
        let mut used = self.used.lock();
        if now.saturating_duration_since(used.0) >= MINUTE {
            *used = (now, 0);
        }
        let fits = used.1 + lines.len() <= STRANGERS_OCTETS;
        if fits {
            used.1 += lines.len();
        } else {
            drop(used);
            Self::leave_out(lines);
        }
        fits
    }
}

impl Default for LogQuota {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_so_much_in_each_minute() {
        let (share, start, line) = (LogQuota::new(), Instant::now(), "x".repeat(99) + "\n");
        let before = left_out();
        let taken = (0..10_000).filter(|_| share.takes_at(&line, start)).count();
        assert_eq!(taken, STRANGERS_OCTETS / 100);
        assert!(left_out() - before >= 10_000 - taken as u64);
        assert!(
            !share.takes_at(&line, start + MINUTE / 2) && share.takes_at(&line, start + MINUTE)
        );
    }
}
