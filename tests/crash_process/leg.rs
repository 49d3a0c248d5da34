//! A part of a long run: some rounds that are evaluated together. Its seed, and its line in the
//! run's results.
//!
//! In: `POSTERN_CRASH_SEED`, `POSTERN_CRASH_RESULTS`. Out: one line of [`record`], which
//! scripts/legs.sh adds up.

use crate::verdict::Verdict;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::Duration;

/// A number from the environment.
pub fn number<N: std::str::FromStr>(name: &str) -> Option<N> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not '{text}'")))
}

/// The seed of the random times in this part. Clients and processes have their own timing: the same
/// seed gives the same times, not the same run.
pub fn seed() -> u64 {
    number("POSTERN_CRASH_SEED").unwrap_or_else(|| fastrand::u64(1..1 << 32))
}

/// Appends the result of a part to the file in `POSTERN_CRASH_RESULTS`: `of` what, seed, rounds,
/// the verdict's counts, whole seconds.
pub fn record(of: &str, seed: u64, rounds: usize, verdict: &Verdict, took: Duration) {
    let Some(path) = std::env::var_os("POSTERN_CRASH_RESULTS") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let counts = [
        verdict.accepted,
        verdict.copies,
        verdict.in_doubt,
        verdict.in_doubt_arrived,
        verdict.unfinished,
        verdict.repeated.len() as u64,
        verdict.complaints.len() as u64,
        took.as_secs(),
    ];
    let line: String = counts.iter().map(|count| format!("\t{count}")).collect();
    writeln!(file, "{of}\t{seed}\t{rounds}{line}").unwrap();
}
