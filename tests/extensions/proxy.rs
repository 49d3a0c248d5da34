//! The PROXY protocol: HAProxy in front, direct clients on the same ports.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::haproxy::{Haproxy, PROXY};
use crate::support::patience::until;
use crate::support::program::{free_port, open_directory, open_folder};
use crate::support::tls::{believing, self_signed};
use std::fs;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

/// A client that may relay, and one that may not; the proxy itself may.
const OWN: &str = "127.0.0.5";
const STRANGER: &str = "127.0.0.6";

const TRUSTED: (&str, &str) = ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.5, 127.0.0.9, ::1");

/// The field that the relay puts on top, of the only mail at `sink`.
fn received(sink: &Sink) -> String {
    sink.mails(1);
    let file = fs::read_dir(sink.maildir()).unwrap().next().unwrap().unwrap();
    let text = fs::read_to_string(file.path()).unwrap();
    text.split("Received: ").nth(1).unwrap().split("\r\n").next().unwrap().to_owned()
}

fn denied(client: &mut Client) -> String {
    client.ask("MAIL FROM:<sender@here.example>", "250 ");
    client.ask("RCPT TO:<box@there.example>", "554 5.7.1")
}

#[test]
fn the_client_that_haproxy_names_is_the_client() {
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"]
    {
        let sink = Sink::start("");
        let appliance = Appliance::start(&[
            ("MTA_SMART_RELAY", &sink.relay()),
            ("MTA_PROXY_NETWORKS", PROXY),
            TRUSTED,
        ]);
        let haproxy = Haproxy::before(appliance.smtp, option);
        let mut client = Client::hello_from(OWN, haproxy.address);
        client.mail("sender@here.example", &["box@there.example"], b"Subject: x\r\n\r\nx\r\n");
        assert!(received(&sink).contains("[127.0.0.5]"), "{option}: {}", received(&sink));
        let accepted = appliance.log().into_iter().find(|line| line.contains("status=accepted"));
        assert!(accepted.unwrap().contains("client=127.0.0.5"));
        let refusal = denied(&mut Client::hello_from(STRANGER, haproxy.address));
        assert!(refusal.contains("[127.0.0.6] is not in smtpd_trusted_networks"), "{refusal}");
        // On the same port, without a proxy.
        let mut direct = Client::hello_from(OWN, appliance.smtp);
        direct.mail("sender@here.example", &["box@there.example"], b"Subject: x\r\n\r\nx\r\n");
        assert!(denied(&mut Client::hello_from(STRANGER, appliance.smtp)).contains("[127.0.0.6]"));
    }
}

#[test]
fn both_families_pass_and_each_client_has_its_own_limit() {
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", "192.0.2.1"),
        ("MTA_PROXY_NETWORKS", PROXY),
        ("MTA_SESSION_LIMIT_PER_ADDRESS", "2"),
        TRUSTED,
    ]);
    let haproxy = Haproxy::at(
        SocketAddr::from((Ipv6Addr::LOCALHOST, free_port())),
        appliance.smtp,
        "send-proxy-v2",
    );
    let mut six = Client::hello_from("::1", haproxy.address);
    six.ask("MAIL FROM:<sender@here.example>", "250 ");
    six.ask("RCPT TO:<box@there.example>", "250 ");
    let haproxy = Haproxy::before(appliance.smtp, "send-proxy");
    let _two = [(); 2].map(|()| Client::hello_from("127.0.0.6", haproxy.address));
    let _other = Client::hello_from("127.0.0.7", haproxy.address);
    let mut third = Client::connect_from("127.0.0.6", haproxy.address);
    third.expect("421 4.7.0");
}

