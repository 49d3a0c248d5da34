//! Tests with the kernel's own clients and file systems: Samba, the kernel's NFS server and block
//! devices in a virtual machine, and `postern init` as root in it, which mounts them by itself.
//!
//! One boot runs all scenarios of `guest/scenarios`, one after the other, each in a machine that
//! was cleaned up. For development: POSTERN_SCENARIOS="devices export" runs only those, with all
//! their output.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test says what is wrong by ending

mod guest;

use guest::{Fittings, Machine, luggage};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// In this order: the first needs a kernel that has loaded nothing yet.
const SCENARIOS: [&str; 9] = [
    "no_module",
    "log_share",
    "log_share_errors",
    "mail_log",
    "export",
    "export_errors",
    "keys",
    "devices",
    "data_on_server",
];

#[test]
fn shares_exports_and_devices_are_mounted_by_the_appliance_itself() {
    let wanted = std::env::var("POSTERN_SCENARIOS").unwrap_or_else(|_| SCENARIOS.join(" "));
    let wanted: Vec<_> = wanted.split_whitespace().collect();
    let luggage = luggage(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machine/guest"));
    fs::write(luggage.path().join("plan"), wanted.join("\n") + "\n").unwrap();
    let mut guest = Machine::made().boot(luggage.path(), &Fittings::default());
    let mut passed = BTreeMap::new();
    while let Some(line) = guest.line() {
        let Some(words) = line.strip_prefix("@@ ") else { continue };
        eprintln!("{:>5.1} s: {words}", guest.booted.elapsed().as_secs_f32());
        if let Some((name, seconds)) =
            words.strip_prefix("pass ").and_then(|rest| rest.split_once(' '))
        {
            passed.insert(name.to_owned(), seconds.to_owned());
        }
    }
    let missing: Vec<_> = wanted.iter().filter(|name| !passed.contains_key(**name)).collect();
    assert!(
        missing.is_empty(),
        "these did not pass: {missing:?}; the console:\n{}",
        guest.seen.join("\n")
    );
}
