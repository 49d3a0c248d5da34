//! Connections without end, from one address and in total.

use crate::support::client::Client;
use crate::support::eventually;
use crate::support::receiver::{Receiver, Setup};
use postern::ground::net::ConnectionLimits;
use postern::mail::accept::Limits;
use postern::mail::model::Refusal;

#[test]
fn from_one_address() {
    let limits = ConnectionLimits { sessions_per_address: 3, ..Limits::default().connection };
    flood(limits, "421 4.7.0 mta.example Too many sessions from your address; try again later");
}

#[test]
fn in_all() {
    flood(
        ConnectionLimits { sessions: 3, ..Limits::default().connection },
        "421 4.7.0 mta.example Too many sessions; try again later",
    );
}

fn flood(limits: ConnectionLimits, refusal: &str) {
    let receiver = Receiver::start(Setup { limits: limits.into(), ..Setup::default() });
    let mut inside: Vec<_> = (0..3).map(|_| Client::hello(receiver.address)).collect();
    for _ in 0..500 {
        let mut outside = Client::connect(receiver.address);
        assert_eq!(outside.line().as_deref(), Some(refusal));
        outside.expect_close();
    }
    assert_eq!((receiver.sessions(), receiver.refused(Refusal::Limit)), (3, 500));
    for client in &mut inside {
        client.ask("NOOP", "250 ");
    }
    inside.pop();
    eventually("the place is free again", || receiver.sessions() == 2);
    Client::hello(receiver.address).ask("QUIT", "221 ");
    drop(inside);
    crate::is_well(&receiver);
}
