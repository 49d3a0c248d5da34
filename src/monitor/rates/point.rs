//! One point of a series of rates.

/// The values of one step; NaN where there is none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RatePoint {
    /// Messages a second.
    pub accepted: f32,
    /// Recipients a second, here and below.
    pub delivered: f32,
    /// Attempts that failed temporarily.
    pub deferred: f32,
    /// Failed permanently.
    pub bounced: f32,
    /// Commands a second.
    pub refused: f32,
    /// Messages in the queue at the end of the step.
    pub messages: f32,
    /// Median of the seconds from acceptance to delivery; NaN if nothing was delivered.
    pub latency_p50: f32,
    /// The 99th percentile of the same.
    pub latency_p99: f32,
}

impl RatePoint {
    /// Numbers of a point.
    pub const NUMBERS: usize = 8;
    /// No values.
    pub const GAP: Self = Self::from_numbers([f32::NAN; Self::NUMBERS]);

    /// From [`RatePoint::numbers`].
    pub const fn from_numbers(n: [f32; Self::NUMBERS]) -> Self {
        Self {
            accepted: n[0],
            delivered: n[1],
            deferred: n[2],
            bounced: n[3],
            refused: n[4],
            messages: n[5],
            latency_p50: n[6],
            latency_p99: n[7],
        }
    }

    /// In the order of the fields.
    pub fn numbers(&self) -> [f32; Self::NUMBERS] {
        [
            self.accepted,
            self.delivered,
            self.deferred,
            self.bounced,
            self.refused,
            self.messages,
            self.latency_p50,
            self.latency_p99,
        ]
    }
}
