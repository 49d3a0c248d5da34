//! Export and import of mail, and verification of volumes: the real program on both sides, killed
//! in the middle, and with untrusted files.

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
