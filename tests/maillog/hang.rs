//! A share that hangs in the kernel, like one of a dead file server: a frozen file system blocks
//! every writer, and not even SIGKILL ends the wait.

use crate::audit::Audit;
use crate::share::{Share, appliance, send, until_carried};
use crate::support::appliance::Sink;
use crate::support::patience::until;
use std::time::{Duration, Instant};

#[test]
fn mail_flows_and_the_appliance_stops_while_the_share_hangs() {
    let (share, system) = Share::of_its_own(8 << 20);
    let sink = Sink::start("");
    let mut appliance = appliance(&share, &sink, &[]);
    let mut ids = send(&appliance, 20);
    appliance.until_empty();
    until_carried(&appliance);
    system.freeze();
    let begin = Instant::now();
    ids.extend(send(&appliance, 200));
    appliance.until_empty();
    println!("200 mails in {:?} while the share hangs", begin.elapsed());
    until("the lines wait", || match appliance.counter("mta_maillog_buffer_bytes") {
        waiting if waiting > 50_000 => Ok(()),
        waiting => Err(format!("{waiting} octets")),
    });
    let carrier = appliance.child("carrier").unwrap();
    until("the carrier hangs in the kernel", || {
        let state = std::fs::read_to_string(format!("/proc/{carrier}/stat")).unwrap();
        if state.contains(") D ") { Ok(()) } else { Err(state) }
    });
    let begin = Instant::now();
    assert_eq!(appliance.stop(), 143);
    println!("stopped in {:?}", begin.elapsed());
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "the stop waited for the share: {:?}",
        begin.elapsed()
    );
    // Waiting lines are copied by the next one.
    system.thaw();
    appliance.boot();
    ids.extend(send(&appliance, 20));
    appliance.until_empty();
    until_carried(&appliance);
    assert_eq!(appliance.stop(), 143);
    Audit::of(&share.log()).complete(&ids);
}

#[test]
fn what_finds_no_room_is_dropped_counted_and_said_in_its_place() {
    const MAILS: usize = 400;
    let (share, system) = Share::of_its_own(8 << 20);
    let sink = Sink::start("");
    let mut appliance = appliance(&share, &sink, &[("MTA_MAILLOG_BUFFER_LIMIT", "64K")]);
    let before = send(&appliance, 20);
    appliance.until_empty();
    until_carried(&appliance);
    let first = Audit::of(&share.log());
    system.freeze();
    let begin = Instant::now();
    send(&appliance, MAILS);
    appliance.until_empty();
    let dropped = appliance.counter("mta_maillog_dropped_lines_total");
    assert!(
        dropped > 1000 && appliance.counter("mta_maillog_buffer_bytes") <= 64 << 10,
        "{dropped}"
    );
    until("it counts as failing, though its carrier cannot say so", || {
        match appliance.counter("mta_maillog_failing") {
            1 => Ok(()),
            _ => Err(format!("{:?}", begin.elapsed())),
        }
    });
    system.thaw();
    until_carried(&appliance);
    let after = send(&appliance, 20);
    appliance.until_empty();
    until_carried(&appliance);
    assert_eq!(appliance.counter("mta_maillog_failing"), 0);
    let dropped = usize::try_from(appliance.counter("mta_maillog_dropped_lines_total")).unwrap();
    assert_eq!(appliance.stop(), 143);
    let log = share.log();
    let audit = Audit::of(&log);
    audit.complete(&before).complete(&after);
    let gaps: Vec<usize> = audit
        .others
        .iter()
        .filter_map(|line| {
            line.split("warning: ")
                .nth(1)?
                .split_once(" lines of the mail log were dropped here between ")?
                .0
                .parse()
                .ok()
        })
        .collect();
    assert_eq!(gaps.iter().sum::<usize>(), dropped, "{gaps:?}");
    // Seven lines for each mail: connect, client, message-id, from, to, removed, disconnect. In
    // addition a few of the appliance's own.
    let mails = |log: &str| log.lines().filter(|line| !line.contains("/postern[")).count();
    let there = mails(&log) - 7 * 40;
    assert!(
        (7 * MAILS..7 * MAILS + 8).contains(&(there + dropped)),
        "{there} there, {dropped} dropped"
    );
    assert!(audit.lines > first.lines);
}
