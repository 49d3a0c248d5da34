//! Without a smart relay: MX records of a real name server decide. The next hops are on port 25 of
//! loopback addresses that only this test uses.

use crate::support::appliance::{Appliance, HOSTNAME, Sink};
use crate::support::client::Client;
use crate::support::names::Names;
use crate::support::patience::until;
use crate::support::program::{need_root, own_address};
use crate::support::report::Report;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

/// A next hop on port 25 of an address of its own.
pub(crate) fn next_hop(fail: &str) -> Sink {
    need_root("MX records lead to port 25");
    Sink::at(SocketAddr::from((own_address(), 25)), fail)
}

/// dnsmasq's option for a host.
pub(crate) fn host(name: &str, address: IpAddr) -> String {
    format!("host-record={name}.example,{address}")
}

/// dnsmasq's option for an MX record.
pub(crate) fn mx(domain: &str, host: &str, preference: u16) -> String {
    format!("mx-host={domain}.example,{host}.example,{preference}")
}

/// An appliance that uses this name server.
pub(crate) fn appliance(names: &Names, properties: &[(&str, &str)]) -> Appliance {
    let servers = names.servers();
    // The next hops have addresses of this host, which would be a loop.
    let hosts = [("MTA_DNS_SERVERS", servers.as_str()), ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8")];
    Appliance::start(&[&hosts, properties].concat())
}

/// Sends one short mail; its subject is its recipient.
pub(crate) fn send(appliance: &Appliance, from: &str, to: &str) {
    let mut client = Client::hello(appliance.smtp);
    client.mail(from, &[to], format!("Subject: {to}\r\n\r\nprivate words\r\n").as_bytes());
    client.ask("QUIT", "221 ");
}

fn sorted_recipients(sink: &Sink, count: usize) -> Vec<String> {
    let mut to: Vec<String> = sink.mails(count).into_iter().flat_map(|mail| mail.to).collect();
    to.sort();
    to
}

#[test]
fn records_decide_and_broken_hosts_are_passed_over() {
    let (first, second, dropping, refusing) =
        (next_hop(""), next_hop(""), next_hop("connect=drop"), next_hop("greeting=554"));
    // No listener here.
    let closed = own_address();
    let names = Names::serve(&[
        host("first", first.address.ip()),
        host("second", second.address.ip()),
        host("dropping", dropping.address.ip()),
        host("refusing", refusing.address.ip()),
        host("closed", closed.into()),
        // In the order of preference, whatever the order of records.
        mx("order", "second", 20),
        mx("order", "first", 10),
        // The first that works, whatever the faults of the better ones.
        mx("broken", "missing", 1),
        mx("broken", "closed", 5),
        mx("broken", "dropping", 10),
        mx("broken", "refusing", 15),
        mx("broken", "second", 20),
        // This host is in the list: only better ones are tried.
        mx("backup", "first", 10),
        format!("mx-host=backup.example,{HOSTNAME},20"),
        mx("backup", "second", 30),
        // No MX: the domain is its own mail host.
        host("implicit", second.address.ip()),
        // An alias instead of a domain, and an alias instead of a mail host.
        "cname=alias.example,order.example".to_owned(),
        mx("to-alias", "alias-host", 10),
        "cname=alias-host.example,first.example".to_owned(),
    ]);
    let appliance = appliance(&names, &[]);
    for domain in ["order", "broken", "backup", "implicit", "alias", "to-alias"] {
        send(&appliance, "sender@here.example", &format!("box@{domain}.example"));
    }
    send(&appliance, "sender@here.example", &format!("box@[{}]", first.address.ip()));
    appliance.until_empty();
    let literal = format!("box@[{}]", first.address.ip());
    assert_eq!(
        sorted_recipients(&first, 5),
        [
            &literal,
            "box@alias.example",
            "box@backup.example",
            "box@order.example",
            "box@to-alias.example"
        ]
    );
    assert_eq!(sorted_recipients(&second, 2), ["box@broken.example", "box@implicit.example"]);
    assert_eq!(dropping.count() + refusing.count(), 0);
    assert_eq!(
        (dropping.stop("sessions"), refusing.stop("sessions")),
        (1, 1),
        "each was tried, in its turn"
    );
    assert_eq!(appliance.counter("mta_bounced_total"), 0);
}

/// The pause before a second attempt is five minutes: mail that arrives came in the first one.
#[test]
fn the_next_host_is_asked_in_the_same_attempt() {
    let (second, deferring, full) = (next_hop(""), next_hop("rcpt=451"), next_hop("data=452"));
    let silent = TcpListener::bind((own_address(), 25)).unwrap();
    let names = Names::serve(&[
        host("second", second.address.ip()),
        host("deferring", deferring.address.ip()),
        host("full", full.address.ip()),
        host("silent", silent.local_addr().unwrap().ip()),
        mx("defers", "deferring", 10),
        mx("defers", "full", 15),
        mx("defers", "second", 20),
        mx("silent", "silent", 10),
        mx("silent", "second", 20),
    ]);
    let appliance = appliance(&names, &[]);
    send(&appliance, "sender@here.example", "box@defers.example");
    send(&appliance, "sender@here.example", "box@silent.example");
    appliance.until_empty();
    assert_eq!(sorted_recipients(&second, 2), ["box@defers.example", "box@silent.example"]);
    assert_eq!(appliance.counter("mta_delivered_total"), 2);
    assert_eq!(appliance.counter("mta_deferred_total"), 0);
}

#[test]
fn a_host_that_refuses_us_costs_no_mail() {
    for (fail, stage) in [("greeting=554", "greeting"), ("mail=530", "mail")] {
        let refusing = next_hop(fail);
        let names =
            Names::serve(&[host("refusing", refusing.address.ip()), mx("there", "refusing", 10)]);
        let appliance = appliance(&names, &[]);
        send(&appliance, "sender@here.example", "box@there.example");
        assert!(appliance.deferral().contains(" rejected this relay "), "{}", appliance.deferral());
        assert_eq!(
            appliance.counter(&format!("mta_next_hop_refusals_total{{stage=\"{stage}\"}}")),
            1
        );
        assert_eq!((appliance.counter("mta_bounced_total"), appliance.messages().len()), (0, 1));
    }
}

#[test]
fn a_bounce_that_reaches_nobody_is_counted_and_told_to_the_operator_once() {
    let (there, home) = (next_hop("rcpt=550"), next_hop(""));
    let closed = own_address();
    let names = Names::serve(&[
        host("there", there.address.ip()),
        mx("there", "there", 10),
        host("home", home.address.ip()),
        mx("home", "home", 10),
        host("closed", closed.into()),
        mx("closed", "closed", 10),
    ]);
    let told = appliance(&names, &[("MTA_BOUNCE_ADDRESS", "postmaster@home.example")]);
    send(&told, "sender@there.example", "box@there.example");
    let report = &home.mails(1)[0];
    assert_eq!(report.to, ["postmaster@home.example"]);
    told.until_empty();
    assert_eq!(told.counter("mta_undeliverable_bounces_total"), 1);
    // If the operator's address rejects as well, it ends there.
    let lost = appliance(&names, &[("MTA_BOUNCE_ADDRESS", "postmaster@there.example")]);
    send(&lost, "sender@there.example", "box@there.example");
    lost.until_empty();
    assert_eq!(lost.counter("mta_undeliverable_bounces_total"), 2);
    // There was no reply, and no text says that there was one.
    send(&lost, "sender@there.example", "box@closed.example");
    assert!(lost.deferral().starts_with("connect to closed.example["), "{}", lost.deferral());
}

#[test]
fn equal_preferences_share_the_load() {
    let (one, other) = (next_hop(""), next_hop(""));
    let names = Names::serve(&[
        host("one", one.address.ip()),
        host("other", other.address.ip()),
        mx("shared", "one", 10),
        mx("shared", "other", 10),
    ]);
    let appliance = appliance(&names, &[]);
    // Enough new connections that both hosts get some: mail comes faster than one connection can
    // deliver.
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut client = Client::hello(appliance.smtp);
                for _ in 0..30 {
                    client.mail(
                        "sender@here.example",
                        &["box@shared.example"],
                        b"Subject: shared\r\n\r\n",
                    );
                }
            });
        }
    });
    appliance.until_empty();
    let (one, other) = (one.count(), other.count());
    eprintln!("{one} and {other}");
    assert_eq!(one + other, 300);
    assert!(one > 0 && other > 0, "{one} and {other}");
}

