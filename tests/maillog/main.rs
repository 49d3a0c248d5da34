//! The mail log: the real program writes it to a directory in place of the log share, and to file
//! systems that fill up, hang in the kernel or disappear.
//!
//! Root is needed for small file systems and for port 25.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod audit;
mod crash;
mod hang;
mod lines;
mod places;
mod report;
mod rotation;
mod share;
mod trouble;
