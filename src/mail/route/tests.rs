//! Tests of the rules with a DNS zone in the test. Real name servers: `tests/peer_out`.

use super::*;
use crate::ground::dns::DnsFuture;
use crate::mail::model::Address;
use std::collections::HashMap;

type Records<T> = HashMap<&'static str, Result<Vec<T>, DnsError>>;

/// A zone: names that are not listed do not exist.
#[derive(Default)]
struct Zone {
    mx: Records<(u16, String)>,
    addresses: Records<IpAddr>,
    /// A host whose addresses are never answered.
    silent: Option<&'static str>,
}

impl Zone {
    fn mx(mut self, name: &'static str, records: &[(u16, &str)]) -> Self {
        let records =
            records.iter().map(|(preference, host)| (*preference, (*host).to_owned())).collect();
        self.mx.insert(name, Ok(records));
        self
    }

    fn mx_error(mut self, name: &'static str, error: DnsError) -> Self {
        self.mx.insert(name, Err(error));
        self
    }

    fn host(mut self, name: &'static str, addresses: &[&str]) -> Self {
        self.addresses
            .insert(name, Ok(addresses.iter().map(|text| text.parse().unwrap()).collect()));
        self
    }

    fn host_error(mut self, name: &'static str, error: DnsError) -> Self {
        self.addresses.insert(name, Err(error));
        self
    }
}

impl Resolver for Zone {
    fn mx(&self, name: &str) -> DnsFuture<'_, Vec<(u16, String)>> {
        let answer = self.mx.get(name).cloned().unwrap_or(Err(DnsError::Absent(Absence::Name)));
        Box::pin(async move { answer })
    }

    fn addresses(&self, name: &str) -> DnsFuture<'_, Vec<IpAddr>> {
        if self.silent == Some(name) {
            return Box::pin(std::future::pending());
        }
        let answer =
            self.addresses.get(name).cloned().unwrap_or(Err(DnsError::Absent(Absence::Name)));
        Box::pin(async move { answer })
    }

    fn texts(&self, _: &str) -> DnsFuture<'_, Vec<String>> {
        Box::pin(async { Err(DnsError::Absent(Absence::Records)) })
    }

    fn host_names(&self, _: IpAddr) -> DnsFuture<'_, Vec<String>> {
        Box::pin(async { Err(DnsError::Absent(Absence::Records)) })
    }
}

fn failed() -> DnsError {
    DnsError::Failed("the name server answered SERVFAIL".into())
}

fn router(zone: Zone, smart_relay: Option<&str>, cc_mta: Option<&str>) -> Router {
    let config = RouteConfig {
        smart_relay: smart_relay.map(|text| text.parse().unwrap()),
        cc_mta: cc_mta.map(|text| text.parse().unwrap()),
        fallback: false,
        hostname: "Relay.Example".into(),
        own_addresses: vec!["127.0.0.1:25".parse().unwrap(), "192.0.2.99:25".parse().unwrap()],
        port: 25,
    };
    Router::new(config, Arc::new(zone))
}

/// The destination with this name, perhaps under other properties.
fn at(name: &str) -> Destination {
    RouteRules::default().named_once(name).unwrap()
}

impl Router {
    async fn route_to(&self, name: &str) -> Result<Route, RouteError> {
        self.route(&self.rules().named_once(name).unwrap()).await
    }
}

impl Router {
    /// How the hosts of a destination were found, each host with its use, and whether there is a
    /// route.
    async fn trace_of(&self, name: &str) -> (Option<HostLookup>, Vec<(String, HostUse)>, bool) {
        let mut trace = RouteTrace::default();
        let destination = self.rules().named_once(name).unwrap();
        let route = self.traced(&destination, &mut trace).await;
        assert_eq!(route, self.route(&destination).await, "{name}");
        let used = trace.hosts.iter().filter(|host| host.used == HostUse::Used);
        let hosts = used.map(|host| MailHost {
            host: host.host.clone(),
            addresses: host.addresses.clone(),
            upstream: None,
        });
        let hosts: Vec<_> = hosts.collect();
        assert_eq!(route.as_ref().map(|route| route.hosts.clone()).unwrap_or_default(), hosts);
        let hosts = trace.hosts.into_iter().map(|host| (host.host, host.used));
        (trace.lookup, hosts.collect(), route.is_ok())
    }
}

