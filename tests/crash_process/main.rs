//! The whole appliance with killed processes, a full disk and power cuts: every mail answered 250
//! arrives.
//!
//! Real `postern init`, real signals, a real file system; clients that record every answer, and a
//! next hop that records every copy. `POSTERN_CRASH_ROUNDS` is how often the processes are killed
//! (here by default a few), `POSTERN_CRASH_SEED` decides when. scripts/crash.sh makes a thousand of
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test stops at the first surprise"
)]

mod alerts;
mod appliance;
mod full;
#[path = "../machine/guest.rs"]
mod guest;
mod kill;
mod leg;
mod load;
mod mail;
mod next_hop;
mod power;
#[path = "../support/threads.rs"]
mod threads;
mod verdict;
mod volume;

use std::time::{Duration, Instant};

/// Longer than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// For states of other processes or file systems without a notification.
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < end, "this did not come true in {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
