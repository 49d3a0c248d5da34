//! The program's features for users of a shell: a demo, completions, manual pages.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod demo;
mod make;
mod manual;
mod route;
