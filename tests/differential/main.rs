//! The same octets for Postfix 3.7 and for this relay, in the same run, with a comparison of the
//! replies and of what a next hop got. The differences of an input are listed line by line, under
//! the row of docs/differences.md with the reason. A difference that is not listed fails, and so
//! does a listed one that does not exist any more.
//!
//! One Postfix and one appliance get all inputs of a test, in many sessions at once. It needs root,
//! as Postfix does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod compare;
mod fields;
mod hop;
mod input;
mod inputs;
mod judge;
mod rows;
mod session;
mod way_in;
mod way_out;
