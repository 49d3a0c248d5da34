//! Hosts that are down, and the hosts after them.

use crate::support::{
    Do, Peer, all_delivered, client, code, codes, counted, message, patient, route, say, send,
};
use postern::mail::deliver::counters::DeliverCounters;
use postern::mail::deliver::{
    AttemptObserver, DeliverConfig, HOST_MAX, HOST_UNPROVEN_MAX, RecipientOutcomes, RouteAttempt,
    SESSIONS_MAX, SmtpClient, Timeouts,
};
use postern::mail::model::{Destination, MailHost, ReplyClass, Route, Target, TransactionReport};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// An address without a listener.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test(crate = "crate::with_threads")]
async fn broken_hosts_first_and_a_good_one_behind_them() {
    let closes = Peer::start(&[], |_| Do::Close).await;
    let refuses = Peer::start(&[], |_| say("554 5.7.1 not here")).await;
    let busy = Peer::start(&[], |_| say("421 4.3.2 busy")).await;
    let garbage = Peer::start(&[], |_| say("welcome")).await;
    let no_hello =
        Peer::start(
            &[],
            |step| if step.line.is_empty() { Do::Usual } else { say("550 5.7.1 go away") },
        )
        .await;
    let good = Peer::good(&[]).await;
    let (client, counters) = counted(patient());
    let all = [
        nobody().await,
        closes.address,
        refuses.address,
        busy.address,
        garbage.address,
        no_hello.address,
        good.address,
    ];
    let connection = client.connect(&route(&all)).await.unwrap();
    assert_eq!(connection.relay(), format!("mx6.example[127.0.0.1]:{}", good.address.port()));
    assert_eq!(counters.connections_out_active.get(), 1);
    assert_eq!(counters.connections_out_total.with_label_values(&["failed"]).get(), 6);
    assert_eq!(counters.connections_out_total.with_label_values(&["established"]).get(), 1);
    let (connection, report) = send(connection, &message(1, "a\r\n")).await;
    assert!(all_delivered(&report));
    assert_eq!(report.relay, connection.relay());
    connection.quit().await;
    assert_eq!(counters.connections_out_active.get(), 0);
}

#[tokio::test(crate = "crate::with_threads")]
async fn all_addresses_of_a_host_are_tried() {
    let good = Peer::good(&[]).await;
    let hop = MailHost {
        host: "mx.example".into(),
        addresses: vec![nobody().await, nobody().await, good.address],
        upstream: None,
    };
    let route = Route {
        destination: Destination::domain("there.example").unwrap(),
        hosts: vec![hop],
        shared: false,
    };
    assert!(client(patient()).connect(&route).await.is_ok());
}

