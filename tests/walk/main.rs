//! Mail end to end: the real program, real peers on both sides, one file for each topic.
//!
//! `postern init` runs as a child with a data volume and ports of its own, under an ordinary user.
//! The peers are the programs of scripts/install-peers.sh; a test that lacks its peer fails and
//! names the package. What needs root (Postfix, Exim, port 25) says so.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod bandwidth;
mod bulk;
mod clock;
mod dkim;
mod events;
mod exim;
mod failures;
mod into;
mod logs;
mod monitors;
mod mx;
mod postfix;
mod programs;
mod properties;
mod rates;
mod resend;
mod seven_bit;
mod silent;
mod stop;
mod strangers;
mod threads;
