//! TLS handshakes with clients.
//!
//! Purpose: encrypts a plain connection, or closes it. In: a connection whose client sends first,
//! and a deadline. Out: the encrypted stream, or the error. Limits: [`ConnectionLimits::handshake`]
//! for all of it, [`ConnectionLimits::handshake_trusted`] for trusted clients. A signature costs
//! much processor time, so at most half of the processors (but at least one) sign at a time for one
//! [`TlsAcceptor`] (a client that first requests another key exchange is not counted), and between
//! two signatures the tasks of other sessions run. SMTP has one acceptor and HTTP has another.
//! Security: a client whose handshake failed gets nothing in plain text, only the TLS alert and the
//! close. Source: RFC 8446 §6.2.

use super::limits::ConnectionLimits;
use super::stream::Stream;
use super::wire::{Wire, displaced};
use crate::ground::tls::{BUFFER_MAX, CertificatePresenter};
use rustls::server::Acceptor;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// The state shared by all handshakes of one protocol.
pub struct TlsAcceptor {
    presenter: Arc<CertificatePresenter>,
    signing: Semaphore,
}

/// Why a handshake failed.
#[derive(Debug)]
pub enum HandshakeError {
    /// The session had to end to free its slot, or its client did not read the pending replies.
    Gone,
    /// It failed: the reason for a log line, and the stream that is left to be closed properly, so
    /// that the TLS alert is not lost in a reset.
    Failed(String, Option<TcpStream>),
}

impl TlsAcceptor {
    /// Uses the certificate that `presenter` has at the time of each handshake.
    pub fn new(presenter: Arc<CertificatePresenter>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { presenter, signing: Semaphore::new((processors / 2).max(1)) }
    }

    /// Sends the pending replies, does the handshake and starts again with empty buffers. Unread
    /// input is dropped.
    ///
    /// # Errors
    /// It failed; the session is over.
    pub async fn secure(
        &self,
        mut wire: Wire,
        limits: &ConnectionLimits,
    ) -> Result<Wire, HandshakeError> {
        wire.flush().await.map_err(|_| HandshakeError::Gone)?;
        let (stream, slot) = wire.into_stream();
        // TLS inside TLS: the dialogue rejects it.
        let Stream::Plain(stream) = stream else { return Err(HandshakeError::Gone) };
        let until = Instant::now()
            + slot.as_ref().map_or(limits.handshake, |slot| slot.handshake_time(limits));
        let stream = tokio::select! {
            biased;
            done = self.accept(stream, until) => done?,
            () = displaced(slot.as_deref()) => return Err(HandshakeError::Gone),
        };
        Ok(Wire::new(Stream::Tls(stream), limits, slot))
    }

    /// Does the handshake on a new connection.
    ///
    /// # Errors
    /// [`HandshakeError::Failed`], also at `until`.
    pub async fn accept(
        &self,
        stream: TcpStream,
        until: Instant,
    ) -> Result<Box<TlsStream<TcpStream>>, HandshakeError> {
        match timeout_at(until, self.shake(stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err((error, stream))) => Err(HandshakeError::Failed(words(&error), stream)),
            Err(_) => Err(HandshakeError::Failed("the client was too slow".to_owned(), None)),
        }
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
            // The semaphore is never closed.
            let _turn = self.signing.acquire().await;
            start.into_stream(self.presenter.config())
        };
        let mut stream =
            answer.into_fallible().await.map_err(|(error, stream)| (error, Some(stream)))?;
        stream.get_mut().1.set_buffer_limit(Some(BUFFER_MAX));
        Ok(stream)
    }
}

/// The cause for a log line. The client's input is untrusted; the library's text contains at most
/// single codes of it.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed by the client".to_owned(),
        _ => error.to_string(),
    }
}
