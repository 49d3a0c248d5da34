//! A client that sends commands and never reads a reply.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Setup};
use postern::ground::net::ConnectionLimits;
use postern::mail::accept::Limits;
use postern::mail::parse::SessionLimits;
use std::thread;
use std::time::Duration;

#[test]
fn is_left_once_the_pipe_is_full() {
    let limits = ConnectionLimits {
        write: Duration::from_millis(300),
        linger: Duration::from_millis(100),
        ..Limits::default().connection
    };
    let rules = SessionLimits {
        idle_commands_limit: usize::MAX,
        ..SessionLimits::new("mta.example", 1_000_000)
    };
    let receiver = Receiver::start(Setup { limits: limits.into(), rules, ..Setup::default() });
    let mut client = Client::connect(receiver.address);
    // The replies are ten times as long as the commands; both directions are blocked long before
    // all is sent.
    let asking = thread::spawn(move || {
        for _ in 0..20_000 {
            if !client.try_send("EHLO client.example\r\n".repeat(1000)) {
                return client;
            }
        }
        panic!("the receiver reads on and on");
    });
    eventually("the session has begun", || receiver.sessions() == 1);
    eventually("the session has been given up", || receiver.sessions() == 0);
    drop(asking.join().unwrap());
    crate::is_well(&receiver);
}
