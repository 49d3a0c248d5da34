//! What the queue promises, held against disks that break their own promises.
//!
//! The queue is compiled here from its own sources once more, with locks, threads and a clock that
//! leave nothing to chance (`world`): a history is its seed, and the same one every time.

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

/// What the queue's sources find under this name.
mod appliance {
    pub use postern::appliance::counter;
}

/// What the queue's sources find under this name.
mod ground {
    pub use crate::lock;
    pub use crate::world::{clock, sync};
    pub use postern::ground::disk;
}
