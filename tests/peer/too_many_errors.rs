//! A client that tries names and words until something fits.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::model::Refusal;

#[test]
fn is_closed_after_twenty() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    for _ in 0..19 {
        client.ask("PASS guess", "500 5.5.2 ");
    }
    client.ask("PASS guess", "421 4.7.0 Too many errors");
    client.expect_close();
    crate::is_well(&receiver);
}

#[test]
fn relay_attempts_count() {
    let receiver = Receiver::start(Setup { trusted: vec!["192.0.2.0/24".to_owned()], ..Setup::default() });
    let mut client = Client::hello(receiver.address);
    client.ask("MAIL FROM:<a@client.example>", "250 ");
    for number in 0..19 {
        client.ask(&format!("RCPT TO:<guess{number}@there.example>"), "554 5.7.1 ");
    }
    client.ask("RCPT TO:<last@there.example>", "421 4.7.0 ");
    client.expect_close();
    assert_eq!(receiver.refused(Refusal::Relay), 20);
}
