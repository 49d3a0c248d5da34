//! One attempt at a route: which host is tried next (RFC 5321 §5.1).
//!
//! Hosts are tried in the order of the route. If one is not ready for mail within its
//! [`Timeouts::turn`], the next one is tried in parallel, and the first that is ready gets the
//! mail. So a host that accepts connections and says nothing delays the mail by seconds and not by
//! minutes, however many such hosts there are. If a host was ready and then deferred recipients,
//! the next one is tried for them within the same attempt.
//!
//! Limits: [`Timeouts::route`] for finding a host, [`PARALLEL_MAX`] hosts tried at a time,
//! [`SESSIONS_MAX`] hosts that get the mail.

#[cfg(doc)]
use super::Timeouts;
use super::client::{Connection, NotReady, SmtpClient};
use super::upstream::UpstreamPermit;
use crate::mail::model::{Outcome, Reply, Route};
use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::{Instant, sleep_until};

/// Hosts that are tried at a time. The oldest is aborted for another one, so a silent host has
/// twice [`Timeouts::turn`].
pub const PARALLEL_MAX: usize = 2;

/// Hosts that get the mail in one attempt; after them upstreams, and as many of their hosts. RFC
/// 5321 §5.1 requires at least two.
pub const SESSIONS_MAX: usize = 5;

/// The hosts of a route that were not tried yet in this attempt.
pub struct RouteAttempt {
    client: SmtpClient,
    route: Arc<Route>,
    /// Index of the host in the route, and one of its addresses.
    waiting: VecDeque<(usize, SocketAddr)>,
    /// Hosts that were ready for mail.
    sessions: usize,
    /// Hosts that were not tried, because they have all the connections that they may have.
    full: Vec<IpAddr>,
    /// The same of an upstream.
    upstream_full: bool,
    /// For connections to upstreams, one of each: tries at its addresses share it.
    permits: Vec<(Arc<str>, Arc<UpstreamPermit>)>,
}

type Opening = Pin<Box<dyn Future<Output = Result<Connection, NotReady>> + Send>>;

/// A host that is being tried.
struct HostAttempt {
    mail_host: usize,
    address: SocketAddr,
    since: Instant,
    opening: Opening,
}

impl RouteAttempt {
    /// An attempt that begins with the best host.
    pub fn new(client: &SmtpClient, route: &Arc<Route>) -> Self {
        let waiting = route.hosts.iter().enumerate().flat_map(|(n, mail_host)| {
            mail_host.addresses.iter().map(move |address| (n, *address))
        });
        Self {
            client: client.clone(),
            waiting: waiting.collect(),
            route: route.clone(),
            sessions: 0,
            full: Vec::new(),
            upstream_full: false,
            permits: Vec::new(),
        }
    }

    /// An attempt that begins with an open connection: all hosts of its route except its own.
    pub fn on_connection(connection: &Connection) -> Self {
        let mut attempt = Self::new(&connection.client, &connection.route);
        let own = connection.address();
        if let Some(mail_host) = attempt
            .waiting
            .iter()
            .find(|(_, address)| *address == own)
            .map(|(mail_host, _)| *mail_host)
        {
            attempt.waiting.retain(|(_, address)| *address != own);
            attempt.host_was_ready(mail_host);
        }
        attempt
    }

    /// Whether the mail may be given to another host.
    pub fn may_go_on(&self) -> bool {
        !self.waiting.is_empty() && self.sessions < 2 * SESSIONS_MAX
    }

    /// Hosts that were not tried, because they have all the connections that they may have. While
    /// there is one, nothing is known about the destination, whatever the result of its other
    /// hosts.
    pub fn full_hosts(&self) -> &[IpAddr] {
        &self.full
    }

    /// Whether an upstream has all the connections that it may have, so that mail waits for one.
    pub fn is_upstream_full(&self) -> bool {
        self.upstream_full
    }

