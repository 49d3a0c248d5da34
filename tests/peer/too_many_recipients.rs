//! A mail to more recipients than the limit.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::model::Envelope;

#[test]
fn the_first_thousand_get_it_and_the_rest_is_told_to_come_again() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    client.ask("MAIL FROM:<a@client.example>", "250 ");
    let rcpt = |number: usize| format!("RCPT TO:<r{number}@there.example>\r\n");
    client.send((0..Envelope::RECIPIENTS_MAX + 50).map(rcpt).collect::<String>());
    for _ in 0..Envelope::RECIPIENTS_MAX {
        client.expect("250 2.1.5 ");
    }
    for _ in 0..50 {
        client.expect("452 4.5.3 ");
    }
    client.ask("DATA", "354 ");
    client.ask(".", "250 2.0.0 ");
    let (message, content) = receiver.spool.messages().pop().unwrap();
    assert_eq!(message.envelope.recipients.len(), Envelope::RECIPIENTS_MAX);
    assert!(
        !String::from_utf8_lossy(&content).contains("for <"),
        "one recipient must not learn of the others"
    );
    drop(client);
    crate::is_well(&receiver);
}
