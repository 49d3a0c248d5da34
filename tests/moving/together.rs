//! Two tools at the same time.

use crate::letters::{assert_arrived, said, send, tool};
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

const MAILS: usize = 120;

#[test]
fn moves_and_imports_go_one_after_the_other_and_no_mail_comes_twice() {
    let (down, here) = (Sink::start("mail=450"), Sink::start(""));
    let old = Appliance::start(&[
        ("MTA_SMART_RELAY", &down.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1h"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1h"),
    ]);
    send(&old, 0..MAILS);
    let folders =
        ["one", "two"].map(|name| old.path("run").join(name).to_str().unwrap().to_owned());
    let moves = folders.each_ref().map(|folder| vec!["queue", "export", folder, "--all", "--move"]);
    assert_eq!(both(&old, &moves), [0, 75], "the second one is told to come again");
    for folder in &folders {
        let (code, out, complaint) = said(&tool(&old, &["export", folder, "--all", "--move"]));
        assert_eq!(code, 0, "{out}{complaint}");
    }

    let new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    for folder in &folders {
        let codes = both(&new, &[(); 2].map(|()| vec!["queue", "import", folder]));
        assert!(
            codes == [0, 0] || codes == [0, 75],
            "{codes:?}: an empty folder may be too quick to collide"
        );
    }
    new.until_empty();
    assert_eq!(assert_arrived(&[&here], 0..MAILS, 1), 0);
}

/// The exit codes of two tools that run at the same time, the smaller first.
fn both(appliance: &Appliance, commands: &[Vec<&str>; 2]) -> [i32; 2] {
    let run = |words: &Vec<&str>| {
        appliance.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut codes =
        commands.each_ref().map(run).map(|mut child| child.wait().unwrap().code().unwrap());
    codes.sort_unstable();
    codes
}

#[test]
fn a_mail_that_is_released_while_it_is_moved_is_sent_from_one_place_only() {
    let there = Sink::start("");
    // The next hop accepts mail only once all of it waits.
    let old = Appliance::start(&[("MTA_SMART_RELAY", &there.relay())]);
    old.queue(&["pause", &there.relay()]);
    send(&old, 0..MAILS);
    old.queue(&["hold", "--all", "--yes"]);
    old.queue(&["resume", &there.relay()]);
    let pairs = old.path("run").join("pairs");
    let pairs = pairs.to_str().unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                // Whatever is being moved just now.
                for entry in std::fs::read_dir(pairs).into_iter().flatten() {
                    let name = entry.unwrap().file_name().into_string().unwrap();
                    if let Some(id) = name.strip_suffix(".moving") {
                        control(&old, &format!(r#"{{"order":"release","id":"{id}"}}"#));
                    }
                }
            }
        });
        for _ in 0..3 {
            let (code, out, complaint) = said(&tool(&old, &["export", pairs, "--all", "--move"]));
            assert!([0, 69].contains(&code), "{code} {out}{complaint}");
        }
        ended.store(true, Ordering::Relaxed);
    });
    let (code, out, complaint) = said(&tool(&old, &["export", pairs, "--all", "--move"]));
    assert!([0, 69].contains(&code), "{code} {out}{complaint}");
    old.queue(&["release", "--all", "--yes"]);
    old.until_empty();
    let (code, out, complaint) = said(&tool(&old, &["import", pairs]));
    assert_eq!(code, 0, "{out}{complaint}");
    old.queue(&["release", "--all", "--yes"]);
    old.until_empty();
    assert_eq!(assert_arrived(&[&there], 0..MAILS, 1), 0);
}

#[test]
fn a_move_is_refused_when_the_message_is_not_as_it_was_read() {
    let later = Sink::start("rcpt=450");
    let relay = Appliance::start(&[
        ("MTA_SMART_RELAY", &later.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1h"),
    ]);
    send(&relay, 0..1);
    relay.deferral();
    let id = relay.queue(&["list"])[0]["id"].as_str().unwrap().to_owned();
    let order = |order: &str, more: &str| {
        control(&relay, &format!(r#"{{"order":"{order}","id":"{id}"{more}}}"#))
    };
    let version = || format!(r#","version":{}"#, etag(&relay, &id));
    let read = version();
    let answer = order("move", &read);
    assert!(
        answer.contains(" 409 ") && answer.contains("it was released meanwhile"),
        "not held: {answer}"
    );
    order("hold", "");
    // It is released by another client, attempted, and held again.
    order("release", "");
    until("it was tried once more", || match &relay.messages()[0]["recipients"][0]["attempts"] {
        attempts if *attempts == 2 => Ok(()),
        attempts => Err(attempts.to_string()),
    });
    order("hold", "");
    let answer = order("move", &read);
    assert!(
        answer.contains(" 409 ") && answer.contains("it was tried meanwhile"),
        "tried: {answer}"
    );
    assert!(order("move", "").contains(" 400 "), "without a version");
    assert_eq!(relay.messages().len(), 1);
    let answer = order("move", &version());
    assert!(answer.contains(" 200 ") && relay.messages().is_empty(), "{answer}");
    assert_eq!(relay.queue(&["history", "--status", "moved"]).len(), 1);
}

/// The version of a held message, in quotes.
pub fn etag(appliance: &Appliance, id: &str) -> String {
    let answer = ask(appliance, &format!("GET /api/v1/queue/{id}/mail?still HTTP/1.0\r\n\r\n"));
    answer
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

pub fn control(appliance: &Appliance, order: &str) -> String {
    ask(
        appliance,
        &format!("POST /api/v1/orders HTTP/1.0\r\nContent-Length: {}\r\n\r\n{order}", order.len()),
    )
}

/// What the control socket answers.
fn ask(appliance: &Appliance, request: &str) -> String {
    let mut stream = UnixStream::connect(appliance.path("run").join("control.sock")).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
