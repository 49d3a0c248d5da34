//! The HTTP client, for the pushes to terminal `mon`, for webhooks, for access tokens, and for the
//! operator's tool: one request for each connection.

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::http::request::Builder;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Octets of an answer's header, at most, and of the buffer for content. A longer header is an
/// error.
const HEADER_MAX: usize = 16 * 1024;

/// How much of an error answer is read, and how long.
const WORDS_MAX: usize = 4096;
const WORDS_PATIENCE: Duration = Duration::from_secs(1);

/// Time limit to connect to one address of a server.
const CONNECT_PATIENCE: Duration = Duration::from_secs(4);

/// Addresses of a name that are tried, at most.
const ADDRESSES_MAX: usize = 4;

/// Why there is no connection to a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("its name cannot be resolved: {0}")]
    Name(io::Error),
    #[error("{0} may not be connected to")]
    Forbidden(IpAddr),
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    #[error("no connection within {} s", .0.as_secs())]
    Slow(Duration),
}

/// An answer; its content can be read as long as this exists.
pub(crate) struct ReceivedResponse {
    pub(crate) response: Response<Incoming>,
    /// Dropping it ends the connection, whatever the other side does.
    _connection: JoinSet<()>,
}

/// The start of a request to another server; `target` is the path and the query (RFC 9112 §3.2.1).
pub(crate) fn request(method: Method, authority: &str, target: &str) -> Builder {
    let agent = concat!("postern/", env!("CARGO_PKG_VERSION"));
    Request::builder().method(method).uri(target).header(HOST, authority).header(USER_AGENT, agent)
}

/// Connects to the first address of a host that is permitted and answers, and gives that address.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    is_permitted: impl Fn(IpAddr) -> bool,
) -> Result<(TcpStream, IpAddr), ConnectError> {
    let found: Vec<SocketAddr> =
        lookup_host((host, port)).await.map_err(ConnectError::Name)?.collect();
    let mut last = ConnectError::Name(io::Error::from(io::ErrorKind::NotFound));
    for address in found.into_iter().take(ADDRESSES_MAX) {
        if !is_permitted(address.ip()) {
            last = ConnectError::Forbidden(address.ip());
            continue;
        }
        match timeout(CONNECT_PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address.ip())),
            Ok(Err(error)) => last = ConnectError::Connect(error),
            Err(_) => last = ConnectError::Slow(CONNECT_PATIENCE),
        }
    }
    Err(last)
}

/// Sends one request and waits for the answer's header. The caller sets a time limit.
pub(crate) async fn send<S, C>(
    stream: S,
    request: Request<C>,
) -> Result<ReceivedResponse, hyper::Error>
where
    C: Body<Data = Bytes> + Send + 'static,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::Builder::new().max_buf_size(HEADER_MAX).handshake(TokioIo::new(stream)).await?;
    let mut connections = JoinSet::new();
    connections.spawn(async move {
        // Failures are reported to the sender's side.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await?;
    Ok(ReceivedResponse { response, _connection: connections })
}

/// The text of an error answer, for a log line after the status: `: text`, or empty. The log
/// escapes it.
pub(crate) async fn words(reply: &mut ReceivedResponse) -> String {
    if reply.response.status().is_redirection() {
        return ", a redirection, which is not followed".to_owned();
    }
    let content = Limited::new(reply.response.body_mut(), WORDS_MAX).collect();
    let Ok(Ok(content)) = timeout(WORDS_PATIENCE, content).await else { return String::new() };
    let octets = content.to_bytes();
    let text = String::from_utf8_lossy(&octets);
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => {
            format!(": {}", line.chars().take(200).collect::<String>())
        }
        _ => String::new(),
    }
}
