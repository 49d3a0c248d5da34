//! TLS on `ui_port`, with the pair of terminal `in` (property `ui_tls`).
//!
//! One port takes both: a connection that begins with a handshake is secured, another one is asked
//! to come back inside TLS, but for the health pages, so that whoever probes the container needs no
//! certificate.
//! Limits: the handshake has the time of a request header.
//! Source: RFC 8446 §5.1 (the first octet of a record), RFC 9112 §9.7 (HTTP inside TLS).

use crate::ground::tls::{BUFFER_MAX, Presenter};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first octet of a record that holds a part of a handshake.
const HANDSHAKE: u8 = 22;

/// A connection after its first octet.
pub(crate) enum Received {
    /// Inside TLS.
    Secured(Box<TlsStream<TcpStream>>),
    /// In plain text.
    Plain(TcpStream),
}

/// Does the handshake, where the client begins one. `None`: it went away, or nothing came of it.
pub(crate) async fn receive(
    presenter: &Presenter,
    stream: TcpStream,
    patience: Duration,
) -> Option<Received> {
    let received = async {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == HANDSHAKE => {
                let secured = TlsAcceptor::from(presenter.config()).accept(stream).await;
                secured.ok().map(|mut stream| {
                    stream.get_mut().1.set_buffer_limit(Some(BUFFER_MAX));
                    Received::Secured(Box::new(stream))
                })
            }
            Ok(1) => Some(Received::Plain(stream)),
            _ => None,
        }
    };
    timeout(patience, received).await.ok().flatten()
}
