//! Counters of webhook events.

use crate::appliance::counter::{CounterVec, Labels};

crate::counters! {
    /// Counters of webhook events.
    pub struct WebhookCounters {
        webhook_total: CounterVec =
            "Events posted to webhook_url by result; retried counts attempts",
            Labels::new("status", ["sent", "retried", "failed", "dropped"]);
    }
}
