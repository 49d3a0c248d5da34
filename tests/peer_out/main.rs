//! Next hops, good and misbehaving, against the modules `route` and `deliver`. One file for each
//! kind of behaviour; `support` has the scripted server. Every peer is real TCP on loopback; name
//! servers and mail servers are real programs, and a test that lacks its program fails.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a test that fails"
)]

mod content;
mod disconnects;
mod extensions;
mod hosts;
mod idle;
mod limits;
mod login;
mod names;
mod refusals;
mod replies;
mod servers;
mod seven_bit;
mod slowness;
mod support;
#[path = "../support/threads.rs"]
mod threads;
mod tls;
mod with_threads;

#[tokio::test(crate = "crate::with_threads")]
async fn these_tests_have_the_threads_that_the_run_asks_for() {
    // One of the threads is the one that the test itself runs on.
    let wanted = threads::asked_for().filter(|threads| *threads > 1).unwrap_or(0);
    threads::expect(std::process::id(), wanted);
}
