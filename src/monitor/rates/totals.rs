//! The counters from which rates are computed, at one moment.

use super::point::RatePoint;
use crate::mail::model::Refusal;
use crate::monitor::counters::Counters;
use prometheus::Histogram;
use prometheus::core::Metric;

/// Totals since the start, and the size of the queue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    pub accepted: u64,
    pub delivered: u64,
    pub deferred: u64,
    pub bounced: u64,
    pub refused: u64,
    pub messages: u64,
    pub latency: Buckets,
}

/// A histogram: upper bounds and how many were at most that.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buckets {
    bounds: Vec<f64>,
    counts: Vec<u64>,
    all: u64,
}

impl Totals {
    /// The present values.
    pub fn of(counters: &Counters, messages: u64) -> Self {
        let refused = |reason: &Refusal| {
            counters.accept.refused_total.with_label_values(&[reason.as_str()]).get()
        };
        Self {
            accepted: counters.accept.accepted_total.get(),
            delivered: counters.outbound.delivered_total.get(),
            deferred: counters.outbound.deferred_total.get(),
            bounced: counters.outbound.bounced_total.get(),
            refused: Refusal::ALL.iter().map(refused).sum(),
            messages,
            latency: Buckets::of(&counters.outbound.delivery_latency_seconds),
        }
    }

    /// The rates between an earlier moment and this one, `seconds` apart.
    pub fn since(&self, earlier: &Self, seconds: f32) -> RatePoint {
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f32 / seconds;
        let latency = self.latency.since(&earlier.latency);
        #[allow(clippy::cast_possible_truncation, reason = "a chart needs no more digits")]
        let quantile =
            |share: f64| latency.quantile(share).map_or(f32::NAN, |seconds| seconds as f32);
        RatePoint {
            accepted: rate(self.accepted, earlier.accepted),
            delivered: rate(self.delivered, earlier.delivered),
            deferred: rate(self.deferred, earlier.deferred),
            bounced: rate(self.bounced, earlier.bounced),
            refused: rate(self.refused, earlier.refused),
            messages: self.messages as f32,
            latency_p50: quantile(0.5),
            latency_p99: quantile(0.99),
        }
    }
}

impl Buckets {
    /// The present values.
    pub fn of(histogram: &Histogram) -> Self {
        let metric = histogram.metric();
        let histogram = metric.get_histogram();
        let buckets = histogram.get_bucket();
        Self {
            bounds: buckets.iter().map(prometheus::proto::Bucket::upper_bound).collect(),
            counts: buckets.iter().map(prometheus::proto::Bucket::cumulative_count).collect(),
            all: histogram.get_sample_count(),
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let then = |place: usize| earlier.counts.get(place).copied().unwrap_or_default();
        Self {
            bounds: self.bounds.clone(),
            counts: self
                .counts
                .iter()
                .enumerate()
                .map(|(place, count)| count.saturating_sub(then(place)))
                .collect(),
            all: self.all.saturating_sub(earlier.all),
        }
    }

    /// The value below which this share of all is, interpolated within its bucket; `None` when
    /// there is none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.all == 0 {
            return None;
        }
        let wanted = self.all as f64 * share;
        let (mut below, mut from) = (0, 0.0);
        for (bound, count) in self.bounds.iter().zip(&self.counts) {
            if *count as f64 >= wanted {
                let here = (count - below).max(1) as f64;
                return Some(from + (bound - from) * (wanted - below as f64) / here);
            }
            (below, from) = (*count, *bound);
        }
        self.bounds.last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::HistogramOpts;

    #[test]
    fn quantiles_lie_where_they_should() {
        let histogram =
            Histogram::with_opts(HistogramOpts::new("a", "b").buckets(vec![1.0, 2.0, 4.0]))
                .unwrap();
        let before = Buckets::of(&histogram);
        assert_eq!(before.quantile(0.5), None);
        (0..100).for_each(|n| histogram.observe(f64::from(n) / 50.0));
        let buckets = Buckets::of(&histogram).since(&before);
        assert!((buckets.quantile(0.5).unwrap() - 1.0).abs() < 0.03);
        assert!((buckets.quantile(0.75).unwrap() - 1.5).abs() < 0.03);
        histogram.observe(1e9);
        assert_eq!(
            Buckets::of(&histogram).quantile(1.0),
            Some(4.0),
            "no more than the last bound is known"
        );
    }
}
