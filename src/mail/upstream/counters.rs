//! Counters of upstreams, by their names.

use crate::appliance::counter::{CounterVec, GaugeVec, Labels};

crate::counters! {
    /// Counters of upstreams.
    pub struct UpstreamCounters {
        upstream_paused: GaugeVec =
            "Whether an upstream gets no mail for now, because it refuses this relay or limits it",
            Labels::new("upstream", ["default"]);
        upstream_refusals_total: CounterVec =
            "Refusals of this relay by an upstream, as opposed to a mail",
            Labels::new("upstream", ["default"]);
        upstream_throttles_total: CounterVec =
            "Replies by which an upstream limits the rate or the quota of this relay",
            Labels::new("upstream", ["default"]);
        upstream_sender_refusals_total: CounterVec =
            "Refusals of one sender by an upstream",
            Labels::new("upstream", ["default"]);
    }
}
