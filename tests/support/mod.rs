//! Common parts of the tests: a raw client, a queue in memory, a relay's receiving side on a real
//! port.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

pub mod appliance;
pub mod cgroup;
pub mod client;
pub mod counted_host;
pub mod dkim;
pub mod dovecot;
pub mod exim;
pub mod haproxy;
pub mod hook;
pub mod hostile;
pub mod keys;
pub mod letter;
pub mod names;
pub mod nginx;
pub mod patience;
pub mod postfix;
pub mod program;
pub mod receiver;
pub mod report;
pub mod spool;
pub mod tap;
pub mod threads;
pub mod tls;

use std::time::{Duration, Instant};

/// Waits until a condition becomes true without a notification.
///
/// # Panics
/// It did not within ten seconds.
pub fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !is_true() {
        assert!(Instant::now() < until, "this did not come true: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
