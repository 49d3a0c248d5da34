use super::*;
use crate::ground::dns::lookup::plain;
use crate::ground::dns::setup::configuration;
use crate::ground::dns::{
    Absence, FAMILY_TIME, LOCAL_TIME, NEGATIVE_TIME, POSITIVE_TIME, TRY_TIME,
};
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::proto::rr::Name;
use std::fs;
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
            let head =
                [query[0], query[1], 0x81, code, 0, 1, 0, u8::from(is_a && !refused), 0, 0, 0, 0];
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
    let (mx, addresses) =
        (resolver.mx("a.example").await.map(drop), resolver.addresses("b.example").await.map(drop));
    for (answer, name) in [(mx, "a.example"), (addresses, "b.example")] {
        let Err(DnsError::Failed(words)) = answer else { panic!("{answer:?}") };
        assert!(words.starts_with(&format!("{name} is an alias (CNAME) that loops")), "{words}");
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
    let (mx, addresses) =
        (resolver.mx("a.example").await.map(drop), resolver.addresses("a.example").await.map(drop));
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
        config.name_servers().iter().map(|server| (server.ip, server.connections[0].port)).collect()
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
    let (config, options) = configuration(&["192.0.2.1:5353".parse().unwrap()], text.as_bytes());
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
