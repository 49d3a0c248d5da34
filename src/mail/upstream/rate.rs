//! The rate of an upstream: how many transactions begin in a time.
//!
//! In: moments at which a transaction is to begin. Out: a permit, or when there is one. Limits:
//! those of [`RateLimiter`].

use crate::ground::clock::{self, Moment};
use crate::ground::rate_limit::{RateLimit, RateLimiter};
use crate::mail::model::{UpstreamRate, UpstreamRateWait};
use std::sync::Arc;

/// The rate of one upstream.
#[derive(Debug)]
pub(super) struct UpstreamLimiter {
    limiter: RateLimiter,
    limit: Arc<str>,
}

impl UpstreamLimiter {
    /// Nothing is used; `property` sets the rate.
    pub(super) fn new(property: &str, limit: &RateLimit) -> Self {
        let words = format!("rate {limit} of {property}").into();
        Self { limiter: RateLimiter::new(limit), limit: words }
    }

    /// Takes a permit.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn take(&mut self, now: Moment) -> Result<(), UpstreamRateWait> {
        self.limiter.take(now).map_err(|until| self.until(until))
    }

    /// Until when there is none.
    pub(super) fn waiting(&mut self, now: Moment) -> Option<UpstreamRateWait> {
        self.limiter.next_free(now).map(|until| self.until(until))
    }

    /// For pages.
    pub(super) fn status(&mut self, now: Moment) -> UpstreamRate {
        let next = self.limiter.next_free(now);
        UpstreamRate {
            limit: self.limit.clone(),
            left: self.limiter.left(now),
            next: next.map(|moment| clock::wall(moment.after(999).second())),
        }
    }

    fn until(&self, until: Moment) -> UpstreamRateWait {
        UpstreamRateWait { until_millis: until.millis(), limit: self.limit.clone() }
    }
}

/// The first second in which there is a permit, and the reason in words.
pub(super) fn pause(wait: &UpstreamRateWait) -> (u32, String) {
    let until = Moment::from_millis(wait.until_millis).after(999).second();
    (until, format!("{} is used up; next at {}", wait.limit, clock::soon(clock::wall(until))))
}
