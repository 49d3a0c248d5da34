//! The listeners of the HTTP server.
//!
//! Purpose: HTTP/1.0 and 1.1 on `ui_port` and on the control socket. In: bound listeners, and the
//! table of routes. Out: the answers of its handlers. Limits: those of `request_limits` for
//! connections and requests at `ui_port`, 64 connections at the control socket, 16 KiB of request
//! header, 5 s for it to arrive (and for an idle connection), one minute for a connection on
//! `ui_port`, 64 KiB of request content except for mails. Above the limit of connections an
//! untrusted client gets 503 and is disconnected; the relay itself never waits for a client.
//! Security: a client of the control socket may do everything; access is controlled by the file's
//! mode. At `ui_port` `rights` decides. Source: RFC 9110, RFC 9112.

use crate::ground::net::{Service, Stream, TlsAcceptor, accept_loop, report_panic};
use crate::ground::stop::stopped;
use crate::ground::tls::CertificatePresenter;
use crate::http::peer_watch::PeerWatch;
use crate::http::request::EntryPoint;
use crate::http::request_limits::{ConnectionPermit, RequestLimits};
use crate::http::route::HttpRoutes;
use crate::http::router;
use crate::http::state::Application;
use crate::http::tls;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Connections to the control socket at the same time; each has two descriptors, see
/// [`crate::http::peer_watch`].
pub const CONTROL_CONNECTIONS_MAX: usize = 64;

/// Octets of a request header with the request line, at most.
pub const HEADER_MAX: usize = 16 * 1024;

/// Time limit for a request header, and for an idle connection.
pub const HEADER_PATIENCE: Duration = Duration::from_secs(5);

/// Time limit of a connection to `ui_port`; clients open another.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// Time limit of a connection to the control socket: an operator may read a large mail slowly.
const CONTROL_LIFE: Duration = Duration::from_secs(3600);

/// How long a connection whose time is up may finish its answer.
const GRACE: Duration = Duration::from_secs(2);

/// The response to a connection beyond the limits.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: \
5\r\nConnection: close\r\n\
Content-Length: 43\r\n\r\nToo many connections to this server; wait.\n";

/// Serves `ui_port` on all its addresses until `stop` is true; then open answers may finish for a
/// moment. With `tls` pages are shown only over TLS.
pub async fn serve_public<A: Application>(
    app: Arc<A>,
    routes: Arc<HttpRoutes<A>>,
    listeners: Vec<TcpListener>,
    tls: Option<Arc<CertificatePresenter>>,
    stop: watch::Receiver<bool>,
) {
    let http = app.http();
    let places = RequestLimits::new(Arc::clone(&http.counters), http.answers_max);
    let site = Arc::new(Site { app, routes, stop });
    let service = Arc::new(PublicService {
        site: Arc::clone(&site),
        places,
        tls: tls.map(|presenter| Arc::new(TlsAcceptor::new(presenter))),
    });
    let mut loops = JoinSet::new();
    for listener in listeners {
        let (site, service) = (Arc::clone(&site), Arc::clone(&service));
        loops.spawn(async move { accept_loop(listener, &*service, site.ends()).await });
    }
    while let Some(ended) = loops.join_next().await {
        report_panic(ended, |message| site.panicked(message));
    }
}

/// Serves the control socket until `stop` is true. The caller has bound it with a mode that denies
/// access to other users.
pub async fn serve_control<A: Application>(
    app: Arc<A>,
    routes: Arc<HttpRoutes<A>>,
    listener: UnixListener,
    stop: watch::Receiver<bool>,
) {
    let site = Arc::new(Site { app, routes, stop });
    let slots = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
    let service = ControlService { site: Arc::clone(&site), slots };
    accept_loop(listener, &service, site.ends()).await;
}

/// What all connections of a listener share.
struct Site<A: Application> {
    app: Arc<A>,
    routes: Arc<HttpRoutes<A>>,
    stop: watch::Receiver<bool>,
}

impl<A: Application> Site<A> {
    /// Waits for the end of the listeners. Returns the time until which open connections may go on.
    async fn ends(&self) -> Instant {
        stopped(&mut self.stop.clone()).await;
        Instant::now() + GRACE + GRACE
    }

    fn cannot_accept(&self, error: &io::Error) {
        tracing::warn!(%error, "a connection to the stats UI could not be accepted");
    }

    fn panicked(&self, message: &str) {
        self.app.http().counters.panics_total.inc();
        tracing::error!(
            error = message,
            "a request to the stats UI panicked; please report this defect"
        );
    }
}

