//! Monotonic time, independent of changes of the wall clock.
//!
//! Purpose: waiting and ages in this process must not depend on a wall clock that is set, that is
//! wrong when a virtual machine resumes, or that has no battery. [`super::clock`] has the one
//! [`SteadyClock`] of the process. In: readings of the wall clock and of the monotonic clock, taken
//! together. Out: monotonic ("steady") seconds, ages, and jumps. Model: steady time is the wall
//! clock's time at the start, advanced by the monotonic clock. The wall clock is ahead of it by an
//! offset that changes only at a jump; each period without a jump is an era. A recorded wall-clock
//! time is assigned to an era in which the wall clock could have had it. Limits: [`JUMP`] seconds
//! make a jump, [`ERAS_MAX`] eras are remembered.

/// A difference between the two clocks that counts as a jump, in seconds: more than a time server's
/// small corrections, and less than the shortest back-off in use.
pub const JUMP: i64 = 10;

/// Eras that are remembered; of more, the first and the latest ones.
pub const ERAS_MAX: usize = 16;

/// 1 January 2020: Postern did not exist before, so an earlier clock has not been set yet.
const FIRST_BELIEVED: i64 = 1_577_836_800;

/// A period without a jump, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Era {
    /// Its start, in steady time.
    began: i64,
    /// How far the wall clock is ahead of steady time.
    offset: i64,
}

/// A change of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockJump {
    /// Seconds; forward when positive.
    pub by: i64,
}

/// The steady clock. Pure: readings of the machine's clocks are arguments.
#[derive(Debug, Clone)]
pub struct SteadyClock {
    start: i64,
    eras: Vec<Era>,
}

impl SteadyClock {
    /// Begins when the wall clock is `wall`.
    pub fn new(wall: i64) -> Self {
        Self { start: wall, eras: vec![Era { began: wall, offset: 0 }] }
    }

    /// Steady time after so many seconds of the monotonic clock.
    pub fn at(&self, elapsed: i64) -> i64 {
        self.start.saturating_add(elapsed)
    }

    /// How far the wall clock is ahead of steady time, as far as known.
    pub fn offset(&self) -> i64 {
        self.eras.last().map_or(0, |era| era.offset)
    }

    /// Compares the clocks: `wall` and `elapsed` were read together. Each jump is reported once.
    pub fn look(&mut self, wall: i64, elapsed: i64) -> Option<ClockJump> {
        let now = self.at(elapsed);
        let offset = wall.saturating_sub(now);
        let by = offset.saturating_sub(self.offset());
        if by.saturating_abs() <= JUMP {
            return None;
        }
        if self.eras.len() >= ERAS_MAX {
            self.eras.remove(1);
        }
        self.eras.push(Era { began: now, offset });
        Some(ClockJump { by })
    }

