//! Counters of signatures.

use crate::appliance::counter::{Counter, CounterVec, Gauge, Labels};

crate::counters! {
    /// Counters of signatures.
    pub struct SignCounters {
        dkim_signatures_total: CounterVec =
            "DKIM signatures made, by algorithm",
            Labels::new("algorithm", ["rsa-sha256", "ed25519-sha256"]);
        dkim_failures_total: CounterVec =
            "Delivery attempts that needed a DKIM signature and got none, by reason",
            Labels::new("reason", ["key", "header", "storage"]);
        dkim_unsigned_total: Counter =
            "Delivery attempts without the DKIM signature that they need (dkim_failure=send)";
        dkim_domains_failing: Gauge = "Domains that are to sign and have no usable key";
        dkim_records_failing: Gauge =
            "Keys that sign and whose DNS record was missing or another one when last looked up";
    }
}