    /// The next host that is ready for mail.
    ///
    /// # Errors
    /// No host is ready; the last failure, which is temporary whatever the hosts replied, because
    /// none of them has seen the mail.
    pub async fn next(&mut self) -> Result<Connection, Outcome> {
        let times = *self.client.timeouts();
        let until = Instant::now() + times.route;
        let hosts = u32::try_from(self.waiting.len()).unwrap_or(u32::MAX).max(1);
        let turn = times.turn.min(times.route / hosts);
        let mut asked: VecDeque<HostAttempt> = VecDeque::new();
        let mut failure = None;
        loop {
            if let Some((mail_host, address)) = self.waiting.pop_front() {
                if asked.len() >= PARALLEL_MAX
                    && let Some(silent) = asked.pop_front()
                {
                    let outcome = self.gave_up_on(&silent);
                    self.note_failed(silent.mail_host, &asked, &outcome);
                    failure = Some(outcome);
                }
                let permit = match self.permit(mail_host) {
                    Ok(permit) => permit,
                    Err(outcome) => {
                        failure = Some(outcome);
                        continue;
                    }
                };
                let opening = self.opening(mail_host, address, permit);
                asked.push_back(HostAttempt { mail_host, address, since: Instant::now(), opening });
            }
            if asked.is_empty() {
                return Err(failure.unwrap_or_else(|| self.no_host()));
            }
            let turn_ends =
                if self.waiting.is_empty() { until } else { until.min(Instant::now() + turn) };
            tokio::select! {
                ((mail_host, address), opened) = first(&mut asked) => match opened {
                    Ok(connection) => {
                        connection.note_reached();
                        // It has its own from now on.
                        self.permits.clear();
                        self.host_was_ready(mail_host);
                        return Ok(connection);
                    }
                    Err(NotReady::Full(outcome)) => {
                        self.full.push(address.ip());
                        // Others are for mail that these hosts do not take: they do, later.
                        self.keep_waiting(|upstream, full| upstream == full, mail_host);
                        failure = failure.or(Some(outcome));
                    }
                    Err(NotReady::Failed(outcome)) => {
                        self.note_failed(mail_host, &asked, &outcome);
                        failure = Some(outcome);
                    }
                },
                () = sleep_until(turn_ends) => {
                    if turn_ends == until {
                        let Some(silent) = asked.pop_back() else { return Err(self.no_host()) };
                        let outcome = self.gave_up_on(&silent);
                        self.note_failed(silent.mail_host, &asked, &outcome);
                        return Err(outcome);
                    }
                }
            }
        }
    }

    fn opening(
        &self,
        mail_host: usize,
        address: SocketAddr,
        permit: Option<Arc<UpstreamPermit>>,
    ) -> Opening {
        Box::pin(open(self.client.clone(), self.route.clone(), mail_host, address, permit))
    }

    /// A permit for a connection to the upstream of a host; `None`: it belongs to none.
    ///
    /// # Errors
    /// The upstream waits, or has all its connections: the outcome. Its addresses are not tried.
    fn permit(&mut self, host: usize) -> Result<Option<Arc<UpstreamPermit>>, Outcome> {
        let Some(name) = self.upstream_of(host).cloned() else { return Ok(None) };
        if let Some((_, permit)) = self.permits.iter().find(|(known, _)| *known == name) {
            return Ok(Some(permit.clone()));
        }
        // That there is none is told by the connection.
        let Some(access) = self.client.upstream_named(&name).cloned() else { return Ok(None) };
        let later = |words: String| Outcome::own(Reply::new(451, (4, 4, 5), words));
        if let Some(said) = access.paused(self.route.shared) {
            self.keep_waiting(|upstream, paused| upstream != paused, host);
            return Err(later(format!("the upstream {name} waits: {said}")));
        }
        let Some(permit) = access.enter(&self.route.destination).map(Arc::new) else {
            self.upstream_full = true;
            self.waiting.clear();
            let most = access.connections_max.unwrap_or_default();
            let words = format!("the upstream {name} has the {most} connections that it may have");
            return Err(later(words));
        };
        self.permits.push((name, permit.clone()));
        Ok(Some(permit))
    }

