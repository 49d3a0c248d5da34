//! The resolver of this machine: `/etc/hosts`, then the name servers of `/etc/resolv.conf` or the
//! configured ones.

use super::resolv_conf::ResolvConf;
use super::{
    Absence, Answer, CACHE_MAX, DnsError, ENGINE, FAMILY_TIME, LOCAL_TIME, NEGATIVE_TIME,
    POSITIVE_TIME, QUESTIONS_MAX, Resolver, SLOW_QUESTION, SLOW_QUESTIONS_MAX, TOTAL_TIME,
    TRY_TIME,
};
use crate::ground::lock::Lock;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as ResponseError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::timeout;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The resolver could not be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the DNS resolver could not be set up: {0}")]
pub struct SetupError(String);

/// A resolver that uses `servers`, or those of `/etc/resolv.conf` if the list is empty. The files
/// `/etc/hosts` and `/etc/resolv.conf` are read again when they change, because container engines
/// rewrite them at run time.
///
/// Without any name server in `/etc/resolv.conf` the one on 127.0.0.1 is used, by resolv.conf(5).
/// Search domains are tried only for names without a dot, after the name itself: a mail domain is
/// always absolute.
///
/// # Errors
/// Hickory refuses the configuration.
pub fn system(servers: &[SocketAddr]) -> Result<Arc<dyn Resolver>, SetupError> {
    let paths = Paths { hosts: HOSTS.into(), resolv_conf: RESOLV_CONF.into() };
    Ok(Arc::new(System::new(servers, paths, TOTAL_TIME)?))
}

struct System {
    servers: Vec<SocketAddr>,
    paths: Paths,
    total_time: Duration,
    /// The setup from the files, and their modification times at that moment.
    current: Lock<([Option<SystemTime>; 2], Arc<Setup>)>,
    turns: Semaphore,
    slow_turns: Semaphore,
}

/// The paths of the two files.
struct Paths {
    hosts: PathBuf,
    resolv_conf: PathBuf,
}

impl Paths {
    /// Their modification times; `None` for a missing file.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [&self.hosts, &self.resolv_conf]
            .map(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
    }
}

/// The setup from the files and the list of servers.
struct Setup {
    hosts: Hosts,
    resolver: TokioResolver,
    /// For names without a dot; it caches answers for [`LOCAL_TIME`].
    local: TokioResolver,
    search: Vec<Name>,
}

impl Setup {
    /// A missing file counts as empty.
    fn read(servers: &[SocketAddr], paths: &Paths) -> Result<Self, SetupError> {
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
    fn hosts_file(&self, name: &Name) -> Vec<IpAddr> {
        [RecordType::AAAA, RecordType::A]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)))
            .flat_map(|lookup| ips(&lookup))
            .collect()
    }

    /// The names that are tried for `name`, in order.
    fn candidates(&self, name: &Name) -> Vec<Name> {
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

    async fn mx(&self, name: Name) -> Result<Vec<(u16, String)>, DnsError> {
        let lookup = ask(&self.resolver, &name, RecordType::MX).await?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::MX(mx) => Some((mx.preference, plain(&mx.exchange))),
            _ => None,
        });
        some(records.collect())
    }

    async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, DnsError> {
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

    fn forget(&self, name: &Name) {
        for candidate in self.candidates(name) {
            for kind in [RecordType::A, RecordType::AAAA, RecordType::MX] {
                self.resolver.clear_lookup_cache(candidate.clone(), kind);
                self.local.clear_lookup_cache(candidate.clone(), kind);
            }
        }
    }
}

