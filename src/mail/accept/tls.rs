//! TLS handshakes with SMTP clients: STARTTLS and implicit TLS.
//!
//! In: a connection whose client will speak first. Out: the encrypted stream. A failure is counted
//! and logged. Limits: those of [`TlsAcceptor`]. At most one failure a second is logged. Source:
//! RFC 3207 §4, RFC 8314 §3 (implicit TLS).

use super::counters::AcceptCounters;
use crate::ground::net::{
    ConnectionLimits, HandshakeError, LogRateLimit, Peer, Stream, TlsAcceptor, Wire,
};
use crate::ground::tls::CertificatePresenter;
use std::sync::Arc;

/// The state shared by all handshakes.
pub struct SmtpTls {
    acceptor: TlsAcceptor,
    counters: Arc<AcceptCounters>,
    failures: LogRateLimit,
    trusted_failures: LogRateLimit,
}

impl SmtpTls {
    /// Uses the certificate that `presenter` has at the time of each handshake.
    pub fn new(presenter: Arc<CertificatePresenter>, counters: Arc<AcceptCounters>) -> Arc<Self> {
        Arc::new(Self {
            acceptor: TlsAcceptor::new(presenter),
            counters,
            failures: LogRateLimit::new(),
            trusted_failures: LogRateLimit::new(),
        })
    }

    /// Sends the pending replies, does the TLS handshake and starts again with empty buffers.
    /// Unread input is dropped. `None`: it failed; the connection is closed, and the failure is
    /// counted and logged.
    pub async fn secure(&self, wire: Wire, peer: Peer, limits: &ConnectionLimits) -> Option<Wire> {
        let (cause, stream) = match self.acceptor.secure(wire, limits).await {
            Ok(wire) => return Some(wire),
            Err(HandshakeError::Gone) => return None,
            Err(HandshakeError::Failed(cause, stream)) => (cause, stream),
        };
        self.counters.tls_handshake_failures_total.inc();
        let failures = if peer.is_stranger() { &self.failures } else { &self.trusted_failures };
        if let Some(count) = failures.happened() {
            let stranger = peer.is_stranger();
            tracing::info!(
                target: "mta", stranger, client = %peer.address, count, cause, status = "failed",
                "tls handshake"
            );
        }
        if let Some(stream) = stream {
            Wire::new(Stream::Plain(stream), limits, None).close().await;
        }
        None
    }
}
