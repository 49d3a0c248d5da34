//! Mail out of the queue and into another one, and volumes that are verified: the real program at
//! both ends, killed in the middle, with strangers' files before it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod ages;
mod formats;
mod interrupted;
mod journey;
mod letters;
mod strangers;
mod together;
mod unheard;
mod verify;