#[tokio::test(crate = "crate::with_threads")]
async fn nobody_is_there() {
    let address = nobody().await;
    let outcome = client(patient()).connect(&route(&[address])).await.unwrap_err();
    assert_eq!(code(&outcome), "451 4.4.1");
    assert_eq!(
        outcome.reply.text,
        format!("connect to mx0.example[127.0.0.1]:{}: Connection refused", address.port())
    );
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_greeting_of_5xx_is_no_verdict_on_the_mail() {
    let refuses = Peer::start(&[], |_| say("554 5.7.1 not you")).await;
    let also = Peer::start(&[], |_| say("521 5.3.2 no mail here")).await;
    let (client, counters) = counted(patient());
    let outcome = client.connect(&route(&[also.address, refuses.address])).await.unwrap_err();
    assert_eq!((code(&outcome).as_str(), outcome.remote), ("451 4.7.1", false));
    let words = format!(
        "mx1.example[127.0.0.1]:{} rejected this relay instead of a greeting: 554 5.7.1 not you",
        refuses.address.port()
    );
    assert_eq!(outcome.reply.text, words);
    assert_eq!(counters.next_hop_refusals_total.with_label_values(&["greeting"]).get(), 2);
    for addresses in [[refuses.address, nobody().await], [nobody().await, refuses.address]] {
        let outcome = client.connect(&route(&addresses)).await.unwrap_err();
        assert_eq!(outcome.class(), ReplyClass::Temporary, "{outcome:?}");
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_refused_ehlo_and_helo_is_no_verdict_on_the_mail() {
    let refuses = Peer::start(&[], |step| {
        if step.line.is_empty() { Do::Usual } else { say("550 5.7.1 not by that name") }
    })
    .await;
    let (client, counters) = counted(patient());
    let outcome = client.connect(&route(&[refuses.address])).await.unwrap_err();
    assert_eq!(code(&outcome), "451 4.7.1", "{outcome:?}");
    assert!(outcome.reply.text.ends_with("550 5.7.1 not by that name"), "{outcome:?}");
    assert_eq!(counters.next_hop_refusals_total.with_label_values(&["hello"]).get(), 1);
}

/// OpenSMTPD#775: two such hosts, the third works.
#[tokio::test(crate = "crate::with_threads")]
async fn hosts_that_say_nothing_cost_the_others_seconds() {
    let turn = Duration::from_millis(200);
    for silent in 1..=6_u32 {
        let good = Peer::good(&[]).await;
        let mut addresses = Vec::new();
        for _ in 0..silent {
            addresses.push(Peer::start(&[], |_| Do::Hang).await.address);
        }
        addresses.push(good.address);
        let begun = Instant::now();
        let client = client(Timeouts { turn, ..patient() });
        let connection = client.connect(&route(&addresses)).await.unwrap();
        assert!(connection.relay().starts_with(&format!("mx{silent}.")), "{connection:?}");
        assert!(
            begun.elapsed() < turn * silent + Duration::from_secs(3),
            "{silent}: {:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_slow_host_is_not_given_up_for_a_worse_one_that_is_dead() {
    let greeting = || Do::Slowly(b"220 at last\r\n".to_vec(), Duration::from_millis(100));
    let slow =
        Peer::start(&[], move |step| if step.line.is_empty() { greeting() } else { Do::Usual })
            .await;
    let client = client(Timeouts { turn: Duration::from_millis(100), ..patient() });
    let connection = client.connect(&route(&[slow.address, nobody().await])).await.unwrap();
    assert!(connection.relay().starts_with("mx0."), "{connection:?}");
}

#[tokio::test(crate = "crate::with_threads")]
async fn finding_a_host_ends_in_time_however_many_are_silent() {
    let mut addresses = Vec::new();
    for _ in 0..48 {
        addresses.push(Peer::start(&[], |_| Do::Hang).await.address);
    }
    let begun = Instant::now();
    let client = client(Timeouts { route: Duration::from_secs(2), ..patient() });
    let outcome = client.connect(&route(&addresses)).await.unwrap_err();
    assert_eq!(code(&outcome), "451 4.4.1");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Delivers a message from host to host as a delivery agent does: what each host accepted, and the
/// last report.
async fn carry(addresses: &[SocketAddr], recipients: usize) -> (Vec<String>, TransactionReport) {
    let client = client(patient());
    let mut attempt = RouteAttempt::new(&client, &Arc::new(route(addresses)));
    let message = message(recipients, "a\r\n");
    let mut targets: Vec<Target> =
        message.progress.iter().map(|progress| progress.target).collect();
    let mut relays = Vec::new();
    loop {
        let mut connection = attempt.next().await.unwrap();
        relays.push(connection.relay().split('.').next().unwrap().to_owned());
        let report = connection.send(&message, &targets, &mut RecipientOutcomes::default()).await;
        targets = report.retryable_elsewhere();
        if targets.is_empty() || !attempt.may_go_on() {
            return (relays, report);
        }
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn the_next_host_is_asked_about_recipients_that_were_put_off() {
    for (state, said) in [
        ("MAIL", "451 4.3.0 database down"),
        ("MAIL", "530 5.7.57 not authenticated"),
        ("RCPT TO:<r1", "451 4.3.0 database down"),
        ("RCPT TO:<r1", "452 4.2.2 mailbox full"),
        ("DATA", "451 4.3.0 later"),
        (".", "452 4.3.1 disk full"),
        (".", "421 4.3.2 shutting down"),
    ] {
        let first = Peer::start(&["PIPELINING"], move |step| match step.line {
            line if !line.is_empty() && line.starts_with(state) => say(said),
            line if state == "MAIL" && line.starts_with("RCPT") => say("503 5.5.1 MAIL first"),
            "DATA" if state == "MAIL" => say("503 5.5.1 MAIL first"),
            _ => Do::Usual,
        })
        .await;
        let second = Peer::good(&["PIPELINING"]).await;
        let (relays, report) = carry(&[first.address, second.address], 3).await;
        assert_eq!(relays, ["mx0", "mx1"], "{state} {said}");
        assert!(all_delivered(&report), "{report:?}");
        // Recipients that the first host accepted are not sent to the second.
        let expected: &[&str] =
            if state.starts_with("RCPT") { &["r1"] } else { &["r0", "r1", "r2"] };
        assert_eq!(named(&second), expected, "{state} {said}");
    }
}

fn named(peer: &Peer) -> Vec<String> {
    let lines = peer.lines().into_iter();
    lines
        .filter_map(|line| Some(line.strip_prefix("RCPT TO:<")?.split('@').next()?.to_owned()))
        .collect()
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_verdict_is_not_asked_for_twice() {
    for (state, said) in [
        ("MAIL", "553 5.1.8 no such sender"),
        ("RCPT", "550 5.1.1 unknown"),
        (".", "554 5.7.1 spam"),
    ] {
        let first = Peer::start(&[], move |step| match step.line {
            line if !line.is_empty() && line.starts_with(state) => say(said),
            _ => Do::Usual,
        })
        .await;
        let second = Peer::good(&[]).await;
        let (relays, report) = carry(&[first.address, second.address], 2).await;
        assert_eq!((relays.len(), second.seen(|seen| seen.sessions)), (1, 0), "{state}");
        assert_eq!(report.outcomes[0].1.class(), ReplyClass::Permanent, "{state}");
    }
}

/// A host that has all of the content may have accepted it: a second one would make a duplicate.
#[tokio::test(crate = "crate::with_threads")]
async fn content_whose_fate_is_not_known_goes_to_no_other_host_at_once() {
    for said in [None, Some("354 more?")] {
        let first = Peer::start(&[], move |step| match (step.line, said) {
            (".", None) => Do::Close,
            (".", Some(said)) => say(said),
            _ => Do::Usual,
        })
        .await;
        let second = Peer::good(&[]).await;
        let (relays, report) = carry(&[first.address, second.address], 1).await;
        assert_eq!(relays, ["mx0"], "{said:?}");
        assert_eq!(report.outcomes[0].1.class(), ReplyClass::Temporary);
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn content_that_was_taken_is_delivered_whatever_comes_after() {
    let drops = Peer::start(&[], |step| match step.line {
        "." => Do::SayAndClose(b"250 2.0.0 taken\r\n".to_vec()),
        _ => Do::Usual,
    })
    .await;
    let (relays, report) = carry(&[drops.address, Peer::good(&[]).await.address], 1).await;
    assert_eq!(relays, ["mx0"]);
    assert!(all_delivered(&report));
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_bounded_number_of_hosts_is_given_the_mail() {
    let mut addresses = Vec::new();
    for _ in 0..8 {
        addresses.push(
            Peer::start(
                &[],
                |step| if step.line == "." { say("451 4.3.0 later") } else { Do::Usual },
            )
            .await
            .address,
        );
    }
    let (relays, _) = carry(&addresses, 1).await;
    assert_eq!(relays.len(), SESSIONS_MAX);
}

/// A host with many addresses that defers mail does not prevent the others from being tried.
#[tokio::test(crate = "crate::with_threads")]
async fn other_hosts_come_before_other_addresses() {
    let busy = || async {
        Peer::start(&[], |step| if step.line == "." { say("451 later") } else { Do::Usual })
            .await
            .address
    };
    let addresses =
        vec![busy().await, busy().await, busy().await, busy().await, busy().await, busy().await];
    let good = Peer::good(&[]).await;
    let hosts = vec![
        MailHost { host: "many.example".into(), addresses, upstream: None },
        MailHost { host: "good.example".into(), addresses: vec![good.address], upstream: None },
    ];
    let route =
        Route { destination: Destination::domain("there.example").unwrap(), hosts, shared: false };
    let client = client(patient());
    let mut attempt = RouteAttempt::new(&client, &Arc::new(route));
    assert!(attempt.next().await.unwrap().relay().starts_with("many"));
    let second = attempt.next().await.unwrap();
    assert!(second.relay().starts_with("good"));
    // With an open connection, the others are those besides it.
    let mut beside = RouteAttempt::on_connection(&second);
    assert!(beside.may_go_on());
    assert!(beside.next().await.unwrap().relay().starts_with("many"));
}

/// Others want its slot: it is kept until the new connection is there.
#[tokio::test(crate = "crate::with_threads")]
async fn a_connection_is_opened_anew_though_the_host_has_all_that_it_may_have() {
    let peer = Peer::start(&["PIPELINING"], |step| match (step.session, step.line) {
        (0, ".") => Do::SayAndClose(b"250 ok\r\n".to_vec()),
        _ => Do::Usual,
    })
    .await;
    let (client, route) = (client(patient()), route(&[peer.address]));
    let (connection, _) = send(client.connect(&route).await.unwrap(), &message(1, "a\r\n")).await;
    let mut others = Vec::new();
    let has_room = |client: &SmtpClient| client.wait_for_room(&[peer.address.ip()], 1, (0, 0));
    while has_room(&client) {
        others.push(client.connect(&route).await.unwrap());
    }
    assert_eq!(others.len(), HOST_MAX as usize - 1);
    let (connection, report) = send(connection, &message(1, "b\r\n")).await;
    assert!(all_delivered(&report), "{report:?}");
    assert!(!has_room(&client), "it has one place, not two");
    drop(connection);
    assert!(has_room(&client));
    let mut attempt = RouteAttempt::new(&client, &Arc::new(route.clone()));
    others.push(attempt.next().await.unwrap());
    let mut attempt = RouteAttempt::new(&client, &Arc::new(route));
    assert!(
        attempt.next().await.is_err() && attempt.full_hosts() == [peer.address.ip()],
        "nothing is known of the host"
    );
}

/// The best host works and has no free connection; the hosts after it show nothing about the
/// destination.
#[tokio::test(crate = "crate::with_threads")]
async fn hosts_behind_a_full_one_tell_nothing_of_the_destination() {
    let silent = Peer::start(&[], |_| Do::Hang).await;
    let refuses = SocketAddr::from(([127, 0, 0, 2], nobody().await.port()));
    let (client, best) = (client(patient()), Arc::new(route(&[silent.address])));
    let opening: Vec<_> = (0..HOST_UNPROVEN_MAX)
        .map(|_| {
            let (client, best) = (client.clone(), best.clone());
            tokio::spawn(async move { client.connect(&best).await })
        })
        .collect();
    while client.wait_for_room(&[silent.address.ip()], 1, (0, 0)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut attempt = RouteAttempt::new(&client, &Arc::new(route(&[silent.address, refuses])));
    assert_eq!(code(&attempt.next().await.unwrap_err()), "451 4.4.1");
    assert_eq!(attempt.full_hosts(), [silent.address.ip()]);
    // The wait is for that host, and not for the one that has a free connection and is of no use.
    assert!(!client.wait_for_room(attempt.full_hosts(), 2, (0, 0)));
    opening.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Asked to stop at the last moment.
struct Hurried;

impl AttemptObserver for Hurried {
    fn heard(&self) {}

    fn may_begin(&self) -> bool {
        true
    }

    fn may_end(&self) -> bool {
        false
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn a_mail_that_was_given_up_before_its_end_goes_to_no_other_host() {
    let peer = Peer::good(&["PIPELINING"]).await;
    let client = client(patient()).followed(Arc::new(Hurried), false);
    let (_, report) =
        send(client.connect(&route(&[peer.address])).await.unwrap(), &message(2, "a\r\n")).await;
    assert_eq!(codes(&report), ["451 4.4.2", "451 4.4.2"]);
    assert!(!report.reusable && report.retryable_elsewhere().is_empty(), "{report:?}");
}

/// Asked to stop after so many transactions; records the questions.
struct Counting(usize, Mutex<Vec<&'static str>>);

impl AttemptObserver for Counting {
    fn heard(&self) {}

    fn may_begin(&self) -> bool {
        let mut asked = self.1.lock().unwrap();
        asked.push("begin");
        asked.len() < 2 * self.0
    }

    fn may_end(&self) -> bool {
        self.1.lock().unwrap().push("end");
        true
    }
}

/// Mail sent in one transaction does not make the next one irrevocable.
#[tokio::test(crate = "crate::with_threads")]
async fn each_transaction_is_asked_for_and_may_be_the_last() {
    for (most, expected) in [(9, ["250 2.0.0"; 3]), (2, ["250 2.0.0", "250 2.0.0", "451 4.4.2"])] {
        let peer = Peer::good(&["PIPELINING"]).await;
        let witness = Arc::new(Counting(most, Mutex::default()));
        let config = DeliverConfig {
            hostname: "relay.example".into(),
            timeouts: patient(),
            bind: None,
            recipients_max: 1,
        };
        let client = SmtpClient::new(config, DeliverCounters::alone().unwrap()).unwrap();
        let connection =
            client.followed(witness.clone(), false).connect(&route(&[peer.address])).await.unwrap();
        let (_, report) = send(connection, &message(3, "a\r\n")).await;
        assert_eq!(codes(&report), expected);
        let asked = witness.1.lock().unwrap().concat();
        assert_eq!(
            asked,
            if most == 2 { "beginendbeginendbegin" } else { "beginendbeginendbeginend" }
        );
        assert_eq!(
            (report.reusable, report.retryable_elsewhere().len()),
            (most != 2, 0),
            "no other host is asked at once"
        );
    }
}
