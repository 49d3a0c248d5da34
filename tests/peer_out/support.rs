//! A scripted mail server, and the client with its settings.

use bytes::{Buf, BytesMut};
use memchr::memmem;
use postern::ground::credential::sasl::ClientCredentials;
use postern::ground::tls::{self, TlsLevel, upstream_client};
use postern::mail::deliver::counters::DeliverCounters;
use postern::mail::deliver::{
    Connection, DeliverConfig, RecipientOutcomes, SmtpClient, Timeouts, UpstreamAccess,
    UpstreamLimits, UpstreamSecrets,
};
use postern::mail::model::{
    Address, Body, BodyType, Destination, Envelope, MailHost, Message, MessageId, MessageKind,
    Origin, Outcome, ReplyClass, Route, StoredContent, Target, TargetProgress, TransactionReport,
};
use postern::mail::upstream::UpstreamHealth;
use postern::mail::upstream::counters::UpstreamCounters;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// What the server does at one step.
pub enum Do {
    /// The usual reply.
    Usual,
    /// Sends this, raw.
    Say(Vec<u8>),
    /// Sends this one octet at a time with a pause after each.
    Slowly(Vec<u8>, Duration),
    /// Sends this and closes.
    SayAndClose(Vec<u8>),
    /// Closes without a reply.
    Close,
    /// Sends nothing more, reads nothing more, and keeps the connection.
    Hang,
    /// Sends this, then as [`Do::Hang`].
    SayAndHang(Vec<u8>),
}

pub fn say(text: &str) -> Do {
    Do::Say(format!("{text}\r\n").into_bytes())
}

/// The state of a session: its number, from 0, and the received line; the empty line before the
/// greeting, `.` after content.
pub struct Step<'a> {
    pub session: usize,
    pub line: &'a str,
}

/// What the server saw.
#[derive(Default)]
pub struct Seen {
    /// Every command of every session.
    pub lines: Vec<String>,
    /// Every read, as it came.
    pub chunks: Vec<Vec<u8>>,
    /// Every content, without dot-stuffing, accepted or not.
    pub mails: Vec<Vec<u8>>,
    pub sessions: usize,
    pub handshakes: usize,
}

#[derive(Clone)]
pub struct Peer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

type Script = Arc<dyn Fn(Step<'_>) -> Do + Send + Sync>;

impl Peer {
    /// A server whose EHLO lists `keywords`, and which follows `script`.
    pub async fn start(
        keywords: &[&str],
        script: impl Fn(Step<'_>) -> Do + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let mut hello = String::from("250-peer.example greets you\r\n");
        keywords.iter().for_each(|keyword| hello.push_str(&format!("250-{keyword}\r\n")));
        hello.push_str("250 HELP\r\n");
        let (script, hello, seen): (Script, Arc<str>, _) =
            (Arc::new(script), hello.into(), peer.seen.clone());
        tokio::spawn(async move {
            for session in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                seen.lock().unwrap().sessions += 1;
                let talk = Talk {
                    session,
                    script: script.clone(),
                    hello: hello.clone(),
                    seen: seen.clone(),
                };
                tokio::spawn(async move {
                    // A client that disconnects is not an error of the server.
                    let _ = talk.serve(stream).await;
                });
            }
        });
        peer
    }

    pub async fn good(keywords: &[&str]) -> Self {
        Self::start(keywords, |_| Do::Usual).await
    }

    pub fn seen<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.lock().unwrap())
    }

    pub fn lines(&self) -> Vec<String> {
        self.seen(|seen| seen.lines.clone())
    }

    pub fn mails(&self) -> Vec<Vec<u8>> {
        self.seen(|seen| seen.mails.clone())
    }
}

struct Talk {
    session: usize,
    script: Script,
    hello: Arc<str>,
    seen: Arc<Mutex<Seen>>,
}

