//! One file for every kind of misbehaviour of a client.
//!
//! Each test describes what the client does, and checks three things: the receiver answers or
//! closes in time, it keeps nothing that it should not, and it serves the next client normally.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod bare_cr;
mod bare_lf;
mod connect_flood;
mod defect_inside;
mod disconnect_in_every_state;
mod does_not_read;
mod eight_bit_garbage;
mod endless_line;
mod http_talker;
mod many_at_once;
mod nul;
mod oversized_message;
mod slow_bytes;
mod smuggling;
mod stays_while_we_stop;
mod too_many_errors;
mod too_many_recipients;

use support::client::Client;
use support::eventually;
use support::receiver::Receiver;

/// The receiver has no session left and accepts a mail from a well-behaved client.
fn is_well(receiver: &Receiver) {
    eventually("every session has ended", || receiver.sessions() == 0);
    let before = receiver.spool.messages().len();
    let mut client = Client::hello(receiver.address);
    client.begin();
    client.send("Subject: still well\r\n\r\n.\r\n");
    client.expect("250 2.0.0 ");
    client.ask("QUIT", "221 ");
    client.expect_close();
    assert_eq!(receiver.spool.messages().len(), before + 1);
    assert_eq!(receiver.counters.panics_total.get(), 0);
}

#[test]
fn the_receiver_has_the_threads_that_the_run_asks_for() {
    let _receiver = Receiver::start(support::receiver::Setup::default());
    support::threads::expect(std::process::id(), support::threads::asked_for().unwrap_or(2));
}