#[tokio::test]
async fn the_trace_tells_what_became_of_each_host() {
    let host = |name: &str, used| (name.to_owned(), used);
    let zone = || {
        Zone::default()
            .mx(
                "many.example",
                &[
                    (10, "gone.example"),
                    (20, "one.example"),
                    (30, "failing.example"),
                    (40, "192.0.2.7"),
                    (50, "relay.example"),
                    (60, "two.example"),
                ],
            )
            .host_error("failing.example", failed())
            .host("one.example", &["192.0.2.1"])
            .host("two.example", &["192.0.2.2"])
            .host("alone.example", &["192.0.2.3"])
            .host("odd.example", &["0.0.0.0"])
            .host("hub", &["192.0.2.4"])
            .mx("null.example", &[(0, "")])
            .mx_error("silent.example", failed())
    };
    let by_domain = router(zone(), None, None);
    let many = vec![
        host("gone.example", HostUse::NoAddress),
        host("one.example", HostUse::Used),
        host("failing.example", HostUse::Unanswered("the name server answered SERVFAIL".into())),
        host("192.0.2.7", HostUse::NotAName),
        host("relay.example", HostUse::ThisHost),
        host("two.example", HostUse::NotPreferred),
    ];
    let alone = |name: &str, used| vec![host(name, used)];
    for (name, lookup, hosts, goes) in [
        ("many.example", Some(HostLookup::Mx(6)), many, true),
        ("alone.example", Some(HostLookup::NoMx), alone("alone.example", HostUse::Used), true),
        ("odd.example", Some(HostLookup::NoMx), alone("odd.example", HostUse::Unusable), false),
        ("none.example", Some(HostLookup::NoMx), alone("none.example", HostUse::NoAddress), false),
        ("null.example", Some(HostLookup::NullMx), vec![], false),
        ("silent.example", None, vec![], false),
        ("[192.0.2.9]", Some(HostLookup::Address), alone("192.0.2.9", HostUse::Used), true),
        ("[127.0.0.1]", Some(HostLookup::Address), alone("127.0.0.1", HostUse::ThisHost), false),
    ] {
        assert_eq!(by_domain.trace_of(name).await, (lookup, hosts, goes), "{name}");
    }
    for (relay, lookup, name) in [
        ("hub", HostLookup::LocalName, "hub"),
        ("[one.example]", HostLookup::Exact, "one.example"),
        ("192.0.2.8", HostLookup::Address, "192.0.2.8"),
        ("alone.example", HostLookup::NoMx, "alone.example"),
    ] {
        let told = router(zone(), Some(relay), None).trace_of(relay).await;
        assert_eq!(told, (Some(lookup), alone(name, HostUse::Used), true), "{relay}");
    }
}

