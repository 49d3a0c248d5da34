//! Volumes of earlier versions, and mail whose properties have changed meanwhile.
//!
//! `volumes/1` was left by the last version of format 1, at an orderly stop: two recipients that
//! wait after an attempt and one that has the mail, a bounce, a held mail, a long one, the done
//! record of one that was delivered.

use crate::letters::{said, send, sum, tool};
use crate::support::appliance::{Appliance, ORDINARY, Sink};
use crate::support::patience::until;
use nix::unistd::geteuid;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

const WAITING: [&str; 6] = [
    "<Later@Three.EXAMPLE>",
    "<held@four.example>",
    "<later@five.example>",
    "<later@one.example>",
    "<later@two.example>",
    "<s@client.example>",
];

const HELD: &str = "001K17V1ETJC9";

/// An appliance that is stopped, with the volume of that format.
fn with_volume(properties: &[(&str, &str)], format: &str) -> Appliance {
    let mut appliance = Appliance::start(properties);
    appliance.stop();
    let volume = appliance.path("data");
    fs::remove_dir_all(&volume).unwrap();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/moving/volumes").join(format), &volume);
    appliance
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &there);
        } else {
            fs::copy(&path, &there).unwrap();
            own(&there);
        }
    }
    own(to);
}

fn own(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
    }
}

fn is_whole(appliance: &Appliance, format: u64) {
    let volume = appliance.path("data");
    let (code, out, _) =
        said(&tool(appliance, &["--json", "verify", "--volume", volume.to_str().unwrap()]));
    let view: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &view["format"], &view["messages"]), (0, &format.into(), &5.into()));
}

/// The recipients that wait, by name.
fn waiting(appliance: &Appliance) -> Vec<String> {
    let shown = appliance.queue(&["list"]).into_iter();
    let mut names: Vec<String> = shown
        .flat_map(|one| appliance.queue(&["show", one["id"].as_str().unwrap()]))
        .flat_map(|one| one["recipients"].as_array().unwrap().clone())
        .filter(|to| to["status"] == "pending")
        .map(|to| format!("<{}>", to["address"].as_str().unwrap()))
        .collect();
    names.sort();
    names
}

#[test]
fn a_volume_of_format_1_is_verified_listed_and_raised() {
    let mut appliance = with_volume(&[("MTA_SMART_RELAY", NOBODY), LONG, LONGEST], "1");
    is_whole(&appliance, 1);
    appliance.boot();
    assert_eq!(waiting(&appliance), WAITING);
    assert!(appliance.queue(&["list"]).iter().all(|one| one["held"] == (one["id"] == HELD)));
    let format = fs::read_to_string(appliance.path("data").join("format")).unwrap();
    assert_eq!(format, "postern queue format 2\n", "earlier versions refuse it from now on");
    appliance.stop();
    is_whole(&appliance, 2);
}

/// The destination of its mail is decided at the start, and that is not reported as a change.
#[test]
fn the_mail_of_format_1_is_delivered() {
    let sink = Sink::start("");
    let mut appliance = with_volume(&[("MTA_SMART_RELAY", &sink.relay()), LONG, LONGEST], "1");
    appliance.boot();
    appliance.queue(&["release", "--all", "--yes"]);
    appliance.queue(&["retry", "--all", "--yes"]);
    appliance.until_empty();
    assert!(!appliance.log().iter().any(|line| line.contains(ELSEWHERE)));
    assert_eq!(sink.count(), 5);
}

#[test]
fn an_export_carries_a_volume_of_this_format_away() {
    let mut new = with_volume(&[("MTA_SMART_RELAY", NOBODY), LONG, LONGEST], "1");
    new.boot();
    let pairs = new.path("run").join("pairs");
    let pairs = pairs.to_str().unwrap();
    let moved = sum(&mut new.command(&["queue", "--json", "export", pairs, "--all", "--move"]));
    assert_eq!(moved["moved"], 5);
    let other = Appliance::start(&[("MTA_SMART_RELAY", NOBODY), LONG, LONGEST]);
    assert_eq!(sum(&mut other.command(&["queue", "--json", "import", pairs]))["imported"], 5);
    assert_eq!(waiting(&other), WAITING);
}

#[test]
fn waiting_mail_goes_where_changed_properties_lead_and_the_start_says_so_once() {
    let (first, second) = (Sink::start("rcpt=450:100"), Sink::start(""));
    let (there, here) = (first.relay(), second.relay());
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &there), LONG, LONGEST]);
    send(&appliance, 0..3);
    until("every mail was tried", || {
        let queue = &appliance.api("status")["queue"];
        if queue["deferred"] == 3 { Ok(()) } else { Err(queue.to_string()) }
    });
    let starts = |appliance: &mut Appliance| {
        appliance.stop();
        let before = appliance.log().len();
        appliance.boot();
        // Orders wait until everything is planned.
        appliance.queue(&["hold", "--all", "--yes"]);
        let log = appliance.log().split_off(before);
        log.into_iter().filter(|line| line.contains(ELSEWHERE)).collect::<Vec<_>>()
    };
    assert_eq!(starts(&mut appliance), [""; 0]);
    appliance.set(&[("MTA_SMART_RELAY", &here)]);
    let lines = starts(&mut appliance);
    assert!(lines.len() == 1 && lines[0].contains("messages=3"), "{lines:?}");
    assert_eq!(starts(&mut appliance), [""; 0], "it is noted");
    appliance.queue(&["release", "--all", "--yes"]);
    appliance.until_empty();
    assert_eq!(second.count(), 3);
}

/// Nothing is retried by itself, and nothing expires.
const LONG: (&str, &str) = ("MTA_MINIMAL_BACKOFF_TIME", "1h");
/// See [`LONG`].
const LONGEST: (&str, &str) = ("MTA_MAXIMAL_BACKOFF_TIME", "1h");

/// An address without a listener: due mail stays all the same.
const NOBODY: &str = "127.0.0.1:1";

const ELSEWHERE: &str =
    "the properties give waiting mail another destination than before the start";
