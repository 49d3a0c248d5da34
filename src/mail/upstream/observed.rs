//! What is seen of an upstream beside its refusals: connections, TLS, mails of the last day.
//!
//! Limits: [`HOURS`] hours are kept; texts are cut to [`TEXT_MAX`](super::TEXT_MAX). Mails are
//! counted without a lock; where two threads begin an hour together, a count or two may be lost.

use crate::ground::lock::Lock;
use crate::mail::model::{UpstreamFailure, UpstreamMails, UpstreamSession};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Hours of mails that are kept, with the present one.
pub const HOURS: u32 = 24;

/// Seconds of an hour.
const HOUR: u32 = 3600;

/// What is seen of one upstream.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub connections: AtomicU32,
    pub mails: HourlyMails,
    pub last: Lock<LastConnection>,
}

/// How the last connections went.
#[derive(Debug, Default, Clone)]
pub(super) struct LastConnection {
    /// The last one that became ready, and when, by the wall clock.
    pub session: Option<(u32, UpstreamSession)>,
    /// Why later ones did not.
    pub failure: Option<UpstreamFailure>,
}

/// Mails by the hour.
#[derive(Debug, Default)]
pub(super) struct HourlyMails([Hour; HOURS as usize]);

#[derive(Debug, Default)]
struct Hour {
    /// The hour that is counted here.
    number: AtomicU32,
    sent: AtomicU64,
    failed: AtomicU64,
}

impl LastConnection {
    /// No connection became ready, at this time by the wall clock.
    pub fn fail(&mut self, error: String, tls: bool, now: u32) {
        let since = self.failure.as_ref().map_or(now, |before| before.since);
        self.failure = Some(UpstreamFailure { since, error, tls });
    }
}

impl HourlyMails {
    /// Counts a mail at this second.
    pub fn count(&self, sent: bool, now: u32) {
        let number = now / HOUR;
        let hour = &self.0[(number % HOURS) as usize];
        if hour.number.load(Ordering::Relaxed) != number
            && hour.number.swap(number, Ordering::Relaxed) != number
        {
            hour.sent.store(0, Ordering::Relaxed);
            hour.failed.store(0, Ordering::Relaxed);
        }
        let counter = if sent { &hour.sent } else { &hour.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Mails of the hour of this second, and of the `before` hours before it.
    pub fn sum(&self, before: u32, now: u32) -> UpstreamMails {
        let number = now / HOUR;
        let counted = |hour: &&Hour| {
            let age = number.checked_sub(hour.number.load(Ordering::Relaxed));
            age.is_some_and(|age| age <= before)
        };
        self.0.iter().filter(counted).fold(UpstreamMails::default(), |sum, hour| UpstreamMails {
            sent: sum.sent + hour.sent.load(Ordering::Relaxed),
            failed: sum.failed + hour.failed.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mails_are_counted_by_the_hour_and_forgotten_after_a_day() {
        let mails = HourlyMails::default();
        let begin = 1000 * HOUR;
        for _ in 0..3 {
            mails.count(true, begin);
        }
        mails.count(false, begin + HOUR);
        let sum = |sent, failed| UpstreamMails { sent, failed };
        assert_eq!(mails.sum(0, begin + 10), sum(3, 0));
        assert_eq!(mails.sum(0, begin + HOUR), sum(0, 1));
        assert_eq!(mails.sum(1, begin + HOUR), sum(3, 1));
        assert_eq!(mails.sum(23, begin + 23 * HOUR), sum(3, 1));
        assert_eq!(mails.sum(23, begin + 24 * HOUR), sum(0, 1));
        // The same place in the ring, a day later.
        mails.count(true, begin + 24 * HOUR);
        assert_eq!(mails.sum(23, begin + 24 * HOUR), sum(1, 1));
    }

    #[test]
    fn failures_in_a_row_have_their_first_time() {
        let mut last = LastConnection::default();
        last.fail("refused".into(), false, 10);
        last.fail("no TLS".into(), true, 20);
        let failure = last.failure.unwrap();
        assert_eq!((failure.since, failure.tls, &*failure.error), (10, true, "no TLS"));
    }
}
