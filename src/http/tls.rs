//! TLS on `ui_port`, with the certificate of SMTP (property `ui_tls`).
//!
//! One port accepts both: a connection that begins with a handshake uses TLS, another one is
//! redirected to TLS, except for the health pages, so that probes of the container need no
//! certificate. Limits: the handshake has the time limit of a request header. Source: RFC 8446 §5.1
//! (the first octet of a record), RFC 9112 §9.7 (HTTP inside TLS).

use crate::ground::net::{Stream, TlsAcceptor};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// The first octet of a record with a part of a handshake.
const HANDSHAKE: u8 = 22;

/// Does the handshake, if the client begins one; otherwise the stream is plain. `None`: the client
/// disconnected, or the handshake failed.
pub(crate) async fn receive(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    patience: Duration,
) -> Option<Stream> {
    let (until, mut first) = (Instant::now() + patience, [0]);
    match timeout_at(until, stream.peek(&mut first)).await.ok()? {
        Ok(1) if first[0] == HANDSHAKE => {
            acceptor.accept(stream, until).await.ok().map(Stream::Tls)
        }
        Ok(1) => Some(Stream::Plain(stream)),
        _ => None,
    }
}