    fn upstream_of(&self, host: usize) -> Option<&Arc<str>> {
        self.route.hosts.get(host)?.upstream.as_ref()
    }

    /// Forgets the hosts whose upstream is not as wanted, compared to that of `host`.
    fn keep_waiting(&mut self, wanted: impl Fn(Option<&str>, Option<&str>) -> bool, host: usize) {
        let route = self.route.clone();
        let upstream_of = |host: usize| route.hosts.get(host)?.upstream.as_deref();
        self.waiting.retain(|(other, _)| wanted(upstream_of(*other), upstream_of(host)));
    }

    /// A host was ready: its other addresses are tried after all other hosts.
    fn host_was_ready(&mut self, mail_host: usize) {
        self.sessions += 1;
        let (same, mut others): (VecDeque<_>, VecDeque<_>) =
            self.waiting.drain(..).partition(|(other, _)| *other == mail_host);
        others.extend(same);
        self.waiting = others;
        if self.sessions == SESSIONS_MAX {
            // What these hosts do not take is for upstreams, if there are any.
            self.keep_waiting(|upstream, ready| upstream.is_some() && upstream != ready, mail_host);
        }
    }

    /// No address of this host's upstream is ready for mail, unless others are left to be tried.
    fn note_failed(&self, host: usize, asked: &VecDeque<HostAttempt>, outcome: &Outcome) {
        let upstream_of = |host: usize| self.upstream_of(host).map(|name| &**name);
        let Some(upstream) = upstream_of(host) else { return };
        let waiting = self.waiting.iter().map(|(host, _)| *host);
        let mut left = waiting.chain(asked.iter().map(|attempt| attempt.mail_host));
        if !left.any(|other| upstream_of(other) == Some(upstream)) {
            self.client.note_unreachable(upstream, outcome);
        }
    }

    fn gave_up_on(&self, silent: &HostAttempt) -> Outcome {
        let host =
            self.route.hosts.get(silent.mail_host).map_or("", |mail_host| mail_host.host.as_str());
        let text =
            format!("{host} was not ready for mail within {} s", silent.since.elapsed().as_secs());
        Outcome::own(Reply::new(451, (4, 4, 1), text))
    }

    fn no_host(&self) -> Outcome {
        Outcome::own(Reply::new(
            451,
            (4, 4, 4),
            format!("{} has no host to connect to", self.route.destination),
        ))
    }
}

async fn open(
    client: SmtpClient,
    route: Arc<Route>,
    mail_host: usize,
    address: SocketAddr,
    permit: Option<Arc<UpstreamPermit>>,
) -> Result<Connection, NotReady> {
    match route.hosts.get(mail_host) {
        Some(host) => client.open(host, address, &route, permit.as_ref()).await,
        None => {
            let reply = Reply::new(451, (4, 4, 4), "the route has no such host");
            Err(NotReady::Failed(Outcome::own(reply)))
        }
    }
}

/// Waits for the first of them that is done, and removes it.
fn first(
    asked: &mut VecDeque<HostAttempt>,
) -> impl Future<Output = ((usize, SocketAddr), Result<Connection, NotReady>)> + '_ {
    poll_fn(|context| {
        for place in 0..asked.len() {
            if let Poll::Ready(opened) = asked[place].opening.as_mut().poll(context) {
                let whose = (asked[place].mail_host, asked[place].address);
                asked.remove(place);
                return Poll::Ready((whose, opened));
            }
        }
        Poll::Pending
    })
}

impl SmtpClient {
    /// Tries hosts and addresses in order until one is ready for mail.
    ///
    /// # Errors
    /// As [`RouteAttempt::next`].
    pub async fn connect(&self, route: &Route) -> Result<Connection, Outcome> {
        RouteAttempt::new(self, &Arc::new(route.clone())).next().await
    }
}

impl fmt::Debug for RouteAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("waiting", &self.waiting)
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}
