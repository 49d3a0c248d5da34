//! Upstreams in routing: how their hosts are found.
//!
//! The host of an upstream whose certificate is verified is the very host in its property: MX
//! records, which nothing authenticates, must not choose the name that is verified.

use super::Router;
use super::routed_upstream::RoutedUpstream;
use crate::ground::host::HostSpec;
use crate::ground::tls::TlsLevel;
use crate::mail::model::{Destination, MailHost, Reply, RouteTrace};

impl Router {
    /// How TLS is used with the hosts of a destination.
    pub fn tls_policy(&self, destination: &Destination) -> TlsLevel {
        self.upstream_of(destination).map_or(TlsLevel::Opportunistic, |upstream| upstream.tls)
    }

    /// Connections to a destination, at most, where its upstream has a limit of its own.
    pub fn connections_max(&self, destination: &Destination) -> Option<u32> {
        self.upstream_of(destination)?.connections
    }

    /// Until when a destination gets no mail, by the monotonic clock, because its upstream refuses
    /// us or takes no more, and what it said.
    pub fn paused(&self, destination: &Destination) -> Option<(u32, String)> {
        let upstream = self.upstream_of(destination)?;
        self.monitor.as_ref()?.paused(&upstream.name)
    }

    /// The hops of the smart relay.
    pub(super) async fn relay_hosts(
        &self,
        spec: &HostSpec,
        trace: &mut RouteTrace,
    ) -> Result<Vec<MailHost>, Reply> {
        let upstream = self.upstreams.first().filter(|upstream| upstream.host == *spec);
        let verified = upstream.is_some_and(|upstream| upstream.tls.verifies());
        let exact = spec.exact || verified;
        let mut hosts = self.configured_hosts("smart_relay", spec, exact, trace).await?;
        if let Some(upstream) = upstream {
            hosts.iter_mut().for_each(|host| host.upstream = Some(upstream.name.clone()));
        }
        Ok(hosts)
    }

    fn upstream_of(&self, destination: &Destination) -> Option<&RoutedUpstream> {
        match destination {
            Destination::SmartRelay(spec) => {
                self.upstreams.first().filter(|upstream| upstream.host == ***spec)
            }
            Destination::Domain(_) | Destination::Copy(_) => None,
        }
    }
}
