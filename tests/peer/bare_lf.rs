//! A client that ends its lines with LF alone.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::model::Refusal;

#[test]
fn in_every_command() {
    let receiver = Receiver::start(Setup::default());
    let commands = [
        "EHLO client.example",
        "MAIL FROM:<a@client.example>",
        "RCPT TO:<b@there.example>",
        "DATA",
        "QUIT",
    ];
    for (place, command) in commands.iter().enumerate() {
        let mut client = Client::connect(receiver.address);
        client.expect("220 ");
        for good in &commands[..place.min(3)] {
            client.ask(good, "250 ");
        }
        client.send(format!("{command}\n"));
        client.expect("500 5.5.2 ");
        client.expect_close();
    }
    assert_eq!(receiver.refused(Refusal::BareLine), 5);
    assert!(receiver.spool.messages().is_empty());
    crate::is_well(&receiver);
}

#[test]
fn in_content_wherever_it_stands() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    for content in ["\n", "a\n", "a\nb", "a\r\n\nb", "Subject: x\n\nb\r\n", "a\r\n.\nb"] {
        client.begin();
        client.send(format!("{content}\r\n.\r\n"));
        client.expect("550 5.6.0 ");
    }
    assert!(receiver.spool.messages().is_empty());
    drop(client);
    crate::is_well(&receiver);
}
