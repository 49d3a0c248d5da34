//! Results of deliveries by destination in the last day, for the pages and the API.
//!
//! In: the outcomes of each attempt. Out: [`Deliveries`]. Kept in memory only: a restart clears it.
//! Limits: [`DESTINATIONS`] destinations (those attempted the longest ago are removed first), each
//! with [`Deliveries::HOURS`] hours at most, about 2.5 kB.

use crate::mail::model::{Deliveries, Destination, Outcome, ReplyClass, Target};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// Destinations that are remembered.
pub(super) const DESTINATIONS: usize = 500;

/// Characters of a host and of an error.
const TEXT: usize = 300;

/// Durations are counted in buckets of powers of two in milliseconds: up to 32 s, and one bucket
/// for all longer ones.
const BUCKETS: usize = 16;

/// Seconds of an hour.
const HOUR: u32 = 3600;

/// An attempt that has ended.
pub(super) struct EndedAttempt<'a> {
    pub(super) outcomes: &'a [(Target, Outcome)],
    pub(super) relay: &'a str,
    pub(super) tls: &'a str,
    pub(super) took: Duration,
    /// When, seconds since 1970.
    pub(super) at: u32,
}

/// All destinations.
#[derive(Default)]
pub(super) struct DeliveryRecords(HashMap<Destination, Record>);

#[derive(Default)]
struct Record {
    hours: VecDeque<Hour>,
    relay: String,
    tls: String,
    last_error: String,
    failed_at: u32,
    last: u32,
}

/// What happened within one hour.
struct Hour {
    /// Since 1970.
    number: u32,
    delivered: u32,
    deferred: u32,
    bounced: u32,
    took: [u32; BUCKETS],
}

impl DeliveryRecords {
    /// Records an attempt.
    pub(super) fn note(&mut self, destination: &Destination, ended: &EndedAttempt<'_>) {
        if self.0.len() >= DESTINATIONS && !self.0.contains_key(destination) {
            self.forget_one();
        }
        let record = match self.0.get_mut(destination) {
            Some(record) => record,
            None => self.0.entry(destination.clone()).or_default(),
        };
        record.note(ended);
    }

    /// Those with the most attempts first, at most `limit`.
    pub(super) fn all(&self, limit: usize, now: u32) -> Vec<Deliveries> {
        let views = self.0.iter().map(|(name, record)| record.view(name.clone(), now));
        let mut views: Vec<Deliveries> = views.filter(|view| view.attempts() > 0).collect();
        views.sort_by(|a, b| {
            b.attempts().cmp(&a.attempts()).then_with(|| a.destination.cmp(&b.destination))
        });
        views.truncate(limit);
        views
    }

    fn forget_one(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, record)| record.last);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.0.remove(&name);
        }
    }
}

impl Record {
    fn note(&mut self, ended: &EndedAttempt<'_>) {
        self.last = ended.at;
        if !ended.relay.is_empty() {
            // Mostly the same as before.
            for (known, now) in [(&mut self.relay, ended.relay), (&mut self.tls, ended.tls)] {
                if known != now {
                    *known = cut(now);
                }
            }
        }
        let hour = self.hour(ended.at / HOUR);
        let mut error = None;
        for (_, outcome) in ended.outcomes {
            match outcome.class() {
                ReplyClass::Success => {
                    hour.delivered = hour.delivered.saturating_add(1);
                    let bucket = &mut hour.took[bucket(ended.took)];
                    *bucket = bucket.saturating_add(1);
                    continue;
                }
                ReplyClass::Temporary => hour.deferred = hour.deferred.saturating_add(1),
                ReplyClass::Permanent => hour.bounced = hour.bounced.saturating_add(1),
            }
            error = Some(outcome);
        }
        if let Some(outcome) = error {
            (self.last_error, self.failed_at) = (cut(&outcome.words()), ended.at);
        }
    }

    /// The record of an hour. After the clock was set back, the last existing hour is used.
    fn hour(&mut self, number: u32) -> &mut Hour {
        while self.hours.front().is_some_and(|first| first.number + Deliveries::HOURS <= number) {
            self.hours.pop_front();
        }
        if self.hours.back().is_none_or(|last| last.number < number) {
            let (delivered, deferred, bounced) = (0, 0, 0);
            self.hours.push_back(Hour { number, delivered, deferred, bounced, took: [0; BUCKETS] });
        }
        let last = self.hours.len() - 1;
        &mut self.hours[last]
    }

    fn view(&self, destination: Destination, now: u32) -> Deliveries {
        let mut took = [0u64; BUCKETS];
        let mut view = Deliveries {
            destination,
            delivered: 0,
            deferred: 0,
            bounced: 0,
            p50_seconds: None,
            p99_seconds: None,
            relay: self.relay.clone(),
            tls: self.tls.clone(),
            last_error: self.last_error.clone(),
            failed_at: self.failed_at,
            last: self.last,
        };
        for hour in self.hours.iter().filter(|hour| hour.number + Deliveries::HOURS > now / HOUR) {
            view.delivered += u64::from(hour.delivered);
            view.deferred += u64::from(hour.deferred);
            view.bounced += u64::from(hour.bounced);
            took.iter_mut().zip(hour.took).for_each(|(sum, count)| *sum += u64::from(count));
        }
        (view.p50_seconds, view.p99_seconds) = (quantile(&took, 0.5), quantile(&took, 0.99));
        view
    }
}

