//! From a route to a connection that is ready for mail.

use super::extensions::Extensions;
use super::host_limits::{HostLimits, HostPermit, HostVacancy};
use super::reply_classification::{self, ReplyStage};
use super::wire::{SmtpError, SmtpWire, error_text};
use super::{AttemptObserver, DeliverConfig, Timeouts};
use crate::ground::fair_queue::ShareMarks;
use crate::ground::tls;
use crate::mail::deliver::counters::DeliverCounters;
use crate::mail::model::{Outcome, Reply, Route};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub struct SmtpClient {
    shared: Arc<Shared>,
    times: Timeouts,
    witness: Option<Arc<dyn AttemptObserver>>,
}

struct Shared {
    config: DeliverConfig,
    counters: Arc<DeliverCounters>,
    tls: TlsConnector,
    hosts: Arc<HostLimits>,
}

/// A connection to a peer that has greeted and is ready for mail.
pub struct Connection {
    pub(super) client: SmtpClient,
    pub(super) wire: SmtpWire,
    pub(super) extensions: Extensions,
    /// For logs and messages: `name[address]:port`.
    pub(super) relay: String,
    pub(super) tls: bool,
    /// Protocol version and cipher suite; empty in plain text.
    pub(super) security: String,
    /// Why there is no TLS although the peer announced it.
    pub(super) tls_failure: Option<String>,
    /// Transactions on this connection so far.
    pub(super) transactions: u32,
    /// The peer may still have recipients of the last transaction; RSET is sent before the next.
    pub(super) needs_reset: bool,
    /// The present message was probably rejected for its 8-bit content.
    pub(super) eight_bit_refused: bool,
    /// The reply by which the peer rejected this relay, whatever the message.
    pub(super) refused_session: Option<Outcome>,
    /// Buffer for commands and content, reused for each message.
    pub(super) out: Vec<u8>,
    /// Recipients of one transaction, at most; lowered when the peer has shown that it accepts
    /// fewer.
    pub(super) recipients_max: usize,
    pub(super) route: Arc<Route>,
    host: String,
    address: SocketAddr,
    place: Arc<HostPermit>,
    _active: Active,
}

impl SmtpClient {
    /// A client for this configuration.
    ///
    /// # Errors
    /// TLS cannot be set up: a defect of the build.
    pub fn new(
        config: DeliverConfig,
        counters: Arc<DeliverCounters>,
    ) -> Result<Self, rustls::Error> {
        let tls = TlsConnector::from(tls::opportunistic_client()?);
        let times = config.timeouts;
        let shared = Shared { config, counters, tls, hosts: Arc::default() };
        Ok(Self { shared: Arc::new(shared), times, witness: None })
    }

    /// The same for one delivery agent: watched by a [`AttemptObserver`], and with the [first
    /// timeouts](Timeouts::first) or the full ones.
    #[must_use]
    pub fn followed(&self, witness: Arc<dyn AttemptObserver>, first: bool) -> Self {
        let times = self.shared.config.timeouts;
        Self {
            shared: self.shared.clone(),
            times: if first { times.first() } else { times },
            witness: Some(witness),
        }
    }

    /// Whether any of these hosts may have another connection. If none may, `who` is
    /// [invited](SmtpClient::next_vacancy) when that changes; callers with other `marks` (client
    /// and sender) take turns with it.
    pub fn wait_for_room(&self, hosts: &[IpAddr], who: u32, marks: ShareMarks) -> bool {
        self.shared.hosts.wait_for_room(hosts, who, marks)
    }

    /// Waits until [`SmtpClient::next_vacancy`] may give something.
    pub async fn wait_for_vacancy(&self) {
        self.shared.hosts.wait_for_vacancy().await;
    }

    /// The next waiting destination whose host has a free connection, until there is none.
    pub fn next_vacancy(&self) -> Option<HostVacancy> {
        self.shared.hosts.next_vacancy()
    }

    /// An invited destination does not use the invitation: the next one in the queue gets it.
    pub fn pass_vacancy_on(&self, invitation: HostVacancy) {
        self.shared.hosts.pass_vacancy_on(invitation);
    }

    /// Connects to one address, with TLS if possible, else in plain text.
    pub(super) async fn open(
        &self,
        host: &str,
        address: SocketAddr,
        route: &Arc<Route>,
    ) -> Result<Connection, NotReady> {
        let Some(place) = self.shared.hosts.enter(address.ip()) else {
            let text = format!("the connection limit for {} is reached", relay_text(host, address));
            return Err(NotReady::Full(Outcome::own(Reply::new(451, (4, 4, 5), text))));
        };
        self.open_in(&place, host, address, route).await.map_err(NotReady::Failed)
    }

