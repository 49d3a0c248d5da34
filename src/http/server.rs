//! The listeners of the HTTP server.
//!
//! Purpose: HTTP/1.0 and 1.1 on `ui_port` and on the control socket. In: bound listeners, and the
//! table of routes. Out: the answers of its handlers. Limits: those of `places` for connections and
//! requests at `ui_port`, 64 connections at the control socket, 16 KiB of request header, 5 s for
//! it to arrive (and for an idle connection), one minute for a connection on `ui_port`, 64 KiB of
//! request content except for mails. Above the limit of connections an untrusted client gets 503
//! and is disconnected; the relay itself never waits for a client. Security: a client of the
//! control socket may do everything; access is controlled by the file's mode. At `ui_port` `rights`
//! decides. Source: RFC 9110, RFC 9112.

use crate::ground::stop::stopped;
use crate::ground::tls::Presenter;
use crate::http::peer::Peer;
use crate::http::places::{Place, Places};
use crate::http::route::Routes;
use crate::http::router;
use crate::http::state::Application;
use crate::http::tls::{self, Received};
use crate::http::visit::Door;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

/// Connections to the control socket at the same time; each has two descriptors, see
/// [`crate::http::peer`].
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

/// A pause after a failed accept (mostly for lack of file descriptors), so that repeated failures
/// do not use up the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: \
5\r\nConnection: close\r\n\
Content-Length: 43\r\n\r\nToo many connections to this server; wait.\n";

/// Serves `ui_port` on all its addresses until `stop` is true; then open answers may finish for a
/// moment. With `tls` pages are shown only over TLS.
pub async fn serve_public<A: Application>(
    app: Arc<A>,
    routes: Arc<Routes<A>>,
    listeners: Vec<TcpListener>,
    tls: Option<Arc<Presenter>>,
    stop: watch::Receiver<bool>,
) {
    let places = Places::new(Arc::clone(&app.http().counters), app.http().answers_max);
    let site = Arc::new(Site { app, routes });
    let mut listeners_running = JoinSet::new();
    for listener in listeners {
        let room = Room { site: Arc::clone(&site), tls: tls.clone(), stop: stop.clone() };
        listeners_running.spawn(room.serve(Listener::Public(listener, Arc::clone(&places))));
    }
    while listeners_running.join_next().await.is_some() {}
}

/// Serves the control socket until `stop` is true. The caller has bound it with a mode that denies
/// access to other users.
pub async fn serve_control<A: Application>(
    app: Arc<A>,
    routes: Arc<Routes<A>>,
    listener: UnixListener,
    stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONTROL_CONNECTIONS_MAX));
    let site = Arc::new(Site { app, routes });
    Room { site, tls: None, stop }.serve(Listener::Control(listener, slots)).await;
}

struct Room<A: Application> {
    site: Arc<Site<A>>,
    tls: Option<Arc<Presenter>>,
    stop: watch::Receiver<bool>,
}

/// What a connection needs to answer.
struct Site<A: Application> {
    app: Arc<A>,
    routes: Arc<Routes<A>>,
}

enum Listener {
    Public(TcpListener, Arc<Places>),
    Control(UnixListener, Arc<Semaphore>),
}

enum Guest {
    /// From an address.
    Public(TcpStream, IpAddr),
    Control(UnixStream),
}

