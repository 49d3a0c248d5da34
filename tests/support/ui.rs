//! A running HTTP server with a queue in memory, on real sockets.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use super::admin::{MemoryDesk, deferred, message, stored};
use postern::api::setting::{Setting, SettingGroup, SettingOrigin};
use postern::api::state::{AppState, Facts, Views};
use postern::core::counters::counters;
use postern::core::http::routes;
use postern::ground::clock;
use postern::ground::disk::{DirectoryDisk, Disk};
use postern::ground::log::Tail;
use postern::ground::memory::Gauge;
use postern::http::Login;
use postern::http::access::Access;
use postern::http::allowed_hosts::AllowedHosts;
use postern::http::counters::HttpCounters;
use postern::http::idempotency::IdempotencyKeys;
use postern::http::server::{serve_control, serve_public};
use postern::http::state::HttpState;
use postern::mail::dkim_keys::DkimKeyStore;
use postern::mail::history::{self, HistoryLog, Masking};
use postern::mail::model::{
    AdminError, AdminFuture, AttemptRecord, FinishedPage, History, HistoryFilter, KeptMessage,
    Message, MessageId,
};
use postern::mail::outbound::{MailSigner, SigningConfig};
use postern::mail::sessions::SessionRegistry;
use postern::mail::upstream::UpstreamHealth;
use postern::monitor::components::{ComponentStatus, Condition};
use postern::monitor::counters::Counters;
use postern::monitor::rates::RateHistory;
use postern::monitor::state::{MonitorSources, MonitorState, Readiness};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Text that would run, break out of an attribute, or change the page's direction if it were not
/// escaped.
pub const HOSTILE: &str = "550 5.1.1 <script>alert(1)</script> \"onmouseover=alert(2)\" '><img \
src=x onerror=alert(3)> &lt; \u{202e}gnp.exe";

/// A slow history.
pub struct LongHistory {
    kept: Arc<HistoryLog>,
    /// Milliseconds that a search of it takes.
    pub takes: AtomicU64,
}

impl LongHistory {
    /// Searches as long as it takes, or for `patience`; `false`: that was not enough.
    async fn look(&self, patience: Duration) -> bool {
        let takes = Duration::from_millis(self.takes.load(Ordering::Relaxed));
        // The test need not wait for the time limit.
        tokio::time::sleep(if takes < patience { takes } else { Duration::ZERO }).await;
        takes < patience
    }
}

impl History for LongHistory {
    fn is_kept(&self) -> bool {
        self.kept.is_kept()
    }

    fn content_time(&self) -> Duration {
        self.kept.content_time()
    }

    fn kept(&self, id: MessageId) -> AdminFuture<'_, Option<KeptMessage>> {
        self.kept.kept(id)
    }

    fn attempts(&self, id: MessageId, patience: Duration) -> AdminFuture<'_, Vec<AttemptRecord>> {
        Box::pin(async move {
            if !self.look(patience).await {
                return Err(AdminError::Storage(
                    "the history cannot be read: not in time".to_owned(),
                ));
            }
            self.kept.attempts(id, patience).await
        })
    }

    fn finished(
        &self,
        wanted: HistoryFilter,
        after: Option<String>,
        limit: usize,
        patience: Duration,
    ) -> AdminFuture<'_, FinishedPage> {
        Box::pin(async move {
            if !self.look(patience).await {
                return Ok(FinishedPage { finished: Vec::new(), next: Some("1-0".to_owned()) });
            }
            History::finished(&*self.kept, wanted, after, limit, patience).await
        })
    }
}

pub struct TestUi {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub ui: Arc<AppState>,
    pub counters: Arc<Counters>,
    pub http_counters: Arc<HttpCounters>,
    pub admin: Arc<MemoryDesk>,
    pub registry: Arc<SessionRegistry>,
    pub tail: Arc<Tail>,
    pub history_log: Arc<HistoryLog>,
    pub history: Arc<LongHistory>,
    pub memory: Arc<Gauge>,
    pub ready: watch::Sender<Readiness>,
    pub stop: watch::Sender<bool>,
    pub tasks: Vec<JoinHandle<()>>,
    _directory: tempfile::TempDir,
}

pub fn facts() -> Facts {
    Facts {
        hostname: "mta.shop.example".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        who_may_relay:
            "Clients in 10.20.0.0/16 and 2001:db8:20::/48 may send to anybody. The container's \
            gateway 10.20.0.1 may not."
                .to_owned(),
        modes: Vec::new(),
        started: clock::now() - 187_500,
        masks_subjects: false,
        settings: settings(),
        upstreams: Vec::new(),
    }
}

