//! Routing: the hosts to which a message goes next.
//!
//! Purpose: a destination becomes a list of hosts and addresses, in the order in which to try them.
//! In: a recipient, or a destination that was decided on for one; the properties `smart_relay` and
//! `cc_mta` ([`RouteRules`]). Out: a [`Route`], or a [`RouteError`] as a reply, temporary or
//! permanent. Rules: a smart relay gets everything; else MX records decide (RFC 5321 §5.1), equal
//! preferences shuffled; a name without MX is its own host; a null MX (RFC 7505) accepts no mail.
//! This host in the list ends it: it and all with the same or a worse preference are left out. For
//! mail by domain this host is its name, the loopback and every address that it listens on,
//! whatever the port: apart from `local_mail_hosts` no other mail server is there. A host that an
//! operator configured may have such an address, and is this host only when it is one of the
//! relay's own listeners. A name without a dot is a host of the local network (a container, for
//! example) and is never looked up as MX. A configured host (`smart_relay`, `cc_mta`) that cannot
//! be found is a temporary failure, never a permanent one: a mistyped property must not bounce
//! mail. Limits: [`HOSTS_MAX`] hosts, [`ADDRESSES_MAX`] addresses a host, [`ROUTE_MAX`] in all.
//! Security: DNS answers are untrusted: hosts that are addresses as text are skipped; unspecified,
//! broadcast and multicast addresses are never contacted, nor link-local ones for mail by domain
//! (cloud machines offer their credentials there). Source: RFC 5321 §5.1, RFC 7505, RFC 3463 §3.

pub mod counters;
mod host_addresses;
mod order;
mod routed_upstream;
mod rules;
mod upstream_rules;
mod upstream_turns;
mod upstreams;

use crate::ground::clock;
use crate::ground::dns::{Absence, DnsError, Resolver};
use crate::ground::host::{Host, HostSpec};
use crate::mail::model::{
    Address, Destination, HostLookup, HostUse, MailHost, Reply, ReplyClass, Route, RouteError,
    RouteTrace, TracedHost, UpstreamGroup, UpstreamMonitor,
};
use crate::mail::route::counters::RouteCounters;
pub use host_addresses::{ADDRESSES_MAX, ROUTE_MAX};
use host_addresses::{To, hosts_below, in_order, literal, traced, usable};
use ipnet::IpNet;
pub use routed_upstream::RoutedUpstream;
pub use rules::RouteRules;
use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::task::JoinSet;
use upstream_rules::{UpstreamRule, UpstreamRules};
use upstream_turns::UpstreamTurns;
pub use upstreams::DEFAULT_UPSTREAM;

/// Hosts of one destination that are used, best first, at most.
pub const HOSTS_MAX: usize = 20;

/// Settings of the router.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// The host that gets all mail.
    pub smart_relay: Option<HostSpec>,
    /// The host that gets a copy of each mail; ignored when there is a smart relay.
    pub cc_mta: Option<HostSpec>,
    /// Whether mail goes by domain first, and to the smart relay and other upstreams only where
    /// that fails.
    pub fallback: bool,
    /// This relay's host name, as it may be in MX records.
    pub hostname: String,
    /// This relay's listeners; an unspecified one stands for all addresses of this machine.
    pub own_addresses: Vec<SocketAddr>,
    /// The port of hosts without an explicit port: 25.
    pub port: u16,
}

/// Finds routes. The resolver caches answers as long as DNS allows.
#[derive(Clone)]
pub struct Router {
    config: RouteConfig,
    resolver: Arc<dyn Resolver>,
    rules: RouteRules,
    /// Addresses of this host where another mail server is.
    local_mail_hosts: Vec<IpNet>,
    upstreams: Arc<Vec<RoutedUpstream>>,
    turns: Arc<UpstreamTurns>,
    /// The upstreams for what hosts of domains do not take.
    fallback: Option<Arc<UpstreamGroup>>,
    /// What upstreams say about us.
    monitor: Option<Arc<dyn UpstreamMonitor>>,
    counters: Option<Arc<RouteCounters>>,
    /// No mail is sent by its routes.
    is_test: bool,
}

