//! Extensions of SMTP and of its connections with the real program and real peers, one file each.
//!
//! The peers are the programs of scripts/install-peers.sh; a test that lacks its peer fails and
//! names the package.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod chunking;
mod dsn;
mod proxy;
mod xclient;
