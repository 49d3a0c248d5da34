//! The log of a whole process, with a standard error that is read, full, or closed.
//!
//! Each test starts this program again for one of the `ignored` tests below: the process whose log
//! is tested.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a test that fails"
)]

use postern::ground::log;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LINES: u32 = 20_000;

fn start(test: &str, error: impl Into<Stdio>) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture"])
        .stdout(Stdio::null())
        .stderr(error)
        .spawn()
        .unwrap()
}

fn ends_within(mut child: Child, patience: Duration) {
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none_or(|status| !status.success()) {
        assert!(
            begin.elapsed() < patience,
            "the log holds up the end of the process, or broke it: {:?}",
            child.try_wait()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn log_of(test: &str) -> String {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut child = start(test, writer);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text
}

#[test]
fn every_line_arrives_in_order() {
    let text = log_of("says_a_lot");
    let numbers: Vec<u32> =
        text.lines().map(|line| line.rsplit_once("number=").unwrap().1.parse().unwrap()).collect();
    assert!(
        numbers.iter().copied().eq(0..LINES),
        "{} lines, {:?} the last",
        numbers.len(),
        numbers.last()
    );
}

#[test]
fn a_panic_is_one_line_of_the_log() {
    let text = log_of("panics_in_json");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(
        (&lines[0]["level"], &lines[0]["message"]),
        (&"ERROR".into(), &"panic: one\ntwo".into())
    );
    assert!(lines[0]["place"].as_str().unwrap().starts_with("tests/log/main.rs:"));
    assert_eq!((&lines[1]["message"], &lines[1]["queue_id"]), (&"went on".into(), &"0D2RK".into()));
}

#[test]
fn a_closed_standard_error_stops_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    ends_within(start("says_a_lot", writer), Duration::from_secs(10));
}

#[test]
fn a_full_standard_error_stops_nobody() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    ends_within(start("says_more_than_fits", writer), Duration::from_secs(10));
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    assert!(text.len() >= 4096, "nothing was written at all");
}

#[test]
#[ignore = "the process whose log is looked at"]
fn says_a_lot() {
    let _guard = log::start(false);
    for number in 0..LINES {
        tracing::info!(target: "postern", number, "a line of the log");
    }
}

#[test]
#[ignore = "the process whose log is looked at"]
fn says_more_than_fits() {
    let _guard = log::start(false);
    for _ in 0..LINES {
        tracing::info!(target: "postern", filling = "x".repeat(1000), "a line of the log");
    }
}

#[test]
#[ignore = "the process whose log is looked at"]
fn panics_in_json() {
    let _guard = log::start(true);
    let end = std::thread::spawn(|| panic!("one\ntwo")).join();
    assert!(end.is_err());
    tracing::info!(target: "postern", queue_id = "0D2RK", "went on");
}