impl Talk {
    async fn serve(&self, mut plain: TcpStream) -> io::Result<()> {
        let mut input = BytesMut::new();
        if !self.act(&mut plain, "", "220 peer.example ready\r\n").await? {
            return Ok(());
        }
        if self.commands(&mut plain, &mut input).await? {
            // Nothing in plain text may be trusted after this.
            input.clear();
            let mut stream = TlsAcceptor::from(server_tls()).accept(plain).await?;
            self.seen.lock().unwrap().handshakes += 1;
            self.commands(&mut stream, &mut input).await?;
        }
        Ok(())
    }

    /// Serves until the end, or until TLS is to begin.
    async fn commands(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        input: &mut BytesMut,
    ) -> io::Result<bool> {
        loop {
            let Some(line) = self.until(stream, input, b"\r\n", 0).await? else { return Ok(false) };
            let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
            self.seen.lock().unwrap().lines.push(line.clone());
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let usual = match verb.as_str() {
                "EHLO" => &self.hello,
                "HELO" | "MAIL" | "RCPT" | "RSET" => "250 2.0.0 Ok\r\n",
                "STARTTLS" => "220 go\r\n",
                "DATA" => "354 go on\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "500 what?\r\n",
            };
            let went_on = self.act(stream, &line, usual).await?;
            if !went_on || verb == "QUIT" {
                return Ok(false);
            }
            if verb == "STARTTLS"
                && usual_reply(&(self.script)(Step { session: self.session, line: &line }))
            {
                return Ok(true);
            }
            let said = (self.script)(Step { session: self.session, line: &line });
            let go =
                usual_reply(&said) || matches!(&said, Do::Say(said) if said.starts_with(b"354"));
            if verb == "DATA" && go {
                if !self.content(stream, input).await? {
                    return Ok(false);
                }
                if !self.act(stream, ".", "250 2.0.0 taken\r\n").await? {
                    return Ok(false);
                }
            }
        }
    }

    async fn content(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        input: &mut BytesMut,
    ) -> io::Result<bool> {
        if input.is_empty() {
            input.reserve(1 << 16);
            if stream.read_buf(input).await? == 0 {
                return Ok(false);
            }
            self.seen.lock().unwrap().chunks.push(input.to_vec());
        }
        let mail = if input.starts_with(b".\r\n") {
            input.advance(3);
            Vec::new()
        } else {
            let Some(raw) = self.until(stream, input, b"\r\n.\r\n", 0).await? else {
                return Ok(false);
            };
            unstuff(&raw[..raw.len() - 3])
        };
        self.seen.lock().unwrap().mails.push(mail);
        Ok(true)
    }

