//! Listening sockets, and the tasks behind them.

use super::rarely::Rarely;
use super::{Full, Limits, Peer, Sessions, Source, Stream, Ticket, Tls, Wire};
use crate::mail::accept::counters::AcceptCounters;
use crate::mail::model::{MailEvent, Refusal};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};
use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};

/// `None` while the appliance runs; once it stops, the moment until which sessions may finish the
/// mail they are in.
pub type Stop = watch::Receiver<Option<Instant>>;

/// Connections that the kernel keeps for us.
const BACKLOG: u32 = 1024;
/// How long to leave a listener alone that has no file descriptor or no memory for the next
/// connection.
const BACK_OFF: Duration = Duration::from_millis(200);
/// What the kernel keeps for a stranger in either direction, in octets; it takes twice as much for
/// its own needs. Enough for a handshake of TLS and for a dialogue.
const STRANGER_BUFFER: usize = 4096;

/// Octets that a stranger may have sent when its connection is taken. A client that waits for the
/// greeting (RFC 5321 §3.1) sends none, and one that begins with TLS its first message, which has
/// less than half of this.
const EARLY_MAX: usize = 8192;

/// What a session may take beyond the deadline to say its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A listening socket, and what its connections begin with.
pub struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Its sessions begin in plain text.
    pub fn plain(socket: TcpListener) -> Self {
        Self { socket, tls: None }
    }

    /// Its sessions begin with the handshake (RFC 8314 §3: implicit TLS).
    pub fn inside_tls(socket: TcpListener, tls: Arc<Tls>) -> Self {
        Self { socket, tls: Some(tls) }
    }
}

/// Who knows the clients, and hears of those that found no place
/// ([`MailEvent::TurnedAway`]).
pub trait Porter: Send + Sync + 'static {
    /// What an address is to us.
    fn judge(&self, client: IpAddr) -> Source;

    /// A client found no place.
    fn emit(&self, _event: MailEvent<'_>) {}
}

impl<F: Fn(IpAddr) -> Source + Send + Sync + 'static> Porter for F {
    fn judge(&self, client: IpAddr) -> Source {
        self(client)
    }
}

/// Opens a listening socket. `[::]` takes IPv4 too, and becomes `0.0.0.0` on a machine without
/// IPv6.
///
/// # Errors
/// As the system says: the port is taken (EADDRINUSE), or below 1024 and not allowed (EACCES).
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match address {
        SocketAddr::V4(_) => listen(TcpSocket::new_v4()?, address),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
            let dual_stack = TcpSocket::new_v6().and_then(|socket| {
                setsockopt(&socket, sockopt::Ipv6V6Only, &false)?;
                listen(socket, address)
            });
            match dual_stack {
                Err(error) if is_without_ipv6(&error) => {
                    bind((Ipv4Addr::UNSPECIFIED, address.port()).into())
                }
                other => other,
            }
        }
        SocketAddr::V6(_) => listen(TcpSocket::new_v6()?, address),
    }
}

fn listen(socket: TcpSocket, address: SocketAddr) -> io::Result<TcpListener> {
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_without_ipv6(error: &io::Error) -> bool {
    use nix::errno::Errno;
    error.raw_os_error().is_some_and(|errno| {
        matches!(Errno::from_raw(errno), Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
    })
}

/// Waits until the appliance stops and tells the deadline. A sender that is gone means: now.
pub async fn draining(stop: &mut Stop) -> Instant {
    match stop.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        Err(_) => Instant::now(),
    }
}

/// Runs `session` for every connection until `stop`, then waits for those that are open, until the
/// deadline at most. `hostname` signs the 421 for connections over the limits.
pub async fn serve<F, S>(
    listeners: Vec<Listener>,
    limits: &Limits,
    hostname: &str,
    counters: Arc<AcceptCounters>,
    stop: Stop,
    porter: impl Porter,
    session: F,
) where
    F: Fn(Wire, Peer) -> S + Clone + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let door = Arc::new(Door {
        limits: limits.clone(),
        hostname: hostname.to_owned(),
        sessions: Sessions::new(limits),
        counters,
        porter: Box::new(porter),
        trusted_turned_away: Rarely::new(),
        turned_away: Rarely::new(),
    });
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(run(Arc::clone(&door), listener, stop.clone(), session.clone()));
    }
    while let Some(ended) = loops.join_next().await {
        door.account(ended);
    }
}

/// What all listeners share.
struct Door {
    limits: Limits,
    hostname: String,
    sessions: Arc<Sessions>,
    counters: Arc<AcceptCounters>,
    porter: Box<dyn Porter>,
    trusted_turned_away: Rarely,
    turned_away: Rarely,
}

