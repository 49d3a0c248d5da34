//! The SMTP listeners: the class of each client, and the replies to clients that get no slot.

use super::counters::AcceptCounters;
use super::limits::Limits;
use super::tls::SmtpTls;
use crate::ground::net::{
    self, ConnectionLimits, LogRateLimit, NoSlot, Peer, PeerClass, ProxyHeaderError, Refused,
    ServerProtocol, Wire,
};
use crate::ground::stop::Stop;
use crate::mail::model::{MailEvent, Refusal, Reply, SessionClient};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// A listening socket, and how its connections begin.
pub type SmtpListener = net::Listener<SmtpTls>;

/// Classifies clients, and gets an event for each that got no slot ([`MailEvent::TurnedAway`]).
pub trait ClientClassifier: Send + Sync + 'static {
    /// The class of an address.
    fn classify(&self, client: IpAddr) -> PeerClass;

    /// Whether connections from this address begin with the header of the PROXY protocol.
    fn is_proxy(&self, _address: IpAddr) -> bool {
        false
    }

    /// A client got no slot.
    fn emit(&self, _event: MailEvent<'_>) {}
}

impl<F: Fn(IpAddr) -> PeerClass + Send + Sync + 'static> ClientClassifier for F {
    fn classify(&self, client: IpAddr) -> PeerClass {
        self(client)
    }
}

/// Runs `session` for every connection until `stop`, then waits for the open ones, at most until
/// the deadline. `hostname` is in the 421 for connections over the limits.
pub async fn serve<F, S>(
    listeners: Vec<SmtpListener>,
    limits: &Limits,
    hostname: &str,
    counters: Arc<AcceptCounters>,
    stop: Stop,
    clients: impl ClientClassifier,
    session: F,
) where
    F: Fn(Wire, Peer) -> S + Clone + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let smtp = Smtp {
        hostname: hostname.to_owned(),
        counters,
        clients,
        trusted_turned_away: LogRateLimit::new(),
        turned_away: LogRateLimit::new(),
    };
    net::serve(listeners, &limits.connection, stop, smtp, session).await;
}

/// The state shared by all listeners.
struct Smtp<C> {
    hostname: String,
    counters: Arc<AcceptCounters>,
    clients: C,
    trusted_turned_away: LogRateLimit,
    turned_away: LogRateLimit,
}

impl<C: ClientClassifier> ServerProtocol for Smtp<C> {
    type Tls = SmtpTls;

    fn source(&self, client: IpAddr) -> PeerClass {
        self.clients.classify(client)
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.clients.is_proxy(address)
    }

    fn begun(&self, displaced: bool) {
        if displaced {
            self.counters.sessions_displaced_total.inc();
        }
        self.counters.smtp_sessions_total.inc();
        self.counters.smtp_active_sessions.inc();
    }

    fn ended(&self) {
        self.counters.smtp_active_sessions.dec();
    }

    fn refuse(&self, peer: Peer, refused: Refused) -> String {
        let (limit, (code, reason)) = (refused.reason.as_str(), told(refused.told));
        self.counters.sessions_refused_total.with_label_values(&[limit]).inc();
        self.counters.refused_total.with_label_values(&[Refusal::Limit.as_str()]).inc();
        // A trusted client is logged separately: it must not be hidden by a flood of others.
        let lines = if peer.is_stranger() { &self.turned_away } else { &self.trusted_turned_away };
        let count = lines.happened();
        let unsent =
            if refused.inside_tls { "(closed without an answer, which takes TLS) " } else { "" };
        let reply = format!("{unsent}421 {code} {} {reason}", self.hostname);
        self.clients.emit(MailEvent::TurnedAway {
            client: peer.into(),
            limit,
            reason,
            reply: &reply,
            count,
        });
        reply + "\r\n"
    }

    async fn secure(
        &self,
        tls: &SmtpTls,
        wire: Wire,
        peer: Peer,
        limits: &ConnectionLimits,
    ) -> Option<Wire> {
        tls.secure(wire, peer, limits).await
    }

    fn cannot_accept(&self, error: &io::Error) {
        tracing::error!(target: "mta", %error, "cannot accept connections at the moment");
    }

    fn panicked(&self, message: &str) {
        self.counters.panics_total.inc();
        tracing::error!(target: "mta", error = message, "a session panicked and was ended; please \
        report this as a defect");
    }
}

/// The reply to a client that gets no slot.
pub fn no_slot(hostname: &str, reason: NoSlot) -> Reply {
    let (code, words) = told(reason);
    let enhanced = if code == "4.3.2" { (4, 3, 2) } else { (4, 7, 0) };
    Reply::new(421, enhanced, format!("{hostname} {words}"))
}

/// The enhanced code of a 421 (RFC 3463 §3.4, §3.8: the state of the relay, or the client's
/// conduct), and its text.
fn told(reason: NoSlot) -> (&'static str, &'static str) {
    match reason {
        NoSlot::All | NoSlot::Strangers => ("4.7.0", "Too many sessions; try again later"),
        NoSlot::Address => ("4.7.0", "Too many sessions from your address; try again later"),
        NoSlot::Memory => ("4.3.2", "Too little memory for another session; try again later"),
        NoSlot::Early => ("4.7.0", "Data was sent before the greeting"),
        NoSlot::Proxy(error) => ("4.7.0", no_header(error)),
    }
}

