//! Clients that are connected when the appliance stops: idle ones are disconnected, a mail in
//! progress may be finished, and no client delays the stop beyond the deadline.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Setup};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn the_idle_leave_and_mails_are_finished() {
    let mut receiver = Receiver::start(Setup::default());
    let mut idle = Client::hello(receiver.address);
    let mut silent = Client::connect(receiver.address);
    silent.expect("220 ");
    let mut addressing = Client::hello(receiver.address);
    addressing.ask("MAIL FROM:<a@client.example>", "250 ");
    let mut pouring = Client::hello(receiver.address);
    pouring.begin();
    pouring.send("Subject: half");

    receiver.stop(Duration::from_secs(20));
    idle.expect("421 4.3.2 mta.example is stopping");
    idle.expect_close();
    silent.expect("421 4.3.2 ");
    eventually("nobody new comes in", || TcpStream::connect(receiver.address).is_err());

    addressing.ask("RCPT TO:<b@there.example>", "250 ");
    addressing.ask("DATA", "354 ");
    addressing.ask("x\r\n.", "250 2.0.0 ");
    addressing.expect("421 4.3.2 ");
    pouring.send(" and half\r\n.\r\nMAIL FROM:<a@client.example>\r\n");
    pouring.expect("250 2.0.0 ");
    pouring.expect("421 4.3.2 ");
    pouring.expect_close();
    drop((idle, silent, addressing, pouring));

    receiver.wait();
    assert_eq!((receiver.sessions(), receiver.spool.messages().len()), (0, 2));
}

#[test]
fn nobody_holds_us_beyond_the_deadline() {
    let mut receiver = Receiver::start(Setup::default());
    let mut pouring = Client::hello(receiver.address);
    pouring.begin();
    let mut addressing = Client::hello(receiver.address);
    addressing.ask("MAIL FROM:<a@client.example>", "250 ");
    let start = Instant::now();
    receiver.stop(Duration::from_millis(300));
    receiver.wait();
    assert!(start.elapsed() < Duration::from_secs(5));
    pouring.expect("421 4.3.2 ");
    addressing.expect("421 4.3.2 ");
    assert!(receiver.spool.messages().is_empty());
}
