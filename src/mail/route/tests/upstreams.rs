//! Groups of upstreams: their order, who is passed over, and the fallback.

use super::*;
use crate::ground::tls::TlsLevel;
use crate::mail::model::{UpstreamAvailability, UpstreamRefusal, UpstreamStage, UpstreamStatus};
use UpstreamAvailability::{Refuses, Unreachable};

/// What is known of upstreams, by name; those that are not listed take mail.
#[derive(Debug, Default)]
struct Known(HashMap<&'static str, UpstreamAvailability>);

impl UpstreamMonitor for Known {
    fn judge(&self, _: &str, _: UpstreamStage, _: &Reply, _: &str) -> Option<UpstreamRefusal> {
        None
    }

    fn pauses(&self) -> u64 {
        0
    }

    fn accepted(&self, _: &str, _: u64) {}

    fn refused_sender(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn paused(&self, upstream: &str) -> Option<(u32, String)> {
        match self.0.get(upstream) {
            Some(Refuses(words)) => Some((100 + u32::from(upstream.as_bytes()[0]), words.clone())),
            _ => None,
        }
    }

    fn availability(&self, upstream: &str) -> UpstreamAvailability {
        self.0.get(upstream).cloned().unwrap_or(UpstreamAvailability::Open)
    }

    fn may_probe(&self, _: &str) -> bool {
        true
    }

    fn unreachable(&self, _: &str, _: &str) {}

    fn reached(&self, _: &str) {}

    fn ask_again(&self) {}

    fn list(&self) -> Vec<UpstreamStatus> {
        Vec::new()
    }
}

fn upstream(name: &str, priority: u32, senders: &[&str]) -> RoutedUpstream {
    let host = if name == DEFAULT_UPSTREAM { "hub.example" } else { name };
    RoutedUpstream {
        name: name.into(),
        property: format!("upstream_{name}_host"),
        host: host.parse().unwrap(),
        tls: TlsLevel::Required,
        connections: Some(priority),
        senders: senders.iter().map(|text| (*text).to_owned()).collect(),
        recipients: Vec::new(),
        priority,
        weight: 1,
    }
}

fn zone() -> Zone {
    ["a", "b", "c", "hub.example", "mx.there.example"]
        .iter()
        .zip(["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"])
        .fold(Zone::default(), |zone, (name, address)| zone.host(name, &[address]))
        .mx("there.example", &[(10, "mx.there.example")])
        .mx_error("later.example", failed())
}

fn with(
    upstreams: Vec<RoutedUpstream>,
    known: &[(&'static str, UpstreamAvailability)],
    fallback: bool,
) -> Router {
    let mut router = router(zone(), None, None);
    if let Some(relay) = upstreams.iter().find(|one| &*one.name == DEFAULT_UPSTREAM) {
        router.config.smart_relay = Some(relay.host.clone());
    }
    router.config.fallback = fallback;
    Router::new(router.config, router.resolver)
        .upstreams(upstreams)
        .monitored(Arc::new(Known(known.iter().cloned().collect())))
}

fn decided(router: &Router, sender: &str) -> Destination {
    let address = |text: &str| Address::parse(text).unwrap();
    router.rules().of(Some(&address(sender)), &address("b@there.example"))
}

async fn hosts(router: &Router, destination: &Destination) -> Vec<String> {
    let route = router.route(destination).await.unwrap();
    route.hosts.into_iter().map(|host| host.host).collect()
}

#[tokio::test]
async fn the_next_of_a_group_takes_what_the_first_does_not() {
    let all = || vec![upstream("a", 20, &[]), upstream("b", 10, &[]), upstream("c", 30, &[])];
    let refuses = || Refuses("535 no".to_owned());
    for (known, expected) in [
        (vec![], vec!["b", "a", "c"]),
        (vec![("b", refuses())], vec!["a", "c"]),
        (vec![("b", Unreachable), ("a", refuses())], vec!["c"]),
        // Better than nothing.
        (vec![("b", Unreachable), ("a", refuses()), ("c", Unreachable)], vec!["b", "c"]),
    ] {
        let router = with(all(), &known, false);
        let destination = decided(&router, "x@here.example");
        assert_eq!(destination.name(), "upstream:a+b+c");
        assert_eq!(hosts(&router, &destination).await, expected, "{known:?}");
        assert_eq!(router.paused(&destination), None);
        assert!(router.route(&destination).await.unwrap().shared);
    }
    let known = [("a", refuses()), ("b", refuses()), ("c", refuses())];
    let router = with(all(), &known, false);
    let destination = decided(&router, "x@here.example");
    let error = router.route(&destination).await.unwrap_err();
    assert_eq!(error.0.to_string(), "451 4.3.5 535 no");
    assert_eq!(router.paused(&destination), Some((197, "535 no".to_owned())), "the first of them");
    assert_eq!(router.connections_max(&destination), Some(60));
}

#[tokio::test]
async fn equal_ones_take_turns() {
    let router = with(vec![upstream("a", 10, &[]), upstream("b", 10, &[])], &[], false);
    let destination = decided(&router, "x@here.example");
    let mut firsts = Vec::new();
    for _ in 0..6 {
        firsts.push(hosts(&router, &destination).await.remove(0));
    }
    assert_eq!(firsts.iter().filter(|host| *host == "a").count(), 3, "{firsts:?}");
}

#[tokio::test]
async fn a_name_that_is_not_answered_costs_only_its_upstream() {
    let missing = upstream("missing", 10, &[]);
    let router = with(vec![missing, upstream("a", 20, &[])], &[], false);
    let destination = decided(&router, "x@here.example");
    assert_eq!(hosts(&router, &destination).await, ["a"]);
}

#[tokio::test]
async fn senders_have_upstreams_and_the_rest_has_what_it_had() {
    let shop = || upstream("a", 10, &["shop.example"]);
    let by_domain = with(vec![shop()], &[], false);
    assert_eq!(decided(&by_domain, "x@shop.example").name(), "upstream:a");
    assert_eq!(decided(&by_domain, "x@here.example").name(), "there.example");
    let relayed = with(vec![upstream(DEFAULT_UPSTREAM, 10, &[]), shop()], &[], false);
    assert_eq!(decided(&relayed, "x@shop.example").name(), "upstream:a");
    let rest = decided(&relayed, "x@here.example");
    assert!(matches!(rest, Destination::SmartRelay(_)), "{rest}");
    assert_eq!(hosts(&relayed, &rest).await, ["hub.example"]);
    assert_eq!(relayed.tls_policy(&rest), TlsLevel::Required);
    let shared =
        with(vec![upstream(DEFAULT_UPSTREAM, 10, &[]), upstream("b", 20, &[])], &[], false);
    let rest = decided(&shared, "x@here.example");
    assert_eq!(rest.name(), "upstream:default+b");
    assert_eq!(hosts(&shared, &rest).await, ["hub.example", "b"]);
    let error = shared.rules().destination_named("there.example").unwrap_err();
    assert!(error.contains("name one of upstream:default+b"), "{error}");
    for (given, name) in
        [("upstream:b", "upstream:b"), ("upstream:b+default", "upstream:default+b")]
    {
        assert_eq!(shared.rules().destination_named(given).unwrap().name(), name);
    }
    assert!(shared.rules().destination_named("upstream:b+gone").is_err());
}

#[tokio::test]
async fn a_fallback_takes_what_the_hosts_of_the_domain_do_not() {
    let router = with(vec![upstream(DEFAULT_UPSTREAM, 10, &[])], &[], true);
    let destination = decided(&router, "x@here.example");
    assert_eq!(destination.name(), "there.example");
    let route = router.route(&destination).await.unwrap();
    let found: Vec<_> =
        route.hosts.iter().map(|one| (one.host.as_str(), one.upstream.as_deref())).collect();
    assert_eq!(found, [("mx.there.example", None), ("hub.example", Some(DEFAULT_UPSTREAM))]);
    let later = Destination::domain("later.example").unwrap();
    assert_eq!(hosts(&router, &later).await, ["hub.example"]);
    let nowhere = Destination::domain("nowhere.example").unwrap();
    let error = router.route(&nowhere).await.unwrap_err();
    assert!(error.0.to_string().starts_with("550 5.1.2"), "it does not exist anywhere: {error}");
}