impl<A: Application> Room<A> {
    async fn serve(mut self, listener: Listener) {
        let mut guests = JoinSet::new();
        loop {
            tokio::select! {
                () = stopped(&mut self.stop) => break,
                Some(end) = guests.join_next(), if !guests.is_empty() => self.note(end),
                guest = listener.accept() => match guest {
                    Ok(guest) => self.receive(guest, &listener, &mut guests),
                    Err(error) => {
                        tracing::warn!(%error, "a connection to the stats UI could not be \
                        accepted");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let farewell = async {
            while let Some(end) = guests.join_next().await {
                self.note(end);
            }
        };
        // A connection that does not end even then is dropped with the set.
        let _ = timeout(GRACE + GRACE, farewell).await;
    }

    fn receive(&self, guest: Guest, listener: &Listener, guests: &mut JoinSet<()>) {
        let (site, tls, stop) = (Arc::clone(&self.site), self.tls.clone(), self.stop.clone());
        let own = matches!(&guest, Guest::Public(_, peer) if self.site.app.http().access.is_own(*peer, guest.is_local()));
        match (guest, listener) {
            (Guest::Public(stream, client), Listener::Public(_, places)) => match places.enter(client, own) {
                Some(place) => drop(guests.spawn(async move {
                    tokio::select! {
                        // No request was in progress, or its client does not read.
                        () = place.given_away() => {}
                        () = receive_public(site, stream, client, tls, Arc::clone(&place), stop) => {}
                    }
                })),
                None => Guest::Public(stream, client).turn_away(),
            },
            (Guest::Control(stream), Listener::Control(_, slots)) => match Arc::clone(slots).try_acquire_owned() {
                Ok(slot) => drop(guests.spawn(async move {
                    // Without it an order is executed even if its client has disconnected.
                    let peer = Peer::of(&stream).ok().map(Arc::new);
                    attend(site, Door::Control, None, peer, stream, stop).await;
                    drop(slot);
                })),
                Err(_) => Guest::Control(stream).turn_away(),
            },
            // A listener gives guests of its own kind.
            (guest, _) => guest.turn_away(),
        }
    }

    fn note(&self, end: Result<(), JoinError>) {
        if end.is_err_and(|error| error.is_panic()) {
            self.site.app.http().counters.panics_total.inc();
            tracing::error!("a request to the stats UI panicked; please report this defect");
        }
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Guest> {
        match self {
            Self::Public(listener, _) => listener
                .accept()
                .await
                .map(|(stream, peer)| Guest::Public(stream, peer.ip().to_canonical())),
            Self::Control(listener, _) => {
                listener.accept().await.map(|(stream, _)| Guest::Control(stream))
            }
        }
    }
}

impl Guest {
    /// Whether it comes from this machine: from a loopback address, or from the address that it
    /// connects to.
    fn is_local(&self) -> bool {
        let Self::Public(stream, _) = self else { return false };
        let (Ok(there), Ok(here)) = (stream.peer_addr(), stream.local_addr()) else { return false };
        there.ip().to_canonical().is_loopback() || there.ip() == here.ip()
    }

    /// Sends 503 as far as the socket's buffer accepts it, and closes.
    fn turn_away(self) {
        let _ = match self {
            Self::Public(stream, _) => stream.try_write(BUSY),
            Self::Control(stream) => stream.try_write(BUSY),
        };
    }
}

/// A connection to `ui_port`, with TLS where required.
async fn receive_public<A: Application>(
    site: Arc<Site<A>>,
    stream: TcpStream,
    client: IpAddr,
    tls: Option<Arc<Presenter>>,
    place: Arc<Place>,
    stop: watch::Receiver<bool>,
) {
    let Some(tls) = tls else {
        return attend(site, Door::Public(client), Some(place), None, stream, stop).await;
    };
    match tls::receive(&tls, stream, HEADER_PATIENCE).await {
        Some(Received::Secured(stream)) => {
            attend(site, Door::Public(client), Some(place), None, stream, stop).await
        }
        Some(Received::Plain(stream)) => {
            attend(site, Door::Plain(client), Some(place), None, stream, stop).await
        }
        None => {}
    }
}

/// One connection, from its first request to its end.
async fn attend<A: Application, S>(
    site: Arc<Site<A>>,
    door: Door,
    place: Option<Arc<Place>>,
    peer: Option<Arc<Peer>>,
    stream: S,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (site, place) = (Arc::clone(&site), place.clone());
        let peer = peer.clone().filter(|_| *request.method() == Method::POST);
        async move {
            let answer = router::answer(&*site.app, &site.routes, door, place.as_ref(), request);
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
    let life = match door {
        Door::Public(_) | Door::Plain(_) => CONNECTION_LIFE,
        Door::Control => CONTROL_LIFE,
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
