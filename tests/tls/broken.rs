//! Failed handshakes: each ends one connection and is counted, and nothing is sent in plain text.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Setup};
use crate::support::tls::pair;
use postern::ground::net::ConnectionLimits;
use postern::mail::accept::Limits;
use std::time::{Duration, Instant};

/// One whose handshakes may take a second.
fn receiver() -> Receiver {
    let second = Duration::from_secs(1);
    let limits = ConnectionLimits {
        handshake: second,
        handshake_trusted: second,
        linger: Duration::from_millis(200),
        ..Limits::default().connection
    };
    Receiver::start(Setup { pair: Some(pair().0), limits: limits.into(), ..Setup::default() })
}

/// Both ways to the handshake.
fn clients(receiver: &Receiver) -> [Client; 2] {
    let mut asked = Client::hello(receiver.address);
    asked.ask("STARTTLS", "220 ");
    [asked, Client::connect(receiver.smtps.unwrap())]
}

fn failures(receiver: &Receiver) -> u64 {
    receiver.counters.tls_handshake_failures_total.get()
}

/// Everything is over, both sessions failed, and others are served normally.
fn settled(receiver: &Receiver) {
    eventually("both handshakes have failed", || failures(receiver) == 2);
    eventually("no session is left", || receiver.sessions() == 0);
    assert!(receiver.spool.messages().is_empty());
    Client::hello(receiver.address).ask("QUIT", "221 ");
}

#[test]
fn garbage_and_plain_text() {
    for octets in [
        &b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<box@there.example>\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 600],
        &[0x16; 600],
    ] {
        let receiver = receiver();
        for mut client in clients(&receiver) {
            client.send(octets);
            // Only a TLS alert (its first octet is 21), or the close.
            let said = client.octets();
            assert!(said.is_empty() || said[0] == 21 && said.len() == 7, "{}", said.escape_ascii());
        }
        settled(&receiver);
    }
}

#[test]
fn a_greeting_in_plain_text_on_smtps_is_not_waited_for_in_vain() {
    // A client that expects the plain port, and waits for the greeting.
    let receiver = receiver();
    let start = Instant::now();
    for mut client in clients(&receiver) {
        assert_eq!(client.octets(), b"");
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    settled(&receiver);
}

#[test]
fn half_a_hello_and_then_silence() {
    let receiver = receiver();
    // The record header has 512 octets, the handshake 508.
    let half = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 100]].concat();
    for mut client in clients(&receiver) {
        client.send(&half);
        assert_eq!(client.octets(), b"");
    }
    settled(&receiver);
}

#[test]
fn a_hello_that_dribbles_in() {
    let receiver = receiver();
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 100]].concat();
    let [mut asked, mut direct] = clients(&receiver);
    // One octet at a time keeps the connection busy, and does not extend the limit.
    let sent = hello.chunks(1).take_while(|octet| {
        std::thread::sleep(Duration::from_millis(40));
        asked.try_send(octet) & direct.try_send(octet)
    });
    assert!(sent.count() < hello.len());
    settled(&receiver);
}

#[test]
fn disconnects() {
    let receiver = receiver();
    let [asked, mut direct] = clients(&receiver);
    drop(asked);
    direct.send([0x16, 3, 1]);
    direct.finish();
    settled(&receiver);
}

#[test]
fn a_client_that_does_not_believe_us() {
    let receiver = receiver();
    let believes_another = pair().1;
    for client in clients(&receiver) {
        assert!(!client.can_secure(&believes_another));
    }
    settled(&receiver);
}