#[test]
fn a_next_hop_is_known_in_other_words_and_what_gets_no_mail_is_refused() {
    let meant = |relay, copies, name: &str| {
        let router = router(Zone::default(), relay, copies);
        router.rules().destination_named(name).map(|destination| destination.to_string())
    };
    for (relay, others) in [
        ("[mx]:25", ["mx", "[mx]", "MX:25", "[Mx]:25"]),
        (
            "[relay.example.com]",
            [
                "relay.example.com",
                "[Relay.example.com]",
                "relay.example.com:25",
                "[relay.example.com]:25",
            ],
        ),
        (
            "relay.example.com:587",
            [
                "relay.example.com",
                "[relay.example.com]",
                "relay.example.com:587",
                "[relay.example.com]:587",
            ],
        ),
        ("127.0.0.1:2525", ["127.0.0.1", "[127.0.0.1]", "127.0.0.1:2525", "[127.0.0.1]:2525"]),
        (
            "[2001:db8::1]",
            ["2001:db8::1", "[2001:DB8::1]", "[2001:db8::1]:25", "[IPv6:2001:db8::1]"],
        ),
    ] {
        for name in others {
            assert_eq!(meant(Some(relay), None, name).as_deref(), Ok(relay), "{name}");
        }
        for name in ["example.org", "mx:26", "mx2", "127.0.0.1:25", "cc:mx", "x y"] {
            let words = meant(Some(relay), None, name).unwrap_err();
            assert!(words.contains(&format!("all mail goes to {relay}")), "{words}");
        }
    }
    // By MX any domain is valid, also before there is mail for it.
    for (name, domain) in [
        ("Example.ORG", "example.org"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("archive.example", "archive.example"),
    ] {
        assert_eq!(meant(None, Some("archive.example:26"), name).as_deref(), Ok(domain));
    }
    // Mail for the longest one can be here, too: that of a mailbox whose name is one letter.
    let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(60)].join(".");
    assert!(
        Address::parse(&format!("r@{longest}")).is_ok()
            && Address::parse(&format!("rr@{longest}")).is_err()
    );
    assert_eq!(meant(None, None, &longest), Ok(longest.clone()));
    for name in [
        "cc:archive.example:26",
        "CC:archive.example:26",
        "cc:archive.example",
        "archive.example:26",
        "[archive.example]",
    ] {
        assert_eq!(
            meant(None, Some("archive.example:26"), name).as_deref(),
            Ok("cc:archive.example:26"),
            "{name}"
        );
    }
    for name in ["mx:25", "[mx]", "cc:mx", "a b"] {
        assert!(meant(None, None, name).unwrap_err().contains("name a domain"), "{name}");
    }
}

async fn hosts(zone: Zone, destination: &str) -> Vec<String> {
    let route = router(zone, None, None).route_to(destination).await.unwrap();
    assert!(route.hosts.iter().all(|mail_host| !mail_host.addresses.is_empty()));
    route.hosts.into_iter().map(|mail_host| mail_host.host).collect()
}

async fn refusal(zone: Zone, destination: &str) -> String {
    let reply = router(zone, None, None).route_to(destination).await.unwrap_err().0;
    format!("{} {}", reply.code, reply.enhanced.unwrap())
}

#[tokio::test]
async fn the_best_preference_comes_first() {
    let zone = Zone::default()
        .mx("d.example", &[(20, "b.example"), (10, "a.example"), (30, "c.example")])
        .host("a.example", &["192.0.2.1"])
        .host("b.example", &["192.0.2.2", "192.0.2.2", "2001:db8::2"])
        .host("c.example", &["192.0.2.3"]);
    assert_eq!(hosts(zone, "d.example").await, ["a.example", "b.example", "c.example"]);
}

#[tokio::test]
async fn a_name_without_mx_is_its_own_host() {
    let absent = DnsError::Absent(Absence::Records);
    let zone =
        Zone::default().mx_error("d.example", absent.clone()).host("d.example", &["192.0.2.1"]);
    assert_eq!(hosts(zone, "d.example").await, ["d.example"]);
    let zone =
        Zone::default().mx_error("d.example", absent.clone()).host_error("d.example", absent);
    assert_eq!(refusal(zone, "d.example").await, "550 5.4.4");
    // MX records without a usable host are no reason to try the name itself (RFC 5321 §5.1).
    let zone =
        Zone::default().mx("d.example", &[(10, "gone.example")]).host("d.example", &["192.0.2.1"]);
    assert_eq!(refusal(zone, "d.example").await, "550 5.4.4");
}

#[tokio::test]
async fn names_that_are_not_there_are_told_from_names_that_nobody_knows_about() {
    assert_eq!(refusal(Zone::default(), "gone.example").await, "550 5.1.2");
    assert_eq!(
        refusal(Zone::default().mx_error("d.example", failed()), "d.example").await,
        "451 4.4.3"
    );
    let zone =
        Zone::default().mx("d.example", &[(10, "a.example")]).host_error("a.example", failed());
    assert_eq!(refusal(zone, "d.example").await, "451 4.4.3");
    // One host that does not exist, one that does: mail goes on.
    let zone = Zone::default()
        .mx("d.example", &[(10, "a.example"), (20, "b.example")])
        .host_error("a.example", failed())
        .host("b.example", &["192.0.2.2"]);
    assert_eq!(hosts(zone, "d.example").await, ["b.example"]);
}