/// Serves `ui_port`.
struct PublicService<A: Application> {
    site: Arc<Site<A>>,
    places: Arc<RequestLimits>,
    tls: Option<Arc<TlsAcceptor>>,
}

impl<A: Application> Service<(TcpStream, SocketAddr)> for PublicService<A> {
    fn connected(
        &self,
        (stream, address): (TcpStream, SocketAddr),
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (site, client) = (Arc::clone(&self.site), address.ip().to_canonical());
        let own = site.app.http().access.is_own(client, is_local(&stream, address.ip()));
        let Some(place) = self.places.enter(client, own) else {
            let _ = stream.try_write(BUSY);
            return None;
        };
        let tls = self.tls.clone();
        Some(async move {
            tokio::select! {
                // No request was in progress, or its client does not read.
                () = place.given_away() => {}
                () = receive(site, stream, client, tls, Arc::clone(&place)) => {}
            }
        })
    }

    fn cannot_accept(&self, error: &io::Error) {
        self.site.cannot_accept(error);
    }

    fn panicked(&self, message: &str) {
        self.site.panicked(message);
    }
}

/// Serves the control socket.
struct ControlService<A: Application> {
    site: Arc<Site<A>>,
    slots: Arc<Semaphore>,
}

impl<A: Application> Service<UnixStream> for ControlService<A> {
    fn connected(&self, stream: UnixStream) -> Option<impl Future<Output = ()> + Send + 'static> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let _ = stream.try_write(BUSY);
            return None;
        };
        let site = Arc::clone(&self.site);
        Some(async move {
            // Without it an order is executed even if its client has disconnected.
            let peer = PeerWatch::of(&stream).ok().map(Arc::new);
            attend(site, EntryPoint::Control, None, peer, stream).await;
            drop(slot);
        })
    }

    fn cannot_accept(&self, error: &io::Error) {
        self.site.cannot_accept(error);
    }

    fn panicked(&self, message: &str) {
        self.site.panicked(message);
    }
}

/// Whether it comes from this machine: from a loopback address, or from the address that it
/// connects to.
fn is_local(stream: &TcpStream, client: IpAddr) -> bool {
    client.to_canonical().is_loopback() || stream.local_addr().is_ok_and(|here| here.ip() == client)
}

/// A connection to `ui_port`, with TLS where required.
async fn receive<A: Application>(
    site: Arc<Site<A>>,
    stream: TcpStream,
    client: IpAddr,
    tls: Option<Arc<TlsAcceptor>>,
    place: Arc<ConnectionPermit>,
) {
    let (entry, stream) = match tls {
        None => (EntryPoint::Public(client), Stream::Plain(stream)),
        Some(tls) => match tls::receive(&tls, stream, HEADER_PATIENCE).await {
            Some(stream @ Stream::Tls(_)) => (EntryPoint::Public(client), stream),
            Some(stream @ Stream::Plain(_)) => (EntryPoint::Plain(client), stream),
            None => return,
        },
    };
    attend(site, entry, Some(place), None, stream).await;
}

/// One connection, from its first request to its end.
async fn attend<A: Application, S>(
    site: Arc<Site<A>>,
    entry: EntryPoint,
    place: Option<Arc<ConnectionPermit>>,
    peer: Option<Arc<PeerWatch>>,
    stream: S,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut stop = site.stop.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (site, place) = (Arc::clone(&site), place.clone());
        let peer = peer.clone().filter(|_| *request.method() == Method::POST);
        async move {
            let answer = router::answer(&*site.app, &site.routes, entry, place.as_ref(), request);
            let Some(peer) = peer else { return Ok(answer.await) };
            tokio::select! {
                // First: a request without a waiting client does not begin. What has begun is
                // completed.
                biased;
                () = peer.gone() => Err(io::Error::from(io::ErrorKind::BrokenPipe)),
                answer = answer => Ok(answer),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_buf_size(HEADER_MAX)
        // `printf 'GET …' | nc` closes its half at once and still waits for the answer.
        .half_close(true)
        // Pieces are queued as they are, never copied: each keeps its data until it is written.
        .writev(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let life = match entry {
        EntryPoint::Public(_) | EntryPoint::Plain(_) => CONNECTION_LIFE,
        EntryPoint::Control => CONTROL_LIFE,
    };
    tokio::select! {
        // How an untrusted client's connection ended does not matter.
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => {}
        () = sleep(life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(GRACE, connection).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_one_too_many_is_well_formed() {
        let text = std::str::from_utf8(BUSY).unwrap();
        let (head, content) = text.split_once("\r\n\r\n").unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        assert_eq!(length.parse(), Ok(content.len()));
    }
}