impl Router {
    /// A router that uses `resolver`.
    pub fn new(config: RouteConfig, resolver: Arc<dyn Resolver>) -> Self {
        let relay = config.smart_relay.clone().filter(|_| !config.fallback);
        let rules = RouteRules::new(relay, config.cc_mta.clone(), config.port);
        Self {
            config,
            resolver,
            rules,
            local_mail_hosts: Vec::new(),
            upstreams: Arc::default(),
            turns: Arc::default(),
            fallback: None,
            monitor: None,
            counters: None,
            is_test: false,
        }
    }

    /// The same, by which all mail goes to one address if there is one.
    pub fn redirecting(self, to: Option<Address>) -> Self {
        Self { rules: self.rules.redirecting(to), ..self }
    }

    /// The same, which also delivers mail by domain to these addresses of this host.
    pub fn local_mail_hosts(self, networks: Vec<IpNet>) -> Self {
        Self { local_mail_hosts: networks, ..self }
    }

    /// The same, which knows which upstreams are to be left alone.
    pub fn monitored(self, monitor: Arc<dyn UpstreamMonitor>) -> Self {
        Self { monitor: Some(monitor), ..self }
    }

    /// The same, which counts lookups without an answer.
    pub fn counted(self, counters: Arc<RouteCounters>) -> Self {
        Self { counters: Some(counters), ..self }
    }

    /// The same without counters: for lookups that no mail waits for.
    pub fn uncounted(&self) -> Self {
        Self { counters: None, is_test: true, ..self.clone() }
    }

    /// The routing rules.
    pub fn rules(&self) -> &RouteRules {
        &self.rules
    }

    /// The hosts of a destination that [`RouteRules`] decided on.
    ///
    /// # Errors
    /// A permanent reply when the destination accepts no mail or does not exist, a temporary one
    /// when the lookup failed.
    pub async fn route(&self, destination: &Destination) -> Result<Route, RouteError> {
        self.traced(destination, &mut RouteTrace::default()).await
    }

    /// The same; `trace` records how they were found, also when this future is dropped early.
    ///
    /// # Errors
    /// As [`Router::route`].
    pub async fn traced(
        &self,
        destination: &Destination,
        trace: &mut RouteTrace,
    ) -> Result<Route, RouteError> {
        let mut shared = false;
        let hosts = match destination {
            Destination::Copy(spec) if !self.rules.stands(destination) => {
                let text = format!(
                    "carbon copies no longer go to {spec}: the property cc_mta was changed"
                );
                Err(Reply::new(554, (5, 3, 5), text))
            }
            Destination::Copy(spec) => {
                self.configured_hosts("cc_mta", spec, spec.exact, trace).await
            }
            Destination::SmartRelay(spec) => self.relay_hosts(spec, trace).await,
            Destination::Upstreams(group) => {
                self.group_hosts(group, !self.is_test, trace).await.map(|(hosts, several)| {
                    shared = several;
                    hosts
                })
            }
            Destination::Domain(domain) => {
                let hosts = self.domain_hosts(domain.as_str(), trace).await;
                self.or_fallback(hosts, trace).await
            }
        };
        let hosts = hosts.map_err(RouteError)?;
        Ok(Route { destination: destination.clone(), hosts, shared })
    }

    /// Looks the same destination up again, after no host of `tried` accepted a connection: gives
    /// the addresses that are not among the tried ones. `None` when there are none: nothing has
    /// changed.
    pub async fn moved(&self, tried: &Route) -> Option<Route> {
        self.resolver.forget(&name_of(&tried.destination));
        tried.hosts.iter().for_each(|mail_host| self.resolver.forget(&mail_host.host));
        let mut route = self.route(&tried.destination).await.ok()?;
        let is_tried = |address: &SocketAddr| {
            tried.hosts.iter().any(|mail_host| mail_host.addresses.contains(address))
        };
        route
            .hosts
            .iter_mut()
            .for_each(|mail_host| mail_host.addresses.retain(|address| !is_tried(address)));
        route.hosts.retain(|mail_host| !mail_host.addresses.is_empty());
        Some(route).filter(|route| !route.hosts.is_empty())
    }

