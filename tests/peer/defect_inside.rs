//! A defect of the relay in one session. It must affect only that session.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Setup};

#[test]
fn ends_one_session_and_is_counted() {
    let receiver = Receiver::start(Setup { defect: true, ..Setup::default() });
    let mut bystander = Client::hello(receiver.address);
    for count in 1..=3 {
        let mut client = Client::hello(receiver.address);
        client.begin();
        client.send("x\r\n.\r\n");
        client.expect_close();
        eventually("the panic is counted", || receiver.counters.panics_total.get() == count);
    }
    bystander.ask("NOOP", "250 ");
    assert_eq!(receiver.sessions(), 1);
}
