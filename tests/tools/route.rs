//! `postern route` with a real relay and a real name server: it shows what would happen to a
//! message, and sends none.

use crate::support::appliance::{Appliance, HOSTNAME};
use crate::support::names::Names;
use serde_json::Value;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Exit code and output of `postern route`.
fn route(appliance: &Appliance, arguments: &[&str]) -> (i32, String) {
    let done = appliance.command(&[&["route"], arguments].concat()).output().unwrap();
    let words = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    (done.status.code().unwrap(), words)
}

fn json(appliance: &Appliance, to: &str) -> (i32, Value) {
    let (code, words) = route(appliance, &["--json", to]);
    (code, serde_json::from_str(&words).unwrap_or_else(|error| panic!("{error}: {words}")))
}

/// The hosts of the first target, each with its use.
fn hosts(told: &Value) -> Vec<(&str, &str)> {
    let hosts = told["targets"][0]["hosts"].as_array().unwrap().iter();
    hosts.map(|host| (host["host"].as_str().unwrap(), host["used"].as_str().unwrap())).collect()
}

/// A name server, and one behind it that never answers for `silent.example`.
fn names() -> (Names, UdpSocket) {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let names = Names::serve(&[
        "host-record=mx1.example,192.0.2.1,2001:db8::1".to_owned(),
        "host-record=mx2.example,192.0.2.2".to_owned(),
        "host-record=alone.example,192.0.2.3".to_owned(),
        "host-record=copies.example,192.0.2.4".to_owned(),
        "mx-host=there.example,mx2.example,20".to_owned(),
        "mx-host=there.example,mx1.example,10".to_owned(),
        format!("mx-host=backup.example,{HOSTNAME},10"),
        "mx-host=backup.example,mx1.example,20".to_owned(),
        "dns-rr=null.example,15,000000".to_owned(),
        "mx-host=half.example,mx1.example,10".to_owned(),
        "mx-host=half.example,mx.silent.example,20".to_owned(),
        format!("server=/silent.example/127.0.0.1#{port}"),
    ]);
    (names, silent)
}

#[test]
fn a_route_test_asks_what_mail_would_ask_and_sends_nothing() {
    let (names, _silent) = names();
    let appliance = Appliance::start(&[("MTA_DNS_SERVERS", &names.servers())]);
    let (code, words) =
        route(&appliance, &["box@there.example", "--from", "a@b.example", "--client", "127.0.0.1"]);
    assert_eq!(code, 0, "{words}");
    for line in [
        "To           box@there.example\n",
        "From         a@b.example\n",
        "Client       127.0.0.1 may send this: 127.0.0.1/32 in smtpd_trusted_networks applies\n",
        "Destination  there.example, by the domain of the recipient\n",
        "Hosts by     2 MX records\n",
        "Host         20 mx2.example 192.0.2.2:25\n",
        "Now          mail is sent at once; 0 messages queued",
    ] {
        assert!(words.contains(line), "{line} is missing in\n{words}");
    }
    let first = words.find("Host         10 mx1.example ");
    assert!(first.is_some() && first < words.find("Host         20 mx2.example"), "{words}");
    for (to, code, lookup, error, expected) in [
        ("box@alone.example", 0, "no_mx", "", vec![("alone.example", "used")]),
        ("box@none.example", 1, "no_mx", "550 5.1.2 ", vec![("none.example", "no_address")]),
        ("box@null.example", 1, "null_mx", "556 5.1.10 ", vec![]),
        (
            "box@backup.example",
            1,
            "mx",
            "554 5.4.6 ",
            vec![(HOSTNAME, "this_host"), ("mx1.example", "not_preferred")],
        ),
        ("box@[192.0.2.7]", 0, "address", "", vec![("192.0.2.7", "used")]),
        ("box@[127.0.0.1]", 1, "address", "554 5.4.6 ", vec![("127.0.0.1", "this_host")]),
    ] {
        let (got, told) = json(&appliance, to);
        let target = &told["targets"][0];
        assert_eq!((got, &target["lookup"]), (code, &lookup.into()), "{to}: {told}");
        assert_eq!(hosts(&told), expected, "{to}: {told}");
        let said = target["error"].as_str().unwrap_or_default();
        assert!(said.starts_with(error) && said.is_empty() == error.is_empty(), "{to}: {told}");
    }
    // The same texts as in a session.
    let (code, words) = route(&appliance, &["box@there.example", "--client", "192.0.2.9"]);
    let denied = "192.0.2.9 may not send this: 554 5.7.1 <box@there.example>: Relay access denied; \
    [192.0.2.9] is not in smtpd_trusted_networks of this relay\n";
    assert!(code == 1 && words.contains(denied), "{words}");
    appliance.queue(&["pause", "there.example"]);
    let (code, words) = route(&appliance, &["box@there.example"]);
    assert!(code == 0 && words.contains("an operator has paused delivery; mail waits"), "{words}");
    for (arguments, words) in [
        (&["there.example"][..], "to: an address is expected"),
        (&["box@there.example", "--client", "mx"], "client: an IP address is expected"),
        (&["box@there.example", "--socket", "/nowhere"], "no appliance is running here"),
    ] {
        let (code, told) = route(&appliance, arguments);
        let expected = if words.starts_with("no ") { 69 } else { 64 };
        assert!(code == expected && told.contains(words), "{arguments:?}: {code} {told}");
    }
    assert_eq!(appliance.counter("mta_accepted_total"), 0);
    assert_eq!(appliance.counter("mta_refused_total{reason=\"relay\"}"), 0);
}

