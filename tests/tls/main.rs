//! SMTP with TLS: keys as operators make them, and common clients.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod appliance;
mod broken;
mod clients;
mod pairs;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod ui;

use support::receiver::{Receiver, Setup};

/// A receiver with a certificate of its own, and what its clients believe.
fn receiver() -> (Receiver, std::sync::Arc<rustls::ClientConfig>) {
    let (pair, believing) = support::tls::pair();
    (Receiver::start(Setup { pair: Some(pair), ..Setup::default() }), believing)
}

/// The content of the only message in a receiver's queue.
fn only_mail(receiver: &Receiver) -> String {
    let mut messages = receiver.spool.messages();
    assert_eq!(messages.len(), 1, "{messages:?}");
    String::from_utf8(messages.remove(0).1).unwrap()
}
