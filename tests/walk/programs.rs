//! Mail submitted by HTTP is handled like all mail.

use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use nix::libc::linger;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

pub(crate) const ENVELOPE: &str =
    "/api/v1/messages?from=shop%40example.org&to=a%40example.net&to=b%40example.net";
pub(crate) const KIND: &str = "Content-Type: message/rfc822\r\n";

#[test]
fn a_mail_handed_in_by_http_arrives_as_one_handed_in_by_smtp() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let mail = "Subject: gr\u{fc}n\nFrom: shop@example.org\n\n.\n.. two dots\nBye";
    let (status, body) = appliance.post(ENVELOPE, KIND, mail.as_bytes());
    assert_eq!(status, "201", "{body}");
    appliance.until_empty();
    let letter = sink.mails(1).remove(0);
    assert_eq!(
        (letter.from.as_str(), &letter.to[..]),
        ("shop@example.org", &["a@example.net", "b@example.net"].map(String::from)[..])
    );
    assert_eq!(letter.text(), mail.replace('\n', "\r\n") + "\r\n");
    assert_eq!(appliance.counter("mta_accepted_total"), 1);
    let log = appliance.log().join("\n");
    assert!(log.contains("status=accepted") && log.contains("[127.0.0.1]"), "{log}");
}

#[test]
fn what_smtp_would_refuse_is_refused() {
    // A trusted network alone is no reason to accept mail by HTTP: pages of other sites and proxies
    // come from there, too.
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", "127.0.0.1:9"),
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.0/8"),
    ]);
    let (status, body) = appliance.post(
        ENVELOPE,
        &format!("{KIND}Authorization: Bearer tests:wrong\r\n"),
        b"Subject: x\n\nx\n",
    );
    assert!(status == "401" && body.contains("token"), "{status} {body}");
    let appliance =
        Appliance::start(&[("MTA_SMART_RELAY", "127.0.0.1:9"), ("MTA_MESSAGE_SIZE_LIMIT", "100K")]);
    let bare = b"Subject: x\r\n\r\na\rb\r\n";
    let large = [&b"Subject: x\n\n"[..], &b"0123456789\n".repeat(20_000)].concat();
    let circles = b"Received: x\n".repeat(200);
    for (content, status, words) in [
        (&bare[..], "422", "CR without LF"),
        (&large, "413", "552"),
        (b"", "422", "empty"),
        (&circles, "422", "hop"),
    ] {
        let (answered, body) = appliance.post(ENVELOPE, KIND, content);
        assert!(
            answered == status && body.contains(words),
            "{answered} {body}, not {status} {words}"
        );
    }
    let examples = appliance.api("refusals").to_string();
    assert!(examples.contains("\"POST\""), "{examples}");
    assert_eq!(appliance.counter("mta_accepted_total"), 0);
    assert_eq!(appliance.counter("mta_mqueue_messages"), 0);
}

#[test]
fn a_mail_answered_201_survives_a_kill() {
    let sink = Sink::start("");
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", "127.0.0.1:9"),
        ("MTA_MINIMAL_BACKOFF_TIME", "1s"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "2s"),
    ]);
    let (status, body) =
        appliance.post(ENVELOPE, &format!("{KIND}Idempotency-Key: 1\r\n"), b"Subject: kept\n\nx\n");
    assert_eq!(status, "201", "{body}");
    let (status, again) =
        appliance.post(ENVELOPE, &format!("{KIND}Idempotency-Key: 1\r\n"), b"Subject: kept\n\nx\n");
    assert!(status == "200" && again.contains("\"repeated\":true"), "{again}");
    appliance.kill();
    appliance.set(&[("MTA_SMART_RELAY", &sink.relay())]);
    appliance.boot();
    // A client that did not get the answer before the crash repeats the request.
    let (status, again) =
        appliance.post(ENVELOPE, &format!("{KIND}Idempotency-Key: 1\r\n"), b"Subject: kept\n\nx\n");
    assert!(status == "200" && again.contains("\"repeated\":true"), "{again}");
    appliance.until_empty();
    assert_eq!(sink.mails(1)[0].text(), "Subject: kept\r\n\r\nx\r\n");
    assert_eq!(sink.count(), 1);
}

/// A client that disconnects at any moment and repeats the request sends one mail, not two.
#[test]
fn a_program_that_hangs_up_and_asks_again_sends_one_mail() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let mails = 100;
    for number in 0..mails {
        let header = format!("{KIND}Idempotency-Key: order-{number}\r\n");
        let content = format!("Subject: {number}\n\nx\n");
        let request = format!(
            "POST {ENVELOPE} HTTP/1.1\r\nHost: mta\r\nContent-Length: {}\r\n{header}\r\n{content}",
            content.len()
        );
        let mut stream = TcpStream::connect(appliance.ui).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        // A reset, not a regular close.
        setsockopt(&stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).unwrap();
        std::thread::sleep(Duration::from_micros(number * 50));
        drop(stream);
        until("an answer", || match appliance.post(ENVELOPE, &header, content.as_bytes()) {
            (status, _) if status == "200" || status == "201" => Ok(()),
            (status, _) if status == "409" => Err(status),
            (status, body) => panic!("{status} {body}"),
        });
    }
    appliance.until_empty();
    assert_eq!(sink.count() as u64, mails);
    assert_eq!(appliance.counter("mta_accepted_total"), mails);
}
