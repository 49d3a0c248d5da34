//! Listeners of a protocol whose sessions are dialogues: each connection gets a slot in the table
//! of sessions and a [`Wire`], or is closed at once.
//!
//! In: listening sockets, a [`ServerProtocol`], a signal to stop. Out: one task for each session.
//! Limits: [`ConnectionLimits`]; a connection over the limits costs no task. [`Sessions`] decides
//! who gets a slot. For an untrusted client the kernel buffers [`STRANGER_BUFFER`] in each
//! direction, and a client that has sent [`EARLY_MAX`] before the greeting gets no slot. A
//! connection from a listed proxy gets a slot once its PROXY header has named the client. Security:
//! a panic ends only its session.

use super::accept::{Service, accept_loop, report_panic};
use super::limits::ConnectionLimits;
use super::peer::{Peer, PeerClass};
use super::proxied::{self, PROXY_HEADERS_MAX, ProxiedClient};
use super::proxy_header::ProxyHeaderError;
use super::sessions::{NoSlot, SessionPermit, Sessions};
use super::stream::Stream;
use super::wire::Wire;
use crate::ground::stop::{Stop, draining};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The kernel's buffer for an untrusted client in either direction, in octets; the kernel doubles
/// it for its own data. Enough for a TLS handshake and for a dialogue of short commands.
const STRANGER_BUFFER: usize = 4096;

/// Octets that an untrusted client may have sent before its connection is accepted. A client that
/// waits for the greeting sends none, and with implicit TLS the first message is less than half of
/// this.
const EARLY_MAX: usize = 8192;

/// Time that a session has after the deadline to send its last reply.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A listening socket, and whether its sessions begin with TLS.
pub struct Listener<T> {
    socket: TcpListener,
    tls: Option<Arc<T>>,
}

impl<T> Listener<T> {
    /// Its sessions begin in plain text.
    pub fn plain(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }

    /// Its sessions begin with the TLS handshake (RFC 8314 §3: implicit TLS).
    pub fn inside_tls(socket: TcpListener, tls: Arc<T>) -> Self {
        Self { socket, tls: Some(tls) }
    }
}

/// A connection that got no slot.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// The reason, for counters.
    pub reason: NoSlot,
    /// The reason given to the client.
    pub told: NoSlot,
    /// Whether it would have begun with the TLS handshake: without one no reply can be sent, and a
    /// handshake would cost the resources that are short.
    pub inside_tls: bool,
}

/// The parts of a listener that depend on the protocol: the class of clients, the replies, the
/// counters.
pub trait ServerProtocol: Send + Sync + 'static {
    /// Does TLS handshakes.
    type Tls: Send + Sync + 'static;

    /// The class of an address.
    fn source(&self, client: IpAddr) -> PeerClass;

    /// Whether connections from this address are those of a proxy, each of which begins with the
    /// header of the PROXY protocol.
    fn is_proxy(&self, address: IpAddr) -> bool;

    /// A session got a slot; with `displaced` another one is disconnected for it.
    fn begun(&self, displaced: bool);

    /// A session has ended, for whatever reason.
    fn ended(&self);

    /// A client got no slot. Gives back the reply; with implicit TLS none is sent.
    fn refuse(&self, peer: Peer, refused: Refused) -> String;

    /// Does the TLS handshake at the start of a session; `None`: it failed.
    fn secure(
        &self,
        tls: &Self::Tls,
        wire: Wire,
        peer: Peer,
        limits: &ConnectionLimits,
    ) -> impl Future<Output = Option<Wire>> + Send;

    /// No connection can be accepted at present.
    fn cannot_accept(&self, error: &io::Error);

    /// A session was lost to a panic with this message.
    fn panicked(&self, message: &str);
}