#[test]
fn what_has_no_way_comes_back_as_a_report() {
    let home = next_hop("");
    let names = Names::serve(&[
        host("mx-here", home.address.ip()),
        mx("here", "mx-here", 10),
        // RFC 7505 on the wire: preference 0, the root.
        "dns-rr=null.example,15,000000".to_owned(),
        format!("mx-host=loop.example,{HOSTNAME},10"),
        mx("hostless", "missing", 10),
        "txt-record=nothing.example,there is a name and nothing else".to_owned(),
    ]);
    let appliance = appliance(&names, &[]);
    let fates = [
        ("null", "5.1.10"),
        ("missing", "5.1.2"),
        ("loop", "5.4.6"),
        ("postern", "5.4.6"),
        ("hostless", "5.4.4"),
        ("nothing", "5.4.4"),
    ];
    for (domain, _) in fates {
        send(&appliance, &format!("{domain}@here.example"), &format!("box@{domain}.example"));
    }
    let mails = home.mails(fates.len());
    for mail in &mails {
        assert!(
            !mail.text().contains("private words"),
            "only the header section comes back: {}",
            mail.text()
        );
    }
    let reports: Vec<Report> = mails.iter().map(Report::read).collect();
    for (domain, status) in fates {
        let expected = Report {
            to: format!("{domain}@here.example"),
            about: format!("box@{domain}.example"),
            action: "failed".to_owned(),
            status: status.to_owned(),
        };
        assert!(reports.contains(&expected), "{expected:?} is not among {reports:#?}");
    }
    appliance.until_empty();
    assert_eq!(home.count(), fates.len());
}

