//! What is known of the rates of destinations: the rules, the limiters, and who waits.
//!
//! Limits: each destination that a rule covers has a [`RateLimiter`]; those of destinations that
//! were forgotten are kept, [`KEPT_MAX`] at most. Where no rule is set nothing is computed.

use super::job::DestinationId;
use crate::ground::clock::Moment;
use crate::ground::rate_limit::{RateLimit, RateLimiter};
use crate::mail::model::{Destination, RateWait};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

/// Limiters that are kept for destinations without mail.
const KEPT_MAX: usize = 10_000;

/// The rules by which destinations have rates.
#[derive(Debug, Default)]
pub struct RateRules {
    /// By domain in lower case, `.domain` for what is below it, or `*`.
    rules: HashMap<String, (RateLimit, Arc<str>)>,
}

/// The limiter of one destination.
pub struct DestinationLimiter {
    /// Counts its mails.
    pub limiter: RateLimiter,
    /// The rate, and who set it.
    pub limit: Arc<str>,
}

/// Why and until when a destination waits.
pub struct RatePause {
    /// When there is a permit again.
    pub until: Moment,
    /// The rate, and who set it.
    pub limit: Arc<str>,
}

/// What the schedule knows of rates.
#[derive(Default)]
pub(super) struct DestinationRates {
    pub(super) rules: RateRules,
    /// Those of destinations that were forgotten.
    kept: HashMap<Destination, Box<DestinationLimiter>>,
    /// Destinations that wait, by the end of the wait.
    pub(super) waiting: BinaryHeap<Reverse<(Moment, DestinationId)>>,
}

impl RateRules {
    /// Rules of a property: domains in lower case, `.domain`, or `*`, with their rates.
    pub fn new(property: &str, rules: impl IntoIterator<Item = (String, RateLimit)>) -> Self {
        let rule = |(domain, limit): (String, RateLimit)| {
            let words = format!("rate {limit} of {property}").into();
            (domain, (limit, words))
        };
        Self { rules: rules.into_iter().map(rule).collect() }
    }

    /// Whether no destination has a rate.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule of a destination: that of its domain, of the nearest domain above it, or of all.
    fn of(&self, destination: &Destination) -> Option<&(RateLimit, Arc<str>)> {
        let Destination::Domain(domain) = destination else { return None };
        let domain = domain.as_str();
        let dots = domain.char_indices().filter(|(place, sign)| *sign == '.' && *place > 0);
        let above = dots.map(|(place, _)| &domain[place..]);
        std::iter::once(domain).chain(above).chain(["*"]).find_map(|name| self.rules.get(name))
    }
}

impl DestinationRates {
    /// The limiter of a destination that has work again.
    pub(super) fn of(&mut self, destination: &Destination) -> Option<Box<DestinationLimiter>> {
        // Most relays have no rates.
        if self.rules.is_empty() {
            return None;
        }
        if let Some(kept) = self.kept.remove(destination) {
            return Some(kept);
        }
        let (limit, words) = self.rules.of(destination)?;
        let limiter = RateLimiter::new(limit);
        Some(Box::new(DestinationLimiter { limiter, limit: words.clone() }))
    }

    /// A destination is forgotten; not what it has used.
    pub(super) fn keep(
        &mut self,
        destination: &Destination,
        rate: Option<Box<DestinationLimiter>>,
        now: u32,
    ) {
        let Some(mut rate) = rate.filter(|_| !self.rules.is_empty()) else { return };
        let now = now.into();
        if rate.limiter.is_unused(now) {
            return;
        }
        if self.kept.len() >= KEPT_MAX {
            self.kept.retain(|_, rate| !rate.limiter.is_unused(now));
        }
        if self.kept.len() < KEPT_MAX {
            self.kept.insert(destination.clone(), rate);
        }
    }
}

impl RatePause {
    /// What is said of it: until the first whole second in which there is a permit.
    pub fn wait(&self) -> RateWait {
        RateWait { until: self.until.after(999).second(), limit: self.limit.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, at};
    use super::*;

    #[test]
    fn a_rate_is_that_of_the_domain_of_one_above_or_of_all() {
        let rules =
            [("a.example", "1/s"), (".example", "2/s"), (".b.example", "3/s"), ("*", "4/s")];
        let rules = rules.map(|(domain, limit)| (domain.to_owned(), limit.parse().unwrap()));
        let rules = RateRules::new("destination_rates", rules);
        for (domain, count) in [
            ("a.example", 1),
            ("c.example", 2),
            ("x.a.example", 2),
            ("b.example", 2),
            ("x.y.b.example", 3),
            ("example", 4),
            ("other.test", 4),
            ("[192.0.2.1]", 4),
        ] {
            let (limit, words) = rules.of(&at(domain)).unwrap();
            assert_eq!(limit.rates()[0].count, count, "{domain}");
            assert_eq!(**words, *format!("rate {count}/s of destination_rates"));
        }
        assert!(RateRules::default().of(&at("a.example")).is_none());
    }

    #[test]
    fn what_a_forgotten_destination_has_used_is_kept() {
        let mut rates = DestinationRates {
            rules: RateRules::new(
                "destination_rates",
                [("*".to_owned(), "1/day".parse().unwrap())],
            ),
            ..DestinationRates::default()
        };
        let mut used = rates.of(&at("a.example")).unwrap();
        used.limiter.take(NOW.into()).unwrap();
        let unused = rates.of(&at("b.example"));
        rates.keep(&at("a.example"), Some(used), NOW);
        rates.keep(&at("b.example"), unused, NOW);
        assert_eq!(rates.kept.len(), 1);
        let mut again = rates.of(&at("a.example")).unwrap();
        assert!(again.limiter.take((NOW + 1).into()).is_err());
    }
}
