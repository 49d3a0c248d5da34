//! Rates that hold together, such as `30/min + 10000/day`, and a limiter that is exact.
//!
//! Purpose: at most so many permits in any window of a rate's time, wherever the window begins: a
//! peer that counts in windows of its own never counts more. In: moments, which the caller gives.
//! Out: a permit, or the next moment at which there is one. Pure. How: a sliding window; each
//! permit is remembered until its window has passed. After a pause all permits of a window may be
//! used at once, and then none until the first of them leaves the window. Limits: [`RATES_MAX`]
//! rates; of each, [`PARTS`] + 2 groups of permits are remembered: where a window has more permits
//! than [`PARTS`], those of a [`PARTS`]th of it leave together, when the last of them may. That
//! costs at most so small a part of the rate, and permits are never early.

use super::clock::Moment;
use super::token_bucket::Rate;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// Rates that hold together, at most.
pub const RATES_MAX: usize = 4;

/// Into so many parts a window with more permits is divided.
pub const PARTS: u32 = 64;

/// Units as they are written; other times are written with a number, such as `20/10m`.
const UNITS: [(u64, &str); 4] = [(1, "s"), (60, "min"), (3600, "hour"), (86_400, "day")];

/// Rates that hold together: `10/min`, `30/min + 10000/day`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit(Vec<Rate>);

/// Gives permits as a [`RateLimit`] allows. The clock is an argument of its methods.
#[derive(Debug, Clone)]
pub struct RateLimiter(Box<[Window]>);

/// The permits of one rate.
#[derive(Debug, Clone)]
struct Window {
    rate: Rate,
    /// The oldest first.
    groups: VecDeque<Group>,
    /// The sum of their counts.
    used: u32,
}

/// Permits that leave the window together.
#[derive(Debug, Clone, Copy)]
struct Group {
    first: Moment,
    last: Moment,
    count: u32,
}

impl RateLimit {
    /// Its rates; there is at least one.
    pub fn rates(&self) -> &[Rate] {
        &self.0
    }
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let complaint = || {
            format!(
                "'{text}' is not a rate: write 100/s, 10/min, 500/hour or 2000/day, or up to \
                {RATES_MAX} of them joined by +, such as 30/min + 10000/day"
            )
        };
        let one = |part: &str| Rate::from_str(&part.trim().to_ascii_lowercase());
        let rates: Vec<Rate> =
            text.split('+').map(one).collect::<Result<_, _>>().map_err(|_| complaint())?;
        if rates.len() > RATES_MAX { Err(complaint()) } else { Ok(Self(rates)) }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, rate) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" + ")?;
            }
            write_rate(f, rate)?;
        }
        Ok(())
    }
}

impl RateLimiter {
    /// Nothing is used.
    pub fn new(limit: &RateLimit) -> Self {
        let window = |rate: &Rate| Window { rate: *rate, groups: VecDeque::new(), used: 0 };
        Self(limit.0.iter().map(window).collect())
    }

    /// Takes a permit.
    ///
    /// # Errors
    /// The next moment at which there is one, unless others take it.
    pub fn take(&mut self, now: Moment) -> Result<(), Moment> {
        match self.next_free(now) {
            Some(later) => Err(later),
            None => {
                self.charge(1, now);
                Ok(())
            }
        }
    }

    /// Takes so many permits whether they are there or not: for work that cannot stop any more.
    /// What was taken too much is missing later.
    pub fn charge(&mut self, count: u32, now: Moment) {
        self.0.iter_mut().for_each(|window| window.add(count, now));
    }

    /// Returns a permit that was taken at this moment and not used.
    pub fn give_back(&mut self, taken: Moment, now: Moment) {
        self.0.iter_mut().for_each(|window| window.give_back(taken, now));
    }

    /// The next moment at which there is a permit; `None`: there is one now.
    pub fn next_free(&mut self, now: Moment) -> Option<Moment> {
        self.0.iter_mut().filter_map(|window| window.next_free(now)).max()
    }

    /// Permits that are there now.
    pub fn left(&mut self, now: Moment) -> u32 {
        let left = |window: &mut Window| {
            window.expire(now);
            window.rate.count.saturating_sub(window.used)
        };
        self.0.iter_mut().map(left).min().unwrap_or(u32::MAX)
    }

    /// Whether nothing is remembered that a new limiter would not know.
    pub fn is_unused(&mut self, now: Moment) -> bool {
        self.0.iter_mut().all(|window| {
            window.expire(now);
            window.used == 0
        })
    }
}

