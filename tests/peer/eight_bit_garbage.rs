//! Octets that are not text, in commands and in content.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::model::BodyType;

#[test]
fn in_commands() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    for garbage in [
        &b"\xff\xfe\xfd"[..],
        b"MAIL FROM:<\x80@client.example>",
        b"RCPT TO:<a@\xc3>",
        b"\x16\x03\x01\x02",
    ] {
        client.send([garbage, b"\r\n"].concat());
        client.expect("500 5.5.2 ");
    }
    // A name in a local code page is no reason to reject mail (RFC 5321 §4.1.4).
    client.send(b"HELO \xe9\r\n");
    client.expect("250 ");
    client.ask("NOOP", "250 ");
    drop(client);
    crate::is_well(&receiver);
}

#[test]
fn a_tls_handshake_is_given_up() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::connect(receiver.address);
    client.expect("220 ");
    // The start of a ClientHello; the line feed of its random part has no CR before it.
    client.send(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03random\nrandom");
    client.expect("500 5.5.2 ");
    client.expect_close();
    crate::is_well(&receiver);
}

#[test]
fn in_content_it_is_content() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    let garbage: Vec<u8> =
        (1..=255u8).filter(|octet| !b"\r\n".contains(octet)).cycle().take(60_000).collect();
    client.begin();
    client.send([&garbage[..], b"\r\n.\r\n"].concat());
    client.expect("250 2.0.0 ");
    let (message, content) = receiver.spool.messages().pop().unwrap();
    assert!(content.ends_with(&[&garbage[..], b"\r\n"].concat()));
    assert_eq!(message.envelope.body, BodyType::EightBitMime, "whatever MAIL said");
    drop(client);
    crate::is_well(&receiver);
}
