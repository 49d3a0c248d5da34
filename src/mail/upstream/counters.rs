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
        upstream_connections: GaugeVec =
            "Connections to an upstream that are open now",
            Labels::new("upstream", ["default"]);
        upstream_mails_total: CounterVec =
            "Mails that an upstream took, for one recipient at least",
            Labels::new("upstream", ["default"]);
        upstream_mail_failures_total: CounterVec =
            "Mails that an upstream was offered and did not take, each attempt",
            Labels::new("upstream", ["default"]);
        upstream_tls_failing: GaugeVec =
            "Whether the last connection to an upstream failed at TLS or its certificate",
            Labels::new("upstream", ["default"]);
        upstream_certificate_expiry_seconds: GaugeVec =
            "End of the certificate of an upstream, seconds since 1970; 0 without one",
            Labels::new("upstream", ["default"]);
    }
}

impl UpstreamCounters {
    /// Makes the series of an upstream, at zero.
    pub(super) fn begin(&self, upstream: &str) {
        for counter in [
            &self.upstream_refusals_total,
            &self.upstream_throttles_total,
            &self.upstream_sender_refusals_total,
            &self.upstream_mails_total,
            &self.upstream_mail_failures_total,
        ] {
            counter.with_label_values(&[upstream]).inc_by(0);
        }
        for gauge in [
            &self.upstream_paused,
            &self.upstream_connections,
            &self.upstream_tls_failing,
            &self.upstream_certificate_expiry_seconds,
        ] {
            gauge.with_label_values(&[upstream]).set(0);
        }
    }
}
