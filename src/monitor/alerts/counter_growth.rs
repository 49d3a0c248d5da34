//! The recent growth of counters, for alerts about events and about shares.
//!
//! In: samples of some counters, with seconds of the monotonic clock. Out: by how much each grew
//! within the last [`SPAN`], and how long ago it last did. Pure. Limits: one sample every [`STEP`]
//! seconds is kept, for [`SPAN`].

use crate::monitor::counters::Counters;
use std::collections::VecDeque;

/// Seconds that count as recent.
pub(super) const SPAN: u64 = 600;

/// Seconds between two samples that are kept.
const STEP: u64 = 10;

/// A counter that alerts use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WatchedCounter {
    Delivered,
    Bounced,
    Deferred,
    HistoryDropped,
    LogDropped,
    WebhooksFailed,
    SyncFailures,
    CorruptRecords,
    ShortenedSegments,
    Panics,
    BouncesLost,
    SessionsRefused,
    ClientsSlowed,
}

impl WatchedCounter {
    const ALL: [Self; 13] = [
        Self::Delivered,
        Self::Bounced,
        Self::Deferred,
        Self::HistoryDropped,
        Self::LogDropped,
        Self::WebhooksFailed,
        Self::SyncFailures,
        Self::CorruptRecords,
        Self::ShortenedSegments,
        Self::Panics,
        Self::BouncesLost,
        Self::SessionsRefused,
        Self::ClientsSlowed,
    ];

    fn value(self, counters: &Counters) -> u64 {
        let webhooks = |status| counters.webhooks.webhook_total.with_label_values(&[status]).get();
        let refused =
            |reason| counters.accept.sessions_refused_total.with_label_values(&[reason]).get();
        match self {
            Self::Delivered => counters.outbound.delivered_total.get(),
            Self::Bounced => counters.outbound.bounced_total.get(),
            Self::Deferred => counters.outbound.deferred_total.get(),
            Self::HistoryDropped => counters.history.history_dropped_total.get(),
            Self::LogDropped => counters.maillog.maillog_dropped_lines_total.get(),
            Self::WebhooksFailed => webhooks("failed") + webhooks("dropped"),
            Self::SyncFailures => counters.spool.sync_failures_total.get(),
            Self::CorruptRecords => counters.spool.corrupt_records_total.get(),
            Self::ShortenedSegments => counters.spool.shortened_segments_total.get(),
            Self::Panics => counters.monitor.panics_total.get(),
            Self::BouncesLost => counters.outbound.undeliverable_bounces_total.get(),
            Self::SessionsRefused => refused("all") + refused("memory"),
            Self::ClientsSlowed => counters.accept.clients_slowed_total.get(),
        }
    }
}

type Sample = [u64; WatchedCounter::ALL.len()];

/// The samples, and when each counter last grew.
#[derive(Default)]
pub(super) struct RecentSamples {
    /// Seconds and values, oldest first; the oldest is at least [`SPAN`] old once there are enough.
    samples: VecDeque<(u64, Sample)>,
    now: Sample,
    grew: [Option<u64>; WatchedCounter::ALL.len()],
    begun: Option<u64>,
}

impl RecentSamples {
    /// Samples the counters.
    pub(super) fn note(&mut self, counters: &Counters, now: u64) {
        self.take(WatchedCounter::ALL.map(|fact| fact.value(counters)), now);
    }

    fn take(&mut self, values: Sample, now: u64) {
        // Growth before the first sample counts at that sample: a restart begins at zero.
        for ((grew, before), value) in self.grew.iter_mut().zip(self.now).zip(values) {
            if value > before {
                *grew = Some(now);
            }
        }
        self.begun.get_or_insert(now);
        self.now = values;
        if self.samples.back().is_none_or(|(at, _)| now >= at + STEP) {
            self.samples.push_back((now, values));
        }
        while self.samples.get(1).is_some_and(|(at, _)| at + SPAN <= now) {
            self.samples.pop_front();
        }
    }

    /// By how much a counter grew within the last [`SPAN`].
    pub(super) fn growth(&self, fact: WatchedCounter) -> u64 {
        let place = fact as usize;
        let before = match self.samples.front() {
            // Everything came since the start.
            Some((at, _)) if Some(*at) == self.begun => 0,
            Some((_, sample)) => sample[place],
            None => 0,
        };
        self.now[place].saturating_sub(before)
    }

    /// How long ago a counter last grew; `None` = never since the start.
    pub(super) fn last(&self, fact: WatchedCounter, now: u64) -> Option<u64> {
        self.grew[fact as usize].map(|at| now.saturating_sub(at))
    }

    /// Seconds since the first sample.
    pub(super) fn age(&self, now: u64) -> u64 {
        self.begun.map_or(0, |begun| now.saturating_sub(begun))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(delivered: u64, bounced: u64) -> Sample {
        let mut sample = Sample::default();
        sample[WatchedCounter::Delivered as usize] = delivered;
        sample[WatchedCounter::Bounced as usize] = bounced;
        sample
    }

    #[test]
    fn facts_stand_where_their_numbers_say() {
        assert!(
            WatchedCounter::ALL.iter().enumerate().all(|(place, fact)| *fact as usize == place)
        );
    }

    #[test]
    fn growth_is_that_of_the_last_minutes() {
        let mut recent = RecentSamples::default();
        recent.take(sample(3, 0), 1000);
        assert_eq!(recent.growth(WatchedCounter::Delivered), 3, "since the start");
        for second in (1002..=3000).step_by(2) {
            recent.take(sample(second - 1000, 5), second);
        }
        let growth = recent.growth(WatchedCounter::Delivered);
        assert!((SPAN..=SPAN + 2 * STEP).contains(&growth), "{growth}");
        assert_eq!(
            (recent.growth(WatchedCounter::Bounced), recent.last(WatchedCounter::Bounced, 3000)),
            (0, Some(1998))
        );
        assert_eq!(
            (
                recent.last(WatchedCounter::Delivered, 3005),
                recent.last(WatchedCounter::Panics, 3005)
            ),
            (Some(5), None)
        );
        assert_eq!(recent.age(3000), 2000);
        assert!(recent.samples.len() as u64 <= SPAN / STEP + 2);
    }
}
