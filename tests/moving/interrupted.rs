//! Killed in the middle, on either side, under load.

use crate::letters::{assert_arrived, said, send, sum, tool};
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs the tool and kills it after a while; `true` when it had ended before.
fn cut_off(appliance: &Appliance, arguments: &[&str], after: Duration) -> bool {
    let words: Vec<&str> = ["queue"].iter().chain(arguments).copied().collect();
    let mut child =
        appliance.command(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    let ended = child.try_wait().unwrap().is_some();
    let _ = child.kill();
    child.wait().unwrap();
    ended
}

#[test]
fn a_move_that_is_cut_off_while_mail_flows_loses_nothing_and_repeats_nothing() {
    let (there, here) = (Sink::start("rcpt=450:60"), Sink::start(""));
    let mut old = Appliance::start(&[
        ("MTA_SMART_RELAY", &there.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1s"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "2s"),
    ]);
    let pairs = old.path("run").join("pairs");
    let pairs = pairs.to_str().unwrap();
    let order = ["export", pairs, "--all", "--move"];
    let sent = AtomicBool::new(false);
    let mut cut = 0;
    std::thread::scope(|scope| {
        let (old, sent) = (&old, &sent);
        scope.spawn(move || {
            for round in 0..20 {
                send(old, round * 40..(round + 1) * 40);
            }
            sent.store(true, Ordering::Relaxed);
        });
        while !sent.load(Ordering::Relaxed) {
            cut +=
                usize::from(!cut_off(old, &order, Duration::from_millis(fastrand::u64(20..160))));
        }
    });
    assert!(cut > 3, "the tool was hardly ever cut off: {cut}");
    // The core is killed too, in the middle of a move, and restarts.
    let command =
        old.command(&["queue", "export", pairs, "--all", "--move"]).stdout(Stdio::null()).spawn();
    let mut child = command.unwrap();
    std::thread::sleep(Duration::from_millis(100));
    old.stop();
    child.wait().unwrap();
    old.boot();
    let (code, out, complaint) = said(&tool(&old, &order));
    assert!([0, 69].contains(&code), "{out}{complaint}");
    until("nothing waits or is held", || match old.queue(&["list"]).len() {
        0 => Ok(()),
        left => {
            tool(&old, &order);
            Err(format!("{left} messages"))
        }
    });
    let left: Vec<String> = std::fs::read_dir(pairs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let marks: Vec<&String> = left.iter().filter(|name| name.ends_with(".moving")).collect();
    assert!(marks.is_empty(), "{marks:?}");

    let new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    let (code, out, complaint) = said(&tool(&new, &["import", pairs]));
    assert_eq!(code, 0, "{out}{complaint}");
    assert!(
        !new.queue(&["list"]).iter().any(|message| message["held"] == true),
        "the hold was the tool's own"
    );
    new.until_empty();
    assert_eq!(assert_arrived(&[&there, &here], 0..800, 1), 0);
}

#[test]
fn an_import_that_is_cut_off_loses_nothing_and_repeats_one_mail_at_most() {
    let (down, here) = (Sink::start("mail=450"), Sink::start(""));
    let old = Appliance::start(&[
        ("MTA_SMART_RELAY", &down.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1h"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1h"),
    ]);
    send(&old, 0..600);
    let pairs = old.path("run").join("pairs");
    let pairs = pairs.to_str().unwrap();
    let (code, out, complaint) = said(&tool(&old, &["export", pairs, "--all", "--move"]));
    assert_eq!(code, 0, "{out}{complaint}");
    let mut new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    let mut cut = 0;
    for _ in 0..6 {
        cut += usize::from(!cut_off(
            &new,
            &["import", pairs],
            Duration::from_millis(fastrand::u64(20..200)),
        ));
    }
    new.kill();
    new.boot();
    let (code, out, complaint) = said(&tool(&new, &["import", pairs]));
    assert_eq!(code, 0, "{out}{complaint}");
    new.until_empty();
    // Two recipients for each mail; the kill of the core repeats deliveries in progress.
    let twice = assert_arrived(&[&here], 0..600, 2 + cut);
    println!("{cut} times cut off, {twice} recipients got their mail more than once");
    assert!(twice <= 2 * (cut + 20), "{twice} recipients");
    assert!(cut > 0, "the tool was never cut off");
}

#[test]
fn a_move_waits_for_the_end_of_a_try() {
    // The next hop has the whole mail, and does not answer: it may have been delivered or not.
    let dumb = Sink::start("dot=hang");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &dumb.relay())]);
    send(&appliance, 0..1);
    until("it is being tried", || match appliance.api("status")["queue"]["active"].as_u64() {
        Some(1..) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let id = appliance.queue(&["list"])[0]["id"].as_str().unwrap().to_owned();
    let pairs = appliance.path("run").join("pairs");
    let directory = pairs.to_str().unwrap();
    assert!(
        !cut_off(&appliance, &["export", directory, "--all", "--move"], Duration::from_secs(3)),
        "it does not wait"
    );
    assert!(!pairs.join(format!("{id}.json")).exists());
    let message = &appliance.queue(&["list"])[0];
    assert_eq!(
        (&message["id"], &message["held"]),
        (&id.as_str().into(), &true.into()),
        "it is still here, and begins no new try"
    );
    assert!(pairs.join(format!("{id}.moving")).exists());
}

/// A relay with one exported mail, and the mark of a move that was interrupted after the pair was
/// written.
fn cut_off_behind_the_pair(properties: &[(&str, &str)]) -> (Appliance, Sink, String) {
    let sink = Sink::start("");
    let relay = Appliance::start(&[&[("MTA_SMART_RELAY", &*sink.relay())], properties].concat());
    relay.queue(&["pause", &sink.relay()]);
    send(&relay, 0..1);
    let id = relay.queue(&["list"])[0]["id"].as_str().unwrap().to_owned();
    let pairs = relay.path("run").join("pairs");
    relay.queue(&["export", pairs.to_str().unwrap(), &id]);
    std::fs::write(pairs.join(format!("{id}.moving")), "\n").unwrap();
    (relay, sink, id)
}

#[test]
fn a_mail_that_was_delivered_before_its_move_is_repeated_does_not_come_in() {
    let (relay, sink, id) = cut_off_behind_the_pair(&[]);
    relay.queue(&["resume", &sink.relay()]);
    relay.until_empty();
    let pairs = relay.path("run").join("pairs");
    let directory = pairs.to_str().unwrap();
    let (code, out, _) = said(&tool(&relay, &["export", directory, &id, "--move"]));
    assert!(code == 66 && out.contains("it was not moved but delivered"), "{code} {out}");
    let here = |end: &str| pairs.join(format!("{id}.{end}")).exists();
    assert!(
        !here("moving") && !here("json") && !here("eml") && here("json.left") && here("eml.left")
    );
    let (_, out, _) = said(&tool(&relay, &["import", directory]));
    assert!(out.contains("0 messages imported"), "{out}");
    // A message that was moved, when the move was interrupted before its mark was removed, is
    // moved.
    relay.queue(&["pause", &sink.relay()]);
    send(&relay, 1..2);
    let id = relay.queue(&["list"])[0]["id"].as_str().unwrap().to_owned();
    relay.queue(&["export", directory, &id, "--move"]);
    std::fs::write(pairs.join(format!("{id}.moving")), "\n").unwrap();
    assert_eq!(
        sum(&mut relay.command(&["queue", "--json", "export", directory, &id, "--move"]))["moved"],
        1
    );
}

#[test]
fn without_a_history_nobody_says_that_a_mail_was_moved() {
    let (relay, sink, id) = cut_off_behind_the_pair(&[("MTA_HISTORY_ENABLED", "no")]);
    relay.queue(&["resume", &sink.relay()]);
    relay.until_empty();
    let directory = relay.path("run").join("pairs");
    let directory = directory.to_str().unwrap();
    let (code, out, _) = said(&tool(&relay, &["export", directory, &id, "--move"]));
    assert!(code == 73 && out.contains("the history does not know"), "{code} {out}");
    let (code, out, _) = said(&tool(&relay, &["import", directory]));
    assert_eq!(code, 65, "its mark is there: {out}");
}
