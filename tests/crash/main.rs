//! What the queue promises, held against disks that break their own promises.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a test stops at the first surprise")]

mod forward;
mod history;
mod moving;
mod spool;

#[path = "../support/disk.rs"]
mod disk;
