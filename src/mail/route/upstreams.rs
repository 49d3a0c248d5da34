//! Upstreams in routing: how their hosts are found, and in which order those of a group are tried.
//!
//! The host of an upstream whose certificate is verified is the very host in its property: MX
//! records, which nothing authenticates, must not choose the name that is verified. Of a group the
//! lowest priority comes first; equal ones take turns by their weights. One that refuses us, or
//! takes no more for now, or cannot be reached, is passed over while another is left.
//!
//! Limits: [`GROUP_PATIENCE`] for the addresses of the others, once those of one are known.

use super::upstream_turns::UpstreamTurns;
use super::{ROUTE_MAX, RouteRules, RoutedUpstream, Router, UpstreamRule, UpstreamRules};
use crate::ground::host::HostSpec;
use crate::ground::tls::TlsLevel;
use crate::mail::model::{
    Destination, MailHost, Reply, ReplyClass, RouteTrace, UpstreamAvailability, UpstreamGroup,
    UpstreamRateWait,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long the addresses of the other upstreams of a group are waited for.
const GROUP_PATIENCE: Duration = Duration::from_secs(3);

/// The name of the upstream that `smart_relay` is.
pub const DEFAULT_UPSTREAM: &str = "default";

/// The addresses of one upstream, or why there are none, and what was looked at.
type Looked = (Result<Vec<MailHost>, Reply>, RouteTrace);

impl Router {
    /// The same with these upstreams; `smart_relay` is one of them if it is set.
    pub fn upstreams(self, upstreams: Vec<RoutedUpstream>) -> Self {
        let is_for_all = |upstream: &&RoutedUpstream| {
            upstream.senders.is_empty() && upstream.recipients.is_empty()
        };
        let for_all: Vec<Arc<str>> =
            upstreams.iter().filter(is_for_all).map(|upstream| upstream.name.clone()).collect();
        let is_named = |upstream: &RoutedUpstream| &*upstream.name != DEFAULT_UPSTREAM;
        let turns = Arc::new(UpstreamTurns::new(upstreams.iter().map(|one| one.weight)));
        let fallback = (self.config.fallback && !for_all.is_empty())
            .then(|| Arc::new(UpstreamGroup::new(for_all.clone())));
        let rules = if upstreams.iter().any(is_named) {
            self.named_rules(&upstreams, &for_all)
        } else {
            self.rules
        };
        Self { upstreams: Arc::new(upstreams), turns, fallback, rules, ..self }
    }

    /// How TLS is used with the hosts of a destination.
    pub fn tls_policy(&self, destination: &Destination) -> TlsLevel {
        let first = self.upstreams_of(destination).first().copied();
        first.map_or(TlsLevel::Opportunistic, |upstream| upstream.tls)
    }

    /// Connections to a destination, at most, where each of its upstreams has a limit of its own.
    pub fn connections_max(&self, destination: &Destination) -> Option<u32> {
        let upstreams = self.upstreams_of(destination);
        let limits: Option<Vec<u32>> = upstreams.iter().map(|one| one.connections).collect();
        limits.filter(|limits| !limits.is_empty()).map(|limits| limits.iter().sum())
    }

    /// Until when a destination waits, because the rates of its upstreams are used up. `None`: one
    /// of them takes mail, or what was said against one ends first.
    pub fn rate_wait(&self, destination: &Destination) -> Option<UpstreamRateWait> {
        let monitor = self.monitor.as_ref().filter(|monitor| monitor.has_rates())?;
        let upstreams = self.upstreams_of(destination).into_iter();
        let pauses: Option<Vec<_>> =
            upstreams.map(|one| Some((monitor.paused(&one.name)?.0, &one.name))).collect();
        let (_, first) = pauses?.into_iter().min_by_key(|(until, _)| *until)?;
        monitor.rate_wait(first)
    }

    /// Until when a destination gets no mail, by the monotonic clock, because each of its
    /// upstreams refuses us or takes no more, and what one of them said, or that its rate is used
    /// up.
    pub fn paused(&self, destination: &Destination) -> Option<(u32, String)> {
        let monitor = self.monitor.as_ref()?;
        let upstreams = self.upstreams_of(destination).into_iter();
        let pauses: Option<Vec<_>> = upstreams.map(|one| monitor.paused(&one.name)).collect();
        pauses?.into_iter().min_by_key(|(until, _)| *until)
    }

    /// The hosts of the smart relay.
    pub(super) async fn relay_hosts(
        &self,
        spec: &HostSpec,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        match self.upstreams.iter().find(|upstream| is_smart_relay(upstream, spec)) {
            Some(upstream) => self.upstream_hosts(upstream, trace).await,
            None => {
                let named = self.upstreams.iter().find(|upstream| upstream.host == *spec);
                let property = named.map_or("smart_relay", |upstream| &*upstream.property);
                self.configured_hosts(property, spec, spec.exact, trace).await
            }
        }
    }

    /// The hosts of a group, those of the best upstream first, and whether another of them may
    /// get the next mail. `counts`: mail is sent there now, so that the first has had its turn.
    pub(super) async fn group_hosts(
        &self,
        group: &UpstreamGroup,
        counts: bool,
        trace: &mut RouteTrace,
    ) -> Result<(Vec<MailHost>, bool), Reply> {
        let members = self.members(group);
        let (order, refused) = self.in_turn(&members, counts);
        if order.is_empty() {
            let text = refused.unwrap_or_else(|| format!("there is no {group} any more"));
            return Err(Reply::new(451, (4, 3, 5), text));
        }
        let mut found: Vec<Option<Looked>> = order.iter().map(|_| None).collect();
        let mut lookups = JoinSet::new();
        for (place, upstream) in order.into_iter().enumerate() {
            let (router, upstream) = (self.clone(), upstream.clone());
            lookups.spawn(async move {
                let mut trace = RouteTrace::default();
                let hosts = router.upstream_hosts(&upstream, &mut trace).await;
                (place, (hosts, trace))
            });
        }
        let mut deadline = None;
        loop {
            let answer = match deadline {
                Some(deadline) => timeout_at(deadline, lookups.join_next()).await.ok().flatten(),
                None => lookups.join_next().await,
            };
            let Some(answer) = answer else { break };
            let Ok((place, looked)) = answer else { continue };
            if looked.0.is_ok() {
                deadline.get_or_insert_with(|| Instant::now() + GROUP_PATIENCE);
            }
            found[place] = Some(looked);
        }
        joined(found.into_iter().flatten(), trace).map(|hosts| (hosts, members.len() > 1))
    }

    /// The hosts of a domain, and after them those of the upstreams that take what they do not.
    pub(super) async fn or_fallback(
        &self,
        hosts: Result<Vec<MailHost>, Reply>,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        let Some(fallback) = self.fallback.as_deref() else { return hosts };
        let own = match hosts {
            Err(reply) if reply.class() == ReplyClass::Permanent => return Err(reply),
            other => other,
        };
        let mut of_upstreams = RouteTrace::default();
        let others = self.group_hosts(fallback, false, &mut of_upstreams).await;
        trace.hosts.append(&mut of_upstreams.hosts);
        match (own, others) {
            (Ok(mut own), Ok((others, _))) => {
                own.extend(others);
                Ok(own)
            }
            (Err(_), Ok((others, _))) => Ok(others),
            (own, Err(_)) => own,
        }
    }

    async fn upstream_hosts(
        &self,
        upstream: &RoutedUpstream,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        let spec = &upstream.host;
        let exact = spec.exact || upstream.tls.verifies();
        let mut hosts = self.configured_hosts(&upstream.property, spec, exact, trace).await?;
        hosts.iter_mut().for_each(|host| host.upstream = Some(upstream.name.clone()));
        Ok(hosts)
    }

    /// The upstreams in the order in which they are tried: those that take mail, else those that
    /// could not be reached. With what one said that is left out.
    fn in_turn<'a>(
        &'a self,
        members: &[(usize, &'a RoutedUpstream)],
        counts: bool,
    ) -> (Vec<&'a RoutedUpstream>, Option<String>) {
        let (mut open, mut unreachable, mut said) = (Vec::new(), Vec::new(), None);
        for (place, upstream) in members {
            let monitor = self.monitor.as_ref();
            let availability = monitor.map(|monitor| monitor.availability(&upstream.name));
            let entry = (*place, upstream.priority);
            match availability.unwrap_or(UpstreamAvailability::Open) {
                UpstreamAvailability::Open => open.push(entry),
                UpstreamAvailability::Unreachable => unreachable.push(entry),
                UpstreamAvailability::Refuses(words) => said = Some(words),
            }
        }
        let usable = if open.is_empty() { unreachable } else { open };
        let order = self.turns.order(usable, counts);
        (order.into_iter().filter_map(|place| self.upstreams.get(place)).collect::<Vec<_>>(), said)
    }

    fn members(&self, group: &UpstreamGroup) -> Vec<(usize, &RoutedUpstream)> {
        let is_in =
            |(_, upstream): &(usize, &RoutedUpstream)| group.names().contains(&upstream.name);
        self.upstreams.iter().enumerate().filter(is_in).collect()
    }

    fn upstreams_of(&self, destination: &Destination) -> Vec<&RoutedUpstream> {
        match destination {
            Destination::SmartRelay(spec) => {
                self.upstreams.iter().filter(|one| is_smart_relay(one, spec)).collect()
            }
            Destination::Upstreams(group) => {
                self.members(group).into_iter().map(|(_, upstream)| upstream).collect()
            }
            Destination::Domain(_) | Destination::Copy(_) => Vec::new(),
        }
    }

    fn named_rules(&self, upstreams: &[RoutedUpstream], for_all: &[Arc<str>]) -> RouteRules {
        // The smart relay alone stays what it is without others.
        let is_relay_alone =
            matches!(for_all, [only] if &**only == DEFAULT_UPSTREAM) && !self.config.fallback;
        let rule = |upstream: &RoutedUpstream| UpstreamRule {
            name: upstream.name.clone(),
            senders: upstream.senders.clone(),
            recipients: upstream.recipients.clone(),
        };
        let rules = upstreams.iter().map(rule).collect();
        let default = !is_relay_alone && !self.config.fallback;
        let base = self.rules.clone();
        base.with_upstreams(UpstreamRules::new(rules, default))
    }
}

fn is_smart_relay(upstream: &RoutedUpstream, spec: &HostSpec) -> bool {
    &*upstream.name == DEFAULT_UPSTREAM && upstream.host == *spec
}

/// The hosts of several upstreams, at most [`ROUTE_MAX`] addresses.
fn joined(
    looked: impl Iterator<Item = Looked>,
    trace: &mut RouteTrace,
) -> Result<Vec<MailHost>, Reply> {
    let (mut hosts, mut failure, mut room) = (Vec::new(), None, ROUTE_MAX);
    for (answer, mut seen) in looked {
        trace.lookup = trace.lookup.or(seen.lookup);
        trace.hosts.append(&mut seen.hosts);
        match answer {
            Ok(own) => {
                for mut host in own {
                    host.addresses.truncate(room);
                    room -= host.addresses.len();
                    if !host.addresses.is_empty() {
                        hosts.push(host);
                    }
                }
            }
            Err(reply) => failure = failure.or(Some(reply)),
        }
    }
    match failure {
        Some(reply) if hosts.is_empty() => Err(reply),
        _ if hosts.is_empty() => Err(Reply::new(
            451,
            (4, 4, 3),
            "no name server answered for the hosts of the upstreams",
        )),
        _ => Ok(hosts),
    }
}
