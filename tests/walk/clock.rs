//! A wall clock that is set while mail waits: forward, back, and while the relay is stopped.

use crate::mx;
use crate::programs::{ENVELOPE, KIND};
use crate::support::appliance::Appliance;
use crate::support::patience::until_within;
use crate::support::program::{free_port, open_directory};
use postern::ground::clock::rfc5322;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const DAY: i64 = 86_400;

/// To the year 2106, when seconds do not fit 32 bits any more.
fn to_2106() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::from(u32::MAX) - i64::try_from(now.as_secs()).unwrap() - 100
}

/// An appliance whose wall clock this test sets, and whose next hop does not listen.
struct Set {
    appliance: Appliance,
    offset: PathBuf,
    relay: SocketAddr,
    _directory: TempDir,
}

impl Set {
    fn start(offset: i64, properties: &[(&str, &str)]) -> Self {
        let directory = open_directory();
        let library = directory.path().join("fake_clock.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/fake_clock.c");
        let made = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .args([source, "-ldl"])
            .status();
        assert!(made.expect("this test needs cc (package gcc)").success());
        fs::set_permissions(&library, PermissionsExt::from_mode(0o755)).unwrap();
        let relay = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let hop = format!("[127.0.0.1]:{}", relay.port());
        let usual = [
            ("MTA_SMART_RELAY", hop.as_str()),
            ("MTA_MINIMAL_BACKOFF_TIME", "2s"),
            ("MTA_MAXIMAL_BACKOFF_TIME", "4s"),
            ("MTA_QUEUE_LIFETIME", "5d"),
        ];
        let mut appliance = Appliance::start(&[&usual, properties].concat());
        appliance.stop();
        // Where the core can read it: it confines itself to its own directories.
        let file = appliance.path("run").join("offset");
        set(&file, offset);
        appliance.set(&[
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKE_CLOCK", file.to_str().unwrap()),
        ]);
        appliance.boot();
        Self { appliance, offset: file, relay, _directory: directory }
    }

    fn set(&self, offset: i64) {
        set(&self.offset, offset);
    }

    /// Mail waits, and is attempted again and again; none of it expires.
    fn is_tried(&self, when: &str) {
        let tries = || self.appliance.counter("mta_deferred_total");
        let before = tries();
        until_within(Duration::from_secs(12), when, || match tries() {
            now if now > before => Ok(()),
            now => Err(format!("{now} tries; {:?}", self.appliance.messages())),
        });
        assert_eq!(self.appliance.counter("mta_bounced_total"), 0, "{when}");
    }

    fn jumps(&self, direction: &str) -> u64 {
        self.appliance.counter(&format!("mta_clock_jumps_total{{direction=\"{direction}\"}}"))
    }
}

fn set(file: &Path, offset: i64) {
    let new = file.with_extension("new");
    fs::write(&new, format!("{offset}\n")).unwrap();
    fs::set_permissions(&new, PermissionsExt::from_mode(0o644)).unwrap();
    fs::rename(&new, file).unwrap();
}

#[test]
fn no_change_of_the_clock_delays_a_try_or_gives_mail_up() {
    let set = Set::start(0, &[]);
    mx::send(&set.appliance, "sender@here.example", "before@there.example");
    set.is_tried("as it should be");
    for (offset, name) in
        [(6 * DAY, "six days forward"), (to_2106(), "in 2106"), (-DAY, "a day back")]
    {
        set.set(offset);
        mx::send(&set.appliance, "sender@here.example", "meanwhile@there.example");
        std::thread::sleep(Duration::from_millis(3500));
        set.is_tried(name);
        set.set(0);
        set.is_tried(&format!("back again from {name}"));
    }
    until_within(Duration::from_secs(5), "the jumps are counted", || {
        match (set.jumps("forward"), set.jumps("back")) {
            (3, 3) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let log = set.appliance.log();
    // Both clocks are read in whole seconds, so that a jump may be logged one second longer or
    // shorter.
    let told = |by: i64| {
        log.iter().any(|line| line.contains(&format!("the wall clock was set forward by {by} s")))
    };
    assert!((6 * DAY - 1..=6 * DAY + 1).any(told), "{log:?}");
    // All of it is delivered as soon as the next hop accepts it.
    let sink = crate::support::appliance::Sink::at(set.relay, "");
    set.appliance.until_empty();
    assert_eq!(sink.count(), 4);
}

#[test]
fn a_clock_that_is_set_while_nobody_runs_delays_no_try_and_gives_no_mail_up() {
    let mut set = Set::start(to_2106(), &[]);
    mx::send(&set.appliance, "sender@here.example", "future@there.example");
    set.is_tried("in 2106");
    for offset in [0, 30 * DAY, -3 * DAY] {
        set.appliance.stop();
        set.set(offset);
        set.appliance.boot();
        set.is_tried(&format!("after a start {offset} s off"));
    }
    let sink = crate::support::appliance::Sink::at(set.relay, "");
    set.appliance.until_empty();
    assert_eq!(sink.count(), 1);
}

#[test]
fn after_a_jump_keys_are_still_known_and_notices_name_the_right_day() {
    let set = Set::start(0, &[("MTA_DELAY_WARNING_TIME", "4s")]);
    let ask = || {
        set.appliance.post(
            ENVELOPE,
            &format!("{KIND}Idempotency-Key: 1\r\n"),
            b"Subject: once\n\nx\n",
        )
    };
    assert_eq!(ask().0, "201");
    set.set(6 * DAY);
    let (status, again) = ask();
    assert!(status == "200" && again.contains("\"repeated\":true"), "{status} {again}");
    until_within(Duration::from_secs(20), "the sender is told", || {
        match set.appliance.counter("mta_notifications_total{kind=\"delayed\"}") {
            0 => Err(format!("{:?}", set.appliance.messages())),
            _ => Ok(()),
        }
    });
    let sink = crate::support::appliance::Sink::at(set.relay, "");
    set.appliance.until_empty();
    let mails = sink.mails(2);
    let notice = mails.iter().find(|mail| mail.from.is_empty()).unwrap().text();
    let until = notice.lines().find_map(|line| line.strip_prefix("Will-Retry-Until: ")).unwrap();
    // Five days from now by the wall clock.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let days = |seconds: u64| rfc5322(u32::try_from(now + 11 * 86_400 - seconds).unwrap());
    assert!((0..120).any(|seconds| days(seconds) == until), "{until} is not {}", days(0));
}
