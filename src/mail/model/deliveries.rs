//! How deliveries to a destination went lately.

/// The delivery attempts of the last [`Deliveries::HOURS`] hours to one destination. All texts are
/// hostile.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deliveries {
    /// The destination.
    pub name: String,
    /// Attempts that ended in delivery; each counts one recipient, here and below.
    pub delivered: u64,
    /// Attempts that failed for now.
    pub deferred: u64,
    /// Attempts that failed for good.
    pub bounced: u64,
    /// Seconds that half of the attempts took that delivered; `None` where none did.
    pub p50_seconds: Option<f64>,
    /// The same of 99 %.
    pub p99_seconds: Option<f64>,
    /// The host of the last attempt that reached one, `name[address]:port`; empty when none did.
    pub relay: String,
    /// Protocol version and cipher suite of that attempt; empty without TLS.
    pub tls: String,
    /// What the last failed attempt said; empty when none failed.
    pub last_error: String,
    /// When that was, seconds since 1970; 0 = never.
    pub failed_at: u32,
    /// When the last attempt ended, seconds since 1970.
    pub last: u32,
}

impl Deliveries {
    /// How far back they go.
    pub const HOURS: u32 = 24;

    /// Attempts in all.
    pub fn attempts(&self) -> u64 {
        self.delivered + self.deferred + self.bounced
    }
}
