//! Terminal `in` under TLS: keys as operators make them, and the clients of the field.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod pairs;
#[path = "../support/mod.rs"]
mod support;
