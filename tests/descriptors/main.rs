//! No file descriptor is left for the next connection. A program of its own, since the limit holds
//! for the whole process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};
use support::client::Client;
use support::receiver::{Receiver, Setup};

#[test]
fn the_listener_waits_without_spinning_and_goes_on() {
    let receiver = Receiver::start(Setup::default());
    let mut inside = Client::hello(receiver.address);

    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 256, hard).unwrap();
    let mut filler: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(filler.len() < 256);
    // One descriptor for the client, none for the server's side of the connection.
    filler.pop();
    let mut waiting = Client::connect(receiver.address);

    let (before, start) = (busy(), Instant::now());
    thread::sleep(Duration::from_millis(500));
    inside.ask("NOOP", "250 ");
    let spent = busy() - before;
    assert!(spent < start.elapsed() / 4, "{spent:?} of processor time in {:?}", start.elapsed());
    assert_eq!(receiver.sessions(), 1);

    drop(filler);
    waiting.expect("220 ");
    waiting.ask("QUIT", "221 ");
}

/// Processor time that this process has used.
fn busy() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.try_into().unwrap())
}