    /// The age in seconds of something recorded at `then` by the wall clock; never negative.
    ///
    /// Mail accepted since the start has its true age within [`JUMP`], unless `then` fits several
    /// eras: then it is the lowest of those ages, so mail may wait longer by as much as the clock
    /// was set back, and never expires early. Mail accepted before has at least the age of this
    /// process.
    pub fn age(&self, then: i64, elapsed: i64) -> i64 {
        let now = self.at(elapsed);
        if self.eras.len() == 1 && (self.start..=now).contains(&then) {
            return now - then;
        }
        let ends = self.eras.iter().skip(1).map(|era| era.began).chain([now]);
        let within = self.eras.iter().zip(ends).filter_map(|(era, end)| {
            let steady = then.saturating_sub(era.offset);
            (era.began - JUMP <= steady && steady <= end + JUMP)
                .then(|| now.saturating_sub(steady).max(0))
        });
        if let Some(age) = within.min() {
            return age;
        }
        let at_least = elapsed.max(0);
        if then < FIRST_BELIEVED {
            return at_least;
        }
        let first = now.saturating_sub(then);
        let latest = now.saturating_add(self.offset()).saturating_sub(then);
        [first, latest].into_iter().filter(|age| *age >= 0).min().unwrap_or(0).max(at_least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    #[test]
    fn six_days_forward_and_back_make_nothing_older() {
        let mut clock = SteadyClock::new(START);
        let before = START - 3600;
        assert_eq!(clock.look(START + 60, 60), None);
        assert_eq!(clock.look(START + 100 + 6 * DAY, 100), Some(ClockJump { by: 6 * DAY }));
        assert_eq!(clock.look(START + 101 + 6 * DAY, 101), None, "told once");
        let meanwhile = START + 102 + 6 * DAY;
        assert_eq!(
            (clock.age(before, 103), clock.age(START + 50, 103), clock.age(meanwhile, 103)),
            (3703, 53, 1)
        );
        assert_eq!(clock.look(START + 104, 104), Some(ClockJump { by: -6 * DAY }));
        assert_eq!(
            (clock.age(before, 204), clock.age(START + 50, 204), clock.age(meanwhile, 204)),
            (3804, 154, 102)
        );
    }

    #[test]
    fn a_clock_that_is_set_after_the_start_does_not_age_what_waits() {
        let mut clock = SteadyClock::new(1000);
        assert_eq!(clock.look(START, 60), Some(ClockJump { by: START - 1060 }));
        assert_eq!(clock.age(1010, 70), 60);
        assert_eq!(clock.age(START + 5, 70), 5);
        assert_eq!(
            clock.age(START - DAY, 70),
            DAY + 10,
            "what was there before, by the clock that is right now"
        );
        // After the next start its age is not known.
        assert_eq!(SteadyClock::new(START + DAY).age(1010, 33), 33);
    }

    #[test]
    fn what_comes_from_the_future_grows_old_like_anything() {
        let clock = SteadyClock::new(START);
        let (first, later) =
            (clock.age(START + 80 * 365 * DAY, 10), clock.age(START + 80 * 365 * DAY, 500_000));
        assert_eq!((first, later), (10, 500_000));
    }

    #[test]
    fn of_a_moment_that_the_clock_says_twice_the_later_one_is_taken() {
        let mut clock = SteadyClock::new(START);
        let then = START + 1000;
        assert_eq!(clock.look(START + 200, 2000), Some(ClockJump { by: -1800 }));
        assert_eq!(clock.age(then, 2000), 1000, "the clock says it again in 800 s");
        assert_eq!(clock.age(then, 2000 + 800), 0);
        assert_eq!(clock.age(then, 2000 + 800 + 3600), 3600);
    }

    proptest! {
        /// Whatever happens to the wall clock: mail of this process is never older than its true
        /// age, and an hour makes it an hour older, unless the wall clock is set back to the time
        /// at which the mail came.
        #[test]
        fn mail_is_never_older_than_it_is(
            jumps in prop::collection::vec((1..5000i64, -200 * DAY..200 * DAY), 0..ERAS_MAX - 1),
            arrives in 0..20_000i64,
        ) {
            let (mut clock, mut wall, mut elapsed) = (SteadyClock::new(START), START, 0);
            let mut then = None;
            for (pause, by) in jumps {
                for _ in 0..pause.min(50) {
                    elapsed += (pause / 50).max(1);
                    clock.look(wall + elapsed, elapsed);
                    if then.is_none() && elapsed >= arrives {
                        then = Some((wall + elapsed, elapsed));
                    }
                }
                wall += by;
                clock.look(wall + elapsed, elapsed);
            }
            let (then, since) = then.unwrap_or((wall + elapsed, elapsed));
            prop_assert!(clock.age(then, elapsed) <= elapsed - since + JUMP);
            let (age, older) = (clock.age(then, elapsed), clock.age(then, elapsed + 3600));
            prop_assert!(older <= age + 3600 + JUMP);
            let wall = wall + elapsed;
            let again = (wall - 2 * JUMP..wall + 3600 + 2 * JUMP).contains(&then);
            if !again {
                let least = (3600 - JUMP).min(elapsed + 3600 - since);
                prop_assert!(older >= least, "{} {}", age, older);
            }
            // Once the clock has finally passed that time, nothing is younger than the time since.
            let past = elapsed + (then - wall).max(0);
            prop_assert!(clock.age(then, past + 3600) >= 3600 - 2 * JUMP, "{} {}", past, elapsed);
            prop_assert_eq!(clock.at(elapsed), START + elapsed);
        }
    }
}
