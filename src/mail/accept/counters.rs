//! Counters of incoming mail: SMTP sessions, their TLS, accepted mail and rejections.

use crate::appliance::counter::{Counter, CounterVec, Gauge, Labels, OptionalGauge, SharedCounter};
use crate::mail::model::{Refusal, SESSION_REFUSALS};

crate::counters! {
    /// Counters of incoming mail: SMTP sessions, their TLS, accepted mail and rejections.
    pub struct AcceptCounters {
        smtp_active_sessions: Gauge = "Number of SMTP active sessions";
        smtp_sessions_total: Counter = "SMTP sessions since start";
        sessions_refused_total: CounterVec =
            "Connections that got no session, by the limit reached, or because they sent before \
            the greeting",
            Labels::new("reason", SESSION_REFUSALS);
        sessions_displaced_total: Counter =
            "Sessions of unknown clients closed to make room for another client";
        clients_slowed_total: Counter =
            "Sessions of unknown clients slowed because of their errors";
        log_suppressed_lines_total: Counter =
            "Log lines about clients that were counted instead of written, because they were too \
            many";
        tls_sessions_total: CounterVec =
            "SMTP sessions that began TLS",
            Labels::new("version", ["TLSv1.2", "TLSv1.3"]);
        tls_handshake_failures_total: Counter = "TLS handshakes that failed";
        tls_certificate_expiry_seconds: OptionalGauge =
            "When the TLS certificate expires, seconds since 1970; absent without TLS";
        accepted_total: Counter = "Messages made durable and answered 250";
        accepted_bytes_total: Counter = "Octets of the accepted messages";
        users_file_failing: Gauge =
            "Whether the file of smtp_users cannot be used, and the former users stay";
        device_accepted_total: Counter = "Accepted messages of devices, at device_port";
        logins_total: CounterVec =
            "Logins of SMTP clients, by result",
            Labels::new("result", ["ok", "failed"]);
        refused_total: CounterVec = "Refusals by reason", refusals();
        panics_total: SharedCounter = "Tasks that panicked and were contained";
    }
}

/// Every reason of a rejection.
fn refusals() -> Labels {
    Labels::new("reason", Refusal::ALL.map(Refusal::as_str))
}

impl AcceptCounters {
    /// Sets the expiry time of the TLS certificate in use, in seconds since 1970. Until it is set,
    /// its gauge is absent, so that an appliance without TLS does not look like one whose
    /// certificate expired in 1970.
    pub fn certificate_expires(&self, seconds: u64) {
        self.tls_certificate_expiry_seconds.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// The value set by [`AcceptCounters::certificate_expires`].
    pub fn certificate_expiry(&self) -> Option<u64> {
        self.tls_certificate_expiry_seconds.get().and_then(|seconds| u64::try_from(seconds).ok())
    }
}
