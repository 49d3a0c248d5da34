//! NUL octets, at which C programs might stop reading.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};

#[test]
fn are_refused_everywhere() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    for command in ["NOOP\0", "MAIL FROM:<a\0@client.example>", "\0", "RCPT TO:<a\0@b.example>"] {
        client.ask(command, "500 5.5.2 ");
    }
    // A client's name is only informative, and every octet of it that is not text is replaced by a
    // question mark.
    client.ask("HELO a\0b", "250 ");
    for content in ["\0", "Subject: a\0b\r\n", "a\r\n\0\r\n"] {
        client.begin();
        client.send(format!("{content}\r\n.\r\n"));
        client.expect("550 5.6.0 ");
    }
    assert!(receiver.spool.messages().is_empty());
    drop(client);
    crate::is_well(&receiver);
}
