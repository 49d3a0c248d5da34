//! Several upstreams: by sender, by priority, by weight, and the next one where one fails.

use crate::support::appliance::Appliance;
use crate::support::names::Names;
use crate::support::patience::until;
use crate::support::program::own_address;
use crate::{PASSWORD, Submission, USER, send};
use std::net::TcpListener;

/// The properties of upstreams with a login, by name.
fn properties(upstreams: &[(&str, &Submission, &str)]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, server, password) in upstreams {
        for (field, value) in [
            ("HOST", server.relay()),
            ("CA", server.ca()),
            ("USERNAME", USER.to_owned()),
            ("PASSWORD", (*password).to_owned()),
        ] {
            all.push((format!("MTA_UPSTREAM_{name}_{field}"), value));
        }
    }
    all
}

fn start(properties: &[(String, String)]) -> Appliance {
    let given: Vec<_> =
        properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Appliance::start(&given)
}

fn set(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn until_delivered(appliance: &Appliance, count: u64) {
    until("the mails are delivered", || {
        let delivered = appliance.counter("mta_delivered_total");
        if delivered == count { Ok(()) } else { Err(appliance.log().join("\n")) }
    });
}

#[test]
fn mail_goes_by_its_sender_and_the_rest_to_the_others() {
    let (shop, rest) = (Submission::start("plain"), Submission::start("plain"));
    let mut given = properties(&[("SHOP", &shop, PASSWORD), ("REST", &rest, PASSWORD)]);
    given.push(set("MTA_UPSTREAM_SHOP_SENDERS", "shop.example, boss@here.example"));
    let appliance = start(&given);
    for from in ["anna@Shop.example", "boss@here.example", "anna@here.example"] {
        send(&appliance, from);
    }
    until_delivered(&appliance, 3);
    shop.until_mails(2, &appliance);
    rest.until_mails(1, &appliance);
}

#[test]
fn the_next_of_the_group_takes_the_mail_in_the_same_attempt() {
    let (first, second) = (Submission::start("plain"), Submission::start("plain"));
    let mut given =
        properties(&[("FIRST", &first, "planted-wrong"), ("SECOND", &second, PASSWORD)]);
    given.push(set("MTA_UPSTREAM_SECOND_PRIORITY", "20"));
    let appliance = start(&given);
    send(&appliance, "anna@here.example");
    until_delivered(&appliance, 1);
    for _ in 0..4 {
        send(&appliance, "anna@here.example");
    }
    until_delivered(&appliance, 5);
    second.until_mails(5, &appliance);
    assert_eq!(first.mails().len(), 0);
    assert_eq!(appliance.counter("mta_deferred_total"), 0, "{:?}", appliance.log());
    let asked = first.postfix.log().matches("SASL PLAIN authentication failed").count();
    assert_eq!(asked, 1, "it is passed over: {}", first.postfix.log());
    let alerts = appliance.api("status").to_string();
    assert!(alerts.contains("Upstream first refuses this relay"), "{alerts}");
}

#[test]
fn one_that_cannot_be_reached_is_passed_over() {
    let second = Submission::start("plain");
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut given = properties(&[("SECOND", &second, PASSWORD)]);
    given.push(set("MTA_UPSTREAM_SECOND_PRIORITY", "20"));
    given.push(set("MTA_SMART_RELAY", &closed));
    let appliance = start(&given);
    for _ in 0..3 {
        send(&appliance, "anna@here.example");
    }
    until_delivered(&appliance, 3);
    second.until_mails(3, &appliance);
    assert_eq!(appliance.counter("mta_deferred_total"), 0, "{:?}", appliance.log());
    let alerts = appliance.api("status").to_string();
    assert!(alerts.contains("Upstream default cannot be reached"), "{alerts}");
}

#[test]
fn weights_share_the_mail_of_one_priority() {
    let (large, small) = (Submission::start("plain"), Submission::start("plain"));
    let mut given = properties(&[("LARGE", &large, PASSWORD), ("SMALL", &small, PASSWORD)]);
    given.push(set("MTA_UPSTREAM_LARGE_WEIGHT", "3"));
    let appliance = start(&given);
    // One after the other: they share one connection as long as they may.
    for sent in 1..=160 {
        send(&appliance, "anna@here.example");
        until_delivered(&appliance, sent);
    }
    let counts = || (large.mails().len(), small.mails().len());
    until("all mails are there", || match counts() {
        (large, small) if large + small == 160 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let (large, small) = counts();
    assert!((100..=140).contains(&large), "{large} and {small}");
}

#[test]
fn a_fallback_takes_what_the_hosts_of_the_domain_do_not() {
    let relay = Submission::start("plain");
    // The host of the domain has an address at which nothing listens.
    let closed = own_address();
    let names = Names::serve(&[
        "mx-host=there.example,mx.there.example,10".to_owned(),
        format!("host-record=mx.there.example,{closed}"),
    ]);
    let mut given = properties(&[("RELAY", &relay, PASSWORD)]);
    given.push(set("MTA_SMART_RELAY_MODE", "fallback"));
    given.push(set("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8"));
    given.push(set("MTA_DNS_SERVERS", &names.servers()));
    let appliance = start(&given);
    send(&appliance, "anna@here.example");
    until_delivered(&appliance, 1);
    relay.until_mails(1, &appliance);
    assert_eq!(appliance.counter("mta_deferred_total"), 0, "{:?}", appliance.log());
}

#[test]
fn mail_that_waits_for_upstreams_survives_a_look_and_a_kill() {
    let (first, second) = (Submission::start("plain"), Submission::start("plain"));
    let wrong = "planted-wrong";
    let mut given = properties(&[("FIRST", &first, wrong), ("SECOND", &second, wrong)]);
    given.push(set("MTA_UPSTREAM_SECOND_PRIORITY", "20"));
    let mut appliance = start(&given);
    for _ in 0..3 {
        send(&appliance, "anna@here.example");
    }
    appliance.deferral();
    // Read from the volume, again and again.
    for _ in 0..2 {
        let listed = appliance.queue_in_words(&["list"]);
        assert_eq!(listed.matches("anna@here.example").count(), 3, "{listed}");
    }
    appliance.kill();
    appliance.boot();
    assert_eq!(appliance.messages().len(), 3);
    assert_eq!(appliance.counter("mta_corrupt_records_total"), 0);
    second.dovecot.set_password(USER, wrong);
    appliance.queue(&["retry", "--all", "--yes"]);
    until_delivered(&appliance, 3);
    second.until_mails(3, &appliance);
}
