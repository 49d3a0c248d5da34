//! The group commit, and the state of outgoing mail, in every order of their threads.

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
mod rates;
pub mod sync;

/// The module of this name for the queue's sources.
mod appliance {
    pub use postern::appliance::counter;
}

/// The module of this name for the queue's sources.
mod ground {
    pub use crate::{lock, sync};
    pub use postern::ground::{clock, disk};
}
