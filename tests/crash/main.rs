//! The guarantees of the queue, tested with disks that break theirs.
//!
//! The queue is compiled here from its own sources once more, with deterministic locks, threads and
//! clock (`world`): a seed always gives the same history.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a test stops at the first surprise"
)]

use postern::counters;

mod closing;
mod disk;
mod formats;
mod forward;
mod history;
#[path = "../../src/ground/lock.rs"]
#[allow(dead_code, reason = "the histories use a part of it")]
pub mod lock;
mod long;
mod mail;
mod moving;
mod spool;
mod world;

/// The module of this name for the queue's sources.
mod appliance {
    pub use postern::appliance::counter;
}

/// The module of this name for the queue's sources.
mod ground {
    pub use crate::lock;
    pub use crate::world::{clock, sync};
    pub use postern::ground::disk;
}
