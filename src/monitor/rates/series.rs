//! Rates of the last hour, day and week, in rings of a fixed size.
//!
//! Each ring has the totals at the start of its present step; when the step ends, the difference
//! becomes a point. A step that was not fully observed (a stop, a clock that jumped) is a gap.
//! Limits: [`Rates::OCTETS`] octets in memory and as many on the data volume.

use super::point::RatePoint;
use super::totals::Totals;

/// The length of a ring, and its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its name for programs and people.
    pub name: &'static str,
    /// Seconds of a step.
    pub step: u32,
    /// Steps.
    pub steps: usize,
}

/// An hour in steps of ten seconds, a day in steps of five minutes, a week in steps of half an
/// hour.
pub const SPANS: [Span; 3] = [
    Span { name: "1h", step: 10, steps: 360 },
    Span { name: "24h", step: 300, steps: 288 },
    Span { name: "7d", step: 1800, steps: 336 },
];

struct Ring {
    span: Span,
    points: Vec<RatePoint>,
    /// Number of the present step: seconds since 1970 divided by the length of a step.
    current: u64,
    /// The totals when it began; `None` = its start was not observed.
    begun: Option<Totals>,
}

/// All rings.
pub struct Rates {
    rings: [Ring; 3],
}

impl Rates {
    /// Octets of all points.
    pub const OCTETS: usize =
        (SPANS[0].steps + SPANS[1].steps + SPANS[2].steps) * RatePoint::NUMBERS * 4;

    /// Only gaps.
    pub fn new(now: u32) -> Self {
        let ring = |span: Span| Ring {
            span,
            points: vec![RatePoint::GAP; span.steps],
            current: u64::from(now) / u64::from(span.step),
            begun: None,
        };
        Self { rings: SPANS.map(ring) }
    }

    /// Records the totals; to be called at least once in the shortest step.
    pub fn tick(&mut self, totals: &Totals, now: u32) {
        for ring in &mut self.rings {
            ring.tick(totals, now);
        }
    }

    /// The points of a span, oldest first, and when the last of them ended.
    pub fn points(&self, name: &str) -> Option<(Span, Vec<RatePoint>, u32)> {
        let ring = self.rings.iter().find(|ring| ring.span.name == name)?;
        let steps = ring.span.steps as u64;
        let points = (0..steps).map(|n| ring.points[ring.place(ring.current + n)]).collect();
        Some((
            ring.span,
            points,
            u32::try_from(ring.current * u64::from(ring.span.step)).unwrap_or(u32::MAX),
        ))
    }

    /// As octets, without a checksum.
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(Self::OCTETS + 3 * 8);
        for ring in &self.rings {
            octets.extend_from_slice(&ring.current.to_le_bytes());
            for number in ring.points.iter().flat_map(RatePoint::numbers) {
                octets.extend_from_slice(&number.to_le_bytes());
            }
        }
        octets
    }

    /// The rates from [`Rates::encode`], with a gap since then; `None` when it is something else.
    pub fn decode(octets: &[u8], now: u32) -> Option<Self> {
        let mut rates = Self::new(now);
        let mut rest = octets;
        for ring in &mut rates.rings {
            let (current, after) = rest.split_first_chunk::<8>()?;
            let (points, after) =
                after.split_at_checked(ring.span.steps * RatePoint::NUMBERS * 4)?;
            rest = after;
            let here = ring.current;
            ring.current = u64::from_le_bytes(*current);
            for (point, octets) in
                ring.points.iter_mut().zip(points.chunks_exact(RatePoint::NUMBERS * 4))
            {
                let mut numbers = [f32::NAN; RatePoint::NUMBERS];
                for (number, octets) in numbers.iter_mut().zip(octets.chunks_exact(4)) {
                    *number = f32::from_le_bytes(octets.try_into().ok()?);
                }
                *point = RatePoint::from_numbers(numbers);
            }
            ring.advance(here);
        }
        rest.is_empty().then_some(rates)
    }
}

impl Ring {
    fn tick(&mut self, totals: &Totals, now: u32) {
        let step = u64::from(now) / u64::from(self.span.step);
        if step == self.current {
            return;
        }
        let seen = self.begun.take().filter(|_| step == self.current + 1);
        let ended = self.current;
        self.advance(step);
        if let Some(begun) = seen {
            let place = self.place(ended);
            self.points[place] = totals.since(&begun, self.span.step as f32);
        }
        self.begun = Some(totals.clone());
    }

    /// Makes gaps of all steps up to this one; if the clock was set back, of all.
    fn advance(&mut self, step: u64) {
        let gaps = if step < self.current {
            self.span.steps as u64
        } else {
            (step - self.current).min(self.span.steps as u64)
        };
        for n in 0..gaps {
            // The present step has the slot of the one that is dropped at the other end.
            let place = self.place(step.saturating_sub(n + 1));
            self.points[place] = RatePoint::GAP;
        }
        self.current = step;
    }

    fn place(&self, step: u64) -> usize {
        usize::try_from(step % self.span.steps as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(accepted: u64) -> Totals {
        Totals { accepted, messages: 7, ..Totals::default() }
    }

    #[test]
    fn a_step_that_was_seen_whole_becomes_a_point_and_others_are_gaps() {
        let start = 1_000_000;
        let mut rates = Rates::new(start);
        for (after, accepted) in [(3, 5), (10, 10), (20, 110), (40, 500), (50, 600)] {
            rates.tick(&totals(accepted), start + after);
        }
        let (span, points, end) = rates.points("1h").unwrap();
        assert_eq!((span.steps, points.len(), end), (360, 360, start + 50));
        let last: Vec<f32> = points[355..].iter().map(|point| point.accepted).collect();
        // The start of the first step was not observed, and two ticks were missing later.
        assert!(last[0].is_nan() && last[2].is_nan() && last[3].is_nan(), "{last:?}");
        assert_eq!((last[1], last[4]), (10.0, 10.0));
        assert_eq!(points[356].messages, 7.0);
    }

    #[test]
    fn the_rings_come_back_with_a_gap_for_the_time_between() {
        let start = 1_000_000;
        let mut rates = Rates::new(start);
        (0..100).for_each(|n| rates.tick(&totals(u64::from(n) * 20), start + n * 10));
        let octets = rates.encode();
        assert_eq!(octets.len(), Rates::OCTETS + 24);
        let back = Rates::decode(&octets, start + 1290).unwrap();
        let (_, points, _) = back.points("1h").unwrap();
        assert!(points[330..].iter().all(|point| point.accepted.is_nan()));
        assert_eq!(points[329].accepted, 2.0);
        let back = Rates::decode(&octets, start - 10).unwrap();
        assert!(
            back.points("1h").unwrap().1.iter().all(|point| point.accepted.is_nan()),
            "the clock was set back"
        );
        assert!(
            Rates::decode(&octets[1..], start).is_none() && Rates::decode(&[], start).is_none()
        );
    }
}
