//! The group commit, and the state of outgoing mail, in every order in which their threads can
//! meet.
//!
//! Both are compiled here from its own sources with the locks, atomics and threads of loom, which
//! runs each test once for every order of the steps that touch what threads share (and, for
//! atomics, every value that a weak memory may show), within the bounds that a test names. No wait
//! ever times out here, so what only a time-out would have mended is a deadlock, and found.

#![allow(clippy::duplicate_mod, reason = "the hand-over is checked alone, and inside the queue")]
#![allow(clippy::new_without_default, reason = "as the types of the standard library")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test stops at the first surprise"
)]

use postern::counters;

mod commit_queue;
mod committer;
mod device;
#[path = "../../src/ground/lock.rs"]
#[allow(dead_code, reason = "the models use a part of it")]
pub mod lock;
mod mail;
mod outgoing;
pub mod sync;

/// What the queue's sources find under this name.
mod appliance {
    pub use postern::appliance::counter;
}

/// What the queue's sources find under this name.
mod ground {
    pub use crate::{lock, sync};
    pub use postern::ground::{clock, disk};
}
