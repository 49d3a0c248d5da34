//! Rates: their text form, and a token bucket.
//!
//! Source: the token bucket of RFC 2697 §3, with a single colour.

use crate::ground::lock::Lock;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A number in a time: `100/h`, `5/s`, `20/10m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The number; at least one.
    pub count: u32,
    /// The time; more than zero.
    pub per: Duration,
}

/// A token bucket: permits as many as the rate allows. After a pause all of them may come at once.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    /// The tokens left, and when that was computed.
    left: Lock<(f64, Instant)>,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let complaint = || format!("'{text}' is not a rate: write 10/s, 100/m, 1000/h or 20/10m");
        let (count, per) = text.split_once('/').ok_or_else(complaint)?;
        let digits = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
        let count = count.parse().ok().filter(|count| digits && (1..=1_000_000).contains(count));
        // A unit alone means one of it.
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
            per.to_owned()
        } else {
            format!("1{per}")
        };
        let per = humantime::parse_duration(&per).ok().filter(|per| !per.is_zero());
        match (count, per) {
            (Some(count), Some(per)) if per <= Duration::from_secs(7 * 86_400) => {
                Ok(Self { count, per })
            }
            _ => Err(complaint()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = humantime::format_duration(self.per).to_string().replace(' ', "");
        write!(f, "{}/{per}", self.count)
    }
}

impl Bucket {
    /// Full.
    pub fn new(rate: Rate) -> Self {
        Self { rate, left: Lock::leaf((f64::from(rate.count), Instant::now())) }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is a token.
    pub fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut left = self.left.lock();
        *left = (self.rested(*left, now), left.1.max(now));
        if left.0 >= 1.0 {
            left.0 -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - left.0) * self.each()))
    }

    /// Whether it is at least half full.
    pub fn is_half_full(&self, now: Instant) -> bool {
        self.rested(*self.left.lock(), now) >= f64::from(self.rate.count) / 2.0
    }

    /// Seconds until the next token.
    fn each(&self) -> f64 {
        self.rate.per.as_secs_f64() / f64::from(self.rate.count)
    }

    /// The tokens now, from those left then.
    fn rested(&self, (left, then): (f64, Instant), now: Instant) -> f64 {
        let rested = now.saturating_duration_since(then).as_secs_f64() / self.each();
        (left + rested).min(f64::from(self.rate.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_written_as_people_do() {
        for (text, count, seconds) in
            [("10/s", 10, 1), ("100/h", 100, 3600), ("20/10m", 20, 600), ("5/d", 5, 86_400)]
        {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.count, rate.per.as_secs()), (count, seconds), "{text}");
            assert_eq!(rate.to_string().parse(), Ok(rate), "{rate}");
        }
        for bad in [
            "",
            "10",
            "/s",
            "0/s",
            "-1/s",
            "+1/s",
            "10/",
            "10/0s",
            "10/x",
            "1/1y",
            "9999999/s",
            "1.5/s",
        ] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_bucket_holds_to_its_rate() {
        let (bucket, now) = (Bucket::new("3/m".parse().unwrap()), Instant::now());
        assert!((0..3).all(|_| bucket.take(now).is_ok()));
        let wait = bucket.take(now).unwrap_err();
        assert!(wait > Duration::from_secs(19) && wait <= Duration::from_secs(20), "{wait:?}");
        assert!(bucket.take(now + Duration::from_secs(21)).is_ok());
        assert!(bucket.take(now + Duration::from_secs(21)).is_err());
        let rested = now + Duration::from_secs(3600);
        assert!(
            (0..3).all(|_| bucket.take(rested).is_ok()) && bucket.take(rested).is_err(),
            "no more than a bucket full"
        );
    }
}
