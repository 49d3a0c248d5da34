//! A line that never ends.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::model::Refusal;

#[test]
fn as_a_command() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    let mut sent = 0;
    while sent < 50_000_000 && client.try_send([b'x'; 10_000]) {
        sent += 10_000;
    }
    assert!(sent < 50_000_000, "the receiver listens for ever");
    drop(client);
    assert_eq!(receiver.refused(Refusal::Limit), 1);
    crate::is_well(&receiver);
}

#[test]
fn as_content() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    client.begin();
    let mut sent = 0;
    while sent < 100_000_000 && client.try_send([b'x'; 10_000]) {
        sent += 10_000;
    }
    assert!(sent < 100_000_000, "the receiver listens for ever");
    drop(client);
    assert!(receiver.spool.messages().is_empty());
    crate::is_well(&receiver);
}
