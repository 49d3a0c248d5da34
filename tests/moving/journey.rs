//! From one appliance to another: nothing lost, nothing duplicated, nothing changed.

use crate::letters::{assert_arrived, assert_pairs, said, send, sum, tool};
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const MAILS: usize = 1000;

/// The first appliance: it delivers to some recipients, and retries the others only after a long
/// time.
fn first(sink: &Sink) -> Appliance {
    Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1h"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1h"),
        ("MTA_DESTINATION_CONCURRENCY_LIMIT", "20"),
    ])
}

fn settled(appliance: &Appliance) {
    until("every mail was tried", || {
        let queue = &appliance.api("status")["queue"];
        let number = |name: &str| queue[name].as_u64().unwrap();
        let tried =
            number("active") == 0 && number("deferred") + number("held") == number("messages");
        if tried { Ok(()) } else { Err(queue.to_string()) }
    });
}

#[test]
fn a_thousand_mails_move_and_arrive_once() {
    let (there, here) = (Sink::start("rcpt=450:60"), Sink::start(""));
    let old = first(&there);
    send(&old, 0..MAILS);
    settled(&old);
    let before: BTreeMap<String, Value> = old
        .queue(&["list"])
        .into_iter()
        .map(|message| (message["id"].as_str().unwrap().to_owned(), message))
        .collect();
    let held: Vec<&String> = before.keys().step_by(before.len() / 3).collect();
    for id in &held {
        old.queue(&["hold", id]);
    }
    let partial = before.values().filter(|message| message["recipients_pending"] == 1).count();
    assert!(partial > 100, "hardly any mail is partly delivered: {partial} of {}", before.len());

    // First an export: the queue stays as it is.
    let copies = old.path("run").join("copies");
    let copies = copies.to_str().unwrap();
    let exported = sum(&mut old.command(&["queue", "--json", "export", copies, "--all"]));
    assert_eq!(exported["exported"], before.len());
    assert_eq!(assert_pairs(copies.as_ref()), before.len());
    assert_eq!(old.queue(&["list"]).len(), before.len());
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let first_id = before.keys().next().unwrap();
    assert_eq!(
        (mode(copies), mode(&format!("{copies}/{first_id}.eml"))),
        (0o700, 0o600),
        "mail is private"
    );
    let again = sum(&mut old.command(&["queue", "--json", "export", copies, "--all"]));
    assert_eq!((&again["exported"], &again["identical"]), (&0.into(), &before.len().into()));
    let (code, out, _) = said(&tool(&old, &["export", copies, first_id, "0000000000001"]));
    assert_eq!(code, 66, "{out}");
    assert!(out.contains("0000000000001 left: no such message"), "{out}");

    // Then the move.
    let pairs = old.path("run").join("pairs");
    let pairs = pairs.to_str().unwrap();
    let moved = sum(&mut old.command(&["queue", "--json", "export", pairs, "--all", "--move"]));
    assert_eq!(moved["moved"], before.len());
    assert!(old.queue(&["list"]).is_empty());
    assert_eq!(old.queue(&["history", "--status", "moved", "--limit", "1000"]).len(), before.len());
    assert!(old.queue(&["history", "--status", "deleted"]).is_empty());
    assert_eq!(assert_pairs(pairs.as_ref()), before.len());
    let left: Vec<String> = fs::read_dir(pairs)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(left.len(), 2 * before.len(), "marks or parts are left");

    // Imported elsewhere.
    let new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    let imported = sum(&mut new.command(&["queue", "--json", "import", pairs]));
    assert_eq!((&imported["imported"], &imported["refused"]), (&before.len().into(), &0.into()));
    until("all but the held ones are delivered", || {
        match new.api("status")["queue"]["messages"].as_u64().unwrap() {
            left if left == held.len() as u64 => Ok(()),
            left => Err(format!("{left} messages left")),
        }
    });
    for message in new.queue(&["list"]) {
        assert_eq!(message["held"], true);
        let shown = &new.queue(&["show", message["id"].as_str().unwrap()])[0];
        let was = before
            .values()
            .find(|was| {
                was["recipients"].as_array().unwrap().iter().any(|to| {
                    shown["recipients"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .any(|now| now["address"] == to["address"])
                })
            })
            .unwrap();
        for name in [
            "arrived",
            "sender",
            "size_bytes",
            "client",
            "helo",
            "recipients_pending",
            "recipients_total",
        ] {
            assert_eq!(shown[name], was[name], "{name} of {shown}");
        }
        let pending = shown["recipients"]
            .as_array()
            .unwrap()
            .iter()
            .find(|to| to["status"] == "pending")
            .unwrap();
        assert_eq!(pending["attempts"], 1);
        assert!(pending["last_reply"].as_str().unwrap().contains("450"), "{pending}");
    }
    let log = new.log().join("\n");
    assert!(log.contains(&format!("was={first_id}")), "the old id stands in the log");
    new.queue(&["release", "--all", "--yes"]);
    new.until_empty();
    assert_eq!(assert_arrived(&[&there, &here], 0..MAILS, 1), 0);

    // A repetition is detected: the directory is empty now, and a copy of a pair is recognized.
    assert_eq!(sum(&mut new.command(&["queue", "--json", "import", pairs]))["imported"], 0);
    for ending in ["eml", "json"] {
        fs::copy(
            format!("{pairs}/imported/{first_id}.{ending}"),
            format!("{pairs}/{first_id}.{ending}"),
        )
        .unwrap();
    }
    let (code, out, _) = said(&tool(&new, &["import", pairs]));
    assert_eq!(code, 65, "{out}");
    assert!(out.contains("it was imported before"), "{out}");
}

#[test]
fn a_volume_at_rest_gives_its_mail_too() {
    let (there, here) = (Sink::start("rcpt=450:60"), Sink::start(""));
    let mut old = first(&there);
    send(&old, 0..200);
    settled(&old);
    let waiting = old.queue(&["list"]).len();
    let domain = old
        .queue(&["list"])
        .iter()
        .filter(|message| message["recipients"].to_string().contains("@there1.example"))
        .count();
    assert!(0 < domain && domain < waiting);
    let (pairs, some) = (old.path("run").join("pairs"), old.path("run").join("some"));
    let (pairs, some) = (pairs.to_str().unwrap(), some.to_str().unwrap());
    let volume = old.path("data");
    let volume = volume.to_str().unwrap();
    let (code, _, complaint) = said(&tool(&old, &["export", pairs, "--all", "--volume", volume]));
    assert_eq!(code, 69, "{complaint}");
    assert!(complaint.contains("is in use by a running Postern"), "{complaint}");
    old.stop();
    assert_eq!(
        sum(&mut old.command(&[
            "queue",
            "--json",
            "export",
            some,
            "--domain",
            "THERE1.example",
            "--volume",
            volume
        ]))["exported"],
        domain
    );
    assert_eq!(
        sum(&mut old.command(&["queue", "--json", "export", pairs, "--all", "--volume", volume]))["exported"],
        waiting
    );
    assert_eq!(assert_pairs(pairs.as_ref()), waiting);
    let (code, _, complaint) =
        said(&tool(&old, &["export", pairs, "--all", "--volume", volume, "--move"]));
    assert_eq!(code, 64, "{complaint}");
    let new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    assert_eq!(sum(&mut new.command(&["queue", "--json", "import", pairs]))["imported"], waiting);
    new.until_empty();
    assert_eq!(assert_arrived(&[&there, &here], 0..200, 1), 0);
}
