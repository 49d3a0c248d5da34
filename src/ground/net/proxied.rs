//! Connections that come through a listed proxy: the PROXY header before anything else.
//!
//! In: a new connection from a listed proxy. Out: whose connection it is, the client's octets still
//! unread. Limits: [`PROXY_HEADER_TIME`] for the header, [`PROXY_HEADERS_MAX`] connections that
//! wait for theirs; `proxy_header.rs` limits the octets. Security: the header of a proxy that is
//! not listed is never read here. Source: "The PROXY protocol, versions 1 & 2" of HAProxy.

use super::proxy_header::{ProxyHeader, ProxyHeaderError, ProxyHeaderParser};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// For the whole header. A proxy sends it with its first packet, so that two lost packets still fit
/// (the specification asks for three seconds at least).
pub const PROXY_HEADER_TIME: Duration = Duration::from_secs(5);

/// Connections of listed proxies whose headers have not arrived. Further ones are refused.
pub const PROXY_HEADERS_MAX: usize = 128;

/// Octets that are looked at together.
const LOOK: usize = 256;

/// Whose connection a proxy passes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProxiedClient {
    /// The client's address; 0.0.0.0 where the proxy does not know it.
    pub(super) address: SocketAddr,
    /// The proxy itself has connected.
    pub(super) own: bool,
}

/// Reads the header. `None`: the proxy closed without an octet, as probes of an open port do.
///
/// # Errors
/// There is no header, or none that is accepted.
pub(super) async fn origin(
    stream: &mut TcpStream,
    proxy: SocketAddr,
) -> Result<Option<ProxiedClient>, ProxyHeaderError> {
    let until = Instant::now() + PROXY_HEADER_TIME;
    let mut parser = ProxyHeaderParser::default();
    let header = timeout_at(until, header(stream, &mut parser)).await;
    let origin = match header.map_err(|_| ProxyHeaderError::Late)? {
        Err(ProxyHeaderError::Closed) if parser.is_untouched() => return Ok(None),
        Err(error) => return Err(error),
        // HAProxy's probes with version 1 name the proxy as the client.
        Ok(ProxyHeader::Client(address)) if address.ip() == proxy.ip().to_canonical() => {
            ProxiedClient { address, own: true }
        }
        Ok(ProxyHeader::Client(address)) => ProxiedClient { address, own: false },
        Ok(ProxyHeader::Local) => ProxiedClient { address: proxy, own: true },
        Ok(ProxyHeader::Unknown) => {
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
            ProxiedClient { address, own: false }
        }
    };
    Ok(Some(origin))
}

/// Looks before it reads, so that nothing of the client is taken with the header.
async fn header(
    stream: &mut TcpStream,
    parser: &mut ProxyHeaderParser,
) -> Result<ProxyHeader, ProxyHeaderError> {
    let mut look = [0; LOOK];
    loop {
        let seen = stream.peek(&mut look).await.map_err(|_| ProxyHeaderError::Closed)?;
        if seen == 0 {
            return Err(ProxyHeaderError::Closed);
        }
        let (taken, header) = parser.next(&look[..seen])?;
        stream.read_exact(&mut look[..taken]).await.map_err(|_| ProxyHeaderError::Closed)?;
        if let Some(header) = header {
            return Ok(header);
        }
    }
}

/// Whether the other side closes, within the time of a header, before it sends anything: what a
/// probe of an open port does, which should cost no handshake and no line of a log.
pub(super) async fn only_looked(stream: &TcpStream) -> bool {
    let until = Instant::now() + PROXY_HEADER_TIME;
    matches!(timeout_at(until, stream.peek(&mut [0])).await, Ok(Ok(0) | Err(_)))
}
