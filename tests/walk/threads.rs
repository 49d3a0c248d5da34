//! A limit of processes and threads that other processes in the container use up.

use crate::monitors::Monitor;
use crate::mx::send;
use crate::support::appliance::{Appliance, ORDINARY, Sink};
use crate::support::patience::until;
use nix::unistd::geteuid;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Longer than an idle thread exists.
const QUIET: Duration = Duration::from_secs(12);

#[test]
fn a_limit_of_threads_that_is_reached_later_costs_no_agent() {
    let sink = Sink::start("");
    let monitor = format!("http://{}", Monitor::start().address);
    let relay = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_TERMINAL_MON", &monitor),
        // Longer than the pause that follows.
        ("MTA_MON_INTERVAL", "15s"),
    ]);
    std::thread::sleep(QUIET);
    let core = relay.child("core").expect("the core runs");
    // From now on the core starts no thread.
    let mut prlimit = Command::new("prlimit");
    if geteuid().is_root() {
        prlimit.uid(ORDINARY).gid(ORDINARY);
    }
    let limited = prlimit.args(["--nproc=1", "--pid", &core.to_string()]).status().unwrap();
    assert!(limited.success(), "prlimit of util-linux sets the limit");
    for number in 0..5 {
        send(&relay, "sender@here.example", &format!("box{number}@there.example"));
    }
    sink.mails(5);
    assert_eq!(relay.counter("mta_panics_total"), 0);
    until("a push", || match relay.counter("mta_push_total") {
        2.. => Ok(()),
        few => Err(format!("{few} pushes")),
    });
    assert_eq!(relay.queue(&["history"]).len(), 5, "the windows have a thread, too");
}