impl Window {
    fn per(&self) -> u64 {
        u64::try_from(self.rate.per.as_millis()).unwrap_or(u64::MAX)
    }

    fn expire(&mut self, now: Moment) {
        let per = self.per();
        while let Some(group) = self.groups.front()
            && group.last.after(per) <= now
        {
            self.used -= group.count;
            self.groups.pop_front();
        }
    }

    fn add(&mut self, count: u32, now: Moment) {
        self.expire(now);
        self.used = self.used.saturating_add(count);
        let part = if self.rate.count > PARTS { self.per() / u64::from(PARTS) } else { 0 };
        if let Some(group) = self.groups.back_mut()
            && (now <= group.last || now < group.first.after(part))
        {
            // A caller may have read its clock before another one that was quicker.
            group.last = group.last.max(now);
            group.count = group.count.saturating_add(count);
            return;
        }
        self.groups.push_back(Group { first: now, last: now, count });
    }

    /// The oldest permit goes: each one that was really used is younger than, or as old as, one
    /// that is remembered, so that no window has more than it may.
    fn give_back(&mut self, taken: Moment, now: Moment) {
        self.expire(now);
        let Some(group) = self.groups.front_mut() else { return };
        if taken < group.first {
            return;
        }
        group.count -= 1;
        self.used -= 1;
        if group.count == 0 {
            self.groups.pop_front();
        }
    }

    fn next_free(&mut self, now: Moment) -> Option<Moment> {
        self.expire(now);
        let mut used = self.used;
        let mut groups = self.groups.iter();
        let mut free_at = None;
        while used >= self.rate.count {
            let group = groups.next()?;
            used -= group.count;
            free_at = Some(group.last.after(self.per()));
        }
        free_at
    }
}

