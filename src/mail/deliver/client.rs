//! From a route to a connection that is ready for mail.

use super::extensions::Extensions;
use super::host_limits::{HostLimits, HostPermit, HostVacancy};
use super::reply_classification::ReplyStage;
use super::upstream::{
    ReadyUpstream, UpstreamAccess, UpstreamAccesses, UpstreamPermit, UpstreamSecrets,
};
use super::wire::{SmtpWire, error_text};
use super::{AttemptObserver, DeliverConfig, Timeouts};
use crate::ground::credential::secret::Secret;
use crate::ground::fair_queue::ShareMarks;
use crate::ground::tls::{self, PeerCertificate, TlsLevel};
use crate::mail::deliver::counters::DeliverCounters;
use crate::mail::model::{MailHost, Outcome, Reply, Route};
use rustls::ClientConfig;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Mails that one connection carries, at most, while several upstreams share the mail, or several
/// destinations an upstream whose connections are all in use.
const TURN_MAX: u32 = 20;

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
    /// TLS with hosts that are not verified.
    opportunistic: Arc<ClientConfig>,
    upstreams: UpstreamAccesses,
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
    /// The peer's certificate was verified, with its name.
    pub(super) verified: bool,
    /// Protocol version and cipher suite; empty in plain text.
    pub(super) security: String,
    /// Why there is no TLS although the peer announced it.
    pub(super) tls_failure: Option<String>,
    /// Transactions in this session so far.
    pub(super) transactions: u32,
    /// Those of the sessions that this one replaces.
    earlier_transactions: u32,
    /// The peer may still have recipients of the last transaction; RSET is sent before the next.
    pub(super) needs_reset: bool,
    /// The present message was probably rejected for its 8-bit content.
    pub(super) eight_bit_refused: bool,
    /// Parameters of RCPT for the recipients of this message; empty where there are none.
    pub(super) recipient_parameters: Vec<String>,
    /// The reply by which the peer rejected this relay, whatever the message.
    pub(super) refused_session: Option<Outcome>,
    /// The upstream refused something else than the present message.
    pub(super) judged: bool,
    /// Buffer for commands and content, reused for each message.
    pub(super) out: Vec<u8>,
    /// Recipients of one transaction, at most; lowered when the peer has shown that it accepts
    /// fewer.
    pub(super) recipients_max: usize,
    pub(super) route: Arc<Route>,
    /// The certificate that an upstream has shown.
    pub(super) certificate: Option<PeerCertificate>,
    /// The mechanism of the login.
    pub(super) mechanism: Option<&'static str>,
    /// Tells the upstream's monitor when this connection ends.
    pub(super) ready: Option<ReadyUpstream>,
    /// The upstream's pauses when the present message began.
    pub(super) mark: u64,
    /// A permit of the upstream's rate for the next transaction was taken.
    pub(super) has_permit: bool,
    /// The upstream that this host belongs to.
    upstream: Option<Arc<UpstreamAccess>>,
    host: String,
    address: SocketAddr,
    place: Arc<HostPermit>,
    permit: Option<Arc<UpstreamPermit>>,
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
        Self::with_upstreams(config, counters, UpstreamAccesses::new())
    }

    /// The same with access to upstreams, which hosts of a route may name.
    ///
    /// # Errors
    /// As [`SmtpClient::new`].
    pub fn with_upstreams(
        config: DeliverConfig,
        counters: Arc<DeliverCounters>,
        upstreams: UpstreamAccesses,
    ) -> Result<Self, rustls::Error> {
        let opportunistic = tls::opportunistic_client()?;
        let times = config.timeouts;
        let shared = Shared { config, counters, opportunistic, upstreams, hosts: Arc::default() };
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

    /// The same with these times, and nobody who watches.
    pub(super) fn with_times(&self, times: Timeouts) -> Self {
        Self { shared: self.shared.clone(), times, witness: None }
    }

    /// A slot for a connection to this address; `None`: it has all that it may have.
    pub(super) fn enter(&self, address: IpAddr) -> Option<Arc<HostPermit>> {
        self.shared.hosts.enter(address)
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

    /// Connects to one address of a host: with TLS and a login as its upstream asks for, else with
    /// TLS if possible, else in plain text.
    pub(super) async fn open(
        &self,
        host: &MailHost,
        address: SocketAddr,
        route: &Arc<Route>,
        permit: Option<&Arc<UpstreamPermit>>,
    ) -> Result<Connection, NotReady> {
        let upstream = match &host.upstream {
            None => None,
            Some(name) => match self.shared.upstreams.get(name) {
                Some(upstream) => Some(upstream.clone()),
                // Never without what it asks for.
                None => {
                    let text = format!("there is no upstream {name} any more");
                    return Err(NotReady::Failed(Outcome::own(Reply::new(451, (4, 3, 5), text))));
                }
            },
        };
        let host = &host.host;
        let Some(place) = self.shared.hosts.enter(address.ip()) else {
            let text = format!("the connection limit for {} is reached", relay_text(host, address));
            return Err(NotReady::Full(Outcome::own(Reply::new(451, (4, 4, 5), text))));
        };
        let upstream = upstream.as_ref();
        let target = HostTarget { place: &place, host, address, route, upstream, permit };
        self.open_in(target).await.map_err(NotReady::Failed)
    }

    /// The same in a connection slot that is there already; it is kept from the first try to the
    /// last, because others wait for it.
    async fn open_in(&self, target: HostTarget<'_>) -> Result<Connection, Outcome> {
        let relay = relay_text(target.host, target.address);
        let opened = self.open_with_login(target, &relay).await;
        let status = if opened.is_ok() { "established" } else { "failed" };
        self.shared.counters.connections_out_total.with_label_values(&[status]).inc();
        if let Some(upstream) = target.upstream {
            upstream.note_opened(&opened);
        }
        opened.map(Connection::of_ready_upstream).map_err(|failed| match failed {
            Failed::Tls(cause) => Outcome::own(Reply::new(451, (4, 7, 5), cause)),
            Failed::Otherwise(outcome) => outcome,
            Failed::Token(refused) => Outcome::own(Reply::new(451, (4, 7, 8), refused.reply.text)),
        })
    }

    /// The same with the login that the upstream asks for. An access token that is not accepted is
    /// replaced by another one, once.
    async fn open_with_login(
        &self,
        target: HostTarget<'_>,
        relay: &str,
    ) -> Result<Connection, Failed> {
        let mut refused: Option<TokenRefusal> = None;
        loop {
            let secrets = match target.upstream {
                Some(upstream) => {
                    let former = refused.as_ref().map(|refused| &refused.token);
                    Some(upstream.secrets(former).await?)
                }
                None => None,
            };
            let failed = match self.open_at_level(target, relay, secrets.as_ref()).await {
                Ok(connection) => return Ok(connection),
                Err(failed) => failed,
            };
            match (failed, target.upstream) {
                (Failed::Token(last), Some(upstream)) if refused.is_some() => {
                    return Err(self.refused_login(upstream, relay, &last.reply).into());
                }
                (Failed::Token(first), Some(_)) => refused = Some(first),
                (failed, _) => return Err(failed),
            }
        }
    }

    /// The same with the form of TLS that the upstream asks for.
    async fn open_at_level(
        &self,
        target: HostTarget<'_>,
        relay: &str,
        secrets: Option<&UpstreamSecrets>,
    ) -> Result<Connection, Failed> {
        let level = target.upstream.map_or(TlsLevel::Opportunistic, |upstream| upstream.tls);
        match self.attempt(target, level, secrets).await {
            Err(Failed::Tls(cause)) if level == TlsLevel::Opportunistic => {
                tracing::info!(relay, cause, "TLS failed; retrying in plain text");
                let plain = self.attempt(target, TlsLevel::Plain, secrets).await;
                plain.map(|connection| Connection { tls_failure: Some(cause), ..connection })
            }
            Err(Failed::Tls(cause)) => Err(Failed::Tls(format!(
                "{cause}; mail waits, because {}_tls={} permits no plain text",
                target.upstream.map_or("", |upstream| &upstream.prefix),
                level.as_str()
            ))),
            other => other,
        }
    }

    /// The upstream of this name.
    pub(super) fn upstream_named(&self, name: &str) -> Option<&Arc<UpstreamAccess>> {
        self.shared.upstreams.get(name)
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

    /// The name for EHLO.
    pub(super) fn hostname(&self) -> &str {
        &self.shared.config.hostname
    }

    /// TLS with a host that is not verified.
    pub(super) fn opportunistic(&self) -> &Arc<ClientConfig> {
        &self.shared.opportunistic
    }

    pub(super) fn wire(&self, stream: impl super::wire::SmtpStream + 'static) -> SmtpWire {
        SmtpWire::new(stream, self.witness.clone())
    }

    /// Counts a rejection of the session, or of this relay.
    pub(super) fn refused(&self, stage: ReplyStage) {
        self.shared.counters.next_hop_refusals_total.with_label_values(&[stage.label()]).inc();
    }

    async fn attempt(
        &self,
        target: HostTarget<'_>,
        level: TlsLevel,
        secrets: Option<&UpstreamSecrets>,
    ) -> Result<Connection, Failed> {
        let mut connection = self.reach(target).await?;
        connection.prepare(level, secrets).await?;
        Ok(connection)
    }

    /// A TCP connection, over which nothing was said yet.
    pub(super) async fn reach(&self, target: HostTarget<'_>) -> Result<Connection, Outcome> {
        let HostTarget { place, host, address, route, upstream, permit } = target;
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
        let most = self.shared.config.recipients_max.max(1);
        let most_there = upstream.and_then(|upstream| upstream.limits.recipients);
        Ok(Connection {
            client: self.clone(),
            wire: self.wire(stream),
            extensions: Extensions::default(),
            relay: relay.clone(),
            tls: false,
            verified: false,
            security: String::new(),
            tls_failure: None,
            transactions: 0,
            earlier_transactions: 0,
            needs_reset: false,
            eight_bit_refused: false,
            recipient_parameters: Vec::new(),
            refused_session: None,
            judged: false,
            out: Vec::new(),
            recipients_max: most_there.map_or(most, |there| most.min(there)),
            route: route.clone(),
            certificate: None,
            mechanism: None,
            ready: None,
            mark: 0,
            has_permit: false,
            upstream: upstream.cloned(),
            host: host.to_owned(),
            address,
            place: place.clone(),
            permit: permit.cloned(),
            _active: Active::new(self.shared.counters.clone()),
        })
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

/// One address of a host, and the slot for a connection to it.
#[derive(Clone, Copy)]
pub(super) struct HostTarget<'a> {
    pub place: &'a Arc<HostPermit>,
    pub host: &'a str,
    pub address: SocketAddr,
    pub route: &'a Arc<Route>,
    pub upstream: Option<&'a Arc<UpstreamAccess>>,
    pub permit: Option<&'a Arc<UpstreamPermit>>,
}

/// Why one try at an address failed.
pub(super) enum Failed {
    /// TLS was announced and failed, as text; plain text may still work.
    Tls(String),
    /// The access token was not accepted; another one may be.
    Token(TokenRefusal),
    /// Any other reason.
    Otherwise(Outcome),
}

/// An access token that the peer did not accept, and its reply.
pub(super) struct TokenRefusal {
    pub(super) token: Secret,
    pub(super) reply: Reply,
}

impl Failed {
    /// The reason.
    pub(super) fn text(self) -> String {
        match self {
            Self::Tls(cause) => cause,
            Self::Token(refused) => refused.reply.to_string(),
            Self::Otherwise(outcome) => outcome.reply.text.into_owned(),
        }
    }
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

    /// Transactions so far, with those before it was opened anew.
    pub fn transactions(&self) -> u32 {
        self.earlier_transactions.saturating_add(self.transactions)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The host greeted, or did not and will not.
    pub(super) fn has_greeted(&self, greeted: bool) {
        self.place.greeted(greeted);
    }

    /// The upstream that this is a connection to.
    pub(super) fn upstream(&self) -> Option<&Arc<UpstreamAccess>> {
        self.upstream.as_ref()
    }

    /// The host's name, or its address as text.
    pub(super) fn host(&self) -> &str {
        &self.host
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

    /// Whether the next mail belongs on another connection: this one's upstream refuses us now, or
    /// it has had its turn among those that share the mail.
    pub fn ends_turn(&self) -> bool {
        let Some(upstream) = &self.upstream else { return false };
        let is_shared = self.route.shared || upstream.is_waited_for();
        (is_shared && self.transactions >= TURN_MAX) || upstream.paused(false).is_some()
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
        let transactions = self.transactions();
        let (recipients_max, has_permit) = (self.recipients_max, self.has_permit);
        // Of the present message, which is sent over the new connection.
        let parameters = std::mem::take(&mut self.recipient_parameters);
        let (refused_session, judged) = (self.refused_session.take(), self.judged);
        let (eight_bit_refused, mark) = (self.eight_bit_refused, self.mark);
        self.wire.drop_stream();
        let target = HostTarget {
            place: &self.place,
            host: &self.host,
            address: self.address,
            route: &self.route,
            upstream: self.upstream.as_ref(),
            permit: self.permit.as_ref(),
        };
        *self = client.open_in(target).await?;
        self.earlier_transactions = transactions;
        (self.recipients_max, self.has_permit) = (recipients_max, has_permit);
        self.recipient_parameters = parameters;
        (self.refused_session, self.judged) = (refused_session, judged);
        (self.eight_bit_refused, self.mark) = (eight_bit_refused, mark);
        Ok(())
    }

    /// The same when the peer takes no further transaction in this session (RFC 9422, MAILMAX).
    ///
    /// # Errors
    /// As [`Connection::reopen`].
    pub(super) async fn renew(&mut self) -> Result<(), Outcome> {
        let limit = self.client.timeouts().quit;
        if self.wire.write(b"QUIT\r\n", limit).await.is_ok() {
            // The session is over, whatever the peer says.
            let _ = self.wire.reply(limit).await;
        }
        self.reopen().await
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
pub(super) fn relay_text(host: &str, address: SocketAddr) -> String {
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
