//! A mail above the size limit, by little and without end.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::parse::SessionLimits;
use postern::mail::session::SURPLUS_MAX;

fn receiver() -> Receiver {
    Receiver::start(Setup {
        rules: SessionLimits::new("mta.example", 1_000_000),
        ..Setup::default()
    })
}

#[test]
fn is_read_to_its_end_and_refused() {
    let receiver = receiver();
    let mut client = Client::hello(receiver.address);
    client.begin();
    let line = [&[b'x'; 998][..], b"\r\n"].concat();
    client.send(line.repeat(1001));
    client.send(".\r\n");
    client.expect("552 5.3.4 ");
    client.begin();
    client.send(line.repeat(1000));
    client.send(".\r\n");
    client.expect("250 2.0.0 ");
    assert_eq!(receiver.spool.messages().len(), 1);
    drop(client);
    crate::is_well(&receiver);
}

#[test]
fn is_cut_off_when_it_has_no_end() {
    let receiver = receiver();
    let mut client = Client::hello(receiver.address);
    client.begin();
    let lines = [&[b'x'; 998][..], b"\r\n"].concat().repeat(100);
    let mut sent = 0;
    while sent < 3 * SURPLUS_MAX && client.try_send(&lines) {
        sent += lines.len() as u64;
    }
    assert!(sent < 3 * SURPLUS_MAX, "the receiver listens for ever");
    drop(client);
    assert!(receiver.spool.messages().is_empty());
    crate::is_well(&receiver);
}