#[test]
fn name_servers_that_say_nothing_end_a_route_test_in_time_and_raise_no_alert() {
    let (names, _silent) = names();
    let appliance = Appliance::start(&[("MTA_DNS_SERVERS", &names.servers())]);
    let began = Instant::now();
    let (code, told) = json(&appliance, "box@silent.example");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let target = &told["targets"][0];
    assert_eq!((code, &target["lookup"]), (1, &Value::Null), "{told}");
    assert!(target["error"].as_str().unwrap().starts_with("451 4.4.3 "), "{told}");
    assert_eq!(appliance.counter("mta_dns_failures_total"), 0);
    assert_eq!(appliance.counter("mta_dns_failing_since_seconds"), 0);
}

#[test]
fn a_route_test_waits_as_long_as_mail_does_and_for_all_targets_at_once() {
    let (names, _silent) = names();
    let servers = names.servers();
    let appliance =
        Appliance::start(&[("MTA_DNS_SERVERS", &servers), ("MTA_CC_MTA", "copies.silent.example")]);
    // One of its two hosts is never answered: real mail uses the other.
    let (code, told) = json(&appliance, "box@half.example");
    assert_eq!(hosts(&told), [("mx1.example", "used"), ("mx.silent.example", "unanswered")]);
    let errors = |told: &Value| [0, 1].map(|place| told["targets"][place]["error"].clone());
    let [none, copies] = errors(&told);
    assert!(none.is_null() && copies.as_str().unwrap().starts_with("451 4.4.3 "), "{told}");
    assert_eq!(code, 1, "{told}");
    let began = Instant::now();
    let (_, told) = json(&appliance, "box@silent.example");
    assert!(errors(&told).iter().all(Value::is_string), "{told}");
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn the_properties_decide_on_the_route() {
    let (names, _silent) = names();
    let servers = names.servers();
    let mut appliance =
        Appliance::start(&[("MTA_DNS_SERVERS", &servers), ("MTA_CC_MTA", "[copies.example]:2525")]);
    let (code, told) = json(&appliance, "box@there.example");
    let rule =
        |place: usize| (&told["targets"][place]["rule"], &told["targets"][place]["destination"]);
    assert_eq!(rule(0), (&"domain".into(), &"there.example".into()));
    assert_eq!(rule(1), (&"carbon_copy".into(), &"cc:[copies.example]:2525".into()));
    let copies = &told["targets"][1];
    assert_eq!((code, &copies["hosts"][0]["addresses"][0]), (0, &"192.0.2.4:2525".into()));
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_SMART_RELAY", "hub.example")]);
    appliance.boot();
    let (code, told) = json(&appliance, "box@there.example");
    let targets = told["targets"].as_array().unwrap();
    assert_eq!((code, targets.len(), &targets[0]["rule"]), (1, 1, &"smart_relay".into()));
    let error = targets[0]["error"].as_str().unwrap();
    assert!(error.starts_with("451 ") && error.contains("property smart_relay"), "{error}");
}
