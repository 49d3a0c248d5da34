//! The client side of HTTP, for the pushes to terminal `mon` and for the operator's tool: one request a connection.

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

/// The largest answer header, and the buffer for content. What the other end says beyond it is a failure, not a growth.
const HEADER_MAX: usize = 16 * 1024;

/// An answer; its content can be read as long as this lives.
pub(super) struct Reply {
    pub(super) response: Response<Incoming>,
    /// Dropping it ends the connection, whatever the other end does.
    _connection: JoinSet<()>,
}

/// Sends one request and waits for the answer's header. The caller sets the limit of time.
pub(super) async fn send<S, C>(stream: S, request: Request<C>) -> Result<Reply, hyper::Error>
where
    C: Body<Data = Bytes> + Send + 'static,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new().max_buf_size(HEADER_MAX).handshake(TokioIo::new(stream)).await?;
    let mut connections = JoinSet::new();
    connections.spawn(async move {
        // The sender's side hears of any failure.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await?;
    Ok(Reply { response, _connection: connections })
}
