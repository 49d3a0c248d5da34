//! The pages in a real browser, with the real program and undeliverable mail: `pages.py` and
//! `reading.py` describe their tests; `api.py` compares the API with its document.
//!
//! Screenshots are left in `target/screenshots`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper that fails is a test that fails"
)]

use std::path::Path;
use std::process::Command;

/// Playwright and axe-core live here; see scripts/install-peers.sh.
const PYTHON: &str = "/usr/local/lib/postern-peers/python/bin/python3";

fn shows(test: &str) {
    run("pages.py", &[test]);
}

fn run(script: &str, more: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(
        Path::new(PYTHON).exists(),
        "{PYTHON} is missing: run scripts/install-peers.sh as root"
    );
    let output = Command::new(PYTHON)
        .arg(root.join("tests/browser").join(script))
        .arg(env!("CARGO_BIN_EXE_postern"))
        .args(more)
        .arg(root.join("target/screenshots"))
        .output()
        .unwrap();
    let (out, complaints) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{complaints}");
}

#[test]
fn every_page_fits_desks_and_telephones_in_light_and_dark() {
    shows("views");
}

#[test]
fn axe_finds_no_serious_fault() {
    shows("accessibility");
}

#[test]
fn every_action_does_what_it_says_and_asks_before_it_deletes() {
    shows("actions");
}

#[test]
fn hostile_mail_is_text_on_every_page() {
    shows("hostile");
}

#[test]
fn the_keyboard_is_enough() {
    shows("keyboard");
}

#[test]
fn the_page_is_live_and_says_so_when_it_is_not() {
    shows("live");
}

#[test]
fn reading_and_acting_work_without_a_script() {
    shows("without_script");
}

#[test]
fn who_is_not_known_looks_only() {
    shows("looking_only");
}

#[test]
fn upstreams_are_shown_and_tested() {
    shows("upstreams");
}

#[test]
fn the_html_of_a_mail_runs_nothing_and_loads_nothing() {
    run("reading.py", &["preview"]);
}

#[test]
fn the_first_line_says_whether_all_is_well_and_leads_on() {
    run("reading.py", &["health"]);
}

#[test]
fn whoever_logs_out_is_asked_again() {
    run("reading.py", &["logout"]);
}

#[test]
fn the_api_is_what_its_document_says() {
    run("api.py", &[]);
}
