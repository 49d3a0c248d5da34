//! Builds the resolver, its limits and the search domains from `/etc/hosts`, `/etc/resolv.conf` and
//! the list of name servers.

use super::lookup::{ask, family, ips, other_family, plain, some};
use super::resolv_conf::ResolvConf;
use super::{
    Absence, CACHE_MAX, DnsError, ENGINE, LOCAL_TIME, NEGATIVE_TIME, POSITIVE_TIME, QUESTIONS_MAX,
    SLOW_QUESTIONS_MAX, TRY_TIME,
};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

/// The resolver could not be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the DNS resolver could not be set up: {0}")]
pub struct SetupError(String);

/// The paths of the two files.
pub(super) struct Paths {
    pub(super) hosts: PathBuf,
    pub(super) resolv_conf: PathBuf,
}

impl Paths {
    /// Their modification times; `None` for a missing file.
    pub(super) fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.hosts, &self.resolv_conf]
            .map(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
    }
}

/// The setup from the files and the list of servers.
pub(super) struct Setup {
    hosts: Hosts,
    pub(super) resolver: TokioResolver,
    /// For names without a dot; it caches answers for [`LOCAL_TIME`].
    pub(super) local: TokioResolver,
    search: Vec<Name>,
}

impl Setup {
    /// A missing file counts as empty.
    pub(super) fn read(servers: &[SocketAddr], paths: &Paths) -> Result<Self, SetupError> {
        let (config, options) =
            configuration(servers, &fs::read(&paths.resolv_conf).unwrap_or_default());
        let search = config.search().to_vec();
        let build = |config, options| {
            let builder =
                TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            builder.with_options(options).build().map_err(|error| SetupError(error.to_string()))
        };
        let local = build(config.clone(), believing(options.clone(), LOCAL_TIME))?;
        let resolver = build(config, options)?;
        let mut hosts = Hosts::default();
        // Lines before one that cannot be read still count.
        let _ = fs::File::open(&paths.hosts).and_then(|file| hosts.read_hosts_conf(file));
        Ok(Self { hosts, resolver, local, search })
    }

    /// The addresses in `/etc/hosts`, and nothing else.
    pub(super) fn hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::AAAA, RecordType::A]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| ips(&lookup))
            .collect()
    }

    /// The names that are tried for `name`, in order.
    pub(super) fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut names = vec![name.clone()];
        if name.num_labels() == 1 && !name.is_localhost() {
            let mut relative = name.clone();
            relative.set_fqdn(false);
            names.extend(
                self.search.iter().filter_map(|domain| relative.clone().append_domain(domain).ok()),
            );
        }
        names
    }

    pub(super) async fn mx(&self, name: Name) -> Result<Vec<(u16, String)>, DnsError> {
        let lookup = ask(&self.resolver, &name, RecordType::MX).await?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::MX(mx) => Some((mx.preference, plain(&mx.exchange))),
            _ => None,
        });
        some(records.collect())
    }

    pub(super) async fn texts(&self, name: Name) -> Result<Vec<String>, DnsError> {
        self.resolver.clear_lookup_cache(name.clone(), RecordType::TXT);
        let lookup = ask(&self.resolver, &name, RecordType::TXT).await?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        });
        some(records.collect())
    }

    pub(super) async fn host_names(&self, address: IpAddr) -> Result<Vec<String>, DnsError> {
        let name = Name::from(address);
        let lookup = ask(&self.resolver, &name, RecordType::PTR).await?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::PTR(name) => Some(plain(name)),
            _ => None,
        });
        some(records.collect())
    }

    pub(super) async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, DnsError> {
        let resolver = if name.num_labels() == 1 { &self.local } else { &self.resolver };
        let mut missing = Absence::Name;
        let mut failed = None;
        for candidate in self.candidates(name) {
            let v6 = family(resolver, &candidate, RecordType::AAAA);
            let v4 = family(resolver, &candidate, RecordType::A);
            tokio::pin!(v6, v4);
            let answers = tokio::select! {
                answer = &mut v6 => [other_family(answer.is_ok(), v4).await, answer],
                answer = &mut v4 => [other_family(answer.is_ok(), v6).await, answer],
            };
            let mut found = Vec::new();
            for answer in answers {
                match answer {
                    Ok(addresses) => found.extend(addresses),
                    Err(DnsError::Absent(Absence::Name)) => {}
                    Err(DnsError::Absent(Absence::Records)) => missing = Absence::Records,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            // One family's failure does not matter if the other has addresses.
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(failed.unwrap_or(DnsError::Absent(missing)))
    }

    pub(super) fn forget(&self, name: &Name) {
        for candidate in self.candidates(name) {
            for kind in [RecordType::A, RecordType::AAAA, RecordType::MX] {
                self.resolver.clear_lookup_cache(candidate.clone(), kind);
                self.local.clear_lookup_cache(candidate.clone(), kind);
            }
        }
    }
}

/// Servers, search domains and timeouts: from `resolv_conf` where given, within the limits here.
/// Configured servers have fixed options; then only the search domains of the file count.
pub(super) fn configuration(
    servers: &[SocketAddr],
    resolv_conf: &[u8],
) -> (ResolverConfig, ResolverOpts) {
    let file = ResolvConf::parse(resolv_conf);
    let given = !servers.is_empty();
    let servers = if given {
        servers.to_vec()
    } else {
        file.servers.iter().map(|ip| SocketAddr::new(*ip, 53)).collect()
    };
    let tcp_only = file.tcp_only && !given;
    let mut options = ResolverOpts::default();
    options.timeout = TRY_TIME;
    if !given {
        options.timeout = file.timeout.min(TRY_TIME);
        options.attempts = file.attempts.clamp(1, 3);
        if file.rotate {
            options.server_ordering_strategy = ServerOrderingStrategy::RoundRobin;
        }
    }
    // Some name servers refuse every query with an OPT record, for ever (RFC 6891 §7). Long answers
    // come over TCP.
    options.edns0 = false;
    options.cache_size = CACHE_MAX;
    options.max_active_requests = QUESTIONS_MAX + SLOW_QUESTIONS_MAX;
    options.try_tcp_on_error = true;
    // Done here instead, because hickory would still query the servers for the family that the file
    // does not have.
    options.use_hosts_file = ResolveHosts::Never;
    let engine = servers.iter().any(|server| server.ip().to_canonical() == IpAddr::from(ENGINE));
    let options = believing(options, if engine { LOCAL_TIME } else { POSITIVE_TIME });
    let servers = servers.iter().map(|server| name_server(server, tcp_only)).collect();
    (ResolverConfig::from_parts(None, file.search, servers), options)
}

/// The same, with answers cached no longer than `time`.
fn believing(mut options: ResolverOpts, time: Duration) -> ResolverOpts {
    options.positive_max_ttl = Some(time);
    options.negative_max_ttl = Some(NEGATIVE_TIME.min(time));
    options
}

fn name_server(address: &SocketAddr, tcp_only: bool) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    connections.drain(..usize::from(tcp_only));
    connections.iter_mut().for_each(|connection| connection.port = address.port());
    NameServerConfig::new(address.ip(), true, connections)
}