    /// The same in a connection slot that is there already; it is kept from the first try to the
    /// last, because others wait for it.
    async fn open_in(
        &self,
        place: &Arc<HostPermit>,
        host: &str,
        address: SocketAddr,
        route: &Arc<Route>,
    ) -> Result<Connection, Outcome> {
        let relay = relay_text(host, address);
        let opened = match self.attempt(place, host, address, route, true).await {
            Err(Failed::Tls(cause)) => {
                tracing::info!(relay, cause, "TLS failed; retrying in plain text");
                let plain = self.attempt(place, host, address, route, false).await;
                plain.map(|connection| Connection { tls_failure: Some(cause), ..connection })
            }
            other => other,
        };
        let status = if opened.is_ok() { "established" } else { "failed" };
        self.shared.counters.connections_out_total.with_label_values(&[status]).inc();
        opened.map_err(|failed| match failed {
            Failed::Tls(cause) => Outcome::own(Reply::new(451, (4, 7, 5), cause)),
            Failed::Otherwise(outcome) => outcome,
        })
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.times
    }

    /// Whether a transaction may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.witness.as_ref().is_none_or(|witness| witness.may_begin())
    }

    /// Whether the end of data may be sent.
    pub(super) fn may_end(&self) -> bool {
        self.witness.as_ref().is_none_or(|witness| witness.may_end())
    }

    fn wire(&self, stream: impl super::wire::SmtpStream + 'static) -> SmtpWire {
        SmtpWire::new(stream, self.witness.clone())
    }

    /// Counts a rejection of the session, or of this relay.
    pub(super) fn refused(&self, stage: ReplyStage) {
        self.shared.counters.next_hop_refusals_total.with_label_values(&[stage.label()]).inc();
    }

    async fn attempt(
        &self,
        place: &Arc<HostPermit>,
        host: &str,
        address: SocketAddr,
        route: &Arc<Route>,
        may_tls: bool,
    ) -> Result<Connection, Failed> {
        let (times, relay) = (self.timeouts(), relay_text(host, address));
        place.opens();
        let stream = timeout(times.connect, self.dial(address))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| {
                Outcome::own(Reply::new(
                    451,
                    (4, 4, 1),
                    format!("connect to {relay}: {}", error_text(&error)),
                ))
            })?;
        let mut connection = Connection {
            client: self.clone(),
            wire: self.wire(stream),
            extensions: Extensions::default(),
            relay: relay.clone(),
            tls: false,
            security: String::new(),
            tls_failure: None,
            transactions: 0,
            needs_reset: false,
            eight_bit_refused: false,
            refused_session: None,
            out: Vec::new(),
            recipients_max: self.shared.config.recipients_max.max(1),
            route: route.clone(),
            host: host.to_owned(),
            address,
            place: place.clone(),
            _active: Active::new(self.shared.counters.clone()),
        };
        let code = connection.wire.reply(times.greeting).await;
        connection.place.greeted(code.is_ok());
        let code = code.map_err(|trouble| trouble.outcome(&relay, "before its greeting", 1))?;
        connection.welcome(code, ReplyStage::Greeting)?;
        connection.hello().await?;
        if may_tls && connection.extensions.starttls {
            connection.encrypt().await
        } else {
            Ok(connection)
        }
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(own) = self.shared.config.bind.filter(|own| own.is_ipv4() == address.is_ipv4())
        {
            socket.bind(SocketAddr::new(own, 0))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Why an address is not ready for mail.
pub(super) enum NotReady {
    /// It has all the connections that it may have, and was not tried.
    Full(Outcome),
    /// It was tried.
    Failed(Outcome),
}

/// Why one try at an address failed.
enum Failed {
    /// TLS was announced and failed, as text; plain text may still work.
    Tls(String),
    /// Any other reason.
    Otherwise(Outcome),
}

impl From<Outcome> for Failed {
    fn from(outcome: Outcome) -> Self {
        Self::Otherwise(outcome)
    }
}

impl Connection {
    /// The connected host, `name[address]:port`.
    pub fn relay(&self) -> &str {
        &self.relay
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it should be closed, because it is idle and others wait for a connection to its
    /// host. Then it counts as closed, unless it [stays](Connection::keeps_slot) after all.
    pub fn yields_slot(&self) -> bool {
        self.place.yields_slot()
    }

    /// It has work after all, and stays open.
    pub fn keeps_slot(&self) {
        self.place.keeps_slot();
    }

    /// It has accepted mail, or answered in an earlier attempt: from now on it has the full
    /// timeouts of RFC 5321.
    pub fn use_full_timeouts(&mut self) {
        self.client.times = self.client.shared.config.timeouts;
    }

    /// Whether the peer closed the connection or sent something while idle; then it can only be
    /// dropped.
    pub fn is_stale(&mut self) -> bool {
        self.wire.is_stale()
    }

    /// Sends QUIT, and waits no longer than [`Timeouts::quit`] for the reply.
    pub async fn quit(mut self) {
        let limit = self.client.timeouts().quit;
        if self.wire.write(b"QUIT\r\n", limit).await.is_ok() && self.wire.reply(limit).await.is_ok()
        {
            self.wire.close(limit).await;
        }
    }

    /// Replaces this connection by a new one to the same address. The old one is closed first,
    /// because the peer may limit connections.
    ///
    /// # Errors
    /// It failed; the outcome for all that is still to be sent.
    pub async fn reopen(&mut self) -> Result<(), Outcome> {
        let client = self.client.clone();
        let recipients_max = self.recipients_max;
        self.wire.drop_stream();
        *self = client.open_in(&self.place, &self.host, self.address, &self.route).await?;
        self.recipients_max = recipients_max;
        Ok(())
    }

    /// EHLO, and HELO for a peer that does not know EHLO (RFC 5321 §3.2).
    async fn hello(&mut self) -> Result<(), Outcome> {
        match self.ask("EHLO").await? {
            code if code < 300 => self.extensions = Extensions::parse(self.wire.last_lines()),
            code if code >= 500 => {
                let code = self.ask("HELO").await?;
                self.welcome(code, ReplyStage::Hello)?;
                self.extensions = Extensions::default();
            }
            code => self.welcome(code, ReplyStage::Hello)?,
        }
        Ok(())
    }

    async fn ask(&mut self, verb: &str) -> Result<u16, Outcome> {
        let command = format!("{verb} {}\r\n", self.client.shared.config.hostname);
        let limit = self.client.timeouts().hello;
        let asked = async {
            self.wire.say(command.as_bytes(), limit).await?;
            self.wire.reply(limit).await
        };
        asked.await.map_err(|trouble: SmtpError| {
            trouble.outcome(&self.relay, &format!("in reply to {verb}"), 2)
        })
    }

    /// Accepts 2xx; 4xx and 5xx are a rejection of this relay, and not of the mail.
    fn welcome(&self, code: u16, stage: ReplyStage) -> Result<(), Outcome> {
        match code {
            200..300 => Ok(()),
            400.. => {
                self.client.refused(stage);
                Err(reply_classification::outcome(stage, &self.relay, self.wire.last_reply()))
            }
            _ => {
                let text = format!("{} answered {code} {}", self.relay, stage.words());
                Err(Outcome::own(Reply::new(451, (4, 5, 0), text)))
            }
        }
    }

    /// STARTTLS and the second EHLO (RFC 3207 §4). A peer that announces it and then refuses is
    /// used in plain text.
    async fn encrypt(mut self) -> Result<Self, Failed> {
        let times = *self.client.timeouts();
        let tls_failed =
            |relay: &str, cause: String| Failed::Tls(format!("TLS with {relay}: {cause}"));
        let asked = async {
            self.wire.say(b"STARTTLS\r\n", times.hello).await?;
            self.wire.reply(times.hello).await
        };
        match asked.await {
            Ok(220) => {}
            Ok(421) => {
                self.client.refused(ReplyStage::Starttls);
                return Err(Outcome::said(self.wire.last_reply()).into());
            }
            Ok(_) => return Ok(self),
            Err(trouble) => {
                let outcome = trouble.outcome(&self.relay, "in reply to STARTTLS", 2);
                return Err(tls_failed(&self.relay, outcome.reply.text.into_owned()));
            }
        }
        if self.wire.has_leftover() {
            let text = format!(
                "{} sent plain text after its reply to STARTTLS, which looks like an attack",
                self.relay
            );
            return Err(Outcome::own(Reply::new(451, (4, 7, 0), text)).into());
        }
        let name = tls::server_name(&self.host, self.address.ip());
        let mut transcript = std::mem::take(&mut self.wire.transcript);
        let handshake = self.client.shared.tls.connect(name, self.wire.into_stream());
        self.wire = match timeout(times.handshake, handshake).await {
            Ok(Ok(mut stream)) => {
                stream.get_mut().1.set_buffer_limit(Some(tls::BUFFER_MAX));
                let facts = tls::facts(stream.get_ref().1);
                transcript.note(&facts);
                self.security = facts;
                self.client.wire(stream)
            }
            Ok(Err(error)) => return Err(tls_failed(&self.relay, error_text(&error))),
            Err(_) => {
                return Err(tls_failed(
                    &self.relay,
                    format!("no handshake within {:?}", times.handshake),
                ));
            }
        };
        self.wire.transcript = transcript;
        self.tls = true;
        self.extensions = Extensions::default();
        self.hello().await.map_err(|outcome| tls_failed(&self.relay, outcome.reply.to_string()))?;
        Ok(self)
    }
}

impl fmt::Debug for SmtpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("relay", &self.relay)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// Counts an open connection as long as it exists.
struct Active(Arc<DeliverCounters>);

impl Active {
    fn new(counters: Arc<DeliverCounters>) -> Self {
        counters.connections_out_active.inc();
        Self(counters)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.connections_out_active.dec();
    }
}

/// `name[address]:port`, or `[address]:port` for a host without a name.
fn relay_text(host: &str, address: SocketAddr) -> String {
    let ip = address.ip().to_string();
    if host == ip {
        format!("[{ip}]:{}", address.port())
    } else {
        format!("{host}[{ip}]:{}", address.port())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_is_named_once() {
        assert_eq!(
            relay_text("mx1.example", "192.0.2.1:25".parse().unwrap()),
            "mx1.example[192.0.2.1]:25"
        );
        assert_eq!(relay_text("192.0.2.1", "192.0.2.1:26".parse().unwrap()), "[192.0.2.1]:26");
        assert_eq!(relay_text("mx", "[2001:db8::1]:25".parse().unwrap()), "mx[2001:db8::1]:25");
    }
}
