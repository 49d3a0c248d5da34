//! Routes from real name servers: dnsmasq for all kinds of records, unbound for a broken zone.

use crate::support::{Program, free_port};
use postern::ground::dns::{Absence, DnsError, Resolver, system};
use postern::mail::model::Destination;
use postern::mail::route::{RouteConfig, Router};
use std::net::SocketAddr;
use std::sync::Arc;

struct Names {
    _program: Program,
    resolver: Arc<dyn Resolver>,
}

impl Names {
    async fn dnsmasq(records: &[&str]) -> Self {
        let port = free_port();
        let port_option = format!("--port={port}");
        let mut arguments = vec![
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--no-daemon",
            "--listen-address=127.0.0.1",
            "--bind-interfaces",
            "--user=root",
            "--pid-file=",
            "--local=/example/",
            &port_option,
        ];
        arguments.extend(records);
        let program = Program::start("dnsmasq", &arguments, port).await;
        Self {
            _program: program,
            resolver: system(&[SocketAddr::from(([127, 0, 0, 1], port))]).unwrap(),
        }
    }

    async fn hosts(&self, destination: &str) -> Result<Vec<String>, String> {
        let config = RouteConfig {
            smart_relay: None,
            cc_mta: None,
            fallback: false,
            hostname: "relay.example".into(),
            own_addresses: Vec::new(),
            port: 25,
        };
        let destination = Destination::domain(destination).unwrap();
        let route = Router::new(config, self.resolver.clone()).route(&destination).await;
        route
            .map(|route| route.hosts.into_iter().map(|hop| hop.host).collect())
            .map_err(|error| format!("{} {}", error.0.code, error.0.enhanced.unwrap()))
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn all_kinds_of_records() {
    let names = Names::dnsmasq(&[
        "--mx-host=good.example,mx2.example,20",
        "--mx-host=good.example,mx1.example,10",
        "--mx-host=good.example,gone.example,5",
        "--host-record=mx1.example,192.0.2.1,2001:db8::1",
        "--host-record=mx2.example,192.0.2.2",
        "--host-record=alone.example,192.0.2.3",
        "--mx-host=loop.example,relay.example,10",
        "--mx-host=loop.example,mx2.example,10",
        "--mx-host=backup.example,mx1.example,10",
        "--mx-host=backup.example,relay.example,20",
        "--mx-host=backup.example,mx2.example,30",
        "--host-record=relay.example,192.0.2.9",
        "--mx-host=gone-only.example,gone.example,10",
        "--mx-host=to-alias.example,alias.example,10",
        "--cname=alias.example,mx1.example",
        "--cname=alias-domain.example,good.example",
        "--txt-record=nothing.example,hello",
        "--mx-host=literal.example,192.0.2.7,10",
        "--host-record=zero.example,0.0.0.0",
        // RFC 7505 on the wire: preference 0, the root.
        "--dns-rr=null.example,15,000000",
        "--host-record=null.example,192.0.2.4",
    ])
    .await;
    let ok = |hosts: &[&str]| Ok(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
    let no = |code: &str| Err(code.to_owned());
    for (destination, expected) in [
        ("good.example", ok(&["mx1.example", "mx2.example"])),
        ("GOOD.example", ok(&["mx1.example", "mx2.example"])),
        ("alone.example", ok(&["alone.example"])),
        ("loop.example", no("554 5.4.6")),
        ("relay.example", no("554 5.4.6")),
        ("backup.example", ok(&["mx1.example"])),
        ("gone-only.example", no("550 5.4.4")),
        ("to-alias.example", ok(&["alias.example"])),
        ("alias-domain.example", ok(&["mx1.example", "mx2.example"])),
        ("nothing.example", no("550 5.4.4")),
        ("missing.example", no("550 5.1.2")),
        ("literal.example", no("550 5.4.4")),
        ("zero.example", no("550 5.4.4")),
        ("null.example", no("556 5.1.10")),
        // Refused by this server, which has no upstream server.
        ("elsewhere.test", no("451 4.4.3")),
        ("bücher.example", no("550 5.1.2")),
    ] {
        assert_eq!(names.hosts(destination).await, expected, "{destination}");
    }
    let mut addresses = names.resolver.addresses("mx1.example").await.unwrap();
    addresses.sort();
    assert_eq!(
        addresses,
        ["192.0.2.1".parse::<std::net::IpAddr>().unwrap(), "2001:db8::1".parse().unwrap()]
    );
    assert_eq!(
        names.resolver.addresses("nothing.example").await,
        Err(DnsError::Absent(Absence::Records))
    );
    assert_eq!(
        names.resolver.addresses("missing.example").await,
        Err(DnsError::Absent(Absence::Name))
    );
}

#[tokio::test(crate = "crate::with_threads")]
async fn equal_preferences_take_turns() {
    let names = Names::dnsmasq(&[
        "--mx-host=d.example,a.example,10",
        "--mx-host=d.example,b.example,10",
        "--host-record=a.example,192.0.2.1",
        "--host-record=b.example,192.0.2.2",
    ])
    .await;
    let mut first = std::collections::HashSet::new();
    for _ in 0..100 {
        let hosts = names.hosts("d.example").await.unwrap();
        assert_eq!(hosts.len(), 2);
        first.insert(hosts[0].clone());
    }
    assert_eq!(first.len(), 2);
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_name_server_that_fails_is_no_verdict() {
    // unbound with a zone whose only server is a closed port: SERVFAIL for everything in it.
    let (port, dead) = (free_port(), free_port());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("unbound.conf");
    let text = format!(
        "server:\n interface: 127.0.0.1@{port}\n do-daemonize: no\n use-syslog: no\n \
        outbound-msg-retry: 1\n username: \"\"\n chroot: \"\"\n \
         pidfile: \"\"\n do-not-query-localhost: no\n module-config: \"iterator\"\n \
         local-zone: \"fine.example.\" static\n local-data: \"fine.example. MX 10 \
         mx.fine.example.\"\n \
         local-data: \"mx.fine.example. A 192.0.2.1\"\n \
         local-data: \"half.fine.example. MX 10 mx.broken.example.\"\n \
         local-data: \"half.fine.example. MX 20 mx.fine.example.\"\n \
         local-data: \"dead.fine.example. MX 10 mx.broken.example.\"\n\
         forward-zone:\n name: \"broken.example.\"\n forward-tcp-upstream: yes\n forward-addr: \
         127.0.0.1@{dead}\n\
         remote-control:\n control-enable: no\n"
    );
    std::fs::write(&file, text).unwrap();
    let program = Program::start("unbound", &["-d", "-c", file.to_str().unwrap()], port).await;
    let names = Names {
        _program: program,
        resolver: system(&[SocketAddr::from(([127, 0, 0, 1], port))]).unwrap(),
    };
    assert_eq!(names.hosts("fine.example").await, Ok(vec!["mx.fine.example".to_owned()]));
    assert_eq!(names.hosts("other.fine.example").await, Err("550 5.1.2".to_owned()));
    assert_eq!(names.hosts("broken.example").await, Err("451 4.4.3".to_owned()));
    assert_eq!(names.hosts("dead.fine.example").await, Err("451 4.4.3".to_owned()));
    assert_eq!(names.hosts("half.fine.example").await, Ok(vec!["mx.fine.example".to_owned()]));
}