    /// From now on no cached answer is used and no upstream is left alone: an operator wants mail
    /// attempted now.
    pub fn forget_all(&self) {
        self.resolver.forget_all();
        if let Some(monitor) = &self.monitor {
            monitor.ask_again();
        }
    }

    /// Counts an answer. Any statement about a name is one, positive or negative.
    fn note<T>(&self, answer: Result<T, DnsError>) -> Result<T, DnsError> {
        let Some(counters) = &self.counters else { return answer };
        let since = &counters.dns_failing_since_seconds;
        if matches!(answer, Err(DnsError::Failed(_))) {
            counters.dns_failures_total.inc();
            if since.get() == 0 {
                since.set(clock::now().into());
            }
        } else if since.get() != 0 {
            since.set(0);
        }
        answer
    }

    /// The hops of a host that a property names; `exact`: without a look at MX records.
    async fn configured_hosts(
        &self,
        property: &str,
        spec: &HostSpec,
        exact: bool,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        let to = To { port: spec.port.unwrap_or(self.config.port), named: true };
        let hosts = match &spec.host {
            Host::Address(address) => self.at_address(*address, to, trace),
            Host::Name(name) if exact => {
                trace.lookup = Some(HostLookup::Exact);
                self.host_alone(name, to, Absence::Name, trace).await
            }
            Host::Name(name) => self.mail_hosts(name, to, trace).await,
        };
        hosts.map_err(|reply| operators(property, spec, &reply))
    }

    async fn domain_hosts(
        &self,
        domain: &str,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        let to = To { port: self.config.port, named: false };
        match literal(domain) {
            Some(address) => self.at_address(address, to, trace),
            None => self.mail_hosts(domain, to, trace).await,
        }
    }

    fn at_address(
        &self,
        address: IpAddr,
        to: To,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        trace.lookup = Some(HostLookup::Address);
        self.only(&address.to_string(), vec![address], to, trace)
    }

    /// RFC 5321 §5.1 for a name.
    async fn mail_hosts(
        &self,
        name: &str,
        to: To,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        if !name.trim_end_matches('.').contains('.') {
            trace.lookup = Some(HostLookup::LocalName);
            return self.host_alone(name, to, Absence::Name, trace).await;
        }
        match self.note(self.resolver.mx(name).await) {
            Ok(records) if order::is_null_mx(&records) => {
                trace.lookup = Some(HostLookup::NullMx);
                let text = format!("{name} accepts no mail at all: it has a null MX record");
                Err(Reply::new(556, (5, 1, 10), text))
            }
            Ok(records) => {
                trace.lookup = Some(HostLookup::Mx(records.len()));
                self.hosts_of_mx(name, records, to, trace).await
            }
            Err(DnsError::Absent(absence)) => {
                trace.lookup = Some(HostLookup::NoMx);
                self.host_alone(name, to, absence, trace).await
            }
            Err(DnsError::Failed(cause)) => Err(Reply::new(451, (4, 4, 3), cause)),
        }
    }