#[test]
fn nobody_hears_of_a_bounce_that_fails() {
    let home = next_hop("rcpt=550");
    let names = Names::serve(&[host("mx-here", home.address.ip()), mx("here", "mx-here", 10)]);
    let appliance = appliance(&names, &[]);
    // From the null sender: no report at all.
    send(&appliance, "", "box@missing.example");
    until("the failure is recorded", || match appliance.counter("mta_bounced_total") {
        1 => Ok(()),
        bounced => Err(format!("{bounced} bounced")),
    });
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"failed\"}"), 0);
    // To a sender whose server rejects the report, and to one without a server: a report each, and
    // nothing about its failure.
    send(&appliance, "sender@here.example", "box@missing.example");
    send(&appliance, "sender@nowhere.example", "box@missing.example");
    until("the reports failed too", || match appliance.counter("mta_bounced_total") {
        5 => Ok(()),
        bounced => Err(format!("{bounced} bounced")),
    });
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"failed\"}"), 2);
    assert_eq!(home.count(), 0);
}

#[test]
fn a_mail_host_that_is_this_machine_is_a_loop_whatever_the_port() {
    let names = Names::serve(&[
        mx("local", "home", 10),
        host("home", Ipv4Addr::LOCALHOST.into()),
        "mx-host=name.example,localhost,10".to_owned(),
        host("plain", Ipv4Addr::LOCALHOST.into()),
    ]);
    let servers = names.servers();
    let appliance = Appliance::start(&[("MTA_DNS_SERVERS", &servers)]);
    for to in ["box@local.example", "box@name.example", "box@plain.example", "box@[127.0.0.1]"] {
        // From the null sender: no notification.
        send(&appliance, "", to);
    }
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_bounced_total"), 4);
    until("the log tells of four loops", || {
        let loops = |line: &String| line.contains("dsn=5.4.6") && line.contains("status=bounced");
        match appliance.log().iter().filter(|line| loops(line)).count() {
            4 => Ok(()),
            other => Err(other.to_string()),
        }
    });
}

#[test]
fn a_name_server_that_does_not_answer_defers() {
    let home = next_hop("");
    let names = Names::serve(&[host("mx-here", home.address.ip()), mx("here", "mx-here", 10)]);
    // No server answers at this one.
    let silent = format!("127.0.0.1:{}", crate::support::program::free_port());
    let mut appliance =
        Appliance::start(&[("MTA_DNS_SERVERS", &silent), ("MTA_LOCAL_MAIL_HOSTS", "127.0.0.0/8")]);
    send(&appliance, "sender@there.example", "box@here.example");
    let reply = appliance.deferral();
    assert!(reply.contains("no name server answered") && !reply.starts_with("451"), "{reply}");
    assert_eq!(appliance.counter("mta_bounced_total"), 0);
    assert!(
        appliance.counter("mta_dns_failures_total") > 0
            && appliance.counter("mta_dns_failing_since_seconds") > 0
    );
    // With a working one the mail is delivered.
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_DNS_SERVERS", &names.servers())]);
    appliance.boot();
    appliance.queue(&["retry", "--all", "--yes"]);
    assert_eq!(home.mails(1)[0].to, ["box@here.example"]);
    appliance.until_empty();
}

#[test]
fn a_relay_that_is_ourselves_is_said_so() {
    let mut appliance = Appliance::start(&[]);
    let itself = appliance.smtp.to_string();
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_SMART_RELAY", &itself)]);
    appliance.boot();
    send(&appliance, "", "box@here.example");
    // An operator's mistake: the mail waits, with the reason.
    let reply = appliance.deferral();
    assert!(reply.contains("loops back to this host") && reply.contains("smart_relay"), "{reply}");
}
