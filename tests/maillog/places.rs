//! The path of the log, and when there is none.

use crate::audit::Audit;
use crate::share::{FILE, Share, appliance, read, send, until_carried};
use crate::support::appliance::Sink;
use std::fs;
use std::os::unix::fs::symlink;

fn files(share: &Share) -> usize {
    fs::read_dir(&share.path).unwrap().count()
}

#[test]
fn the_file_and_its_directories_come_into_being_below_the_share() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance =
        appliance(&share, &sink, &[("MTA_MAILLOG_FILENAME", "/srv1/logs/of mail/maillog")]);
    let ids = send(&appliance, 3);
    appliance.until_empty();
    until_carried(&appliance);
    let path = share.path.join("srv1/logs/of mail/maillog");
    Audit::of(&read(&path)).complete(&ids);
    // Without the slash it is the same file; a stop and a start lose nothing and repeat nothing.
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_MAILLOG_FILENAME", "srv1/logs/of mail/maillog")]);
    appliance.boot();
    let more = send(&appliance, 3);
    appliance.until_empty();
    assert_eq!(appliance.stop(), 143);
    let log = read(&path);
    Audit::of(&log).complete(&[ids, more].concat());
    let said = |words: &str| log.lines().filter(|line| line.contains(words)).count();
    assert_eq!(
        (said("postfix/postern["), said("]: ready"), said("]: stopped; the queue is synced")),
        (said("/postern["), 2, 2)
    );
    assert_eq!(files(&share), 1);
}

#[test]
fn without_a_name_or_with_logs_off_there_is_none() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance = appliance(&share, &sink, &[("MTA_MAILLOG_FILENAME", "")]);
    send(&appliance, 1);
    assert_eq!(appliance.stop(), 143);
    appliance.set(&[("MTA_MAILLOG_FILENAME", FILE), ("MTA_LOGS_ENABLED", "no")]);
    appliance.boot();
    send(&appliance, 1);
    assert_eq!(
        (
            appliance.counter("mta_maillog_buffer_bytes"),
            appliance.counter("mta_maillog_dropped_lines_total")
        ),
        (0, 0)
    );
    assert_eq!(appliance.stop(), 143);
    assert_eq!(files(&share), 0);
    assert!(!appliance.path("data/maillog").exists());
}

#[test]
fn a_name_of_its_own_stands_in_each_line_and_times_are_in_the_zone() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let properties = [("MTA_SYSLOG_NAME", "relay-1"), ("MTA_TIMEZONE", "Pacific/Kiritimati")];
    let mut appliance = appliance(&share, &sink, &properties);
    send(&appliance, 1);
    appliance.until_empty();
    assert_eq!(appliance.stop(), 143);
    let log = share.log();
    assert!(
        log.lines().count() > 6
            && log.lines().all(|line| line.contains(" postern.example relay-1/")),
        "{log}"
    );
    // Fourteen hours before Greenwich: the hour tells.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let hours = [now - 3600, now].map(|moment| format!(" {:02}:", (moment / 3600 + 14) % 24));
    assert!(
        log.lines().all(|line| hours.iter().any(|hour| line.get(6..10) == Some(hour))),
        "{hours:?}\n{log}"
    );
}

#[test]
fn standard_error_says_no_more_than_without() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance = appliance(&share, &sink, &[]);
    send(&appliance, 1);
    appliance.until_empty();
    assert_eq!(appliance.stop(), 143);
    let fine: Vec<_> = appliance
        .log()
        .into_iter()
        .filter(|line| {
            ["DEBUG", "INFO queued", "INFO connect", "INFO removed"]
                .iter()
                .any(|word| line.contains(word))
        })
        .collect();
    assert!(fine.is_empty(), "{fine:?}");
}

#[test]
fn a_link_on_the_share_leads_nowhere() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let elsewhere = Share::new();
    symlink(&elsewhere.path, share.path.join("srv1")).unwrap();
    let mut appliance = appliance(&share, &sink, &[]);
    let ids = send(&appliance, 1);
    appliance.until_empty();
    crate::support::patience::until_true("the trouble is told", || {
        appliance.log().iter().any(|line| {
            line.contains(
                "the mail log cannot be written to \
        its share",
            )
        })
    });
    assert_eq!(files(&elsewhere), 0);
    fs::remove_file(share.path.join("srv1")).unwrap();
    assert_eq!(appliance.stop(), 143);
    Audit::of(&share.log()).complete(&ids);
}
