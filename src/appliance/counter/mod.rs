//! The counters of the box.
//!
//! Purpose: one place where every counter is born, so that the class description
//! (`appliance/mta.toml`), `/metrics` and the pushes to terminal `mon` speak of the same things.
//! Rooms bump the fields; only windows read them.
//! Limits: label values come from closed lists, so the number of series is fixed at start.
//! Source: group `MTA` of the founding document; text format of Prometheus.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::sync::atomic::{AtomicU64, Ordering};

/// All counters of one appliance. Cheap to bump: each is an atomic number.
pub struct Counters {
    registry: Registry,
    /// Messages in the queue (founding counter "Mqueue Messages").
    pub mqueue_messages: IntGauge,
    /// Size of the queue in units of 1024 octets (founding counter "Mqueue Kbytes").
    pub mqueue_kbytes: IntGauge,
    /// SMTP sessions open now (founding counter "SMTP Active Sessions").
    pub smtp_active_sessions: IntGauge,
    /// Messages that wait for another try.
    pub mqueue_deferred_messages: IntGauge,
    /// Messages that an operator holds.
    pub mqueue_held_messages: IntGauge,
    /// SMTP sessions since the start.
    pub smtp_sessions_total: IntCounter,
    /// Sessions that began TLS, label `version`.
    pub tls_sessions_total: IntCounterVec,
    /// TLS handshakes that failed.
    pub tls_handshake_failures_total: IntCounter,
    tls_certificate_expiry_seconds: IntGaugeVec,
    /// The same for windows; 0 = none.
    certificate_expiry: AtomicU64,
    /// Messages answered 250 after the end of DATA.
    pub accepted_total: IntCounter,
    /// Octets of those messages.
    pub accepted_bytes: IntCounter,
    /// Refusals, label `reason`.
    pub refused_total: IntCounterVec,
    /// Connections that got no session, label `reason`.
    pub sessions_refused_total: IntCounterVec,
    /// Sessions of strangers that gave their place to another client.
    pub sessions_displaced_total: IntCounter,
    /// Sessions of strangers whose answers waited because of their errors.
    pub clients_slowed_total: IntCounter,
    /// Lines that strangers caused and that the log did not take, because they were too many.
    pub log_suppressed_lines_total: IntCounter,
    /// Recipients that a next hop took.
    pub delivered_total: IntCounter,
    /// Tries of a recipient that ended in a temporary failure.
    pub deferred_total: IntCounter,
    /// Recipients that failed for good.
    pub bounced_total: IntCounter,
    /// Notifications queued: bounces and delay notices, label `kind`.
    pub notifications_total: IntCounterVec,
    /// Carbon copies, label `status`: delivered, deferred, failed.
    pub copies_total: IntCounterVec,
    /// Connections out that were opened, label `status`: established, failed.
    pub connections_out_total: IntCounterVec,
    /// Refusals of the session or of us by next hops, label `stage`: where in the session.
    pub next_hop_refusals_total: IntCounterVec,
    /// Bounces, and other mail from the null sender, that failed for good: nobody is told.
    pub undeliverable_bounces_total: IntCounter,
    /// Connections out that are open now.
    pub connections_out_active: IntGauge,
    /// Couriers at work, label `share`: known, new and suspect destinations, and overtime.
    pub couriers_active: IntGaugeVec,
    /// How often a look for work found a share of the couriers used up and somebody waiting, label
    /// `share`: once for each look, however many wait.
    pub couriers_throttled_total: IntCounterVec,
    /// Destinations with mail that could not be reached the last time.
    pub destinations_unreachable: IntGauge,
    /// When a next hop last took mail, seconds since 1970; 0 = not since the start.
    pub last_delivery_time_seconds: IntGauge,
    /// Changes of the wall clock, label `direction`: forward, back.
    pub clock_jumps_total: IntCounterVec,
    /// Messages rewritten in 7 bits for a next hop.
    pub seven_bit_total: IntCounter,
    /// Look-ups of next hops that nobody answered.
    pub dns_failures_total: IntCounter,
    /// Since when no look-up has been answered, seconds since 1970; 0 while they are.
    pub dns_failing_since_seconds: IntGauge,
    /// From 250 to the next hop's 250, for each delivered recipient.
    pub delivery_latency_seconds: Histogram,
    /// How long one group commit's sync took.
    pub sync_seconds: Histogram,
    /// How long the sync has been running that runs longest; whole seconds, 0 = none.
    pub sync_running_seconds: IntGauge,
    /// Syncs that took longer than five seconds.
    pub slow_syncs_total: IntCounter,
    /// Records made durable by one sync.
    pub sync_batch_records: Histogram,
    /// Syncs that failed; each one poisons a segment.
    pub sync_failures_total: IntCounter,
    /// Records set aside because they were damaged.
    pub corrupt_records_total: IntCounter,
    /// Segments that held less at the start than before.
    pub shortened_segments_total: IntCounter,
    /// Octets that all segments and body files of the queue occupy.
    pub spool_disk_bytes: IntGauge,
    /// Octets that were copied forward in the log to give the room of finished messages back.
    pub spool_copied_bytes_total: IntCounter,
    /// Free octets of the data volume.
    pub disk_free_bytes: IntGauge,
    /// Size of the data volume.
    pub disk_size_bytes: IntGauge,
    /// Resident memory of the core process.
    pub memory_resident_bytes: IntGauge,
    /// When the core started, seconds since 1970.
    pub start_time_seconds: IntGauge,
    /// Pushes to terminal `mon` that succeeded.
    pub push_total: IntCounter,
    /// Pushes that failed.
    pub push_failures_total: IntCounter,
    /// Lines of the mail log that found no room to wait for the share.
    pub maillog_dropped_lines_total: IntCounter,
    /// Octets of the mail log that wait for the share.
    pub maillog_buffer_bytes: IntGauge,
    /// 1 while the log share takes no lines, else 0.
    pub maillog_failing: IntGauge,
    /// Entries of the history that found no room to wait.
    pub history_dropped_total: IntCounter,
    /// Events for other programs, label `status`: sent, retried, failed, dropped.
    pub webhook_total: IntCounterVec,
    /// Wrong user names and passwords at the stats UI.
    pub window_logins_refused_total: IntCounter,
    /// Requests that the windows refused to protect others, by [`WINDOW_REFUSALS`].
    pub window_refused_total: IntCounterVec,
    /// Tasks that panicked and were contained; each one is a defect to report.
    pub panics_total: IntCounter,
}