/// Runs `session` for every connection until `stop`, then waits for the open ones, at most until
/// the deadline.
pub async fn serve<P, F, S>(
    listeners: Vec<Listener<P::Tls>>,
    limits: &ConnectionLimits,
    stop: Stop,
    protocol: P,
    session: F,
) where
    P: ServerProtocol,
    F: Fn(Wire, Peer) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let protocol = Arc::new(protocol);
    let mut loops = JoinSet::new();
    let shared = Entrance {
        sessions: Sessions::new(limits),
        limits: Arc::new(limits.clone()),
        protocol: Arc::clone(&protocol),
        headers: Arc::new(Semaphore::new(PROXY_HEADERS_MAX)),
        tls: None,
        stop: stop.clone(),
    };
    for Listener { socket, tls } in listeners {
        let entrance = Arc::new(Entrance { tls, ..shared.clone() });
        let service = SessionService { entrance, session: session.clone() };
        let mut stop = stop.clone();
        loops.spawn(async move {
            let ends = async { draining(&mut stop).await.max(Instant::now()) + LAST_WORDS };
            accept_loop(socket, &service, ends).await;
        });
    }
    while let Some(ended) = loops.join_next().await {
        report_panic(ended, |message| protocol.panicked(message));
    }
}

/// One listener's sessions.
struct SessionService<P: ServerProtocol, F> {
    entrance: Arc<Entrance<P>>,
    session: F,
}

/// What a connection needs to become a session.
struct Entrance<P: ServerProtocol> {
    limits: Arc<ConnectionLimits>,
    sessions: Arc<Sessions>,
    protocol: Arc<P>,
    /// Connections of proxies that wait for their headers.
    headers: Arc<Semaphore>,
    tls: Option<Arc<P::Tls>>,
    stop: Stop,
}

impl<P: ServerProtocol> Clone for Entrance<P> {
    fn clone(&self) -> Self {
        Self {
            limits: Arc::clone(&self.limits),
            sessions: Arc::clone(&self.sessions),
            protocol: Arc::clone(&self.protocol),
            headers: Arc::clone(&self.headers),
            tls: self.tls.clone(),
            stop: self.stop.clone(),
        }
    }
}

/// A connection with a slot.
struct Admitted<P: ServerProtocol> {
    wire: Wire,
    peer: Peer,
    guard: Guard<P>,
}

impl<P, F, S> Service<(TcpStream, SocketAddr)> for SessionService<P, F>
where
    P: ServerProtocol,
    F: Fn(Wire, Peer) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    fn connected(
        &self,
        (stream, address): (TcpStream, SocketAddr),
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let entrance = Arc::clone(&self.entrance);
        let admitted = if entrance.protocol.is_proxy(address.ip().to_canonical()) {
            Err(stream)
        } else {
            Ok(entrance.admit(stream, ProxiedClient { address, own: false })?)
        };
        let session = self.session.clone();
        Some(async move {
            let admitted = match admitted {
                Ok(admitted) => Some(admitted),
                Err(stream) => Box::pin(entrance.through_proxy(stream, address)).await,
            };
            let Some(Admitted { wire, peer, guard: _guard }) = admitted else { return };
            if let Some(wire) = entrance.begin(wire, peer).await {
                drop(entrance);
                // Large: made where it stays, and not moved with the task.
                Box::pin(session(wire, peer)).await;
            }
        })
    }

    fn cannot_accept(&self, error: &io::Error) {
        self.entrance.protocol.cannot_accept(error);
    }

    fn panicked(&self, message: &str) {
        self.entrance.protocol.panicked(message);
    }
}

/// Keeps the counts correct however a session ends.
struct Guard<P: ServerProtocol> {
    protocol: Arc<P>,
    permit: SessionPermit,
}

impl<P: ServerProtocol> Drop for Guard<P> {
    fn drop(&mut self) {
        self.protocol.ended();
    }
}

impl<P: ServerProtocol> Entrance<P> {
    fn admit(&self, stream: TcpStream, origin: ProxiedClient) -> Option<Admitted<P>> {
        let peer = self.peer(origin);
        let narrowed = if peer.is_stranger() { narrow(&stream) } else { Ok(()) };
        match narrowed.and_then(|()| self.sessions.enter(peer.address, peer.source)) {
            Ok((permit, displaced)) => {
                self.protocol.begun(displaced);
                let guard = Guard { protocol: Arc::clone(&self.protocol), permit };
                // Replies are small and awaited; otherwise the kernel would delay them.
                let _ = stream.set_nodelay(true);
                let slot = Some(guard.permit.slot().clone());
                let wire = Wire::new(Stream::Plain(stream), &self.limits, slot);
                Some(Admitted { wire, peer, guard })
            }
            Err(reason) => {
                self.turn_away(stream, peer, reason);
                None
            }
        }
    }

