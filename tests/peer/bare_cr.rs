//! A client that ends its lines with CR alone, or sends CRs anywhere.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::model::Refusal;

#[test]
fn in_a_command() {
    let receiver = Receiver::start(Setup::default());
    for command in
        ["EHLO client.example\rNOOP\r\n", "EHLO client.example\r\r\n", "\rEHLO client.example\r\n"]
    {
        let mut client = Client::connect(receiver.address);
        client.expect("220 ");
        client.send(command);
        client.expect("500 5.5.2 ");
        client.expect_close();
    }
    assert_eq!(receiver.refused(Refusal::BareLine), 3);
    crate::is_well(&receiver);
}

#[test]
fn in_content_wherever_it_stands() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    for content in ["\r", "a\r", "a\rb", "a\r\n\rb", "a\r\n.\rb", "a\r\n.\r\r"] {
        client.begin();
        client.send(format!("{content}\r\n.\r\n"));
        client.expect("550 5.6.0 ");
    }
    assert!(receiver.spool.messages().is_empty());
    drop(client);
    crate::is_well(&receiver);
}