/// Why windows refuse a request to protect others, as `mta_window_refused_total` counts it: a name
/// that is not ours, another site's page, a guess that must wait, too many hashes waiting, a
/// token's rate, too many connections, requests or searches, answers that slow readers have not
/// taken.
pub const WINDOW_REFUSALS: [&str; 9] =
    ["host", "origin", "guess", "hash", "token_rate", "connection", "request", "search", "memory"];

/// Why a client of terminal `in` got no session, as `mta_sessions_refused_total` counts it: which
/// places were taken, or `early`: it sent too much before it was greeted.
pub const SESSION_REFUSALS: [&str; 5] = ["all", "strangers", "address", "memory", "early"];

/// Close to each other where second and third tries fall: quantiles are read from these bounds.
const LATENCY: &[f64] = &[
    0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 180.0, 300.0, 360.0, 450.0, 600.0, 900.0, 1200.0,
    1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 172_800.0, 432_000.0,
];
const SYNC: &[f64] = &[0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];
const BATCH: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

impl Counters {
    /// All counters at zero; every label value of `refusals` gets its series at once.
    ///
    /// # Errors
    /// Two counters of one name: a defect, found by the first test.
    pub fn new(refusals: &[&str]) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let counters = Self {
            mqueue_messages: gauge(
                r,
                "mta_mqueue_messages",
                "Number of messages in the MTA mail queue",
            )?,
            mqueue_kbytes: gauge(r, "mta_mqueue_kbytes", "MTA mail queue size in Kb")?,
            smtp_active_sessions: gauge(
                r,
                "mta_smtp_active_sessions",
                "Number of SMTP active sessions",
            )?,
            mqueue_deferred_messages: gauge(
                r,
                "mta_mqueue_deferred_messages",
                "Messages that wait for another try",
            )?,
            mqueue_held_messages: gauge(
                r,
                "mta_mqueue_held_messages",
                "Messages that an operator holds",
            )?,
            smtp_sessions_total: counter(
                r,
                "mta_smtp_sessions_total",
                "SMTP sessions since the start",
            )?,
            tls_sessions_total: counters(
                r,
                "mta_tls_sessions_total",
                "SMTP sessions that began TLS",
                "version",
                &["TLSv1.2", "TLSv1.3"],
            )?,
            tls_handshake_failures_total: counter(
                r,
                "mta_tls_handshake_failures_total",
                "TLS handshakes that failed",
            )?,
            tls_certificate_expiry_seconds: optional_gauge(
                r,
                "mta_tls_certificate_expiry_seconds",
                "When the TLS certificate expires, seconds since 1970; absent without TLS",
            )?,
            certificate_expiry: AtomicU64::new(0),
            accepted_total: counter(
                r,
                "mta_accepted_total",
                "Messages made durable and answered 250",
            )?,
            accepted_bytes: counter(
                r,
                "mta_accepted_bytes_total",
                "Octets of the accepted messages",
            )?,
            refused_total: counters(
                r,
                "mta_refused_total",
                "Refusals by reason",
                "reason",
                refusals,
            )?,
            sessions_refused_total: counters(
                r,
                "mta_sessions_refused_total",
                "Connections that got no session, by which places were taken, or because they sent \
                too early",
                "reason",
                &SESSION_REFUSALS,
            )?,
            sessions_displaced_total: counter(
                r,
                "mta_sessions_displaced_total",
                "Sessions of unknown clients that gave their place to another client",
            )?,
            clients_slowed_total: counter(
                r,
                "mta_clients_slowed_total",
                "Sessions of unknown clients whose answers waited because of their errors",
            )?,
            log_suppressed_lines_total: counter(
                r,
                "mta_log_suppressed_lines_total",
                "Log lines about clients that were counted instead of written, because they were \
                too many",
            )?,
            delivered_total: counter(r, "mta_delivered_total", "Recipients that a next hop took")?,
            deferred_total: counter(
                r,
                "mta_deferred_total",
                "Tries of a recipient that failed for now",
            )?,
            bounced_total: counter(r, "mta_bounced_total", "Recipients that failed for good")?,
            notifications_total: counters(
                r,
                "mta_notifications_total",
                "Delivery status notifications queued for senders",
                "kind",
                &["failed", "delayed", "undeliverable"],
            )?,
            copies_total: counters(
                r,
                "mta_copies_total",
                "Carbon copies to cc_mta by what became of them",
                "status",
                &["delivered", "deferred", "failed"],
            )?,
            connections_out_total: counters(
                r,
                "mta_connections_out_total",
                "Connections to next hops",
                "status",
                &["established", "failed"],
            )?,
            next_hop_refusals_total: counters(
                r,
                "mta_next_hop_refusals_total",
                "Refusals of the session or of this relay, as opposed to a mail, by next hops",
                "stage",
                &["greeting", "hello", "starttls", "mail", "recipient", "data"],
            )?,
            undeliverable_bounces_total: counter(
                r,
                "mta_undeliverable_bounces_total",
                "Bounces and other mail from the null sender that failed for good, so that nobody \
                was told",
            )?,
            connections_out_active: gauge(
                r,
                "mta_connections_out_active",
                "Connections to next hops that are open now",
            )?,
            couriers_active: gauges(
                r,
                "mta_couriers_active",
                "Couriers at work by the share that they have",
                "share",
                &["known", "new", "suspect", "overtime"],
            )?,
            couriers_throttled_total: counters(
                r,
                "mta_couriers_throttled_total",
                "Times that a look for work found a share of the couriers used up and mail \
                waiting, by share",
                "share",
                &["standing", "client", "sender", "host", "slow"],
            )?,
            destinations_unreachable: gauge(
                r,
                "mta_destinations_unreachable",
                "Destinations with waiting mail that could not be reached the last time",
            )?,
            last_delivery_time_seconds: gauge(
                r,
                "mta_last_delivery_time_seconds",
                "When a next hop last took mail (Unix time); 0 when none did since the start",
            )?,
            clock_jumps_total: counters(
                r,
                "mta_clock_jumps_total",
                "Changes of the wall clock by more than ten seconds",
                "direction",
                &["forward", "back"],
            )?,
            seven_bit_total: counter(
                r,
                "mta_seven_bit_total",
                "Messages rewritten in 7 bits for a next hop without 8BITMIME",
            )?,
            dns_failures_total: counter(
                r,
                "mta_dns_failures_total",
                "DNS look-ups of next hops that were not answered",
            )?,
            dns_failing_since_seconds: gauge(
                r,
                "mta_dns_failing_since_seconds",
                "Since when no DNS look-up has been answered, seconds since 1970; 0 while they are",
            )?,
            delivery_latency_seconds: histogram(
                r,
                "mta_delivery_latency_seconds",
                "From acceptance to the next hop's 250, for each delivered recipient",
                LATENCY,
            )?,
            sync_seconds: histogram(
                r,
                "mta_sync_seconds",
                "Duration of one group commit's sync",
                SYNC,
            )?,
            sync_running_seconds: gauge(
                r,
                "mta_sync_running_seconds",
                "How long the oldest sync that has not returned has been running; 0 without one",
            )?,
            slow_syncs_total: counter(
                r,
                "mta_slow_syncs_total",
                "Syncs that took longer than five seconds",
            )?,
            sync_batch_records: histogram(
                r,
                "mta_sync_batch_records",
                "Records made durable by one sync",
                BATCH,
            )?,
            sync_failures_total: counter(
                r,
                "mta_sync_failures_total",
                "Syncs of the data volume that failed",
            )?,
            corrupt_records_total: counter(
                r,
                "mta_corrupt_records_total",
                "Damaged records set aside",
            )?,
            shortened_segments_total: counter(
                r,
                "mta_shortened_segments_total",
                "Segments of the queue that were gone or shorter at the start than before",
            )?,
            spool_disk_bytes: gauge(
                r,
                "mta_spool_disk_bytes",
                "Octets that the queue occupies on the data volume",
            )?,
            spool_copied_bytes_total: counter(
                r,
                "mta_spool_copied_bytes_total",
                "Octets copied within the queue to give the room of finished messages back",
            )?,
            disk_free_bytes: gauge(r, "mta_disk_free_bytes", "Free octets of the data volume")?,
            disk_size_bytes: gauge(r, "mta_disk_size_bytes", "Size of the data volume in octets")?,
            memory_resident_bytes: gauge(
                r,
                "mta_memory_resident_bytes",
                "Resident memory of the SMTP core",
            )?,
            start_time_seconds: gauge(
                r,
                "mta_start_time_seconds",
                "When the SMTP core started, seconds since 1970",
            )?,
            push_total: counter(r, "mta_push_total", "Pushes to terminal mon that succeeded")?,
            push_failures_total: counter(
                r,
                "mta_push_failures_total",
                "Pushes to terminal mon that failed",
            )?,
            maillog_dropped_lines_total: counter(
                r,
                "mta_maillog_dropped_lines_total",
                "Lines of the mail log that found no room to wait for the share",
            )?,
            maillog_buffer_bytes: gauge(
                r,
                "mta_maillog_buffer_bytes",
                "Octets of the mail log that wait for the share",
            )?,
            maillog_failing: gauge(
                r,
                "mta_maillog_failing",
                "1 while the log share takes no lines, else 0",
            )?,
            history_dropped_total: counter(
                r,
                "mta_history_dropped_total",
                "Entries of the history that found no room to wait",
            )?,
            webhook_total: counters(
                r,
                "mta_webhook_total",
                "Events posted to webhook_url by what became of them; retried counts tries",
                "status",
                &["sent", "retried", "failed", "dropped"],
            )?,
            window_logins_refused_total: counter(
                r,
                "mta_window_logins_refused_total",
                "Wrong user names and passwords at the stats UI",
            )?,
            window_refused_total: counters(
                r,
                "mta_window_refused_total",
                "Requests at ui_port that were refused to protect others, by reason",
                "reason",
                &WINDOW_REFUSALS,
            )?,
            panics_total: counter(r, "mta_panics_total", "Tasks that panicked and were contained")?,
            registry,
        };
        Ok(counters)
    }

    /// The TLS certificate in use ends at this moment, in seconds since 1970. Until it is told,
    /// this gauge is absent, so that no alert takes an appliance without TLS for one whose
    /// certificate expired in 1970.
    pub fn certificate_expires(&self, seconds: u64) {
        self.certificate_expiry.store(seconds, Ordering::Relaxed);
        self.tls_certificate_expiry_seconds
            .with_label_values::<&str>(&[])
            .set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// What [`Counters::certificate_expires`] was told.
    pub fn certificate_expiry(&self) -> Option<u64> {
        Some(self.certificate_expiry.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }

    /// Adds a collector whose values are made when they are asked for (the age of the queue).
    ///
    /// # Errors
    /// Its name is taken.
    pub fn register(&self, collector: Box<dyn Collector>) -> Result<(), prometheus::Error> {
        self.registry.register(collector)
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    ///
    /// # Errors
    /// None that a test would not have found: a family without metrics.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Name, type (`gauge`, `counter`, `histogram`) and help of every family; the class description
    /// must say the same.
    pub fn families(&self) -> Vec<(String, String, String)> {
        self.registry
            .gather()
            .iter()
            .map(|family| {
                let kind = format!("{:?}", family.get_field_type()).to_lowercase();
                (family.name().to_owned(), kind, family.help().to_owned())
            })
            .collect()
    }
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

/// A gauge that is absent until it has a value: a family without labels and, at first, without a
/// member.
fn optional_gauge(
    registry: &Registry,
    name: &str,
    help: &str,
) -> Result<IntGaugeVec, prometheus::Error> {
    let gauge = IntGaugeVec::new(Opts::new(name, help), &[])?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
    for value in values {
        counters.with_label_values(&[value]);
    }
    registry.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauges(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
    values: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
    for value in values {
        gauges.with_label_values(&[value]);
    }
    registry.register(Box::new(gauges.clone()))?;
    Ok(gauges)
}

fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
) -> Result<Histogram, prometheus::Error> {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_there_from_the_start_and_ends_in_its_unit() {
        let counters = Counters::new(&["relay"]).unwrap();
        let text = counters.text().unwrap();
        for name in ["mta_mqueue_messages 0", "mta_mqueue_kbytes 0", "mta_smtp_active_sessions 0"] {
            assert!(text.lines().any(|line| line == name), "{name} missing in\n{text}");
        }
        assert!(text.contains("mta_refused_total{reason=\"relay\"} 0"));
        assert!(
            !text.contains("mta_tls_certificate_expiry_seconds"),
            "a certificate that nobody has"
        );
        counters.certificate_expires(7_000_000_000);
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
