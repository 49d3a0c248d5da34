//! The same octets for Postfix 3.7 and for this relay, in the same run, and what came of them side
//! by side: the replies, and what a next hop got. Where both do not do the same, the input says so
//! line by line and names the row of docs/differences.md that tells why. A difference that no input
//! lists is red, and so is one that is listed and gone.
//!
//! One Postfix and one appliance take all inputs of a test, in many sessions at once. It needs
//! root, as Postfix does.

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
