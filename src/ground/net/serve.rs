//! Listeners of a protocol whose sessions are dialogues: each connection gets a place in the table
//! of sessions and a [`Wire`], or is closed at once.
//!
//! In: listening sockets, a [`Protocol`], a signal to stop. Out: one task a session.
//! Limits: [`ConnectionLimits`]; a connection over the limits costs no task. Who gets a place:
//! [`Sessions`]. Of a stranger the kernel keeps [`STRANGER_BUFFER`] in either direction, and one
//! that has sent [`EARLY_MAX`] before it was greeted gets no place.
//! Security: a session's panic ends that session alone.

use super::accept::{Service, accept_loop};
use super::limits::ConnectionLimits;
use super::peer::{Peer, Source};
use super::sessions::{Full, SessionPermit, Sessions};
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
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// The kernel's buffer for an untrusted client in either direction, in octets; the kernel doubles
/// it for its own data. Enough for a TLS handshake and for an SMTP dialogue.
const STRANGER_BUFFER: usize = 4096;

/// Octets that a stranger may have sent when its connection is taken. A client that waits for a
/// greeting sends none, and one that begins with TLS its first message, which has less than half of
/// this.
const EARLY_MAX: usize = 8192;

/// Time of a session beyond the deadline for its last reply.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A listening socket, and what its connections begin with.
pub struct Listener<T> {
    socket: TcpListener,
    tls: Option<Arc<T>>,
}

impl<T> Listener<T> {
    /// Its sessions begin in plain text.
    pub fn plain(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }

    /// Its sessions begin with the handshake (RFC 8314 §3: implicit TLS).
    pub fn inside_tls(socket: TcpListener, tls: Arc<T>) -> Self {
        Self { socket, tls: Some(tls) }
    }
}

/// A connection that finds no place.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// Why, for counters.
    pub full: Full,
    /// Why, for the client.
    pub told: Full,
    /// Whether it would have begun with the handshake: then there is nothing to say to it without
    /// one, which would cost what is to be saved.
    pub inside_tls: bool,
}

/// What a protocol adds to its listeners: who its clients are, what they hear, what is counted.
pub trait Protocol: Send + Sync + 'static {
    /// Does handshakes.
    type Tls: Send + Sync + 'static;

    /// What an address is to us.
    fn source(&self, client: IpAddr) -> Source;

    /// A session has a place; another one `displaced` gives way to it.
    fn begun(&self, displaced: bool);

    /// A session has ended, however.
    fn ended(&self);

    /// A client finds no place. Gives back what it hears; nothing is said inside TLS.
    fn refuse(&self, peer: Peer, refused: Refused) -> String;

    /// Does the handshake at the begin of a session; `None`: it failed.
    fn secure(
        &self,
        tls: &Self::Tls,
        wire: Wire,
        peer: Peer,
    ) -> impl Future<Output = Option<Wire>> + Send;

    /// No connection can be taken at the moment.
    fn cannot_accept(&self, error: &io::Error);

    /// A session panicked.
    fn panicked(&self, error: &JoinError);
}

/// Runs `session` for every connection until `stop`, then waits for those that are open, until the
/// deadline at most.
pub async fn serve<P, F, S>(
    listeners: Vec<Listener<P::Tls>>,
    limits: &ConnectionLimits,
    stop: Stop,
    protocol: P,
    session: F,
) where
    P: Protocol,
    F: Fn(Wire, Peer) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let (protocol, sessions) = (Arc::new(protocol), Sessions::new(limits));
    let mut loops = JoinSet::new();
    for Listener { socket, tls } in listeners {
        let service = SessionService {
            limits: limits.clone(),
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
        if let Err(error) = ended
            && error.is_panic()
        {
            protocol.panicked(&error);
        }
    }
}

/// One listener's sessions.
struct SessionService<P: Protocol, F> {
    limits: ConnectionLimits,
    sessions: Arc<Sessions>,
    protocol: Arc<P>,
    tls: Option<Arc<P::Tls>>,
    stop: Stop,
    session: F,
}

impl<P, F, S> Service<(TcpStream, SocketAddr)> for SessionService<P, F>
where
    P: Protocol,
    F: Fn(Wire, Peer) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    fn connected(
        &self,
        (stream, address): (TcpStream, SocketAddr),
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let (wire, peer, guard) = self.admit(stream, address)?;
        let (protocol, tls) = (Arc::clone(&self.protocol), self.tls.clone());
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

    fn panicked(&self, error: &JoinError) {
        self.protocol.panicked(error);
    }
}

/// The handshake, where the session begins with it; `None` when it failed, or the appliance stops.
async fn begin<P: Protocol>(
    protocol: &P,
    tls: Option<Arc<P::Tls>>,
    wire: Wire,
    peer: Peer,
    mut stop: Stop,
) -> Option<Wire> {
    let Some(tls) = tls else { return Some(wire) };
    // In a place of its own: sessions without TLS do not carry the room for a handshake.
    Box::pin(async move {
        tokio::select! {
            wire = protocol.secure(&tls, wire, peer) => wire,
            _ = draining(&mut stop) => None,
        }
    })
    .await
}

/// Keeps the counts correct however a session ends.
struct Guard<P: Protocol> {
    protocol: Arc<P>,
    _permit: SessionPermit,
}

impl<P: Protocol> Drop for Guard<P> {
    fn drop(&mut self) {
        self.protocol.ended();
    }
}

impl<P: Protocol, F> SessionService<P, F> {
    fn admit(&self, stream: TcpStream, address: SocketAddr) -> Option<(Wire, Peer, Guard<P>)> {
        let peer = Peer::of(address, |client| self.protocol.source(client));
        let narrowed = if peer.is_stranger() { narrow(&stream) } else { Ok(()) };
        match narrowed.and_then(|()| self.sessions.enter(peer.address, peer.source)) {
            Ok((permit, displaced)) => {
                self.protocol.begun(displaced);
                // Replies are small and awaited; otherwise the kernel would delay them.
                let _ = stream.set_nodelay(true);
                let slot = Some(permit.slot().clone());
                let wire = Wire::new(Stream::Plain(stream), &self.limits, slot);
                let guard = Guard { protocol: Arc::clone(&self.protocol), _permit: permit };
                Some((wire, peer, guard))
            }
            Err(full) => {
                self.turn_away(stream, peer, full);
                None
            }
        }
    }

    /// Says why into the empty send buffer of the fresh socket and closes: no task, no wait.
    fn turn_away(&self, stream: TcpStream, peer: Peer, full: Full) {
        let (told, inside_tls) = (self.sessions.told(full), self.tls.is_some());
        let reply = self.protocol.refuse(peer, Refused { full, told, inside_tls });
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
fn narrow(stream: &TcpStream) -> Result<(), Full> {
    let _ = setsockopt(stream, sockopt::RcvBuf, &STRANGER_BUFFER);
    let _ = setsockopt(stream, sockopt::SndBuf, &STRANGER_BUFFER);
    let mut early = [0; EARLY_MAX];
    match recv(stream.as_raw_fd(), &mut early, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(EARLY_MAX..) => Err(Full::Early),
        // Nothing has arrived yet; the session will notice any other error.
        _ => Ok(()),
    }
}
