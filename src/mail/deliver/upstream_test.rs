//! The dialogue of a delivery with an upstream, without a mail: for people who want to know why it
//! takes none.
//!
//! In: a route to the upstream, its access, perhaps an envelope. Out: every line with its time, and
//! what is wrong. It is the code of deliveries that speaks. Limits: [`ADDRESSES_MAX`] addresses;
//! [`Timeouts`] that are shorter than those of deliveries. Security: what is secret is masked, also
//! where the peer repeats it. A certificate that is not accepted is looked at over a connection of
//! its own, on which nothing secret is said.

use super::client::{Connection, Failed, HostTarget, SmtpClient, relay_text};
use super::handshake::{EXPIRED, OTHER_NAME, UNKNOWN_AUTHORITY};
use super::login::searched_secrets;
use super::upstream::UpstreamAccess;
use super::upstream_advice::{Stage, advice};
use super::wire::SmtpError;
use super::{Timeouts, UpstreamSecrets};
use crate::ground::tls::{PeerCertificate, TlsLevel};
use crate::mail::model::{
    Outcome, Route, TestEnvelope, UpstreamMonitor, UpstreamProblem, UpstreamTestStep,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Addresses that are tried until one takes the connection.
const ADDRESSES_MAX: usize = 4;

/// How long a server may wait with its greeting. Some let clients wait on purpose.
const GREETING_TIME: Duration = Duration::from_secs(20);

/// How long the reply to QUIT may take.
const QUIT_TIME: Duration = Duration::from_secs(2);

/// A dialogue, to be run once. What was said can be read at any time.
pub struct UpstreamDialogue {
    client: SmtpClient,
    access: Arc<UpstreamAccess>,
    /// The access of deliveries, which counts connections.
    counted: Arc<UpstreamAccess>,
    route: Arc<Route>,
    begun: Instant,
    /// The lines of connections that are closed, and remarks.
    steps: Vec<UpstreamTestStep>,
    connection: Option<Connection>,
}

/// Why a talk ended early.
enum TalkEnd {
    /// The address did not take the connection: perhaps another one does.
    NotReached(UpstreamProblem),
    /// TLS failed where plain text is permitted.
    InPlainText,
    Problem(UpstreamProblem),
}

impl UpstreamDialogue {
    /// A dialogue that began at `begun` with other steps. Its replies are judged by `monitor`, and
    /// not by the upstream's own.
    pub fn new(
        client: &SmtpClient,
        (access, monitor): (&Arc<UpstreamAccess>, Arc<dyn UpstreamMonitor>),
        route: Arc<Route>,
        begun: Instant,
    ) -> Self {
        let times = Timeouts::default().first();
        let times = Timeouts { greeting: GREETING_TIME, quit: QUIT_TIME, ..times };
        Self {
            client: client.with_times(times),
            access: Arc::new(access.watched_by(monitor)),
            counted: access.clone(),
            route,
            begun,
            steps: Vec::new(),
            connection: None,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// Why mail would not go there now.
    pub async fn run(&mut self, envelope: Option<&TestEnvelope>) -> Result<(), UpstreamProblem> {
        let mut places: Vec<(String, SocketAddr)> = Vec::new();
        for host in &self.route.hosts {
            places.extend(host.addresses.iter().map(|address| (host.host.clone(), *address)));
        }
        let mut last = None;
        for (host, address) in places.into_iter().take(ADDRESSES_MAX) {
            let mut level = self.access.tls;
            loop {
                match self.talk(&host, address, level, envelope).await {
                    Ok(()) => return Ok(()),
                    Err(TalkEnd::InPlainText) => level = TlsLevel::Plain,
                    Err(TalkEnd::Problem(problem)) => return Err(problem),
                    Err(TalkEnd::NotReached(problem)) => {
                        last = Some(problem);
                        break;
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| self.problem(Stage::Connect, "it has no address".to_owned())))
    }

    /// Every line so far.
    pub fn steps(&self) -> Vec<UpstreamTestStep> {
        let mut steps = self.steps.clone();
        if let Some(connection) = &self.connection {
            steps.extend(lines(connection));
        }
        steps
    }

    async fn talk(
        &mut self,
        host: &str,
        address: SocketAddr,
        level: TlsLevel,
        envelope: Option<&TestEnvelope>,
    ) -> Result<(), TalkEnd> {
        let access = self.access.clone();
        let secrets = match access.secrets(None).await {
            Ok(secrets) => secrets,
            Err(outcome) => {
                let what = outcome.reply.text.into_owned();
                self.note(&what);
                return Err(TalkEnd::Problem(self.problem(Stage::NoLogin, what)));
            }
        };
        let connection = self.reach(host, address, &secrets).await?;
        self.note(&format!("connected to {}", connection.relay));
        let connection = self.connection.insert(connection);
        let verifying = Some(&secrets).filter(|_| level.verifies());
        if let Err(failed) = connection.begin(level, verifying).await {
            return Err(self.not_begun(failed, level, (host, address)).await);
        }
        let ended = finish(connection, &self.access, &secrets, envelope).await;
        // Whatever came of it.
        let _ = said(connection, "QUIT", QUIT_TIME).await;
        ended.map_err(|(stage, what)| TalkEnd::Problem(self.problem(stage, what)))
    }

    /// A TCP connection, timed and masked.
    async fn reach(
        &mut self,
        host: &str,
        address: SocketAddr,
        secrets: &UpstreamSecrets,
    ) -> Result<Connection, TalkEnd> {
        if let Some(former) = self.connection.take() {
            self.steps.extend(lines(&former));
        }
        let relay = relay_text(host, address);
        self.note(&format!("connecting to {relay}"));
        let (Some(place), Some(permit)) =
            (self.client.enter(address.ip()), self.counted.enter(&self.route.destination))
        else {
            let what = format!("all connections that {relay} may have are in use");
            return Err(TalkEnd::Problem(self.problem(Stage::Full, what)));
        };
        let route = &self.route.clone();
        let target = HostTarget {
            place: &place,
            host,
            address,
            route,
            upstream: Some(&self.access.clone()),
            permit: Some(&Arc::new(permit)),
        };
        let mut connection = match self.client.reach(target).await {
            Ok(connection) => connection,
            Err(outcome) => {
                self.note(&outcome.reply.text);
                let what = outcome.reply.text.into_owned();
                return Err(TalkEnd::NotReached(self.problem(Stage::Connect, what)));
            }
        };
        connection.wire.transcript.time_from(self.begun);
        if let Some(credentials) = &secrets.credentials {
            connection.wire.mask(searched_secrets(credentials));
        }
        Ok(connection)
    }

    /// Greeting, EHLO or TLS failed.
    async fn not_begun(
        &mut self,
        failed: Failed,
        level: TlsLevel,
        (host, address): (&str, SocketAddr),
    ) -> TalkEnd {
        let silent = self.connection.as_ref().is_some_and(|connection| !has_heard(connection));
        let (stage, what) = match failed {
            Failed::Tls(cause) if level == TlsLevel::Opportunistic => {
                self.note(&format!("{cause}; deliveries go on in plain text"));
                return TalkEnd::InPlainText;
            }
            Failed::Tls(cause) => {
                let is_judged = [UNKNOWN_AUTHORITY, OTHER_NAME, EXPIRED];
                if is_judged.iter().any(|words| cause.contains(words))
                    && let Some(shown) = self.look_at_certificate(level, host, address).await
                {
                    self.note(&format!("what it showed: {shown}"));
                }
                (Stage::Tls, cause)
            }
            Failed::Otherwise(outcome) if silent && level != TlsLevel::Implicit => {
                let implicit = TlsLevel::Implicit;
                let what = outcome.reply.text.into_owned();
                match self.look_at_certificate(implicit, host, address).await {
                    Some(_) => (Stage::WaitsForTls, what),
                    None => (Stage::Silent, what),
                }
            }
            other => (Stage::Session, other.text()),
        };
        TalkEnd::Problem(self.problem(stage, what))
    }

    /// The certificate that a server shows, by a connection of its own.
    async fn look_at_certificate(
        &mut self,
        level: TlsLevel,
        host: &str,
        address: SocketAddr,
    ) -> Option<PeerCertificate> {
        let place = self.client.enter(address.ip())?;
        let access = self.access.clone();
        let route = self.route.clone();
        let target = HostTarget {
            place: &place,
            host,
            address,
            route: &route,
            upstream: Some(&access),
            permit: None,
        };
        let mut connection = self.client.reach(target).await.ok()?;
        match level {
            TlsLevel::Implicit => {
                let any = self.client.opportunistic().clone();
                connection.handshake(&any, false).await.ok()?;
            }
            _ => connection.begin(TlsLevel::Opportunistic, None).await.ok()?,
        }
        let certificate = connection.certificate.clone();
        connection.quit().await;
        certificate
    }

    fn note(&mut self, words: &str) {
        let line = words.replace(|c: char| c.is_control(), ".");
        let line = format!("* {line}");
        // The lines of the connection came before.
        if let Some(connection) = self.connection.take() {
            self.steps.extend(lines(&connection));
        }
        self.steps.push(UpstreamTestStep { at: self.begun.elapsed(), line });
    }

    fn problem(&self, stage: Stage, what: String) -> UpstreamProblem {
        let port = self.route.hosts.first().and_then(|host| host.addresses.first());
        let port = port.map_or(0, |address| address.port());
        let advice = advice(stage, &what, &self.access.prefix, port);
        UpstreamProblem { what, advice }
    }
}

/// The login, and the envelope.
async fn finish(
    connection: &mut Connection,
    access: &UpstreamAccess,
    secrets: &UpstreamSecrets,
    envelope: Option<&TestEnvelope>,
) -> Result<(), (Stage, String)> {
    let text = |outcome: Outcome| outcome.reply.text.into_owned();
    if let Some(credentials) = &secrets.credentials {
        let logged_in = connection.log_in(access, credentials).await;
        logged_in.map_err(|failed| {
            let code = connection.wire.last_reply().code;
            (if code >= 400 { Stage::Login(code) } else { Stage::NoLogin }, failed.text())
        })?;
    }
    let Some(envelope) = envelope else { return Ok(()) };
    let times = *connection.client.timeouts();
    let needs_utf8 = |form: Option<std::borrow::Cow<'_, str>>| {
        form.map(|form| form.into_owned()).ok_or_else(|| {
            (Stage::Envelope, "a test takes no address with a local part in UTF-8".to_owned())
        })
    };
    let from = match &envelope.from {
        Some(from) => needs_utf8(from.ascii_form())?,
        None => String::new(),
    };
    let to = needs_utf8(envelope.to.ascii_form())?;
    for (command, limit, doing) in [
        (format!("MAIL FROM:<{from}>"), times.mail, "MAIL"),
        (format!("RCPT TO:<{to}>"), times.recipient, "RCPT"),
        ("RSET".to_owned(), times.mail, "RSET"),
    ] {
        let code = said(connection, &command, limit).await.map_err(|trouble| {
            (
                Stage::Envelope,
                text(trouble.outcome(&connection.relay, &format!("in reply to {doing}"), 2)),
            )
        })?;
        if code >= 300 {
            let reply = connection.wire.last_reply();
            let stage = if doing == "RCPT" { Stage::Recipient } else { Stage::Sender };
            return Err((stage, format!("{} refuses {doing}: {reply}", connection.relay)));
        }
    }
    Ok(())
}

/// Says a command and gives the code of the reply.
async fn said(
    connection: &mut Connection,
    command: &str,
    limit: Duration,
) -> Result<u16, SmtpError> {
    connection.wire.say(format!("{command}\r\n").as_bytes(), limit).await?;
    connection.wire.reply(limit).await
}

/// Whether the peer has said anything.
fn has_heard(connection: &Connection) -> bool {
    connection.wire.transcript.lines().any(|(_, line)| line.starts_with("< "))
}

fn lines(connection: &Connection) -> impl Iterator<Item = UpstreamTestStep> {
    let lines = connection.wire.transcript.lines();
    lines.map(|(at, line)| UpstreamTestStep { at, line: line.to_owned() })
}
