//! TLS handshakes with strangers.
//!
//! Purpose: a plain connection becomes an encrypted one, or is closed. In: a connection whose
//! client will speak first. Out: the encrypted stream. A failure is counted, and told in the log.
//! Limits: [`super::Limits::handshake`] for all of it, [`super::Limits::handshake_trusted`] for
//! clients that may relay. A signature costs as much processor time as many mails, so at most half
//! of the processors (but one) sign at a time (a client that wants another key exchange first is
//! not counted), and between two signatures the tasks of other sessions have their turn. Failures
//! are one log line a second.
//! Security: nothing is said in plain text to a client whose handshake failed; it hears the alert
//! of TLS and the close.
//! Source: RFC 3207 §4, RFC 8314 §3 (implicit TLS), RFC 8446 §6.2.

use super::limits::Limits;
use super::peer::Peer;
use super::rarely::Rarely;
use super::sessions::Visit;
use super::stream::Stream;
use super::wire::{Wire, displaced};
use crate::ground::tls::BUFFER_MAX;
use crate::ground::tls::Presenter;
use crate::mail::accept::counters::AcceptCounters;
use rustls::server::Acceptor;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// What all handshakes share.
pub struct Tls {
    presenter: Arc<Presenter>,
    counters: Arc<AcceptCounters>,
    signing: Semaphore,
    failures: Rarely,
    trusted_failures: Rarely,
}

impl Tls {
    /// Presents what `presenter` holds at the moment of each handshake.
    pub fn new(presenter: Arc<Presenter>, counters: Arc<AcceptCounters>) -> Arc<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let signing = Semaphore::new((processors / 2).max(1));
        Arc::new(Self {
            presenter,
            counters,
            signing,
            failures: Rarely::new(),
            trusted_failures: Rarely::new(),
        })
    }

    /// Sends what is to be said, does the handshake of TLS and begins anew inside it. What was read
    /// and not taken is dropped. `None`: that failed; the connection is closed, and whatever there
    /// is to count and to log is done.
    pub async fn secure(&self, mut wire: Wire, peer: Peer, limits: &Limits) -> Option<Wire> {
        wire.flush().await.ok()?;
        match wire.into_stream() {
            (Stream::Plain(stream), visit) => {
                let stream = self.handshake(stream, peer, limits, visit.as_deref()).await?;
                Some(Wire::new(Stream::Tls(stream), limits, visit))
            }
            // TLS inside TLS is nobody's wish: the dialogue refuses it.
            (Stream::Tls(_), _) => None,
        }
    }

    /// Does the handshake. `None`: it failed, that is counted and told, and the connection is
    /// closed.
    async fn handshake(
        &self,
        stream: TcpStream,
        peer: Peer,
        limits: &Limits,
        visit: Option<&Visit>,
    ) -> Option<Box<TlsStream<TcpStream>>> {
        let until =
            Instant::now() + visit.map_or(limits.handshake, |visit| visit.handshake_time(limits));
        let done = tokio::select! {
            biased;
            done = timeout_at(until, self.shake(stream)) => done,
            () = displaced(visit) => return None,
        };
        let (cause, stream) = match done {
            Ok(Ok(stream)) => return Some(Box::new(stream)),
            Ok(Err((error, stream))) => (words(&error), stream),
            Err(_) => ("the client was too slow".to_owned(), None),
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
            // In good order, so that the alert that tells the client why is not lost in a reset.
            Wire::new(Stream::Plain(stream), limits, None).close().await;
        }
        None
    }

    async fn shake(
        &self,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, (io::Error, Option<TcpStream>)> {
        let mut hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let start = match (&mut hello).await {
            Ok(start) => start,
            Err(error) => return Err((error, hello.take_io())),
        };
        let answer = {
            // Never closed.
            let _turn = self.signing.acquire().await;
            start.into_stream(self.presenter.config())
        };
        let mut stream =
            answer.into_fallible().await.map_err(|(error, stream)| (error, Some(stream)))?;
        stream.get_mut().1.set_buffer_limit(Some(BUFFER_MAX));
        Ok(stream)
    }
}

/// The cause for a log line. What the client sent is hostile; the library's words do not repeat it
/// beyond single codes.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed by the client".to_owned(),
        _ => error.to_string(),
    }
}