    /// A name without MX records is its own mail host. `absence` is the result of the lookup for
    /// them.
    async fn host_alone(
        &self,
        name: &str,
        to: To,
        absence: Absence,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        if order::same_name(name, &self.config.hostname) {
            trace.hosts = vec![traced(name, None, Vec::new(), HostUse::ThisHost)];
            return Err(this_host(name));
        }
        trace.hosts = vec![traced(name, None, Vec::new(), HostUse::Pending)];
        let answer = self.note(self.resolver.addresses(name).await);
        trace.hosts[0].used = match &answer {
            Err(DnsError::Failed(cause)) => HostUse::Unanswered(cause.clone()),
            _ => HostUse::NoAddress,
        };
        match answer {
            Ok(addresses) => self.only(name, addresses, to, trace),
            Err(DnsError::Failed(cause)) => Err(Reply::new(451, (4, 4, 3), cause)),
            // A name without a dot belongs to the local network, such as another container, and
            // exists again when that does.
            Err(DnsError::Absent(_)) if !name.trim_end_matches('.').contains('.') => {
                Err(Reply::new(451, (4, 4, 4), format!("{name} is not known here at the moment")))
            }
            Err(DnsError::Absent(Absence::Name)) if absence == Absence::Name => Err(Reply::new(
                550,
                (5, 1, 2),
                format!("{name} does not exist in the domain name system"),
            )),
            Err(DnsError::Absent(_)) => Err(Reply::new(
                550,
                (5, 4, 4),
                format!("{name} exists, but has neither a mail host (MX) nor an address"),
            )),
        }
    }

    /// The hops of one host.
    fn only(
        &self,
        host: &str,
        addresses: Vec<IpAddr>,
        to: To,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        let addresses = usable(addresses, to);
        let used = self.fitness(&addresses, to);
        let addresses = in_order(addresses, to.port);
        trace.hosts = vec![traced(host, None, addresses.clone(), used.clone())];
        match used {
            HostUse::Unusable => {
                let text = format!("{host} has no address that mail could be sent to");
                Err(Reply::new(550, (5, 4, 4), text))
            }
            HostUse::ThisHost => Err(this_host(host)),
            _ => Ok(vec![MailHost { host: host.to_owned(), addresses, upstream: None }]),
        }
    }

    /// How a host with these usable addresses can be used.
    fn fitness(&self, addresses: &[IpAddr], to: To) -> HostUse {
        match addresses {
            [] => HostUse::Unusable,
            addresses if self.is_own(addresses, to) => HostUse::ThisHost,
            _ => HostUse::Used,
        }
    }

    /// The hosts of MX records.
    async fn hosts_of_mx(
        &self,
        name: &str,
        records: Vec<(u16, String)>,
        to: To,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        let records = order::sorted(records, HOSTS_MAX);
        // Known before any address lookup: the relay's own name ends the list (RFC 5321 §5.1),
        // whatever its addresses.
        let own = records.iter().find(|(_, host)| order::same_name(host, &self.config.hostname));
        let mut limit =
            own.map_or(u32::from(u16::MAX) + 1, |(preference, _)| u32::from(*preference));
        let mut looped = own.is_some();
        let mut failed = None;
        let answers = self.look_up(&records, to, &mut trace.hosts).await;
        for (((preference, _), answer), seen) in records.iter().zip(answers).zip(&trace.hosts) {
            if seen.used == HostUse::ThisHost {
                limit = limit.min(u32::from(*preference));
                looped = true;
            }
            if let Err(DnsError::Failed(cause)) = self.note(answer)
                && u32::from(*preference) < limit
            {
                failed = Some(cause);
            }
        }
        let hosts = hosts_below(limit, &mut trace.hosts);
        match failed {
            _ if !hosts.is_empty() => Ok(hosts),
            Some(cause) => Err(Reply::new(451, (4, 4, 3), cause)),
            None if looped => Err(this_host(name)),
            None => Err(Reply::new(
                550,
                (5, 4, 4),
                format!("none of the mail hosts (MX) of {name} has a usable address"),
            )),
        }
    }