    fn peer(&self, ProxiedClient { address, own }: ProxiedClient) -> Peer {
        let peer = Peer::of(address, |client| self.protocol.source(client));
        Peer { probe: own, ..peer }
    }

    /// The same for a connection from a listed proxy, which gets a slot as the client that its
    /// header names.
    async fn through_proxy(&self, mut stream: TcpStream, proxy: SocketAddr) -> Option<Admitted<P>> {
        let mut stop = self.stop.clone();
        let origin = match self.headers.try_acquire() {
            Ok(_permit) => tokio::select! {
                origin = proxied::origin(&mut stream, proxy) => origin,
                _ = draining(&mut stop) => return None,
            },
            Err(_) => Err(ProxyHeaderError::Crowded),
        };
        match origin {
            Ok(origin) => {
                let origin = origin?;
                if origin.own && self.tls.is_some() && proxied::only_looked(&stream).await {
                    return None;
                }
                self.admit(stream, origin)
            }
            Err(error) => {
                let peer = self.peer(ProxiedClient { address: proxy, own: false });
                let reply = self.refusal(peer, NoSlot::Proxy(error));
                let mut wire = Wire::new(Stream::Plain(stream), &self.limits, None);
                wire.output().extend(reply.into_iter().flat_map(String::into_bytes));
                // What it has sent is read: else the close might overtake the reply.
                wire.close().await;
                None
            }
        }
    }

    /// The handshake, if the session begins with one; `None` when it failed, or the appliance
    /// stops.
    async fn begin(&self, wire: Wire, peer: Peer) -> Option<Wire> {
        let Some(tls) = &self.tls else { return Some(wire) };
        let mut stop = self.stop.clone();
        // In an allocation of its own: sessions without TLS do not need the memory for a handshake.
        Box::pin(async move {
            tokio::select! {
                wire = self.protocol.secure(tls, wire, peer, &self.limits) => wire,
                _ = draining(&mut stop) => None,
            }
        })
        .await
    }

    /// Writes the reason into the empty send buffer of the new socket and closes it: no task, no
    /// wait.
    fn turn_away(&self, stream: TcpStream, peer: Peer, reason: NoSlot) {
        let reply = self.refusal(peer, reason);
        if let Some(reply) = reply
            && let Ok(mut stream) = stream.into_std()
        {
            let _ = stream.write(reply.as_bytes());
        }
    }

    /// The reply to a client without a slot; none where one takes a handshake.
    fn refusal(&self, peer: Peer, reason: NoSlot) -> Option<String> {
        let (told, inside_tls) = (self.sessions.told(reason), self.tls.is_some());
        let reply = self.protocol.refuse(peer, Refused { reason, told, inside_tls });
        (!inside_tls).then_some(reply)
    }
}

/// Reduces the kernel's buffers for an untrusted client, which may send without end and read
/// nothing. Done here, and not at the listener, because that would limit the connections of trusted
/// clients permanently (RFC 7323 §2.2: the window scale is fixed in the first segment).
///
/// # Errors
/// More than that has already arrived, and the kernel keeps the memory for it.
fn narrow(stream: &TcpStream) -> Result<(), NoSlot> {
    let _ = setsockopt(stream, sockopt::RcvBuf, &STRANGER_BUFFER);
    let _ = setsockopt(stream, sockopt::SndBuf, &STRANGER_BUFFER);
    let mut early = [0; EARLY_MAX];
    match recv(stream.as_raw_fd(), &mut early, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(EARLY_MAX..) => Err(NoSlot::Early),
        // Nothing has arrived yet; the session will notice any other error.
        _ => Ok(()),
    }
}