async fn family(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Vec<IpAddr>, DnsError> {
    some(ips(&ask(resolver, name, kind).await?))
}

/// Sends a query. After some steps of an endless alias chain the resolver reports that there are no
/// records; here that is reported as a failure, because it may be repaired.
async fn ask(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Result<Lookup, DnsError> {
    let error = match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => return Ok(lookup),
        Err(error) => error,
    };
    if let NetError::Dns(ResponseError::NoRecordsFound(NoRecords {
        query,
        response_code: ResponseCode::NoError,
        ..
    })) = &error
        && query.name() != name
        && let Ok(last) = resolver.lookup(query.name().clone(), RecordType::CNAME).await
        && last.answers().iter().any(|record| record.record_type() == RecordType::CNAME)
    {
        let name = plain(name);
        let text = format!(
            "{name} is an alias (CNAME) that loops, or has too many steps, and leads to no host; \
            the owner of its domain must fix that"
        );
        return Err(DnsError::Failed(text));
    }
    Err(failure(name, &error))
}

impl System {
    fn new(servers: &[SocketAddr], paths: Paths, total_time: Duration) -> Result<Self, SetupError> {
        let changed = paths.changed();
        let setup = Arc::new(Setup::read(servers, &paths)?);
        let (turns, slow_turns) =
            (Semaphore::new(QUESTIONS_MAX), Semaphore::new(SLOW_QUESTIONS_MAX));
        Ok(Self {
            servers: servers.to_vec(),
            paths,
            total_time,
            current: Lock::leaf((changed, setup)),
            turns,
            slow_turns,
        })
    }

    /// The setup, made again when one of the files has changed. Two `stat` calls for each query are
    /// cheaper than a watcher, and work on the overlay and bind mounts of containers.
    fn setup(&self) -> Arc<Setup> {
        let changed = self.paths.changed();
        let mut current = self.current.lock();
        if current.0 != changed {
            current.0 = changed;
            match Setup::read(&self.servers, &self.paths) {
                Ok(setup) => current.1 = Arc::new(setup),
                Err(error) => {
                    tracing::warn!(%error, "the changed resolver configuration was ignored")
                }
            }
        }
        current.1.clone()
    }

    /// Waits for a slot and for the answer, both within the total time.
    async fn limited<T>(
        &self,
        name: &str,
        question: impl Future<Output = Result<T, DnsError>>,
    ) -> Result<T, DnsError> {
        let turn = async {
            let turn = self
                .turns
                .acquire()
                .await
                .map_err(|closed| DnsError::Failed(closed.to_string()))?;
            let mut question = std::pin::pin!(question);
            if let Ok(answer) = timeout(SLOW_QUESTION, &mut question).await {
                return answer;
            }
            let _slow_turn = self.slow_turns.try_acquire().map_err(|_| {
                let text = format!(
                    "no name server answered for {name} within {SLOW_QUESTION:?}, and too \
                    many other questions wait"
                );
                DnsError::Failed(text)
            })?;
            drop(turn);
            question.await
        };
        match timeout(self.total_time, turn).await {
            Ok(answer) => answer,
            Err(_) => Err(DnsError::Failed(format!(
                "no name server answered for {name} within {:?}",
                self.total_time
            ))),
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

    fn forget(&self, name: &str) {
        if let Ok(name) = parse(name) {
            self.setup().forget(&name);
        }
    }

    fn forget_all(&self) {
        let setup = self.setup();
        setup.resolver.clear_cache();
        setup.local.clear_cache();
    }
}

/// Waits for the second family, but not for long when the first one has addresses.
async fn other_family(
    enough: bool,
    other: impl Future<Output = Result<Vec<IpAddr>, DnsError>>,
) -> Result<Vec<IpAddr>, DnsError> {
    let limit = if enough { FAMILY_TIME } else { TOTAL_TIME };
    timeout(limit, other)
        .await
        .unwrap_or_else(|_| Err(DnsError::Failed("no name server answered in time".to_owned())))
}

/// Servers, search domains and timeouts: from `resolv_conf` where given, within the limits here.
/// Configured servers have fixed options; then only the search domains of the file count.
fn configuration(servers: &[SocketAddr], resolv_conf: &[u8]) -> (ResolverConfig, ResolverOpts) {
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

/// A name that is not valid in DNS (a label over 63 octets, letters without an A-label) does not
/// exist there.
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
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NXDomain,
            ..
        })) => {
            return DnsError::Absent(Absence::Name);
        }
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NoError,
            ..
        })) => {
            return DnsError::Absent(Absence::Records);
        }
        NetError::Dns(ResponseError::NoRecordsFound(NoRecords { response_code: code, .. }))
        | NetError::Dns(ResponseError::ResponseCode(code)) => {
            format!("the name server answered \"{code}\"")
        }
        NetError::Timeout => "no name server answered in time".to_owned(),
        other => other.to_string(),
    };
    DnsError::Failed(format!("DNS look-up of {} failed: {cause}", plain(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::path::Path;
    use std::time::Instant;
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

    fn resolver(servers: &[SocketAddr], directory: &Path) -> System {
        let paths =
            Paths { hosts: directory.join("hosts"), resolv_conf: directory.join("resolv.conf") };
        System::new(servers, paths, Duration::from_millis(200)).unwrap()
    }

    #[tokio::test]
    async fn a_silent_name_server_is_given_up_in_time() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = resolver(&[silent.local_addr().unwrap()], Path::new("/nowhere"));
        let answer = resolver.mx("example.org").await;
        assert!(
            matches!(&answer, Err(DnsError::Failed(cause)) if cause.contains("within 200ms")),
            "{answer:?}"
        );
    }

    /// A name server that answers every query for an IPv4 address with 192.0.2.N, N increasing, TTL
    /// 600, and every other with no records; FORMERR to all that have an OPT record.
    async fn moving() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            let mut asked = 0;
            loop {
                let (_, from) = socket.recv_from(&mut query).await.unwrap();
                let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
                let is_a = query[end - 3] == 1;
                asked += u8::from(is_a);
                let refused = query[11] > 0;
                let code = if refused { 0x81 } else { 0x80 };
                let head = [
                    query[0],
                    query[1],
                    0x81,
                    code,
                    0,
                    1,
                    0,
                    u8::from(is_a && !refused),
                    0,
                    0,
                    0,
                    0,
                ];
                let answer = [0xc0, 12, 0, 1, 0, 1, 0, 0, 2, 88, 0, 4, 192, 0, 2, asked];
                let answer = if is_a && !refused { &answer[..] } else { &[] };
                socket.send_to(&[&head, &query[12..end], answer].concat(), from).await.unwrap();
            }
        });
        address
    }

    /// A name server that adds one record to each query for which `record` gives one; `record` gets
    /// the query, and where its question ends.
    async fn name_server(
        record: impl Fn(&[u8], usize) -> Option<[u8; 16]> + Send + 'static,
    ) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (_, from) = socket.recv_from(&mut query).await.unwrap();
                let end = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
                let Some(record) = record(&query, end) else { continue };
                let head = [query[0], query[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
                socket.send_to(&[&head, &query[12..end], &record].concat(), from).await.unwrap();
            }
        });
        address
    }

    /// A name server of a.example and b.example, each an alias of the other.
    async fn circle() -> SocketAddr {
        name_server(|query, _| {
            let other = if query[13].eq_ignore_ascii_case(&b'a') { b'b' } else { b'a' };
            Some([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, other, 0xc0, 14])
        })
        .await
    }

    #[tokio::test]
    async fn aliases_in_a_circle_are_told_in_plain_words() {
        let paths = Paths { hosts: "/nowhere".into(), resolv_conf: "/nowhere".into() };
        let resolver = System::new(&[circle().await], paths, TOTAL_TIME).unwrap();
        let (mx, addresses) = (
            resolver.mx("a.example").await.map(drop),
            resolver.addresses("b.example").await.map(drop),
        );
        for (answer, name) in [(mx, "a.example"), (addresses, "b.example")] {
            let Err(DnsError::Failed(words)) = answer else { panic!("{answer:?}") };
            assert!(
                words.starts_with(&format!("{name} is an alias (CNAME) that loops")),
                "{words}"
            );
        }
    }

    /// Twelve aliases, one in each answer, lead to an address: more than the resolver follows, and
    /// no reason to bounce a mail.
    #[tokio::test]
    async fn a_long_chain_of_aliases_is_no_missing_host() {
        let server = name_server(|query, end| match query[13].to_ascii_lowercase() {
            b'm' if query[end - 3] == 1 => {
                Some([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1])
            }
            b'm' => None,
            label => Some([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 4, 1, label + 1, 0xc0, 14]),
        });
        let paths = Paths { hosts: "/nowhere".into(), resolv_conf: "/nowhere".into() };
        let resolver = System::new(&[server.await], paths, TOTAL_TIME).unwrap();
        let (mx, addresses) = (
            resolver.mx("a.example").await.map(drop),
            resolver.addresses("a.example").await.map(drop),
        );
        for answer in [mx, addresses] {
            let Err(DnsError::Failed(words)) = answer else { panic!("{answer:?}") };
            assert!(words.contains("or has too many steps"), "{words}");
        }
    }

    #[tokio::test]
    async fn a_name_server_that_refuses_edns_is_asked_without() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(
            directory.path().join("resolv.conf"),
            "options edns0 trust-ad brand-new:7\nsearch ..\n",
        )
        .unwrap();
        let paths =
            Paths { hosts: "/nowhere".into(), resolv_conf: directory.path().join("resolv.conf") };
        let resolver = System::new(&[moving().await], paths, TOTAL_TIME).unwrap();
        assert_eq!(resolver.addresses("mx.example").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
    }

    #[tokio::test]
    async fn answers_are_kept_and_forgotten() {
        let paths = Paths { hosts: "/nowhere".into(), resolv_conf: "/nowhere".into() };
        let resolver = System::new(&[moving().await], paths, TOTAL_TIME).unwrap();
        let ask = async |name| resolver.addresses(name).await.unwrap()[0].to_string();
        assert_eq!([ask("mx.example").await, ask("mx.example").await], ["192.0.2.1", "192.0.2.1"]);
        resolver.forget("MX.example");
        assert_eq!([ask("mx.example").await, ask("mx.example").await], ["192.0.2.2", "192.0.2.2"]);
        resolver.forget_all();
        assert_eq!(ask("mx.example").await, "192.0.2.3");
        // A name without a dot is in the local network, and may have moved.
        assert_eq!([ask("hub").await, ask("hub").await], ["192.0.2.4", "192.0.2.4"]);
        resolver.forget("hub");
        assert_eq!(ask("hub").await, "192.0.2.5");
        tokio::time::sleep(LOCAL_TIME + Duration::from_millis(1200)).await;
        assert_eq!([ask("hub").await, ask("mx.example").await], ["192.0.2.6", "192.0.2.3"]);
    }

    #[tokio::test]
    async fn a_dead_name_server_before_a_good_one_costs_seconds() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let paths = Paths { hosts: "/nowhere".into(), resolv_conf: "/nowhere".into() };
        let servers = [silent.local_addr().unwrap(), moving().await];
        let resolver = System::new(&servers, paths, TOTAL_TIME).unwrap();
        let begun = Instant::now();
        assert_eq!(resolver.addresses("mx.example").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
        assert!(begun.elapsed() < TRY_TIME + FAMILY_TIME, "{:?}", begun.elapsed());
    }

    /// A name server that answers queries for IPv4 addresses and ignores all others.
    async fn deaf_for_ipv6() -> SocketAddr {
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1];
        name_server(move |query, end| (query[end - 3] == 1).then_some(record)).await
    }

    #[tokio::test]
    async fn one_family_is_enough_when_nobody_answers_for_the_other() {
        let paths = Paths { hosts: "/nowhere".into(), resolv_conf: "/nowhere".into() };
        let resolver = System::new(&[deaf_for_ipv6().await], paths, TOTAL_TIME).unwrap();
        let begun = Instant::now();
        assert_eq!(resolver.addresses("mx.example").await, Ok(vec!["192.0.2.1".parse().unwrap()]));
        assert!(begun.elapsed() < TRY_TIME, "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn the_hosts_file_is_believed_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = resolver(&[silent.local_addr().unwrap()], directory.path());
        assert!(matches!(resolver.addresses("printer").await, Err(DnsError::Failed(_))));
        let file = directory.path().join("hosts");
        for (text, expected) in [
            ("192.0.2.1 printer\n", "192.0.2.1"),
            ("junk\n2001:db8::1 a Printer # new\n", "2001:db8::1"),
        ] {
            fs::write(&file, text).unwrap();
            // Some file systems have coarse times; this sets a later one, as a later write would.
            let later = SystemTime::now() + Duration::from_secs(text.len() as u64);
            fs::File::open(&file).unwrap().set_modified(later).unwrap();
            assert_eq!(resolver.addresses("printer").await, Ok(vec![expected.parse().unwrap()]));
        }
    }

    #[test]
    fn resolv_conf_is_used_within_limits() {
        let servers = |config: &ResolverConfig| -> Vec<(IpAddr, u16)> {
            config
                .name_servers()
                .iter()
                .map(|server| (server.ip, server.connections[0].port))
                .collect()
        };
        let text = "nameserver 192.0.2.53\nsearch a.example b.example\noptions timeout:30 \
        attempts:9 ndots:5 edns0 new-one:1\n";
        let (config, options) = configuration(&[], text.as_bytes());
        assert_eq!(servers(&config), [("192.0.2.53".parse().unwrap(), 53)]);
        assert_eq!((config.search().len(), options.timeout, options.attempts), (2, TRY_TIME, 3));
        for nothing in ["", "nameserver nonsense\n"] {
            assert_eq!(
                servers(&configuration(&[], nothing.as_bytes()).0),
                [(Ipv4Addr::LOCALHOST.into(), 53)]
            );
        }
        assert!(!options.edns0);
        // The file's options do not apply to configured servers.
        let text = format!("{text}options use-vc timeout:1 attempts:1 rotate\n");
        let (config, options) =
            configuration(&["192.0.2.1:5353".parse().unwrap()], text.as_bytes());
        assert_eq!(servers(&config), [("192.0.2.1".parse().unwrap(), 5353)]);
        assert_eq!(
            (config.name_servers()[0].connections.len(), options.timeout, options.attempts),
            (2, TRY_TIME, 2)
        );
        // Answers of a container engine are cached for seconds.
        let (_, options) =
            configuration(&[], b"nameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n");
        assert_eq!(
            (options.positive_max_ttl, options.negative_max_ttl),
            (Some(LOCAL_TIME), Some(LOCAL_TIME))
        );
        let (_, options) = configuration(&[], b"nameserver 192.0.2.53\n");
        assert_eq!(
            (options.positive_max_ttl, options.negative_max_ttl),
            (Some(POSITIVE_TIME), Some(NEGATIVE_TIME))
        );
    }

    #[tokio::test]
    async fn only_names_without_a_dot_are_searched() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("resolv.conf"), "search a.example b.example\n").unwrap();
        let setup = resolver(&[], directory.path()).setup();
        let candidates =
            |text| setup.candidates(&parse(text).unwrap()).iter().map(plain).collect::<Vec<_>>();
        assert_eq!(candidates("mx"), ["mx", "mx.a.example", "mx.b.example"]);
        assert_eq!(candidates("mx.example"), ["mx.example"]);
        assert_eq!(candidates("localhost"), ["localhost"]);
    }
}