async fn run<F, S>(door: Arc<Door>, listener: Listener, mut stop: Stop, session: F)
where
    F: Fn(Wire, Peer) -> S + Clone + Send + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let deadline = loop {
        tokio::select! {
            deadline = draining(&mut stop) => break deadline,
            Some(ended) = tasks.join_next(), if !tasks.is_empty() => door.account(ended),
            accepted = listener.socket.accept() => match accepted {
                Ok((stream, address)) => {
                    if let Some((wire, peer, guard)) = door.admit(stream, address, listener.tls.is_some()) {
                        let (door, tls, session, stop) = (door.clone(), listener.tls.clone(), session.clone(), stop.clone());
                        tasks.spawn(async move {
                            let _guard = guard;
                            if let Some(wire) = door.start_tls(wire, peer, tls, stop).await {
                                session(wire, peer).await;
                            }
                        });
                    }
                }
                Err(error) if is_passing(&error) => {}
                Err(error) => {
                    tracing::error!(
                        target: "mta", %error, "cannot accept connections at the moment"
                    );
                    // Nothing tells when descriptors or memory come back; until then, asking again
                    // would only spin.
                    tokio::time::sleep(BACK_OFF).await;
                }
            },
        }
    };
    drop(listener);
    let until = deadline.max(Instant::now()) + LAST_WORDS;
    while let Ok(Some(ended)) = timeout_at(until, tasks.join_next()).await {
        door.account(ended);
    }
    tasks.shutdown().await;
}

/// A stranger may pour what nobody reads: the kernel keeps little of it, and little of what it does
/// not take. Done here, and not at the listener, because that would narrow the connections of
/// trusted clients for good (RFC 7323 §2.2: the scale of their windows is settled in the first
/// segment).
///
/// # Errors
/// More than that has come already, for which the kernel keeps what it takes.
fn narrow(stream: &TcpStream) -> Result<(), Full> {
    let _ = setsockopt(stream, sockopt::RcvBuf, &STRANGER_BUFFER);
    let _ = setsockopt(stream, sockopt::SndBuf, &STRANGER_BUFFER);
    let mut early = [0; EARLY_MAX];
    match recv(stream.as_raw_fd(), &mut early, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Ok(EARLY_MAX..) => Err(Full::Early),
        // Nothing has come yet; what else is wrong the session will find.
        _ => Ok(()),
    }
}

/// The connection was gone before we took it; the listener itself is well.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}

/// Keeps the counts right however a session ends.
struct Guard {
    counters: Arc<AcceptCounters>,
    _ticket: Ticket,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.counters.smtp_active_sessions.dec();
    }
}

impl Door {
    fn admit(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        inside_tls: bool,
    ) -> Option<(Wire, Peer, Guard)> {
        let canonical = address.ip().to_canonical();
        let peer =
            Peer { address: canonical, port: address.port(), source: self.porter.judge(canonical) };
        let narrowed = if peer.is_stranger() { narrow(&stream) } else { Ok(()) };
        match narrowed.and_then(|()| self.sessions.enter(peer.address, peer.source)) {
            Ok((ticket, displaces)) => {
                if displaces {
                    self.counters.sessions_displaced_total.inc();
                }
                self.counters.smtp_sessions_total.inc();
                self.counters.smtp_active_sessions.inc();
                // Replies are small and awaited; without this the kernel would hold them back.
                let _ = stream.set_nodelay(true);
                let wire =
                    Wire::new(Stream::Plain(stream), &self.limits, Some(ticket.visit().clone()));
                let guard = Guard { counters: Arc::clone(&self.counters), _ticket: ticket };
                Some((wire, peer, guard))
            }
            Err(full) => {
                self.turn_away(stream, peer, full, inside_tls);
                None
            }
        }
    }

    /// The handshake, where the session begins with it; `None` when it failed, or the appliance
    /// stops.
    async fn start_tls(
        &self,
        wire: Wire,
        peer: Peer,
        tls: Option<Arc<Tls>>,
        mut stop: Stop,
    ) -> Option<Wire> {
        let Some(tls) = tls else { return Some(wire) };
        // In a place of its own: sessions without TLS do not carry the room for a handshake.
        Box::pin(async move {
            tokio::select! {
                wire = tls.secure(wire, peer, &self.limits) => wire,
                _ = draining(&mut stop) => None,
            }
        })
        .await
    }

