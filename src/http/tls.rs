//! TLS on `ui_port`, with the certificate of SMTP (property `ui_tls`).
//!
//! One port accepts both: a connection that begins with a handshake uses TLS, another one is
//! redirected to TLS, except for the health pages, so that probes of the container need no
//! certificate. Limits: the handshake has the time limit of a request header. Source: RFC 8446 §5.1
//! (the first octet of a record), RFC 9112 §9.7 (HTTP inside TLS).

use crate::ground::tls::{BUFFER_MAX, Presenter};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The first octet of a record with a part of a handshake.
const HANDSHAKE: u8 = 22;

/// A connection after its first octet.
pub(crate) enum Received {
    /// Inside TLS.
    Secured(Box<TlsStream<TcpStream>>),
    /// In plain text.
    Plain(TcpStream),
}

/// Does the handshake, if the client begins one. `None`: the client disconnected, or the handshake
/// failed.
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
