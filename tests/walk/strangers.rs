//! Destinations that make the relay wait, and the mail of all others.

use crate::mx;
use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::counted_host::CountedHost;
use crate::support::hostile::{Hostile, Way};
use crate::support::names::Names;
use crate::support::patience::until_within;
use crate::support::program::own_address;
use postern::mail::deliver::HOST_UNPROVEN_MAX;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Hostile destinations: as many as there are delivery agents.
const MANY: u32 = 500;

/// Within this time, the other mail is delivered.
const SOON: Duration = Duration::from_secs(2);

/// One short mail for each, all of one sender.
fn send_all(appliance: &Appliance, from: &str, to: impl Iterator<Item = String>) {
    let mut client = Client::hello(appliance.smtp);
    for to in to {
        client.mail(from, &[&to], b"Subject: form\r\n\r\nhello\r\n");
    }
}

/// Sends a mail to a known destination and one to a new one, of the same sender; gives how long it
/// takes until both have arrived.
fn others(appliance: &Appliance, known: &Sink, new: &Sink) -> Duration {
    let before = known.count() + new.count();
    let begin = Instant::now();
    for sink in [known, new] {
        mx::send(appliance, "form@shop.example", &format!("box@[{}]", sink.address.ip()));
    }
    until_within(Duration::from_secs(60), "both have arrived", || {
        match known.count() + new.count() - before {
            2.. => Ok(()),
            some => Err(format!("{some} of 2; {}", active(appliance))),
        }
    });
    begin.elapsed()
}

fn active(appliance: &Appliance) -> String {
    let text = appliance.get("/metrics");
    let lines = text
        .lines()
        .filter(|line| line.starts_with("mta_couriers") || line.starts_with("mta_destinations"));
    lines.collect::<Vec<_>>().join(" ")
}

/// An appliance that has delivered to `known` already.
fn appliance(known: &Sink, properties: &[(&str, &str)]) -> Appliance {
    // The next hops have addresses of this host, which would be a loop.
    let appliance =
        Appliance::start(&[&[("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8")], properties].concat());
    mx::send(&appliance, "form@shop.example", &format!("box@[{}]", known.address.ip()));
    appliance.until_empty();
    appliance
}

fn hold_up(way: Way) {
    let (known, new) = (mx::next_hop(""), mx::next_hop(""));
    let appliance = appliance(&known, &[]);
    let hostile = Hostile::start(MANY, way);
    send_all(
        &appliance,
        "form@shop.example",
        hostile.addresses.iter().map(|address| format!("x@[{address}]")),
    );
    let took = others(&appliance, &known, &new);
    assert!(took < SOON, "{way:?}: {took:?}; {}", active(&appliance));
}

#[test]
fn silent_hosts_hold_nobody_up() {
    hold_up(Way::Silent);
}

#[test]
fn hosts_that_send_half_a_greeting_hold_nobody_up() {
    hold_up(Way::HalfGreeting);
}

#[test]
fn hosts_that_drip_hold_nobody_up() {
    hold_up(Way::Drip);
}

#[test]
fn hosts_that_stall_in_the_dialogue_hold_nobody_up() {
    for last in ["EHLO", "MAIL", "RCPT", "DATA"] {
        hold_up(Way::Until(last));
    }
}

#[test]
fn hosts_that_stall_after_the_end_of_data_hold_nobody_up() {
    hold_up(Way::Until("."));
}

#[test]
fn five_hundred_domains_of_one_silent_host_hold_nobody_up() {
    let (known, new) = (mx::next_hop(""), mx::next_hop(""));
    let hostile = Hostile::start(1, Way::Silent);
    let names = Names::serve(&[format!("address=/wild.example/{}", hostile.addresses[0])]);
    let servers = names.servers();
    let appliance = appliance(&known, &[("MTA_DNS_SERVERS", &servers)]);
    send_all(&appliance, "form@shop.example", (0..MANY).map(|n| format!("x@d{n}.wild.example")));
    let took = others(&appliance, &known, &new);
    assert!(took < SOON, "{took:?}; {}", active(&appliance));
    // A few delivery agents are connected to the host, the others have ended.
    until_within(Duration::from_secs(10), "most delivery agents have gone home", || {
        let unproven = appliance.counter("mta_couriers_active{share=\"new\"}");
        let throttled = appliance.counter("mta_couriers_throttled_total{share=\"host\"}");
        if unproven < 100 && throttled > 100 { Ok(()) } else { Err(active(&appliance)) }
    });
}

