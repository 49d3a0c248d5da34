//! Recent deliveries to a destination.

use super::Destination;

/// The delivery attempts of the last [`Deliveries::HOURS`] hours to one destination. All texts are
/// untrusted.
#[derive(Debug, Clone, PartialEq)]
pub struct Deliveries {
    /// The destination.
    pub destination: Destination,
    /// Attempts that ended in delivery; each counts one recipient, here and below.
    pub delivered: u64,
    /// Attempts that failed temporarily.
    pub deferred: u64,
    /// Attempts that failed permanently.
    pub bounced: u64,
    /// Median of the seconds of attempts that delivered; `None` where none did.
    pub p50_seconds: Option<f64>,
    /// The 99th percentile of the same.
    pub p99_seconds: Option<f64>,
    /// The host of the last attempt that reached one, `name[address]:port`; empty when none did.
    pub relay: String,
    /// Protocol version and cipher suite of that attempt; empty without TLS.
    pub tls: String,
    /// The error of the last failed attempt; empty when none failed.
    pub last_error: String,
    /// When that was, seconds since 1970; 0 = never.
    pub failed_at: u32,
    /// When the last attempt ended, seconds since 1970.
    pub last: u32,
}

impl Deliveries {
    /// Hours that are covered.
    pub const HOURS: u32 = 24;

    /// All attempts.
    pub fn attempts(&self) -> u64 {
        self.delivered + self.deferred + self.bounced
    }
}