/// The bucket of a duration: under 1 ms, under 2 ms, under 4 ms, and so on.
fn bucket(took: Duration) -> usize {
    let bits = u128::BITS - took.as_millis().leading_zeros();
    usize::try_from(bits).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The value in seconds below which this share of all durations is, interpolated within its bucket.
fn quantile(took: &[u64; BUCKETS], share: f64) -> Option<f64> {
    let all: u64 = took.iter().sum();
    if all == 0 {
        return None;
    }
    let mut left = all as f64 * share;
    for (place, count) in took.iter().enumerate() {
        let count = *count as f64;
        if left <= count && count > 0.0 {
            let upper = (1u64 << place) as f64;
            let lower = if place == 0 { 0.0 } else { upper / 2.0 };
            return Some((lower + (upper - lower) * left / count) / 1000.0);
        }
        left -= count;
    }
    None
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::Reply;

    fn outcomes(codes: &[u16]) -> Vec<(Target, Outcome)> {
        let outcome = |code: &u16| {
            let class = u8::try_from(code / 100).unwrap();
            Outcome::said(Reply::new(*code, (class, 0, 0), format!("said {code}")))
        };
        codes.iter().map(|code| (Target::Recipient(0), outcome(code))).collect()
    }

    fn destination_of(name: &str) -> Destination {
        Destination::domain(name).unwrap()
    }

    fn note(records: &mut DeliveryRecords, name: &str, codes: &[u16], ms: u64, at: u32) {
        let (relay, tls) = ("mx[192.0.2.1]:25", "TLSv1.3");
        let (outcomes, took) = (outcomes(codes), Duration::from_millis(ms));
        records.note(
            &destination_of(name),
            &EndedAttempt { outcomes: &outcomes, relay, tls, took, at },
        );
    }

    #[test]
    fn a_day_is_remembered_and_no_more() {
        let (mut records, begin) = (DeliveryRecords::default(), 500 * HOUR);
        note(&mut records, "a.example", &[250, 250, 450], 3, begin);
        note(&mut records, "a.example", &[250], 3, begin + HOUR);
        note(&mut records, "b.example", &[550], 3, begin);
        let all = records.all(9, begin + HOUR);
        let [first, second] = [0, 1].map(|place: usize| all[place].destination.clone());
        assert_eq!((first, second), (destination_of("a.example"), destination_of("b.example")));
        let a = &all[0];
        assert_eq!((a.delivered, a.deferred, a.bounced, a.attempts()), (3, 1, 0, 4));
        assert_eq!(
            (a.last_error.as_str(), a.failed_at, a.last),
            ("450 4.0.0 said 450", begin, begin + HOUR)
        );
        assert_eq!((a.relay.as_str(), a.tls.as_str()), ("mx[192.0.2.1]:25", "TLSv1.3"));
        let later = records.all(9, begin + 24 * HOUR);
        assert_eq!((later.len(), later[0].delivered, later[0].deferred), (1, 1, 0));
        assert_eq!(records.all(9, begin + 25 * HOUR), []);
        note(&mut records, "a.example", &[250], 3, begin - HOUR);
        assert_eq!(records.all(1, begin + HOUR)[0].delivered, 4, "the clock was set back");
    }

    #[test]
    fn those_tried_the_longest_ago_are_forgotten() {
        let mut records = DeliveryRecords::default();
        for n in 0..u32::try_from(DESTINATIONS).unwrap() + 3 {
            note(&mut records, &format!("{n}.example"), &[250], 1, HOUR * 100 + n);
        }
        let names: Vec<Destination> =
            records.all(usize::MAX, HOUR * 100).into_iter().map(|view| view.destination).collect();
        assert_eq!(names.len(), DESTINATIONS);
        assert!(
            !names.contains(&destination_of("2.example"))
                && names.contains(&destination_of("3.example"))
        );
    }

    #[test]
    fn durations_have_quantiles() {
        let mut records = DeliveryRecords::default();
        (0..99).for_each(|_| note(&mut records, "a.example", &[250], 12, HOUR));
        note(&mut records, "a.example", &[250], 5_000_000, HOUR);
        let view = &records.all(1, HOUR)[0];
        let (p50, p99) = (view.p50_seconds.unwrap(), view.p99_seconds.unwrap());
        assert!(p50 > 0.008 && p50 < 0.016 && p99 > 0.008 && p99 <= 0.016, "{p50} {p99}");
        note(&mut records, "b.example", &[450], 12, HOUR);
        assert_eq!(records.all(2, HOUR)[1].p50_seconds, None, "nothing was delivered");
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::from_millis(1))), (0, 1));
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }
}
