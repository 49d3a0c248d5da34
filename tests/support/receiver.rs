//! The receiving side of the relay on a port of the loopback, with a queue in memory.

use super::spool::{MemorySpool, Trouble};
use super::threads;
use ipnet::IpNet;
use postern::ground::net::{self, ConnectionLimits};
use postern::ground::tls::{CertificatePresenter, KeyPair};
use postern::mail::accept::counters::AcceptCounters;
use postern::mail::accept::{Conduct, Limits, SmtpListener, SmtpTls};
use postern::mail::admit::Policy;
use postern::mail::events::MailEvents;
use postern::mail::inbound;
use postern::mail::intake::Intake;
use postern::mail::model::{Message, MessageId, Refusal, SenderList};
use postern::mail::parse::SessionLimits;
use postern::mail::rewrite;
use postern::mail::route::RouteRules;
use postern::mail::sessions::SessionRegistry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How a receiver differs from the default.
pub struct Setup {
    /// Networks that may relay; the loopback by default.
    pub trusted: Vec<String>,
    /// Networks that may say XCLIENT; none by default.
    pub xclient: Vec<String>,
    /// Limits of sessions.
    pub rules: SessionLimits,
    /// What is changed in content of clients that may relay; nothing by default.
    pub rewriting: rewrite::RewriteConfig,
    /// Limits of time and number.
    pub limits: Limits,
    /// The key and certificate; without them there is no TLS.
    pub pair: Option<KeyPair>,
    /// The fault of the volume.
    pub trouble: Option<Trouble>,
    /// A defect: the consumer of accepted messages panics.
    pub defect: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            trusted: vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()],
            xclient: Vec::new(),
            rules: SessionLimits::new("mta.example", 10_000_000),
            rewriting: rewrite::RewriteConfig {
                drop_headers: Vec::new(),
                add_missing_headers: false,
                ..rewrite::RewriteConfig::new("mta.example")
            },
            limits: Limits::from(ConnectionLimits {
                linger: Duration::from_millis(500),
                ..Limits::default().connection
            }),
            pair: None,
            trouble: None,
            defect: false,
        }
    }
}

fn networks(texts: &[String]) -> Vec<IpNet> {
    let whole = |text: &String| text.parse().or_else(|_| format!("{text}/32").parse());
    texts.iter().map(|text| whole(text).unwrap()).collect()
}

/// A running receiver; dropping it stops it.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its address with implicit TLS; none without a pair.
    pub smtps: Option<SocketAddr>,
    /// Its certificate.
    pub presenter: Option<Arc<CertificatePresenter>>,
    /// What it has accepted.
    pub spool: Arc<MemorySpool>,
    /// What it has counted.
    pub counters: Arc<AcceptCounters>,
    /// The messages that it has passed on.
    pub onward: Arc<Mutex<Vec<MessageId>>>,
    stop: watch::Sender<Option<Instant>>,
    served: Option<JoinHandle<()>>,
    runtime: Runtime,
}

impl Receiver {
    /// Starts one.
    pub fn start(setup: Setup) -> Self {
        let threads = threads::asked_for().filter(|threads| *threads > 0).unwrap_or(2);
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime
            .worker_threads(threads)
            .thread_name(threads::NAME)
            .enable_all()
            .build()
            .unwrap();
        let spool = Arc::new(MemorySpool::new(setup.trouble));
        let counters = AcceptCounters::alone().unwrap();
        let onward = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&onward);
        let presenter = setup.pair.map(|pair| Arc::new(CertificatePresenter::new(pair).unwrap()));
        let tls = presenter
            .as_ref()
            .map(|presenter| SmtpTls::new(presenter.clone(), Arc::clone(&counters)));
        let registry = Arc::<SessionRegistry>::default();
        let intake = Arc::new(Intake {
            staging: Arc::default(),
            device: None,
            authenticator: None,
            allowed_senders: SenderList::default(),
            events: MailEvents::new(vec![registry.clone()]),
            registry,
            spool: Arc::clone(&spool),
            onward: Box::new(move |message: Message| {
                assert!(!setup.defect, "the defect that was asked for");
                seen.lock().unwrap().push(message.id);
            }),
            policy: Arc::new(
                Policy::new(networks(&setup.trusted), Vec::new())
                    .with_xclient(networks(&setup.xclient)),
            ),
            rewriting: setup.rewriting,
            rules: setup.rules,
            route_rules: RouteRules::default(),
            tls: tls.clone(),
            counters: Arc::clone(&counters),
            limits: setup.limits,
            conduct: Conduct::new(),
        });
        let (stop, stopped) = watch::channel(None);
        let (address, smtps, served) = runtime.block_on(async {
            // As in production: both families on one socket, with IPv4-mapped addresses.
            let bind = || {
                let listener = net::bind("[::]:0".parse().unwrap()).unwrap();
                let address =
                    SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port()));
                (listener, address)
            };
            let (listener, address) = bind();
            let mut listeners = vec![SmtpListener::plain(listener)];
            let smtps = tls.map(|tls| {
                let (listener, address) = bind();
                listeners.push(SmtpListener::inside_tls(listener, tls));
                address
            });
            (address, smtps, tokio::spawn(inbound::serve(intake, listeners, stopped)))
        });
        Self {
            address,
            smtps,
            presenter,
            spool,
            counters,
            onward,
            stop,
            served: Some(served),
            runtime,
        }
    }

    /// Begins the stop: sessions with a mail in progress have `grace` to finish it.
    pub fn stop(&self, grace: Duration) {
        self.stop.send(Some(Instant::now() + grace)).unwrap();
    }

    /// Waits until everything has ended after [`Receiver::stop`].
    pub fn wait(&mut self) {
        if let Some(served) = self.served.take() {
            self.runtime.block_on(served).unwrap();
        }
    }

    /// Sessions open now.
    pub fn sessions(&self) -> i64 {
        self.counters.smtp_active_sessions.get()
    }

    /// Rejections counted under this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.counters.refused_total.with_label_values(&[reason.as_str()]).get()
    }
}
