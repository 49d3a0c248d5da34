//! The resolver of this machine: `/etc/hosts`, then the name servers of `/etc/resolv.conf` or those that were given.

use super::{Absence, Answer, CACHE_MAX, DnsError, NEGATIVE_TIME, QUESTIONS_MAX, Resolver, TOTAL_TIME, TRY_TIME};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as ResponseError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The resolver could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the DNS resolver could not be set up: {0}")]
pub struct SetupError(String);

/// A resolver that asks `servers`, or those of `/etc/resolv.conf` when the list is empty. The files `/etc/hosts` and
/// `/etc/resolv.conf` are read again when they change, since container engines rewrite them under a running program.
///
/// Without any name server in `/etc/resolv.conf` the one on 127.0.0.1 is asked, as resolv.conf(5) has it. Search domains
/// are tried for names without a dot only, after the name itself: a mail domain means what it says.
///
/// # Errors
/// Hickory refuses the configuration.
pub fn system(servers: &[SocketAddr]) -> Result<Arc<dyn Resolver>, SetupError> {
    Ok(Arc::new(System::new(servers, TOTAL_TIME)?))
}

struct System {
    servers: Vec<SocketAddr>,
    total_time: Duration,
    current: Mutex<(Files, Arc<Setup>)>,
    turns: Semaphore,
}

/// When the two files were last changed; `None` for one that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Files {
    hosts: Option<SystemTime>,
    resolv_conf: Option<SystemTime>,
}

impl Files {
    fn seen() -> Self {
        let changed = |path: &str| fs::metadata(Path::new(path)).and_then(|meta| meta.modified()).ok();
        Self { hosts: changed(HOSTS), resolv_conf: changed(RESOLV_CONF) }
    }
}

/// What was made of the files and the list of servers.
struct Setup {
    hosts: Hosts,
    resolver: TokioResolver,
    search: Vec<Name>,
}

impl Setup {
    fn read(servers: &[SocketAddr]) -> Result<Self, SetupError> {
        let (mut config, mut options) = system_conf::read_system_conf().unwrap_or_default();
        if !servers.is_empty() {
            config = ResolverConfig::from_name_servers(servers.iter().map(name_server).collect());
        } else if config.name_servers().is_empty() {
            config.add_name_server(NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into()));
        }
        let mut search = config.search().to_vec();
        search.extend(config.domain().filter(|domain| !search.contains(domain)).cloned());
        options.timeout = options.timeout.min(TRY_TIME);
        options.attempts = options.attempts.clamp(1, 3);
        options.cache_size = CACHE_MAX;
        options.negative_max_ttl = Some(NEGATIVE_TIME);
        options.max_active_requests = QUESTIONS_MAX;
        options.try_tcp_on_error = true;
        // Asked here instead, because hickory would still ask the servers for the family that the file does not give.
        options.use_hosts_file = ResolveHosts::Never;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|error| SetupError(error.to_string()))?;
        Ok(Self { hosts: Hosts::from_system().unwrap_or_default(), resolver, search })
    }

    /// What `/etc/hosts` says, all of it and nothing else.
    fn hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::AAAA, RecordType::A]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| ips(&lookup))
            .collect()
    }

    /// The names that `name` may stand for, in order.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut names = vec![name.clone()];
        if name.num_labels() == 1 && !name.is_localhost() {
            let mut relative = name.clone();
            relative.set_fqdn(false);
            names.extend(self.search.iter().filter_map(|domain| relative.clone().append_domain(domain).ok()));
        }
        names
    }

    async fn mx(&self, name: Name) -> Result<Vec<(u16, String)>, DnsError> {
        let lookup = self.resolver.lookup(name.clone(), RecordType::MX).await.map_err(|error| failure(&name, &error))?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::MX(mx) => Some((mx.preference, plain(&mx.exchange))),
            _ => None,
        });
        some(records.collect())
    }

    async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, DnsError> {
        let mut missing = Absence::Name;
        let mut failed = None;
        for candidate in self.candidates(name) {
            let (v6, v4) = tokio::join!(
                self.resolver.lookup(candidate.clone(), RecordType::AAAA),
                self.resolver.lookup(candidate.clone(), RecordType::A),
            );
            let mut found = Vec::new();
            for answer in [v6, v4] {
                match answer.map_err(|error| failure(&candidate, &error)) {
                    Ok(lookup) => found.extend(ips(&lookup)),
                    Err(DnsError::Absent(Absence::Name)) => {}
                    Err(DnsError::Absent(Absence::Records)) => missing = Absence::Records,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            // One family's failure does not matter while the other leads somewhere.
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(failed.unwrap_or(DnsError::Absent(missing)))
    }
}

impl System {
    fn new(servers: &[SocketAddr], total_time: Duration) -> Result<Self, SetupError> {
        let files = Files::seen();
        let setup = Arc::new(Setup::read(servers)?);
        let turns = Semaphore::new(QUESTIONS_MAX);
        Ok(Self { servers: servers.to_vec(), total_time, current: Mutex::new((files, setup)), turns })
    }

    /// The setup, made anew when one of the files has changed. Two `stat` calls a question are cheaper than a watcher, and
    /// work on the overlay and bind mounts that containers have there.
    fn setup(&self) -> Arc<Setup> {
        let files = Files::seen();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.0 != files {
            current.0 = files;
            match Setup::read(&self.servers) {
                Ok(setup) => current.1 = Arc::new(setup),
                Err(error) => tracing::warn!(%error, "the changed resolver configuration was left aside"),
            }
        }
        current.1.clone()
    }

    /// Waits for a turn and for the answer, both within the total time.
    async fn limited<T>(&self, name: &str, question: impl Future<Output = Result<T, DnsError>>) -> Result<T, DnsError> {
        let turn = async {
            let _turn = self.turns.acquire().await.map_err(|closed| DnsError::Failed(closed.to_string()))?;
            question.await
        };
        match timeout(self.total_time, turn).await {
            Ok(answer) => answer,
            Err(_) => Err(DnsError::Failed(format!("no name server answered for {name} within {:?}", self.total_time))),
        }
    }
}

impl Resolver for System {
    fn mx(&self, name: &str) -> Answer<'_, Vec<(u16, String)>> {
        let name = name.to_owned();
        Box::pin(async move {
            let asked = parse(&name)?;
            let setup = self.setup();
            self.limited(&name, setup.mx(asked)).await
        })
    }

    fn addresses(&self, name: &str) -> Answer<'_, Vec<IpAddr>> {
        let name = name.to_owned();
        Box::pin(async move {
            let asked = parse(&name)?;
            let setup = self.setup();
            match setup.hosts_file(&asked) {
                listed if !listed.is_empty() => Ok(listed),
                _ => self.limited(&name, setup.addresses(&asked)).await,
            }
        })
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.into())
}

