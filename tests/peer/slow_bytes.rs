//! A client that sends slowly to hold a session as long as possible: each octet comes in time, the
//! whole never does.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::ground::net::ConnectionLimits;
use postern::mail::accept::Limits;
use postern::mail::model::Refusal;
use std::thread::sleep;
use std::time::{Duration, Instant};

fn receiver() -> Receiver {
    let limits = Limits {
        content: Duration::from_millis(600),
        content_grace: Duration::from_millis(1500),
        content_rate: 1_000_000,
        ..Limits::from(ConnectionLimits {
            command: Duration::from_millis(1000),
            ..Limits::default().connection
        })
    };
    Receiver::start(Setup { limits, ..Setup::default() })
}

/// Sends an octet every 50 ms until the receiver closes, and gives its replies.
fn dribble(client: &mut Client) -> String {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) && client.try_send("x") {
        sleep(Duration::from_millis(50));
    }
    client.rest()
}

#[test]
fn in_a_command() {
    let receiver = receiver();
    let mut client = Client::hello(receiver.address);
    let said = dribble(&mut client);
    assert!(
        said.is_empty() || said == "421 4.4.2 mta.example waited too long; closing\r\n",
        "{said}"
    );
    drop(client);
    assert_eq!(receiver.refused(Refusal::Limit), 1);
    crate::is_well(&receiver);
}

#[test]
fn in_content() {
    let receiver = receiver();
    let mut client = Client::hello(receiver.address);
    client.begin();
    dribble(&mut client);
    drop(client);
    assert_eq!(receiver.refused(Refusal::Limit), 1);
    assert!(receiver.spool.messages().is_empty());
    crate::is_well(&receiver);
}

#[test]
fn in_silence() {
    let receiver = receiver();
    for words in ["", "EHLO client.example\r\n", "EHLO client.example\r\nMAIL FROM:<>\r\n"] {
        let mut client = Client::connect(receiver.address);
        client.send(words);
        assert!(client.rest().ends_with("421 4.4.2 mta.example waited too long; closing\r\n"));
    }
    let mut client = Client::hello(receiver.address);
    client.begin();
    client.send("Subject: half a mail\r\n");
    assert_eq!(client.rest(), "421 4.4.2 mta.example waited too long; closing\r\n");
    assert!(receiver.spool.messages().is_empty());
    crate::is_well(&receiver);
}
