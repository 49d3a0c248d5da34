//! The counters of all modules below `monitor` in one registry, for monitors, pages and pushes.
//!
//! Each module declares its own counters and increments them. Only code that shows them reads them
//! here. Those of the HTTP server, which `monitor` does not know, are added to the same registry in
//! `core/counters.rs`.

use crate::appliance::counter::{
    Counter, CounterVec, Error, Gauge, Labels, Registry, SharedCounter,
};
use crate::mail::accept::counters::AcceptCounters;
use crate::mail::deliver::counters::DeliverCounters;
use crate::mail::history::counters::HistoryCounters;
use crate::mail::outbound::counters::OutboundCounters;
use crate::mail::route::counters::RouteCounters;
use crate::mail::sign::counters::SignCounters;
use crate::mail::spool::counters::SpoolCounters;
use crate::mail::upstream::counters::UpstreamCounters;
use crate::maillog::counters::MailLogCounters;
use crate::oauth::counters::OAuthCounters;
use crate::webhooks::counters::WebhookCounters;
use prometheus::core::Collector;
use std::sync::Arc;

/// All counters of one appliance but those of the HTTP server.
pub struct Counters {
    registry: Registry,
    /// SMTP sessions, their TLS, accepted mail and rejections.
    pub accept: Arc<AcceptCounters>,
    /// Connections to next hops.
    pub deliver: Arc<DeliverCounters>,
    /// History entries that were lost.
    pub history: Arc<HistoryCounters>,
    /// Lines of the mail log on their way to terminal `log`.
    pub maillog: Arc<MailLogCounters>,
    /// Access tokens for upstreams.
    pub oauth: Arc<OAuthCounters>,
    /// Results of deliveries, and the delivery agents.
    pub outbound: Arc<OutboundCounters>,
    /// Next-hop lookups.
    pub route: Arc<RouteCounters>,
    /// DKIM signatures.
    pub sign: Arc<SignCounters>,
    /// Upstreams.
    pub upstream: Arc<UpstreamCounters>,
    /// The queue and its volume.
    pub spool: Arc<SpoolCounters>,
    /// Webhook events.
    pub webhooks: Arc<WebhookCounters>,
    /// The process, and its pushes to terminal `mon`.
    pub monitor: Arc<MonitorCounters>,
}

impl Counters {
    /// These counters at zero; every value of a label has its series from the start.
    ///
    /// # Errors
    /// Two counters of one name: a defect, found by the first test.
    pub fn new() -> Result<Self, Error> {
        let registry = Registry::default();
        Ok(Self {
            accept: Arc::new(AcceptCounters::register(&registry)?),
            deliver: Arc::new(DeliverCounters::register(&registry)?),
            history: Arc::new(HistoryCounters::register(&registry)?),
            maillog: Arc::new(MailLogCounters::register(&registry)?),
            oauth: Arc::new(OAuthCounters::register(&registry)?),
            outbound: Arc::new(OutboundCounters::register(&registry)?),
            route: Arc::new(RouteCounters::register(&registry)?),
            sign: Arc::new(SignCounters::register(&registry)?),
            upstream: Arc::new(UpstreamCounters::register(&registry)?),
            spool: Arc::new(SpoolCounters::register(&registry)?),
            webhooks: Arc::new(WebhookCounters::register(&registry)?),
            monitor: Arc::new(MonitorCounters::register(&registry)?),
            registry,
        })
    }

    /// Adds a collector whose values are computed at each scrape (the age of the queue).
    ///
    /// # Errors
    /// Its name is taken.
    pub fn register(&self, collector: Box<dyn Collector>) -> Result<(), Error> {
        self.registry.add(collector)
    }

    /// Where they are registered, for the counters of modules that `monitor` does not know.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// As [`Registry::text`].
    ///
    /// # Errors
    /// As there.
    pub fn text(&self) -> Result<String, Error> {
        self.registry.text()
    }

    /// As [`Registry::families`].
    pub fn families(&self) -> Vec<(String, String, String)> {
        self.registry.families()
    }
}

crate::counters! {
    /// The process, and its pushes to terminal `mon`.
    pub struct MonitorCounters {
        push_total: Counter = "Pushes to terminal mon that succeeded";
        push_failures_total: Counter = "Pushes to terminal mon that failed";
        memory_resident_bytes: Gauge = "Resident memory of the SMTP core";
        start_time_seconds: Gauge = "When the SMTP core started, seconds since 1970";
        clock_jumps_total: CounterVec =
            "Changes of the wall clock by more than ten seconds",
            Labels::new("direction", ["forward", "back"]);
        sync_running_seconds: Gauge =
            "How long the oldest sync that has not returned has been running; 0 without one";
        slow_syncs_total: Counter = "Syncs that took longer than five seconds";
        panics_total: SharedCounter = "Tasks that panicked and were contained";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_from_the_start_and_ends_in_its_unit() {
        let counters = Counters::new().unwrap();
        let text = counters.text().unwrap();
        for name in ["mta_mqueue_messages 0", "mta_mqueue_kbytes 0", "mta_smtp_active_sessions 0"] {
            assert!(text.lines().any(|line| line == name), "{name} missing in\n{text}");
        }
        assert!(text.contains("mta_refused_total{reason=\"relay\"} 0"));
        assert!(
            !text.contains("mta_tls_certificate_expiry_seconds"),
            "a certificate that nobody has"
        );
        counters.accept.certificate_expires(7_000_000_000);
        assert!(
            counters
                .text()
                .unwrap()
                .lines()
                .any(|line| line == "mta_tls_certificate_expiry_seconds 7000000000")
        );
        for (name, kind, help) in counters.families() {
            assert!(name.starts_with("mta_") && !help.is_empty(), "{name}");
            assert!(kind != "counter" || name.ends_with("_total"), "{name} is a {kind}");
        }
    }
}