#[test]
fn domains_whose_name_servers_say_nothing_hold_nobody_up() {
    let (known, new) = (mx::next_hop(""), mx::next_hop(""));
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let names = Names::serve(&[
        format!("server=/hang.example/127.0.0.1#{port}"),
        "dns-forward-max=5000".to_owned(),
        mx::host("known", known.address.ip()),
        mx::host("new", new.address.ip()),
    ]);
    let servers = names.servers();
    let appliance =
        Appliance::start(&[("MTA_DNS_SERVERS", &servers), ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8")]);
    mx::send(&appliance, "form@shop.example", "box@known.example");
    appliance.until_empty();
    send_all(&appliance, "form@shop.example", (0..MANY).map(|n| format!("x@d{n}.hang.example")));
    let begin = Instant::now();
    for to in ["box@known.example", "box@new.example"] {
        mx::send(&appliance, "form@shop.example", to);
    }
    until_within(Duration::from_secs(60), "both have arrived", || {
        match known.count() + new.count() {
            3.. => Ok(()),
            some => Err(format!("{some} of 3; {}", active(&appliance))),
        }
    });
    assert!(begin.elapsed() < SOON, "{:?}; {}", begin.elapsed(), active(&appliance));
}

#[test]
fn bounces_to_silent_hosts_hold_nobody_up() {
    let (known, new, refusing) = (mx::next_hop(""), mx::next_hop(""), mx::next_hop("rcpt=550"));
    let appliance = appliance(&known, &[]);
    let hostile = Hostile::start(MANY, Way::Silent);
    let mut client = Client::hello(appliance.smtp);
    let to = format!("nobody@[{}]", refusing.address.ip());
    for address in &hostile.addresses {
        client.mail(&format!("x@[{address}]"), &[&to], b"Subject: a\r\n\r\nb\r\n");
    }
    until_within(Duration::from_secs(60), "the bounces are on their way", || {
        match appliance.counter("mta_notifications_total{kind=\"failed\"}") {
            sent if sent >= u64::from(MANY) => Ok(()),
            sent => Err(sent.to_string()),
        }
    });
    let took = others(&appliance, &known, &new);
    assert!(took < SOON, "{took:?}; {}", active(&appliance));
}

#[test]
fn mail_behind_a_silent_host_does_nothing_until_the_host_has_room() {
    const DOMAINS: usize = 40;
    let known = mx::next_hop("");
    let host =
        CountedHost::start(SocketAddr::from((own_address(), 25)), usize::MAX, Duration::ZERO);
    let names = Names::serve(&[format!("address=/wild.example/{}", host.address.ip())]);
    let servers = names.servers();
    let appliance = appliance(&known, &[("MTA_DNS_SERVERS", &servers)]);
    send_all(&appliance, "form@shop.example", (0..DOMAINS).map(|n| format!("x@d{n}.wild.example")));
    let throttled = || appliance.counter("mta_couriers_throttled_total{share=\"host\"}");
    let unproven = u64::from(HOST_UNPROVEN_MAX);
    until_within(Duration::from_secs(20), "all but a few wait for the host", || {
        match throttled() {
            some if some >= DOMAINS as u64 - unproven => Ok(()),
            some => Err(some.to_string()),
        }
    });
    // Not even a DNS query: nothing has changed.
    let before = throttled();
    std::thread::sleep(Duration::from_secs(6));
    assert!(throttled() - before <= 5, "{} tries for nothing", throttled() - before);
    assert_eq!(appliance.counter("mta_couriers_active{share=\"new\"}"), unproven);
    // The first greetings raise the limit for all, and no destination waits for its timer.
    host.open();
    until_within(Duration::from_secs(8), "all mail has left", || match host.seen() {
        seen if seen.mails == DOMAINS => Ok(()),
        seen => Err(format!("{seen:?}; {}", active(&appliance))),
    });
}

/// The host with the best preference works and has no free connection; that the one after it
/// rejects shows nothing about the destinations.
#[test]
fn mail_waits_for_the_best_host_though_the_one_behind_it_refuses() {
    const DOMAINS: usize = 40;
    let known = mx::next_hop("");
    let best =
        CountedHost::start(SocketAddr::from((own_address(), 25)), usize::MAX, Duration::ZERO);
    // No listener there.
    let refusing = own_address();
    let mut records =
        vec![mx::host("best", best.address.ip()), mx::host("refusing", refusing.into())];
    for domain in (0..DOMAINS).map(|n| format!("d{n}")) {
        records.extend([mx::mx(&domain, "best", 10), mx::mx(&domain, "refusing", 20)]);
    }
    let names = Names::serve(&records);
    let servers = names.servers();
    let appliance = appliance(&known, &[("MTA_DNS_SERVERS", &servers)]);
    send_all(&appliance, "form@shop.example", (0..DOMAINS).map(|n| format!("x@d{n}.example")));
    let waiting = || appliance.counter("mta_couriers_throttled_total{share=\"host\"}");
    until_within(Duration::from_secs(20), "all but a few wait for the host", || match waiting() {
        some if some >= DOMAINS as u64 - u64::from(HOST_UNPROVEN_MAX) => Ok(()),
        some => Err(some.to_string()),
    });
    assert_eq!(appliance.counter("mta_destinations_unreachable"), 0);
    best.open();
    until_within(Duration::from_secs(8), "all mail has left", || match best.seen() {
        seen if seen.mails == DOMAINS => Ok(()),
        seen => Err(format!("{seen:?}; {}", active(&appliance))),
    });
}

#[test]
fn a_host_that_takes_so_many_connections_and_no_more_keeps_those_it_has() {
    const MAILS: usize = 400;
    let host =
        CountedHost::start(SocketAddr::from((own_address(), 25)), 12, Duration::from_millis(100));
    host.open();
    let relay = format!("[{}]", host.address.ip());
    let properties = [("MTA_SMART_RELAY", relay.as_str()), ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8")];
    let appliance = Appliance::start(&properties);
    let begin = Instant::now();
    send_all(&appliance, "form@shop.example", (0..MAILS).map(|n| format!("x{n}@there.example")));
    appliance.until_empty();
    let (seen, took) = (host.seen(), begin.elapsed());
    assert!(seen.mails == MAILS && seen.closed > 0, "{seen:?}");
    // Each connection that was closed had to be opened again.
    assert!(seen.greeted <= 14, "{seen:?}");
    assert_eq!(appliance.counter("mta_couriers_throttled_total{share=\"host\"}"), 0);
    assert!(took < Duration::from_secs(15), "{took:?}; {seen:?}");
}