/// What is wrong with the PROXY header of a listed proxy.
fn no_header(error: ProxyHeaderError) -> &'static str {
    match error {
        ProxyHeaderError::Missing | ProxyHeaderError::Late => {
            "Your address is in proxy_networks of this relay: a connection from there must begin \
            with a PROXY header"
        }
        ProxyHeaderError::Family => "The PROXY header must name addresses of TCP over IPv4 or IPv6",
        ProxyHeaderError::Crowded => {
            "Too many connections of proxies wait for their PROXY headers; try again later"
        }
        ProxyHeaderError::Closed | ProxyHeaderError::Long | ProxyHeaderError::Malformed => {
            "The PROXY header is not well-formed or too long"
        }
    }
}

impl From<Peer> for SessionClient {
    fn from(peer: Peer) -> Self {
        Self { address: peer.address, port: Some(peer.port), stranger: peer.is_stranger() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::lock::Lock;
    use crate::ground::net::bind;
    use crate::mail::model::SESSION_REFUSALS;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpStream;
    use tokio::sync::watch;
    use tokio::time::Instant;

    fn counters() -> Arc<AcceptCounters> {
        AcceptCounters::alone().unwrap()
    }

    async fn said(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
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
                vec![SmtpListener::plain(listener)],
                &Limits::default(),
                "mta",
                seen,
                stopped,
                |_: IpAddr| PeerClass::Trusted,
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

    #[tokio::test]
    async fn a_panic_before_a_session_costs_one_connection_and_is_counted() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(None);
        let (counters, seen) = (counters(), AtomicUsize::new(0));
        let counted = Arc::clone(&counters);
        let classify = move |_: IpAddr| {
            assert!(seen.fetch_add(1, Ordering::Relaxed) != 1, "a defect");
            PeerClass::Trusted
        };
        let served = tokio::spawn(async move {
            let session = |mut wire: Wire, _| async move {
                wire.output().extend(b"220 ");
                wire.close().await;
            };
            let listeners = vec![SmtpListener::plain(listener)];
            let limits = Limits::default();
            serve(listeners, &limits, "mta", counted, stopped, classify, session).await;
        });
        for greeting in ["220 ", "", "220 "] {
            assert_eq!(said(&mut TcpStream::connect(address).await.unwrap()).await, greeting);
        }
        stop.send(Some(Instant::now())).unwrap();
        served.await.unwrap();
        assert_eq!((counters.panics_total.get(), counters.smtp_active_sessions.get()), (1, 0));
    }

    /// Trusts every client, and records those that were turned away.
    #[derive(Clone, Default)]
    struct Book(Arc<Lock<Vec<(&'static str, String)>>>);

    impl ClientClassifier for Book {
        fn classify(&self, _: IpAddr) -> PeerClass {
            PeerClass::Trusted
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
        assert_eq!(NoSlot::ALL.map(NoSlot::as_str), SESSION_REFUSALS);
    }

    #[test]
    fn a_reply_that_would_take_a_handshake_is_recorded_as_not_sent() {
        let book = Book::default();
        let smtp = Smtp {
            hostname: "mta".to_owned(),
            counters: counters(),
            clients: book.clone(),
            trusted_turned_away: LogRateLimit::new(),
            turned_away: LogRateLimit::new(),
        };
        let peer = Peer {
            address: [192, 0, 2, 1].into(),
            port: 9,
            source: PeerClass::Trusted,
            probe: false,
        };
        for inside_tls in [false, true] {
            smtp.refuse(peer, Refused { reason: NoSlot::All, told: NoSlot::All, inside_tls });
        }
        let reply = "421 4.7.0 mta Too many sessions; try again later".to_owned();
        let unsent = format!("(closed without an answer, which takes TLS) {reply}");
        assert_eq!(*book.0.lock(), [("all", reply), ("all", unsent)]);
    }

    #[tokio::test]
    async fn connections_over_the_limit_are_told_and_closed() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(None);
        let counters = counters();
        let (seen, book) = (Arc::clone(&counters), Book::default());
        let clients = book.clone();
        let served = tokio::spawn(async move {
            let limits =
                ConnectionLimits { sessions_per_address: 1, ..Limits::default().connection };
            let limits = Limits::from(limits);
            let session = |mut wire: Wire, _| async move {
                let _ = wire.fill(Instant::now() + Duration::from_secs(60)).await;
                wire.close().await;
            };
            serve(
                vec![SmtpListener::plain(listener)],
                &limits,
                "mta",
                seen,
                stopped,
                clients,
                session,
            )
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
        assert_eq!(told, vec![(NoSlot::Address.as_str(), reply); 50]);
        drop(first);
        stop.send(Some(Instant::now())).unwrap();
        served.await.unwrap();
        assert_eq!(counters.refused_total.with_label_values(&["limit"]).get(), 50);
    }
}