    /// Looks up the addresses of all hosts at once, so that the delays of a slow name server do not
    /// add up. Each answer is in `hosts` as soon as it is there; the results have the order of the
    /// records. Names that are empty or addresses as text are not hosts (RFC 5321 §5.1) and give
    /// an error.
    async fn look_up(
        &self,
        records: &[(u16, String)],
        to: To,
        hosts: &mut Vec<TracedHost>,
    ) -> Vec<Result<(), DnsError>> {
        let mut questions = JoinSet::new();
        let mut answers = Vec::with_capacity(records.len());
        hosts.clear();
        for (place, (preference, host)) in records.iter().enumerate() {
            let (used, answer) = if order::is_host_name(host) {
                let (resolver, host) = (self.resolver.clone(), host.clone());
                questions.spawn(async move { (place, resolver.addresses(&host).await) });
                (HostUse::Pending, DnsError::Failed("the lookup was cut off".to_owned()))
            } else {
                (HostUse::NotAName, DnsError::Absent(Absence::Name))
            };
            hosts.push(traced(host, Some(*preference), Vec::new(), used));
            answers.push(Err(answer));
        }
        while let Some(answer) = questions.join_next().await {
            let Ok((place, answer)) = answer else { continue };
            self.learn(&mut hosts[place], &answer, to);
            answers[place] = answer.map(drop);
        }
        answers
    }

    /// Records the addresses of a host, and how it can be used.
    fn learn(&self, seen: &mut TracedHost, answer: &Result<Vec<IpAddr>, DnsError>, to: To) {
        seen.used = match answer {
            Ok(addresses) => {
                let addresses = usable(addresses.clone(), to);
                let used = self.fitness(&addresses, to);
                seen.addresses = in_order(addresses, to.port);
                used
            }
            Err(DnsError::Absent(_)) => HostUse::NoAddress,
            Err(DnsError::Failed(cause)) => HostUse::Unanswered(cause.clone()),
        };
        if order::same_name(&seen.host, &self.config.hostname) {
            seen.used = HostUse::ThisHost;
        }
    }

    /// Whether one of the addresses is this host.
    fn is_own(&self, addresses: &[IpAddr], to: To) -> bool {
        let own = |address: IpAddr, own: &SocketAddr| {
            let own = own.ip().to_canonical();
            address == own || (own.is_unspecified() && order::is_local(address))
        };
        let listeners = || self.config.own_addresses.iter();
        let listens = |address| {
            listeners().any(|listener| listener.port() == to.port && own(address, listener))
        };
        let elses = |address: &IpAddr| {
            self.local_mail_hosts.iter().any(|network| network.contains(address))
        };
        let is_here = |address: IpAddr| {
            address.is_loopback() || listeners().any(|listener| own(address, listener))
        };
        addresses
            .iter()
            .any(|address| listens(*address) || (!to.named && !elses(address) && is_here(*address)))
    }
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The name of a destination that is looked up in DNS.
fn name_of(destination: &Destination) -> Cow<'_, str> {
    match destination {
        Destination::Domain(domain) => match literal(domain.as_str()) {
            Some(address) => Cow::Owned(address.to_string()),
            None => Cow::Borrowed(domain.as_str()),
        },
        // Their hosts are asked for by name, each.
        Destination::Upstreams(group) => Cow::Borrowed(group.as_str()),
        Destination::SmartRelay(spec) | Destination::Copy(spec) => match &spec.host {
            Host::Name(name) => Cow::Borrowed(name),
            Host::Address(address) => Cow::Owned(address.to_string()),
        },
    }
}

fn this_host(name: &str) -> Reply {
    Reply::new(
        554,
        (5, 4, 6),
        format!("mail for {name} loops back to this host, which is not its final destination"),
    )
}

/// A failure for a host that an operator configured must be repaired by the operator; the mail
/// waits for that.
fn operators(property: &str, spec: &HostSpec, reply: &Reply) -> Reply {
    let enhanced = reply
        .enhanced
        .filter(|_| reply.class() == ReplyClass::Temporary)
        .map_or((4, 3, 5), |e| (e.0, e.1, e.2));
    let is_loop = reply.enhanced == this_host("").enhanced;
    let asks_mx = !spec.exact && matches!(spec.host, Host::Name(_));
    let hint = if asks_mx && !is_loop { " ([host] skips the MX look-up)" } else { "" };
    let advice = format!("{}; check the property {property}{hint}", reply.text);
    Reply::new(451, enhanced, advice)
}

#[cfg(test)]
mod tests;
