//! What the queue promises, held against disks that break their own promises.

mod history;
mod spool;

#[path = "../support/disk.rs"]
mod disk;