    /// Reads until `end` has come and returns everything with it.
    async fn until(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        input: &mut BytesMut,
        end: &[u8],
        mut from: usize,
    ) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(place) = memmem::find(&input[from..], end) {
                return Ok(Some(input.split_to(from + place + end.len())));
            }
            from = input.len().saturating_sub(end.len() - 1);
            let before = input.len();
            input.reserve(1 << 16);
            if stream.read_buf(input).await? == 0 {
                return Ok(None);
            }
            self.seen.lock().unwrap().chunks.push(input[before..].to_vec());
        }
    }

    /// Executes the script's step; false when the session is over.
    async fn act(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        line: &str,
        usual: &str,
    ) -> io::Result<bool> {
        match (self.script)(Step { session: self.session, line }) {
            Do::Usual => stream.write_all(usual.as_bytes()).await?,
            Do::Say(said) => stream.write_all(&said).await?,
            Do::Slowly(said, pause) => {
                for octet in said {
                    stream.write_all(&[octet]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Do::SayAndClose(said) => {
                stream.write_all(&said).await?;
                stream.flush().await?;
                return Ok(false);
            }
            Do::Close => return Ok(false),
            Do::Hang => std::future::pending().await,
            Do::SayAndHang(said) => {
                stream.write_all(&said).await?;
                stream.flush().await?;
                std::future::pending().await
            }
        }
        stream.flush().await?;
        Ok(true)
    }
}

fn usual_reply(said: &Do) -> bool {
    matches!(said, Do::Usual)
}

fn unstuff(raw: &[u8]) -> Vec<u8> {
    let mut mail = Vec::with_capacity(raw.len());
    let mut from = usize::from(raw.first() == Some(&b'.'));
    for place in memmem::find_iter(raw, b"\r\n.") {
        mail.extend_from_slice(&raw[from..place + 2]);
        from = place + 3;
    }
    mail.extend_from_slice(&raw[from.min(raw.len())..]);
    mail
}

/// The name, beside one that no test uses, in the certificate of every [`Peer`].
pub const UPSTREAM: &str = "upstream.example";

/// The key and certificate of every [`Peer`], signed by itself.
static PAIR: LazyLock<rcgen::CertifiedKey<rcgen::KeyPair>> = LazyLock::new(|| {
    let names = ["somebody.else", UPSTREAM].map(str::to_owned);
    rcgen::generate_simple_self_signed(names).unwrap()
});

fn server_tls() -> Arc<rustls::ServerConfig> {
    let key = PAIR.signing_key.serialize_der();
    let key = rustls::pki_types::PrivateKeyDer::try_from(key).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![PAIR.cert.der().clone()], key)
        .unwrap();
    Arc::new(config)
}

/// A client that reaches the upstream `default` so, and trusts the certificate of a [`Peer`].
pub fn with_access(tls: TlsLevel, credentials: Option<ClientCredentials>) -> SmtpClient {
    with_authority(tls, credentials, &PAIR.cert.pem())
}

/// The same with the certificate that it trusts.
pub fn with_authority(
    tls: TlsLevel,
    credentials: Option<ClientCredentials>,
    pem: &str,
) -> SmtpClient {
    reaching(tls, credentials, pem, health())
}

/// As [`with_access`], and what is remembered about the upstream.
pub fn with_health(
    tls: TlsLevel,
    credentials: Option<ClientCredentials>,
) -> (SmtpClient, Arc<UpstreamHealth>) {
    let health = health();
    (reaching(tls, credentials, &PAIR.cert.pem(), health.clone()), health)
}

fn reaching(
    tls: TlsLevel,
    credentials: Option<ClientCredentials>,
    pem: &str,
    health: Arc<UpstreamHealth>,
) -> SmtpClient {
    let client = upstream_client(Some(pem.as_bytes()), None).unwrap();
    let credentials = credentials.map(Arc::new);
    let secrets = UpstreamSecrets { client, credentials, tokens: None };
    let access = UpstreamAccess::new(
        "default",
        "smart_relay",
        tls,
        UpstreamLimits::default(),
        health,
        secrets,
    );
    let upstreams = [(access.name.clone(), Arc::new(access))].into();
    let counters = DeliverCounters::alone().unwrap();
    SmtpClient::with_upstreams(config(patient()), counters, upstreams).unwrap()
}

/// Nothing is known against the upstream.
fn health() -> Arc<UpstreamHealth> {
    Arc::new(UpstreamHealth::new(["default"], UpstreamCounters::alone().unwrap()))
}

/// A route to a peer that is the upstream `default`, under this name.
pub fn upstream_route(name: &str, peer: &Peer) -> Route {
    let mut route = route(&[peer.address]);
    route.hosts[0].host = name.to_owned();
    route.hosts[0].upstream = Some("default".into());
    route
}

/// Long enough for a busy machine; a test about one of them shortens that one.
pub fn patient() -> Timeouts {
    let long = Duration::from_secs(30);
    Timeouts {
        route: 20 * long,
        turn: long,
        connect: long,
        greeting: long,
        hello: long,
        handshake: long,
        mail: long,
        recipient: long,
        data: long,
        envelope: long,
        piece: long,
        end: long,
        quit: long,
    }
}

pub fn client(timeouts: Timeouts) -> SmtpClient {
    counted(timeouts).0
}

pub fn counted(timeouts: Timeouts) -> (SmtpClient, Arc<DeliverCounters>) {
    let counters = DeliverCounters::alone().unwrap();
    (SmtpClient::new(config(timeouts), counters.clone()).unwrap(), counters)
}

fn config(timeouts: Timeouts) -> DeliverConfig {
    DeliverConfig { hostname: "relay.example".into(), timeouts, bind: None, recipients_max: 100 }
}

pub fn route(addresses: &[SocketAddr]) -> Route {
    let hops = addresses.iter().enumerate().map(|(n, address)| MailHost {
        host: format!("mx{n}.example"),
        addresses: vec![*address],
        upstream: None,
    });
    Route {
        destination: Destination::domain("there.example").unwrap(),
        hosts: hops.collect(),
        shared: false,
    }
}

pub async fn connect(peer: &Peer) -> Connection {
    client(patient()).connect(&route(&[peer.address])).await.unwrap()
}

pub async fn refused(timeouts: Timeouts, peer: &Peer) -> Outcome {
    client(timeouts).connect(&route(&[peer.address])).await.unwrap_err()
}

/// A mail from the null sender.
pub fn bounce(recipients: usize) -> Message {
    let mut message = message(recipients, "Subject: a bounce\r\n\r\n");
    message.envelope.sender = None;
    message
}

pub fn message(recipients: usize, content: impl AsRef<[u8]>) -> Message {
    let content = content.as_ref().to_vec();
    with_body(recipients, Body::Memory(content.into()))
}

pub fn with_body(recipients: usize, body: Body) -> Message {
    let recipients: Vec<Address> =
        (0..recipients).map(|n| Address::parse(&format!("r{n}@there.example")).unwrap()).collect();
    Message {
        id: MessageId(1),
        arrived: 0,
        progress: (0..recipients.len())
            .map(|n| TargetProgress::new(Target::Recipient(u16::try_from(n).unwrap())))
            .collect(),
        envelope: Envelope {
            sender: Some(Address::parse("s@here.example").unwrap()),
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        },
        origin: Origin {
            peer: Some(IpAddr::from([127, 0, 0, 1])),
            helo: "client".into(),
            may_relay: false,
        },
        kind: MessageKind::Mail,
        held: false,
        delay_warning_sent: false,
        body,
    }
}

/// Sends to all recipients; in a task, as `outbound` does.
pub async fn send(connection: Connection, message: &Message) -> (Connection, TransactionReport) {
    let targets: Vec<Target> = message.progress.iter().map(|progress| progress.target).collect();
    let (mut connection, message) = (connection, message.clone());
    let report = tokio::spawn(async move {
        let report = connection.send(&message, &targets, &mut RecipientOutcomes::default()).await;
        assert_eq!(report.outcomes.iter().map(|(target, _)| *target).collect::<Vec<_>>(), targets);
        (connection, report)
    });
    report.await.unwrap()
}

/// `code enhanced` of each outcome.
pub fn codes(report: &TransactionReport) -> Vec<String> {
    report.outcomes.iter().map(|(_, outcome)| code(outcome)).collect()
}

pub fn code(outcome: &Outcome) -> String {
    match outcome.reply.enhanced {
        Some(enhanced) => format!("{} {enhanced}", outcome.reply.code),
        None => outcome.reply.code.to_string(),
    }
}

pub fn all_delivered(report: &TransactionReport) -> bool {
    report
        .outcomes
        .iter()
        .all(|(_, outcome)| outcome.class() == ReplyClass::Success && outcome.remote)
}

/// Content in a file, as in the spool.
pub struct Stored(pub File);

impl StoredContent for Stored {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

/// A port of loopback that is free for TCP and UDP; below those that the kernel gives to outgoing
/// connections, which might use it before a program has started.
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        let address = ("127.0.0.1", port);
        if std::net::TcpListener::bind(address).is_ok()
            && std::net::UdpSocket::bind(address).is_ok()
        {
            return port;
        }
    }
}

/// A program that ends with the test.
pub struct Program(Child);

impl Program {
    /// Starts it and waits until it listens on `port` (TCP).
    pub async fn start(name: &str, arguments: &[&str], port: u16) -> Self {
        let child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child =
            child.unwrap_or_else(|error| panic!("this test needs the program {name}: {error}"));
        let mut program = Self(child);
        for _ in 0..2000 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return program;
            }
            if let Some(status) = program.0.try_wait().unwrap() {
                panic!("{name} ended at once: {status}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{name} does not listen on port {port}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