/// A name that DNS cannot hold (a label over 63 octets, letters without an A-label) does not exist there.
fn parse(text: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_str_relaxed(text).map_err(|_| DnsError::Absent(Absence::Name))?;
    name.set_fqdn(true);
    if name.is_root() { Err(DnsError::Absent(Absence::Name)) } else { Ok(name) }
}

/// Lower case, A-labels, no trailing dot.
fn plain(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    text.truncate(text.trim_end_matches('.').len());
    text
}

fn ips(lookup: &Lookup) -> Vec<IpAddr> {
    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

fn some<T>(found: Vec<T>) -> Result<Vec<T>, DnsError> {
    if found.is_empty() { Err(DnsError::Absent(Absence::Records)) } else { Ok(found) }
}

fn failure(name: &Name, error: &NetError) -> DnsError {
    let cause = match error {
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords { response_code: ResponseCode::NXDomain, .. })) => {
            return DnsError::Absent(Absence::Name);
        }
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords { response_code: ResponseCode::NoError, .. })) => {
            return DnsError::Absent(Absence::Records);
        }
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords { response_code: code, .. }))
        | NetError::Dns(ResponseError::ResponseCode(code)) => format!("the name server answered \"{code}\""),
        NetError::Timeout => "no name server answered in time".to_owned(),
        other => other.to_string(),
    };
    DnsError::Failed(format!("DNS look-up of {} failed: {cause}", plain(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    #[test]
    fn names_are_read_as_dns_holds_them() {
        assert_eq!(plain(&parse("MX1.Example").unwrap()), "mx1.example");
        assert_eq!(plain(&parse("bücher.example").unwrap()), "xn--bcher-kva.example");
        assert_eq!(plain(&parse("under_score.example").unwrap()), "under_score.example");
        assert_eq!(plain(&Name::root()), "");
        for none in ["", ".", "a..b", &format!("{}.example", "a".repeat(64))] {
            assert_eq!(parse(none), Err(DnsError::Absent(Absence::Name)), "{none:?}");
        }
    }

    #[tokio::test]
    async fn localhost_needs_no_name_server() {
        let resolver = system(&["127.0.0.1:9".parse().unwrap()]).unwrap();
        let found = resolver.addresses("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
        assert_eq!(resolver.mx("localhost").await, Err(DnsError::Absent(Absence::Records)));
    }

    #[tokio::test]
    async fn a_silent_name_server_is_given_up_in_time() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = System::new(&[silent.local_addr().unwrap()], Duration::from_millis(200)).unwrap();
        let answer = resolver.mx("example.org").await;
        assert!(matches!(&answer, Err(DnsError::Failed(cause)) if cause.contains("within 200ms")), "{answer:?}");
    }
}
