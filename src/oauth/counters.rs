//! Counters of access tokens.

use crate::appliance::counter::{CounterVec, Labels};

crate::counters! {
    /// Counters of access tokens.
    pub struct OAuthCounters {
        oauth_tokens_total: CounterVec =
            "Requests of access tokens for upstreams by result; failed means no usable answer",
            Labels::new("status", ["granted", "refused", "failed"]);
    }
}