#[tokio::test]
async fn a_null_mx_takes_no_mail() {
    let zone = Zone::default().mx("d.example", &[(0, "")]).host("d.example", &["192.0.2.1"]);
    assert_eq!(refusal(zone, "d.example").await, "556 5.1.10");
}

#[tokio::test]
async fn hosts_that_are_none_are_skipped() {
    let zone = Zone::default()
        .mx(
            "d.example",
            &[
                (1, ""),
                (2, "192.0.2.7"),
                (3, "gone.example"),
                (4, "zero.example"),
                (5, "a.example"),
            ],
        )
        .host(
            "zero.example",
            &["0.0.0.0", "::", "0.255.255.255", "255.255.255.255", "224.0.0.1", "::ffff:0.0.0.0"],
        )
        .host("a.example", &["192.0.2.1"]);
    assert_eq!(hosts(zone, "d.example").await, ["a.example"]);
    let zone = Zone::default()
        .mx_error("d.example", DnsError::Absent(Absence::Records))
        .host("d.example", &["0.0.0.0"]);
    assert_eq!(refusal(zone, "d.example").await, "550 5.4.4");
}

#[tokio::test]
async fn this_host_ends_the_list() {
    let zone = || {
        Zone::default()
            .host("a.example", &["192.0.2.1"])
            .host("relay.example", &["192.0.2.9"])
            .host("alias.example", &["192.0.2.99"])
            .host("b.example", &["192.0.2.2"])
    };
    let mx = [(10, "a.example"), (20, "relay.example"), (20, "b.example"), (30, "b.example")];
    assert_eq!(hosts(zone().mx("d.example", &mx), "d.example").await, ["a.example"]);
    assert_eq!(refusal(zone().mx("d.example", &mx[1..]), "d.example").await, "554 5.4.6");
    // By its address, under another name.
    let mx = [(10, "a.example"), (20, "alias.example"), (30, "b.example")];
    assert_eq!(hosts(zone().mx("d.example", &mx), "d.example").await, ["a.example"]);
    assert_eq!(refusal(zone().mx("d.example", &mx[1..]), "d.example").await, "554 5.4.6");
    assert_eq!(refusal(zone(), "[192.0.2.99]").await, "554 5.4.6");
    assert_eq!(refusal(zone(), "[127.0.0.1]").await, "554 5.4.6");
    assert_eq!(refusal(zone(), "relay.example").await, "554 5.4.6");
}

#[tokio::test]
async fn a_listener_on_all_addresses_is_every_address_of_this_machine() {
    for own in ["[::]:25", "0.0.0.0:25"] {
        let mut router = router(Zone::default(), None, None);
        router.config.own_addresses = vec![own.parse().unwrap()];
        for loopback in ["[127.0.0.1]", "[127.8.8.8]", "[ipv6:::1]"] {
            assert_eq!(router.route_to(loopback).await.unwrap_err().0.code, 554, "{loopback}");
        }
        // Whatever the relay's port: the sender's own machine is not a mail host.
        router.config.port = 26;
        for own in ["[127.0.0.1]", "[127.8.8.8]", "[ipv6:::1]", "[ipv6:::ffff:127.0.0.1]"] {
            assert_eq!(router.route_to(own).await.unwrap_err().0.code, 554, "{own}");
        }
        // Except those that an operator declares to be another server's.
        let router = router.local_mail_hosts(vec!["127.8.0.0/16".parse().unwrap()]);
        assert!(
            router.route_to("[127.8.8.8]").await.is_ok()
                && router.route_to("[127.0.0.1]").await.is_err()
        );
    }
}

#[tokio::test]
async fn what_was_answered_is_known_while_another_host_is_still_asked_for() {
    let zone = Zone::default()
        .mx("half.example", &[(10, "mx1.example"), (20, "192.0.2.7"), (30, "relay.example")])
        .host("relay.example", &["192.0.2.8"]);
    let zone = Zone { silent: Some("mx1.example"), ..zone };
    let (router, mut trace) = (router(zone, None, None), RouteTrace::default());
    let destination = at("half.example");
    let lookup = router.traced(&destination, &mut trace);
    let patience = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(patience, lookup).await.is_err());
    let used: Vec<_> =
        trace.hosts.iter().map(|host| (host.host.as_str(), host.used.as_str())).collect();
    assert_eq!(
        used,
        [("mx1.example", "pending"), ("192.0.2.7", "not_a_name"), ("relay.example", "this_host")]
    );
    assert_eq!(trace.hosts[2].addresses, ["192.0.2.8:25".parse().unwrap()]);
}