    /// Says 421 into the empty send buffer of the fresh socket and closes: no task, no wait. To a
    /// client that waits for TLS there is nothing to say without a handshake, which would cost what
    /// is to be saved.
    fn turn_away(&self, stream: TcpStream, peer: Peer, full: Full, inside_tls: bool) {
        let told = self.sessions.told(full);
        let reason = told.words();
        self.counters.sessions_refused_total.with_label_values(&[full.as_str()]).inc();
        self.counters.refused_total.with_label_values(&[Refusal::Limit.as_str()]).inc();
        // One of ours is told by itself: it must not be hidden by a flood of others.
        let rarely = if peer.is_stranger() { &self.turned_away } else { &self.trusted_turned_away };
        let count = rarely.happened();
        let reply = format!("421 {} {} {reason}", told.code(), self.hostname);
        let turned_away = |reply: &str| {
            self.porter.emit(MailEvent::TurnedAway {
                client: peer.into(),
                limit: full.as_str(),
                reason,
                reply,
                count,
            });
        };
        if inside_tls {
            turned_away(&format!("(closed without an answer, which takes TLS) {reply}"));
        } else {
            turned_away(&reply);
            if let Ok(mut stream) = stream.into_std() {
                let _ = stream.write(format!("{reply}\r\n").as_bytes());
            }
        }
    }

    fn account(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            self.counters.panics_total.inc();
            tracing::error!(target: "mta", %error, "a session panicked and was ended; please \
            report this as a defect");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::lock::Lock;
    use crate::mail::model::SESSION_REFUSALS;
    use tokio::io::AsyncReadExt;

    fn counters() -> Arc<AcceptCounters> {
        AcceptCounters::alone().unwrap()
    }

    async fn said(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn the_unspecified_address_takes_both_families() {
        let listener = bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, peer) = listener.accept().await.unwrap();
        assert!(peer.ip().to_canonical().is_ipv4());
    }

    #[tokio::test]
    async fn a_panic_ends_one_session_and_is_counted() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(None);
        let counters = counters();
        let seen = Arc::clone(&counters);
        let served = tokio::spawn(async move {
            let session = |_, _| async { panic!("a defect") };
            serve(
                vec![Listener::plain(listener)],
                &Limits::default(),
                "mta",
                seen,
                stopped,
                |_: IpAddr| Source::Trusted,
                session,
            )
            .await;
        });
        for _ in 0..3 {
            assert_eq!(said(&mut TcpStream::connect(address).await.unwrap()).await, "");
        }
        stop.send(Some(Instant::now())).unwrap();
        served.await.unwrap();
        assert_eq!((counters.panics_total.get(), counters.smtp_active_sessions.get()), (3, 0));
    }

    /// Trusts everybody, and remembers who was turned away.
    #[derive(Clone, Default)]
    struct Book(Arc<Lock<Vec<(&'static str, String)>>>);

    impl Porter for Book {
        fn judge(&self, _: IpAddr) -> Source {
            Source::Trusted
        }

        fn emit(&self, event: MailEvent<'_>) {
            let MailEvent::TurnedAway { limit, reply, .. } = event else {
                panic!("{event:?}");
            };
            self.0.lock().push((limit, reply.to_owned()));
        }
    }

    #[test]
    fn every_reason_has_its_series_from_the_start() {
        assert_eq!(Full::ALL.map(Full::as_str), SESSION_REFUSALS);
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_told_and_closed() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(None);
        let counters = counters();
        let (seen, book) = (Arc::clone(&counters), Book::default());
        let porter = book.clone();
        let served = tokio::spawn(async move {
            let limits = Limits { sessions_per_address: 1, ..Limits::default() };
            let session = |mut wire: Wire, _| async move {
                let _ = wire.fill(Instant::now() + Duration::from_secs(60)).await;
                wire.close().await;
            };
            serve(vec![Listener::plain(listener)], &limits, "mta", seen, stopped, porter, session)
                .await;
        });
        let first = TcpStream::connect(address).await.unwrap();
        for _ in 0..50 {
            let text = said(&mut TcpStream::connect(address).await.unwrap()).await;
            assert!(
                text.starts_with("421 4.7.0 mta Too many sessions from your address"),
                "{text}"
            );
        }
        assert_eq!(counters.smtp_active_sessions.get(), 1);
        let told = book.0.lock().clone();
        let reply = "421 4.7.0 mta Too many sessions from your address; try again later".to_owned();
        assert_eq!(told, vec![(Full::Address.as_str(), reply); 50]);
        drop(first);
        stop.send(Some(Instant::now())).unwrap();
        served.await.unwrap();
        assert_eq!(counters.refused_total.with_label_values(&["limit"]).get(), 50);
    }
}
