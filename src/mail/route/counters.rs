//! Counters of next-hop lookups.

use crate::appliance::counter::{Counter, Gauge};

crate::counters! {
    /// Counters of next-hop lookups.
    pub struct RouteCounters {
        dns_failures_total: Counter = "DNS look-ups of next hops that were not answered";
        dns_failing_since_seconds: Gauge =
            "Since when no DNS look-up has been answered, seconds since 1970; 0 while they are";
    }
}