#[tokio::test]
async fn mail_by_domain_never_leads_to_this_machine() {
    let zone = || {
        Zone::default()
            .host("localhost", &["127.0.0.1", "::1"])
            .host("home.example", &["127.0.0.1"])
            .host("six.example", &["::1"])
            .host("link.example", &["169.254.169.254", "fe80::1"])
            .host("private.example", &["10.1.2.3", "192.168.1.1", "fd00::1"])
            .host("a.example", &["192.0.2.1"])
    };
    for host in ["localhost", "home.example", "six.example"] {
        assert_eq!(
            refusal(zone().mx("d.example", &[(10, host), (20, "a.example")]), "d.example").await,
            "554 5.4.6",
            "{host}"
        );
        assert_eq!(
            hosts(zone().mx("d.example", &[(20, host), (10, "a.example")]), "d.example").await,
            ["a.example"],
            "{host}"
        );
        assert_eq!(refusal(zone(), host).await, "554 5.4.6", "{host}");
    }
    let mx = [(10, "link.example"), (20, "private.example")];
    assert_eq!(hosts(zone().mx("d.example", &mx), "d.example").await, ["private.example"]);
    assert_eq!(refusal(zone(), "[169.254.169.254]").await, "550 5.4.4");
    // An operator may configure such a host, by MX as well; only the relay's own listener is a
    // loop.
    for spec in ["127.0.0.1:2525", "[localhost]:2525", "d.example:2525", "[::1]:2525"] {
        let zone = zone().mx("d.example", &[(10, "home.example")]);
        assert!(router(zone, Some(spec), None).route_to(spec).await.is_ok(), "{spec}");
    }
    assert!(router(zone(), Some("127.0.0.1:25"), None).route_to("127.0.0.1:25").await.is_err());
}

#[tokio::test]
async fn a_host_that_moved_is_found() {
    let old = router(Zone::default().host("hub", &["192.0.2.1"]), Some("hub:25"), None)
        .route_to("hub:25")
        .await
        .unwrap();
    let moved = async |addresses: &[&str]| {
        let router = router(Zone::default().host("hub", addresses), Some("hub:25"), None);
        router.moved(&old).await.map(|route| {
            route.hosts[0].addresses.iter().map(ToString::to_string).collect::<Vec<_>>()
        })
    };
    assert_eq!(moved(&["192.0.2.1", "192.0.2.2"]).await, Some(vec!["192.0.2.2:25".to_owned()]));
    assert_eq!(moved(&["192.0.2.1"]).await, None);
    for (destination, name) in [
        ("d.example", "d.example"),
        ("d.example:25", "d.example"),
        ("[hub]:2525", "hub"),
        ("cc:hub:26", "hub"),
        ("[192.0.2.1]", "192.0.2.1"),
    ] {
        assert_eq!(name_of(&at(destination)), name);
    }
}

#[tokio::test]
async fn failures_are_counted_until_somebody_answers() {
    let counters = RouteCounters::alone().unwrap();
    let zone = Zone::default().mx_error("d.example", failed());
    let router = router(zone, None, None).counted(counters.clone());
    assert!(
        router.route_to("d.example").await.is_err() && router.route_to("d.example").await.is_err()
    );
    assert_eq!(counters.dns_failures_total.get(), 2);
    assert!(counters.dns_failing_since_seconds.get() > 0);
    // That a name does not exist is an answer.
    assert!(router.route_to("gone.example").await.is_err());
    assert_eq!(
        (counters.dns_failures_total.get(), counters.dns_failing_since_seconds.get()),
        (2, 0)
    );
}

#[tokio::test]
async fn a_better_host_that_nobody_knows_about_is_no_loop() {
    let zone = Zone::default()
        .mx("d.example", &[(10, "a.example"), (20, "relay.example")])
        .host_error("a.example", failed())
        .host("relay.example", &["192.0.2.9"]);
    assert_eq!(refusal(zone, "d.example").await, "451 4.4.3");
}