/// Properties of every origin, as the core makes them.
pub fn settings() -> Vec<Setting> {
    let default = |name: &str, value: &str, kind, group| Setting {
        name: name.to_owned(),
        variable: format!("MTA_{}", name.to_uppercase()),
        value: value.to_owned(),
        origin: SettingOrigin::Default,
        source: "default".to_owned(),
        kind,
        list: false,
        group,
        masked: false,
        changed: false,
        summary: "What it does",
    };
    let hostname = default("hostname", "mta.shop.example", "host name", SettingGroup::Founding);
    let password = default("password", "********", "text", SettingGroup::Founding);
    let tokens = default("api_tokens", HOSTILE, "accounts", SettingGroup::Container);
    vec![
        Setting {
            origin: SettingOrigin::Environment,
            source: "MTA_HOSTNAME".to_owned(),
            changed: true,
            ..hostname
        },
        Setting {
            origin: SettingOrigin::File,
            source: "/run/secrets/mta (MTA_PASSWORD_FILE)".to_owned(),
            masked: true,
            changed: true,
            ..password
        },
        default("smart_relay", "", "host", SettingGroup::Founding),
        Setting { list: true, ..tokens },
        default("queue_lifetime", "5d", "duration", SettingGroup::Container),
    ]
}

fn sources(
    counters: &Arc<Counters>,
    admin: Arc<MemoryDesk>,
    memory: &Arc<Gauge>,
    ready: watch::Receiver<Readiness>,
    data_volume: &Path,
) -> MonitorSources {
    let row =
        |name, condition, text: &str| ComponentStatus { name, condition, text: text.to_owned() };
    let (connected, mounted, not_connected) =
        (Condition::Connected, Condition::Mounted, Condition::NotConnected);
    MonitorSources {
        counters: Arc::clone(counters),
        admin,
        rate_history: RateHistory::open(None),
        memory: Arc::clone(memory),
        ready,
        terminals: vec![
            row("in", connected, "SMTP on [::]:25, HTTP on [::]:80"),
            row("log", mounted, "//nas/share/maillog"),
            row("fs", not_connected, "not connected"),
            row("net", connected, "the container's own route"),
            row("mon", connected, "connected to http://mon:9091"),
        ],
        volumes: vec![
            row("data", mounted, "/data, a volume of its own"),
            row("key", not_connected, "not connected"),
        ],
        started: clock::now() - 187_500,
        data_volume: data_volume.to_owned(),
        bounce_address: false,
        name_servers: "/etc/resolv.conf",
        dkim: Arc::new(dkim_keys(counters, data_volume)),
        upstreams: Arc::new(UpstreamHealth::new([], Arc::clone(&counters.upstream))),
    }
}

/// No domain signs.
fn dkim_keys(counters: &Counters, data_volume: &Path) -> DkimKeyStore {
    let signer = MailSigner::new(SigningConfig::default(), counters.sign.clone());
    let directory = data_volume.join("keys of no domain");
    std::fs::create_dir_all(&directory).unwrap();
    let disk = Arc::new(DirectoryDisk::open(&directory).unwrap());
    DkimKeyStore::open(Vec::new(), signer, disk, None, counters.sign.clone())
}

/// A queue with every kind of problem.
pub fn troubled_queue() -> Vec<Message> {
    let mut id = 1_763_800_000_000_000;
    let mut next = || {
        id += 1_000_003;
        id
    };
    let mut queue = Vec::new();
    for n in 0..143u32 {
        let to = format!("customer{n}@slow-and-sorry.example");
        let mail = message(next(), 90_000 - n * 400, Some("orders@shop.example"), &[&to]);
        let reason = "451 4.7.1 Greylisted, please try again in 300 seconds; see \
        https://slow-and-sorry.example/greylisting";
        queue.push(deferred(mail, 7, 900 + n, reason));
    }
    for n in 0..61u32 {
        let mail = message(
            next(),
            50_000 - n * 300,
            Some("newsletter@shop.example"),
            &[&format!("reader{n}@dead.example")],
        );
        queue.push(deferred(
            mail,
            4,
            2400 + n,
            "connect to mx1.dead.example[203.0.113.9]:25: Connection timed out",
        ));
    }
    for n in 0..18u32 {
        let mail = message(
            next(),
            7_300 + n,
            Some("orders@shop.example"),
            &[&format!("box{n}@full.example")],
        );
        queue.push(deferred(
            mail,
            2,
            30,
            "452 4.2.2 The mailbox is over its quota, tell its owner",
        ));
    }
    let mail = message(next(), 4_000, Some("orders@shop.example"), &["victim@hostile.example"]);
    queue.push(deferred(mail, 1, 700, HOSTILE));
    for n in 0..9u32 {
        queue.push(message(
            next(),
            n,
            Some("orders@shop.example"),
            &[&format!("friend{n}@example.org"), "copy@example.net"],
        ));
    }
    let mut held = message(next(), 260_000, None, &["postmaster@held.example"]);
    held.held = true;
    queue.push(held);
    queue.push(stored(
        message(next(), 3, Some("reports@shop.example"), &["archive@example.net"]),
        26_214_400,
    ));
    queue
}

