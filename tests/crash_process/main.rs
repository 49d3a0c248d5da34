//! The whole appliance against the end of its processes, of its disk and of its machine's power:
//! what was answered 250 arrives.
//!
//! Real `postern init`, real signals, a real file system; before it clients that note every answer,
//! behind it a server that notes every copy. `POSTERN_CRASH_ROUNDS` says how often the processes
//! are killed (here by default a few), `POSTERN_CRASH_SEED` when. scripts/crash.sh makes a thousand
//! of them.

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

/// For states that only another process or a file system tells, which nobody announces.
fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(Instant::now() < end, "this did not come true in {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(Duration::from_millis(20));
    }
}