#[tokio::test]
async fn literals_and_names_without_a_dot_need_no_mx() {
    assert_eq!(hosts(Zone::default(), "[192.0.2.1]").await, ["192.0.2.1"]);
    assert_eq!(hosts(Zone::default(), "[ipv6:2001:db8::1]").await, ["2001:db8::1"]);
    let zone = Zone::default().mx_error("mx", failed()).host("mx", &["192.0.2.1"]);
    assert_eq!(hosts(zone, "mx").await, ["mx"]);
}

#[tokio::test]
async fn there_are_limits() {
    let names: Vec<String> = (0..100).map(|n| format!("mx{n}.example")).collect();
    let mut zone = Zone::default();
    let mut records = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let name: &'static str = name.clone().leak();
        records.push((u16::try_from(place).unwrap(), name));
        let addresses: Vec<String> = (1..100).map(|n| format!("10.1.{place}.{n}")).collect();
        zone = zone.host(name, &addresses.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let route =
        router(zone.mx("d.example", &records), None, None).route_to("d.example").await.unwrap();
    assert_eq!(route.hosts[0].addresses.len(), ADDRESSES_MAX);
    assert_eq!(
        route.hosts.iter().map(|mail_host| mail_host.addresses.len()).sum::<usize>(),
        ROUTE_MAX
    );
}

#[tokio::test]
async fn a_smart_relay_takes_everything_and_never_bounces() {
    let to = Address::parse("somebody@Else.Example").unwrap();
    let plain = router(Zone::default(), None, Some("copies.example:2525"));
    assert_eq!(plain.rules().of(None, &to).name(), "else.example");
    assert_eq!(plain.rules().copy().unwrap().name(), "cc:copies.example:2525");

    let zone = || {
        Zone::default()
            .mx("hub.example", &[(10, "mx.hub.example")])
            .host("mx.hub.example", &["192.0.2.1"])
            .host("hub.example", &["192.0.2.2"])
    };
    for (spec, host, port) in [
        ("hub.example", "mx.hub.example", 25),
        ("hub.example:587", "mx.hub.example", 587),
        ("[hub.example]:587", "hub.example", 587),
        ("192.0.2.3:26", "192.0.2.3", 26),
        ("[2001:db8::3]", "2001:db8::3", 25),
    ] {
        let router = router(zone(), Some(spec), Some("copies.example"));
        assert_eq!(router.rules().of(None, &to).name(), spec);
        assert_eq!(router.rules().copy(), None);
        let route = router.route_to(spec).await.unwrap();
        assert_eq!(
            (route.hosts[0].host.as_str(), route.hosts[0].addresses[0].port()),
            (host, port),
            "{spec}"
        );
    }

    let broken = || {
        Zone::default()
            .mx("null.example", &[(0, "")])
            .mx_error("slow.example", failed())
            .host("zero", &["0.0.0.0"])
    };
    for spec in [
        "gone.example",
        "[gone.example]",
        "gone",
        "null.example",
        "slow.example",
        "zero",
        "relay.example",
    ] {
        let reply = router(broken(), Some(spec), None).route_to(spec).await.unwrap_err().0;
        assert_eq!(reply.class(), ReplyClass::Temporary, "{reply}");
        assert!(reply.text.contains("check the property smart_relay"), "{reply}");
        let reply =
            router(broken(), None, Some(spec)).route_to(&format!("cc:{spec}")).await.unwrap_err().0;
        assert_eq!(reply.class(), ReplyClass::Temporary, "{reply}");
        assert!(reply.text.contains("check the property cc_mta"), "{reply}");
    }
    // A copy that waits when the property changes has no destination any more.
    for (smart_relay, cc_mta) in
        [(None, None), (None, Some("other.example")), (Some("hub.example"), Some("copies.example"))]
    {
        let reply =
            router(zone(), smart_relay, cc_mta).route_to("cc:copies.example").await.unwrap_err().0;
        assert_eq!(reply.code, 554, "{reply}");
    }
}

mod upstreams;
