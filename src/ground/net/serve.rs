//! Listeners of a protocol whose sessions are dialogues: each connection gets a slot in the table
//! of sessions and a [`Wire`], or is closed at once.
//!
//! In: listening sockets, a [`ServerProtocol`], a signal to stop. Out: one task for each session.
//! Limits: [`ConnectionLimits`]; a connection over the limits costs no task. [`Sessions`] decides
//! who gets a slot. For an untrusted client the kernel buffers [`STRANGER_BUFFER`] in each
//! direction, and a client that has sent [`EARLY_MAX`] before the greeting gets no slot. Security:
//! a panic ends only its session.

use super::accept::{Service, accept_loop, report_panic};
use super::limits::ConnectionLimits;
use super::peer::{Peer, PeerClass};
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
    let (protocol, sessions) = (Arc::new(protocol), Sessions::new(limits));
    let limits = Arc::new(limits.clone());
    let mut loops = JoinSet::new();
    for Listener { socket, tls } in listeners {
        let service = SessionService {
            limits: Arc::clone(&limits),
            sessions: Arc::clone(&sessions),
            protocol: Arc::clone(&protocol),
            tls,
            stop: stop.clone(),
            session: session.clone(),
        };
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
    limits: Arc<ConnectionLimits>,
    sessions: Arc<Sessions>,
    protocol: Arc<P>,
    tls: Option<Arc<P::Tls>>,
    stop: Stop,
    session: F,
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
        let (wire, peer, guard) = self.admit(stream, address)?;
        let protocol = Arc::clone(&self.protocol);
        let tls = self.tls.clone().map(|tls| (tls, Arc::clone(&self.limits)));
        let (stop, session) = (self.stop.clone(), self.session.clone());
        Some(async move {
            let _guard = guard;
            if let Some(wire) = begin(&*protocol, tls, wire, peer, stop).await {
                session(wire, peer).await;
            }
        })
    }

    fn cannot_accept(&self, error: &io::Error) {
        self.protocol.cannot_accept(error);
    }

    fn panicked(&self, message: &str) {
        self.protocol.panicked(message);
    }
}

/// The handshake, if the session begins with one; `None` when it failed, or the appliance stops.
async fn begin<P: ServerProtocol>(
    protocol: &P,
    tls: Option<(Arc<P::Tls>, Arc<ConnectionLimits>)>,
    wire: Wire,
    peer: Peer,
    mut stop: Stop,
) -> Option<Wire> {
    let Some((tls, limits)) = tls else { return Some(wire) };
    // In an allocation of its own: sessions without TLS do not need the memory for a handshake.
    Box::pin(async move {
        tokio::select! {
            wire = protocol.secure(&tls, wire, peer, &limits) => wire,
            _ = draining(&mut stop) => None,
        }
    })
    .await
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

impl<P: ServerProtocol, F> SessionService<P, F> {
    fn admit(&self, stream: TcpStream, address: SocketAddr) -> Option<(Wire, Peer, Guard<P>)> {
        let peer = Peer::of(address, |client| self.protocol.source(client));
        let narrowed = if peer.is_stranger() { narrow(&stream) } else { Ok(()) };
        match narrowed.and_then(|()| self.sessions.enter(peer.address, peer.source)) {
            Ok((permit, displaced)) => {
                self.protocol.begun(displaced);
                let guard = Guard { protocol: Arc::clone(&self.protocol), permit };
                // Replies are small and awaited; otherwise the kernel would delay them.
                let _ = stream.set_nodelay(true);
                let slot = Some(guard.permit.slot().clone());
                let wire = Wire::new(Stream::Plain(stream), &self.limits, slot);
                Some((wire, peer, guard))
            }
            Err(reason) => {
                self.turn_away(stream, peer, reason);
                None
            }
        }
    }

    /// Writes the reason into the empty send buffer of the new socket and closes it: no task, no
    /// wait.
    fn turn_away(&self, stream: TcpStream, peer: Peer, reason: NoSlot) {
        let (told, inside_tls) = (self.sessions.told(reason), self.tls.is_some());
        let reply = self.protocol.refuse(peer, Refused { reason, told, inside_tls });
        if !inside_tls && let Ok(mut stream) = stream.into_std() {
            let _ = stream.write(reply.as_bytes());
        }
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
