//! Counters of deliveries and of the delivery agents.

use crate::appliance::counter::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, Labels, SharedCounter,
};

crate::counters! {
    /// Counters of deliveries and of the delivery agents.
    pub struct OutboundCounters {
        delivered_total: Counter = "Recipients that a next hop accepted";
        deferred_total: Counter = "Delivery attempts of a recipient that failed temporarily";
        bounced_total: Counter = "Recipients that failed permanently";
        notifications_total: CounterVec =
            "Delivery status notifications queued for senders",
            Labels::new("kind", ["failed", "delayed", "relayed", "undeliverable"]);
        undeliverable_bounces_total: Counter =
            "Bounces and other mail from the null sender that failed permanently; no notice is \
            sent about them";
        copies_total: CounterVec =
            "Carbon copies to cc_mta by result",
            Labels::new("status", ["delivered", "deferred", "failed"]);
        couriers_active: GaugeVec =
            "Delivery agents at work by share",
            Labels::new("share", ["known", "new", "suspect", "overtime"]);
        couriers_throttled_total: CounterVec =
            "Times that mail waited because a share of the delivery agents was used up, by share",
            Labels::new("share", ["standing", "client", "sender", "host", "slow"]);
        destinations_unreachable: Gauge =
            "Destinations with queued mail whose last attempt failed to connect";
        rate_limited_destinations: Gauge =
            "Destinations whose queued mail waits because a rate is used up";
        last_delivery_time_seconds: Gauge =
            "When a next hop last accepted mail (Unix time); 0 when none did since start";
        seven_bit_total: Counter = "Messages rewritten in 7 bits for a next hop without 8BITMIME";
        delivery_latency_seconds: Histogram =
            "From acceptance to the next hop's 250, for each delivered recipient",
            LATENCY;
        panics_total: SharedCounter = "Tasks that panicked and were contained";
    }
}

/// Bounds are close to each other where second and third attempts fall, because quantiles are
/// computed from them.
const LATENCY: &[f64] = &[
    0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 180.0, 300.0, 360.0, 450.0, 600.0, 900.0, 1200.0,
    1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 172_800.0, 432_000.0,
];
