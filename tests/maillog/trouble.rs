//! Shares that refuse: full, not permitted, unmounted and mounted again.

use crate::audit::Audit;
use crate::share::{Share, appliance, send, until_carried};
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

/// Waits for a line of the appliance's own log.
fn said(appliance: &Appliance, words: &str) {
    until(words, || match appliance.log().iter().any(|line| line.contains(words)) {
        true => Ok(()),
        false => Err(appliance.log().last().cloned().unwrap_or_default()),
    });
}

fn failing(appliance: &Appliance, expected: u64) {
    until("the gauge follows", || match appliance.counter("mta_maillog_failing") {
        shown if shown == expected => Ok(()),
        shown => Err(format!("it is {shown}")),
    });
}

#[test]
fn a_full_share_takes_up_where_it_stopped() {
    let (share, _system) = Share::of_its_own(2 << 20);
    let sink = Sink::start("");
    let mut appliance = appliance(&share, &sink, &[]);
    let mut ids = send(&appliance, 5);
    appliance.until_empty();
    until_carried(&appliance);
    let filler = share.path.join("somebody-elses");
    let mut file = fs::File::create(&filler).unwrap();
    for size in [1 << 16, 1 << 12, 1 << 10, 1] {
        while file.write_all(&vec![1; size]).is_ok() && file.sync_data().is_ok() {}
    }
    drop(file);
    ids.extend(send(&appliance, 60));
    appliance.until_empty();
    said(&appliance, "/srv1/maillog: No space left on device");
    failing(&appliance, 1);
    assert!(appliance.counter("mta_maillog_buffer_bytes") > 10_000);
    fs::remove_file(filler).unwrap();
    said(&appliance, "the mail log is written to its share again");
    failing(&appliance, 0);
    ids.extend(send(&appliance, 5));
    appliance.until_empty();
    assert_eq!(appliance.stop(), 143);
    Audit::of(&share.log()).complete(&ids);
}

#[test]
fn a_forbidden_directory_is_told_with_its_cause() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance = appliance(&share, &sink, &[]);
    fs::set_permissions(&share.path, Permissions::from_mode(0o555)).unwrap();
    // The existing directory would be writable: only the new file is forbidden.
    let _ = fs::remove_dir_all(share.path.join("srv1"));
    let ids = send(&appliance, 5);
    said(&appliance, "Permission denied");
    assert_eq!(
        appliance
            .log()
            .iter()
            .filter(|line| line.contains(
                "cannot be written to \
        its share"
            ))
            .count(),
        1
    );
    fs::set_permissions(&share.path, Permissions::from_mode(0o777)).unwrap();
    said(&appliance, "the mail log is written to its share again");
    appliance.until_empty();
    assert_eq!(appliance.stop(), 143);
    Audit::of(&share.log()).complete(&ids);
}

#[test]
fn a_share_that_goes_and_comes_back_gets_the_rest() {
    let (share, system) = Share::of_its_own(8 << 20);
    let sink = Sink::start("");
    let mut appliance = appliance(&share, &sink, &[]);
    let mut ids = send(&appliance, 5);
    appliance.until_empty();
    until_carried(&appliance);
    let before = share.log();
    for _ in 0..2 {
        system.go();
        // The visible mount point now belongs to root.
        fs::set_permissions(&share.path, Permissions::from_mode(0o555)).unwrap();
        ids.extend(send(&appliance, 20));
        appliance.until_empty();
        system.come();
        ids.extend(send(&appliance, 20));
        appliance.until_empty();
        until_carried(&appliance);
    }
    assert_eq!(appliance.stop(), 143);
    let log = share.log();
    assert!(log.starts_with(&before));
    Audit::of(&log).complete(&ids);
}

/// Problems of the log do not affect mail, even when the lines cannot wait anywhere.
#[test]
fn mail_flows_though_lines_have_nowhere_to_wait() {
    let (share, sink) = (Share::new(), Sink::start(""));
    let mut appliance = appliance(&share, &sink, &[("MTA_LOGS_ENABLED", "no")]);
    assert_eq!(appliance.stop(), 143);
    fs::write(appliance.path("data/maillog"), "a file in the way").unwrap();
    appliance.set(&[("MTA_LOGS_ENABLED", "yes")]);
    appliance.boot();
    send(&appliance, 10);
    appliance.until_empty();
    assert_eq!(sink.count(), 10);
    until("the lost lines are counted", || {
        match appliance.counter("mta_maillog_dropped_lines_total") {
            dropped if dropped >= 70 => Ok(()),
            dropped => Err(format!("{dropped}")),
        }
    });
    said(&appliance, "lines of the mail log are dropped");
    assert_eq!(appliance.stop(), 143);
}

#[test]
fn mail_that_comes_while_the_next_hop_is_left_alone_is_deferred_for_its_last_reason() {
    let (share, sink) = (Share::new(), Sink::start("connect=drop"));
    let appliance = appliance(&share, &sink, &[]);
    let (first, relay) = (send(&appliance, 1), sink.relay());
    until("the first try has failed", || match appliance.counter("mta_destinations_unreachable") {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    });
    let second = send(&appliance, 1);
    appliance.queue(&["pause", &relay]);
    let third = send(&appliance, 1);
    until_carried(&appliance);
    let log = share.log();
    let line = |id: &str| {
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(id) && line.contains("status=deferred"))
            .collect();
        let [line] = lines[..] else { panic!("one line about {id}: {log}") };
        line.split_once("]: ").unwrap().1.to_owned()
    };
    assert!(
        line(&first[0]).contains(" status=deferred (") && !line(&first[0]).contains("suspended"),
        "{log}"
    );
    let words = line(&second[0]);
    let dsn = |line: &str| line.split_once(", dsn=").unwrap().1[..5].to_owned();
    assert!(words.contains("to=<box@there.example>, relay=none, delay="), "{words}");
    assert_eq!(dsn(&words), dsn(&line(&first[0])), "the code of the last error");
    assert!(
        words.contains("status=deferred (delivery temporarily suspended: ")
            && words.contains("closed the connection before its greeting"),
        "{words}"
    );
    assert!(
        line(&third[0]).contains("suspended: an operator has paused the destination)"),
        "{log}"
    );
    let program =
        |id: &str| log.lines().any(|line| line.contains(" postfix/error[") && line.contains(id));
    assert!(program(&second[0]) && program(&third[0]) && !program(&first[0]), "{log}");
}
