//! The number of threads for mail of the relays in a test run: `POSTERN_TEST_WORKER_THREADS`.
//! `scripts/test.sh` runs the suites that move mail with 1 and with 8.
#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

use std::fs;
use std::time::{Duration, Instant};

/// The variable.
pub const WORKER_THREADS: &str = "POSTERN_TEST_WORKER_THREADS";

/// The name of threads for mail, also in the relay.
pub const NAME: &str = "mail";

/// The number that this run asks for; `None`: the relay's default.
pub fn asked_for() -> Option<usize> {
    std::env::var(WORKER_THREADS).ok().map(|text| text.parse().expect("a number of threads"))
}

/// The property, for a relay that is started as a program.
pub fn property() -> Option<(&'static str, String)> {
    asked_for().map(|threads| ("MTA_WORKER_THREADS", threads.to_string()))
}

/// How many threads for mail a process has.
fn count(pid: u32) -> usize {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let name =
        |thread: &fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads.filter(|thread| name(thread.as_ref().unwrap()).trim_end() == NAME).count()
}

/// Waits until a process has so many threads for mail: each sets its name only when it has begun.
///
/// # Panics
/// It did not within ten seconds.
pub fn expect(pid: u32, wanted: usize) {
    let until = Instant::now() + Duration::from_secs(10);
    while count(pid) != wanted {
        assert!(Instant::now() < until, "{} threads for mail instead of {wanted}", count(pid));
        std::thread::sleep(Duration::from_millis(2));
    }
}
