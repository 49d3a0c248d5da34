//! kill -9 of the writer and of the carrier.

use crate::audit::Audit;
use crate::share::{Share, appliance, send, until_carried};
use crate::support::appliance::Sink;
use crate::support::patience::until_true;
use std::time::Duration;

#[test]
fn a_carrier_that_is_killed_loses_nothing_and_repeats_nothing() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance = appliance(&share, &sink, &[]);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(|| send(&appliance, 200))).collect();
        let mut killed = 0;
        while senders.iter().any(|sender| !sender.is_finished()) || killed < 3 {
            std::thread::sleep(Duration::from_millis(90 + 37 * killed));
            // It may not have been started again yet.
            if let Some(carrier) = appliance.child("carrier") {
                nix::sys::signal::kill(carrier, nix::sys::signal::Signal::SIGKILL).unwrap();
                killed += 1;
            }
        }
        println!("killed {killed} times");
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    appliance.until_empty();
    until_carried(&appliance);
    assert_eq!(appliance.stop(), 143);
    Audit::of(&share.log()).complete(&ids);
}

#[test]
fn a_core_that_is_killed_leaves_its_lines_to_the_carrier() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance = appliance(&share, &sink, &[]);
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.extend(send(&appliance, 40));
        appliance.until_empty();
        // The last lines are written from memory.
        std::thread::sleep(Duration::from_millis(300));
        let core = appliance.child("core").unwrap();
        nix::sys::signal::kill(core, nix::sys::signal::Signal::SIGKILL).unwrap();
        until_true("another core is ready", || {
            appliance.child("core").is_some_and(|next| next != core) && appliance.is_ready()
        });
    }
    until_carried(&appliance);
    assert_eq!(appliance.stop(), 143);
    Audit::of(&share.log()).complete(&ids);
}

/// In the middle of everything: existing lines are there once, in order, and complete.
#[test]
fn lines_of_a_core_that_is_killed_under_load_are_whole() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance = appliance(&share, &sink, &[]);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        send(&appliance, 1000)
                    }))
                    .is_ok()
                });
            }
            std::thread::sleep(Duration::from_millis(700));
            nix::sys::signal::kill(
                appliance.child("core").unwrap(),
                nix::sys::signal::Signal::SIGKILL,
            )
            .unwrap();
        });
        until_true("another core is ready", || appliance.is_ready());
    }
    let after = send(&appliance, 5);
    appliance.until_empty();
    until_carried(&appliance);
    assert_eq!(appliance.stop(), 143);
    let log = share.log();
    let audit = Audit::of(&log);
    // A mail whose delivery was not recorded is delivered again, and both deliveries are logged.
    audit.complete(&after);
    assert!(audit.lines > 1000, "{}", audit.lines);
}