fn write_rate(f: &mut fmt::Formatter<'_>, rate: &Rate) -> fmt::Result {
    let unit = UNITS.iter().find(|(seconds, _)| rate.per.as_secs_f64() == *seconds as f64);
    match unit {
        Some((_, unit)) => write!(f, "{}/{unit}", rate.count),
        None => write!(f, "{rate}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limiter(text: &str) -> RateLimiter {
        RateLimiter::new(&text.parse().unwrap())
    }

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn rates_are_written_with_units_and_joined() {
        for (text, shown) in [
            ("10/min", "10/min"),
            ("10/m", "10/min"),
            ("10/minute", "10/min"),
            ("100/s", "100/s"),
            ("100/sec", "100/s"),
            ("500/h", "500/hour"),
            ("500/HOUR", "500/hour"),
            ("2000/d", "2000/day"),
            ("2000/day", "2000/day"),
            ("20/10m", "20/10m"),
            ("30/min+10000/day", "30/min + 10000/day"),
            (" 5/s + 30/min +  10000/day ", "5/s + 30/min + 10000/day"),
        ] {
            let limit: RateLimit = text.parse().unwrap();
            assert_eq!(limit.to_string(), shown);
            assert_eq!(shown.parse(), Ok(limit), "{shown}");
        }
        for bad in
            ["", "10", "0/s", "10/year", "1/s+", "+1/s", "1/s+1/s+1/s+1/s+1/s", "5/s 6/s", "-1/s"]
        {
            let told = bad.parse::<RateLimit>().unwrap_err();
            assert!(told.contains("is not a rate: write 100/s, 10/min"), "{told}");
        }
    }

    #[test]
    fn a_window_is_used_at_once_and_then_waited_for() {
        let mut limiter = limiter("3/min");
        assert_eq!(limiter.left(at(0)), 3);
        assert_eq!(limiter.take(at(0)), Ok(()));
        assert_eq!(limiter.take(at(10_000)), Ok(()));
        assert_eq!(limiter.take(at(20_000)), Ok(()));
        assert_eq!(limiter.take(at(30_000)), Err(at(60_000)));
        assert_eq!(limiter.take(at(59_999)), Err(at(60_000)));
        assert_eq!(limiter.take(at(60_000)), Ok(()));
        assert_eq!(limiter.take(at(60_000)), Err(at(70_000)));
        assert!(!limiter.is_unused(at(119_999)));
        assert!(limiter.is_unused(at(120_000)));
    }

    #[test]
    fn all_of_joined_rates_hold() {
        let mut limiter = limiter("2/s + 3/min");
        let taken: Vec<bool> =
            (0..4).map(|second| limiter.take(at(second * 100)).is_ok()).collect();
        assert_eq!(taken, [true, true, false, false]);
        assert_eq!(limiter.next_free(at(400)), Some(at(1000)));
        assert_eq!(limiter.take(at(1000)), Ok(()));
        assert_eq!(limiter.take(at(1200)), Err(at(60_000)), "the later of the two");
    }

    #[test]
    fn a_permit_that_was_not_used_is_there_again_and_a_charge_is_paid_later() {
        let mut limiter = limiter("2/min");
        limiter.take(at(0)).unwrap();
        limiter.take(at(1000)).unwrap();
        limiter.give_back(at(0), at(2000));
        assert_eq!(limiter.take(at(2000)), Ok(()));
        assert_eq!(limiter.take(at(2000)), Err(at(61_000)));
        limiter.give_back(at(2000), at(200_000));
        assert!(limiter.is_unused(at(200_000)), "it had left its window");
        limiter.charge(3, at(300_000));
        limiter.charge(1, at(310_000));
        assert_eq!(limiter.next_free(at(320_000)), Some(at(360_000)));
        assert_eq!(limiter.take(at(360_000)), Ok(()), "one of two is left");
    }

    /// What a caller does.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Take(u64),
        GiveBack(usize),
        WaitAndTake,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..400u64).prop_map(Step::Take),
            2 => (0..400usize).prop_map(Step::GiveBack),
            1 => Just(Step::WaitAndTake),
        ];
        prop::collection::vec(step, 1..300)
    }

    /// Checks that no window has more permits in use than its rate.
    fn check(used: &[u64], rates: &[Rate]) -> Result<(), TestCaseError> {
        for rate in rates {
            let (count, per) = (rate.count as usize, u64::try_from(rate.per.as_millis()).unwrap());
            for pair in used.windows(count + 1) {
                prop_assert!(pair[count] - pair[0] >= per, "{:?} in {}", pair, per);
            }
        }
        Ok(())
    }

    proptest! {
        /// In no window, wherever it begins, are more permits used than its rate says; and the
        /// next moment that is given is the first at which there is one.
        #[test]
        fn no_window_has_more_than_its_rate(
            steps in steps(),
            rates in prop::collection::vec((1..100u32, 1..5000u64), 1..=3),
        ) {
            let rate = |(count, per): &(u32, u64)| {
                Rate { count: *count, per: std::time::Duration::from_millis(*per) }
            };
            let limit = RateLimit(rates.iter().map(rate).collect());
            let mut limiter = RateLimiter::new(&limit);
            let (mut now, mut used): (u64, Vec<u64>) = (0, Vec::new());
            for step in steps {
                match step {
                    Step::Take(wait) => {
                        now += wait / 8;
                        if limiter.take(at(now)).is_ok() {
                            used.push(now);
                        }
                    }
                    Step::GiveBack(place) if !used.is_empty() => {
                        let taken = used.remove(place % used.len());
                        limiter.give_back(at(taken), at(now));
                    }
                    Step::GiveBack(_) => {}
                    Step::WaitAndTake => {
                        while limiter.take(at(now)).is_ok() {
                            used.push(now);
                        }
                        let free = limiter.next_free(at(now)).unwrap();
                        let before = at(free.millis() - 1);
                        prop_assert_eq!(limiter.clone().take(before), Err(free));
                        now = free.millis();
                        prop_assert_eq!(limiter.take(free), Ok(()));
                        used.push(now);
                    }
                }
            }
            check(&used, limit.rates())?;
            let groups = limiter.0.iter().map(|window| window.groups.len()).max();
            prop_assert!(groups.unwrap_or_default() <= PARTS as usize + 2);
        }

        /// Mail that always waits goes at the rate, but for the part that grouping costs.
        #[test]
        fn the_rate_is_reached(count in 1..5000u32, per in 64..100_000u64) {
            let rate = Rate { count, per: std::time::Duration::from_millis(per) };
            let mut limiter = RateLimiter::new(&RateLimit(vec![rate]));
            let (mut now, mut used) = (0, 0u64);
            while now < 20 * per {
                match limiter.take(at(now)) {
                    Ok(()) => used += 1,
                    Err(free) => now = free.millis(),
                }
            }
            let due = 20 * u64::from(count);
            prop_assert!(used >= due - due / 32 - 1, "{} of {}", used, due);
            prop_assert!(used <= due + u64::from(count), "{} of {}", used, due);
        }
    }
}