/// Numbers as after a busy day.
pub fn busy(counters: &Counters) {
    counters.accept.smtp_active_sessions.set(12);
    counters.accept.smtp_sessions_total.inc_by(48_211);
    counters.accept.accepted_total.inc_by(193_340);
    counters.outbound.delivered_total.inc_by(201_877);
    counters.outbound.deferred_total.inc_by(3_418);
    counters.outbound.bounced_total.inc_by(291);
    counters.deliver.connections_out_active.set(4);
    for (reason, number) in [("relay", 1_204), ("syntax", 61), ("limit", 9), ("bare_line", 2)] {
        counters.accept.refused_total.with_label_values(&[reason]).inc_by(number);
    }
    for n in 0..1000 {
        counters.outbound.delivery_latency_seconds.observe(f64::from(n) * 0.0009);
        counters.spool.sync_seconds.observe(f64::from(n) * 0.000_002);
    }
}

/// The properties of a server that knows its host name.
pub fn access(login: Option<Login>) -> Access {
    Access {
        public: login.is_none(),
        login,
        hosts: AllowedHosts::new(["mta.shop.example"]),
        ..Access::default()
    }
}

impl TestUi {
    /// With a login, or readable for everybody (`ui_public=yes`).
    pub async fn open(messages: impl IntoIterator<Item = Message>, login: Option<Login>) -> Self {
        Self::open_with(messages, access(login)).await
    }

    /// With this access control.
    pub async fn open_with(messages: impl IntoIterator<Item = Message>, access: Access) -> Self {
        Self::open_with_answers(messages, access, 64 << 20).await
    }

    /// The same with so much memory for unread answers.
    pub async fn open_with_answers(
        messages: impl IntoIterator<Item = Message>,
        access: Access,
        answers_max: usize,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ((counters, http_counters), admin) = (counters().unwrap(), MemoryDesk::new(messages));
        let (ready, readiness) = watch::channel(Ok(()));
        let (stop, stopping) = watch::channel(false);
        let asked: Arc<MemoryDesk> = Arc::clone(&admin);
        let volume: Arc<dyn Disk> = Arc::new(DirectoryDisk::open(directory.path()).unwrap());
        let kept = history::HistoryConfig {
            enabled: true,
            size: 1 << 20,
            time: Duration::from_secs(86_400),
            content: Duration::from_secs(86_400),
            masking: Masking::None,
        };
        let history_log = HistoryLog::open(volume, kept, Arc::clone(&counters.history));
        let history = Arc::new(LongHistory { kept: history_log.clone(), takes: AtomicU64::new(0) });
        let memory = Gauge::shared();
        let (registry, tail) = (Arc::<SessionRegistry>::default(), Arc::<Tail>::default());
        let views = Views {
            admin: asked,
            submission: admin.clone(),
            route_test: admin.clone(),
            upstream_test: admin.clone(),
            sessions: registry.clone(),
            history: history.clone(),
            tail: tail.clone(),
            idempotency_keys: IdempotencyKeys::open(None),
        };
        let sources = sources(&counters, admin.clone(), &memory, readiness, directory.path());
        let monitor = MonitorState::open(sources).unwrap();
        let http = HttpState::new(access, Arc::clone(&http_counters), answers_max);
        let ui = AppState::new(views, facts(), monitor, http);
        let public = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = public.local_addr().unwrap();
        let socket = directory.path().join("control.sock");
        let control = UnixListener::bind(&socket).unwrap();
        let routes = Arc::new(routes());
        let tasks = vec![
            tokio::spawn(serve_public(
                Arc::clone(&ui),
                routes.clone(),
                vec![public],
                None,
                stopping.clone(),
            )),
            tokio::spawn(serve_control(Arc::clone(&ui), routes, control, stopping)),
        ];
        Self {
            address,
            socket,
            ui,
            counters,
            http_counters,
            admin,
            registry,
            tail,
            history_log,
            history,
            memory,
            ready,
            stop,
            tasks,
            _directory: directory,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Curl's result from `ui_port`.
    pub async fn curl(&self, arguments: &[&str], path: &str) -> Reply {
        curl(arguments, &self.url(path)).await
    }

    /// Curl's result from the control socket.
    pub async fn curl_control(&self, arguments: &[&str], path: &str) -> Reply {
        let socket = self.socket.to_str().unwrap();
        let arguments: Vec<&str> =
            ["--unix-socket", socket].iter().chain(arguments).copied().collect();
        curl(&arguments, &format!("http://postern{path}")).await
    }
}

pub struct Reply {
    pub status: u16,
    /// Header lines in lower case.
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub async fn curl(arguments: &[&str], url: &str) -> Reply {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "20", "--include"])
        .args(arguments)
        .arg(url);
    let output = run(command).await;
    assert!(output.status.success(), "curl {arguments:?} {url}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no header in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// Runs a program of the system; a missing program fails the test with a message.
pub async fn run(mut command: Command) -> Output {
    let name = format!("{command:?}");
    tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap_or_else(|error| panic!("{name}: {error}; install it"))
}