#[test]
fn a_listed_proxy_without_a_header_is_refused() {
    let appliance = Appliance::start(&[("MTA_PROXY_NETWORKS", PROXY), TRUSTED]);
    let told = "421 4.7.0 postern.example Your address is in proxy_networks of this relay";
    let mut client = Client::connect_from(PROXY, appliance.smtp);
    client.ask("EHLO client.example", told);
    client.expect_close();
    let mut silent = Client::connect_from(PROXY, appliance.smtp);
    let start = Instant::now();
    silent.expect(told);
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    let mut unix = Client::connect_from(PROXY, appliance.smtp);
    unix.send([&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8"[..], &[0; 216]].concat());
    unix.expect("421 4.7.0 postern.example The PROXY header must name addresses of TCP");
    let mut wrong = Client::connect_from(PROXY, appliance.smtp);
    wrong.send("PROXY TCP4 one two 3 4\r\n");
    wrong.expect("421 4.7.0 postern.example The PROXY header is not well-formed");
    let refused = appliance.counter("mta_sessions_refused_total{reason=\"proxy\"}");
    assert_eq!(refused, 4);
    let log = appliance.log().join("\n");
    assert!(log.contains("Your address is in proxy_networks"), "{log}");
}

#[test]
fn a_proxy_that_does_not_know_its_client_gives_it_no_trust() {
    let appliance = Appliance::start(&[("MTA_PROXY_NETWORKS", PROXY), TRUSTED]);
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00"] {
        let mut client = Client::connect_from(PROXY, appliance.smtp);
        client.send(header);
        client.expect("220 ");
        client.ask("EHLO client.example", "250 ");
        assert!(denied(&mut client).contains("[0.0.0.0]"));
    }
    // The proxy itself, by its own address.
    let mut own = Client::connect_from(PROXY, appliance.smtp);
    own.send(b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00EHLO client.example\r\n");
    own.expect("220 ");
    own.expect("250 ");
    own.ask("MAIL FROM:<sender@here.example>", "250 ");
    own.ask("RCPT TO:<box@there.example>", "250 ");
}

#[test]
fn nobody_else_can_name_a_client() {
    let appliance = Appliance::start(&[("MTA_PROXY_NETWORKS", PROXY), TRUSTED]);
    let mut stranger = Client::connect_from(STRANGER, appliance.smtp);
    stranger.expect("220 ");
    stranger.ask("PROXY TCP4 127.0.0.5 127.0.0.1 4711 25", "500 5.5.2 A PROXY header is read only");
    stranger.ask("EHLO client.example", "250 ");
    assert!(denied(&mut stranger).contains("[0.0.0.0]"));
    let mut stranger = Client::connect_from(STRANGER, appliance.smtp);
    stranger.send(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x7f\0\0\x05\x7f\0\0\x01\x10\x10\0\x19");
    stranger.expect("220 ");
    stranger.expect("500 5.5.2 A PROXY header is read only");
}

/// All clients of a proxy that is trusted and not listed would be trusted.
#[test]
fn a_trusted_proxy_that_is_not_listed_is_no_open_relay_and_fails_check() {
    let mut appliance = Appliance::start(&[TRUSTED]);
    let check = |appliance: &Appliance| {
        let output = appliance.command(&["check"]).output().unwrap();
        assert_eq!(output.status.signal(), None);
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&appliance).0, 0);
    let haproxy = Haproxy::before(appliance.smtp, "send-proxy");
    let mut client = Client::connect_from(STRANGER, haproxy.address);
    client.expect("220 ");
    client.expect("500 5.5.2 A PROXY header is read only");
    client.ask("EHLO client.example", "250 ");
    assert!(denied(&mut client).contains("[0.0.0.0]"));
    let (code, words) = check(&appliance);
    assert_eq!(code, 64, "{words}");
    assert!(words.starts_with("Error: proxy_networks does not list 127.0.0.9,"), "{words}");
    assert!(appliance.log().join("\n").contains("list it in proxy_networks"));
    drop(haproxy);
    appliance.stop();
    appliance.set(&[("MTA_PROXY_NETWORKS", PROXY)]);
    assert_eq!(check(&appliance), (0, String::new()));
}

#[test]
fn probes_leave_no_trace_in_the_mail_log() {
    let (directory, volume) = (open_directory(), open_directory());
    let share = open_folder(&directory, "share");
    let (key, certificate) = self_signed();
    fs::write(volume.path().join("server.pem"), &certificate).unwrap();
    fs::write(volume.path().join("server.key"), key).unwrap();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", "192.0.2.1"),
        ("MTA_PROXY_NETWORKS", &format!("smtp:{PROXY}")),
        ("MTA_LOGS_ENABLED", "yes"),
        ("MTA_TERMINAL_LOG", &share.display().to_string()),
        ("MTA_MAILLOG_FILENAME", "maillog"),
        ("MTA_SSL_DISABLED", "no"),
        ("MTA_VOLUME_KEY", &volume.path().display().to_string()),
        TRUSTED,
    ]);
    let proxies = ["send-proxy", "send-proxy-v2"].map(|option| {
        [
            Haproxy::before(appliance.smtp, option),
            Haproxy::before(appliance.smtps, option),
            Haproxy::before(appliance.smtp, &format!("{option} check-send-proxy")),
        ]
    });
    let mut client =
        Client::connect_inside_tls(proxies[1][1].address, &believing(certificate.as_bytes()));
    client.expect("220 ");
    client.ask("EHLO client.example", "250 ");
    client.ask("MAIL FROM:<sender@here.example>", "250 ");
    client.ask("QUIT", "221 ");
    std::thread::sleep(Duration::from_secs(1));
    let log = until("the client's lines are in the mail log", || {
        let text = fs::read_to_string(share.join("maillog")).unwrap_or_default();
        if text.contains("disconnect from unknown[127.0.0.1]") { Ok(text) } else { Err(text) }
    });
    assert!(!log.contains(PROXY), "{log}");
    // The helper's own look at each of them has the address 127.0.0.1.
    let mut said = appliance.log().into_iter().skip_while(|line| !line.contains(" ready host"));
    assert!(!said.any(|line| line.contains(PROXY)), "{:?}", appliance.log());
    assert!(appliance.counter("mta_smtp_sessions_total") > 5, "the probes came");
}
