//! Counters of connections to next hops.

use crate::appliance::counter::{CounterVec, Gauge, Labels};

/// The states of a session in which a refusal came.
const STAGES: [&str; 7] = ["greeting", "hello", "starttls", "auth", "mail", "recipient", "data"];

crate::counters! {
    /// Counters of connections to next hops.
    pub struct DeliverCounters {
        connections_out_total: CounterVec =
            "Connections to next hops",
            Labels::new("status", ["established", "failed"]);
        connections_out_active: Gauge = "Connections to next hops that are open now";
        next_hop_refusals_total: CounterVec =
            "Refusals of the session or of this relay, as opposed to a mail, by next hops",
            Labels::new("stage", STAGES);
    }
}
