//! `postern queue verify` on volumes that are intact, damaged, interrupted, foreign, in use, and on
//! read-only copies.

use crate::letters::{content, recipients, said, send, tool};
use crate::support::appliance::{Appliance, ORDINARY, Sink};
use nix::unistd::geteuid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// A queue with mail in both kinds of storage, and a few finished ones.
fn queue(mails: usize) -> (Appliance, Sink) {
    let sink = Sink::start("rcpt=450:60");
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1h"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1h"),
    ]);
    send(&appliance, 0..mails);
    crate::support::patience::until("every mail was tried", || {
        let queue = &appliance.api("status")["queue"];
        if queue["deferred"] == queue["messages"] { Ok(()) } else { Err(queue.to_string()) }
    });
    (appliance, sink)
}

/// A directory's files with all that is in them.
fn everything(directory: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(everything(&path));
        }
        let octets = if path.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        files.insert(path.clone(), (octets, fs::metadata(&path).unwrap().modified().unwrap()));
    }
    files
}

/// A copy of a volume that belongs to the tool's user, where everything can be read and nothing
/// written.
fn read_only_copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.path().is_dir() {
            read_only_copy(&entry.path(), &there);
        } else if entry.file_name() != "lock" {
            fs::copy(entry.path(), &there).unwrap();
            fs::set_permissions(&there, Permissions::from_mode(0o444)).unwrap();
        }
    }
    fs::set_permissions(to, Permissions::from_mode(0o555)).unwrap();
}

fn verify(appliance: &Appliance, volume: &Path) -> (i32, Value) {
    let (code, out, complaint) =
        said(&tool(appliance, &["--json", "verify", "--volume", volume.to_str().unwrap()]));
    let view = serde_json::from_str(&out)
        .unwrap_or_else(|error| panic!("{code} {error}: {out}{complaint}"));
    (code, view)
}

fn segments(volume: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(volume.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The segment that contains these octets, and the offset.
fn find(volume: &Path, octets: &[u8]) -> (PathBuf, usize) {
    let found = segments(volume).into_iter().find_map(|path| {
        let text = fs::read(&path).unwrap();
        let at = text.windows(octets.len()).position(|ui| ui == octets)?;
        Some((path, at))
    });
    found.expect("the octets stand in a segment")
}

fn flip(path: &Path, at: usize) {
    let mut octets = fs::read(path).unwrap();
    octets[at] ^= 0x10;
    fs::write(path, octets).unwrap();
}

#[test]
fn a_volume_is_read_and_not_changed() {
    let (mut appliance, _sink) = queue(120);
    let data = appliance.path("data");
    let (code, out, complaint) = said(&tool(&appliance, &["verify"]));
    assert_eq!((code, out.as_str()), (69, ""), "{complaint}");
    assert!(
        complaint.contains("is in use by a running Postern") && complaint.contains("copy"),
        "{complaint}"
    );
    let waiting = appliance.queue(&["list"]);
    let octets: u64 = waiting.iter().map(|message| message["size_bytes"].as_u64().unwrap()).sum();
    let pending: u64 =
        waiting.iter().map(|message| message["recipients_pending"].as_u64().unwrap()).sum();
    appliance.stop();

    let before = everything(&data);
    let (code, view) = verify(&appliance, &data);
    assert_eq!(code, 0, "{view}");
    assert_eq!(view["clean"], true);
    assert_eq!(view["format"], 2);
    assert_eq!(
        (view["messages"].as_u64(), view["bytes"].as_u64()),
        (Some(waiting.len() as u64), Some(octets))
    );
    assert_eq!(view["recipients_pending"].as_u64(), Some(pending));
    assert!(
        view["records_finished"].as_u64().unwrap() > 0
            && view["contents"]["files"].as_u64().unwrap() > 0,
        "{view}"
    );
    let (code, out, _) = said(&tool(&appliance, &["verify"]));
    assert_eq!(code, 0, "property volume_data says which volume");
    assert!(out.contains("The queue is intact."), "{out}");
    assert!(before == everything(&data), "verify changed the volume");

    // A read-only copy without a lock file; the tool runs as an ordinary user.
    let copy = appliance.path("copy");
    read_only_copy(&data, &copy);
    let before = everything(&copy);
    let (code, again) = verify(&appliance, &copy);
    assert_eq!((code, &again["messages"]), (0, &view["messages"]));
    assert!(before == everything(&copy), "verify changed the copy");

    assert_eq!(said(&tool(&appliance, &["verify", "--volume", "/nowhere"])).0, 66);
    assert_eq!(
        said(&tool(&appliance, &["verify", "--volume", appliance.path("run").to_str().unwrap()])).0,
        66
    );
    if geteuid().is_root() {
        let closed = appliance.path("closed");
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        let (code, _, complaint) =
            said(&tool(&appliance, &["verify", "--volume", closed.to_str().unwrap()]));
        assert_eq!(code, 77, "{complaint}");
    }
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_kill_leaves_a_clean_volume() {
    let (mut appliance, _sink) = queue(60);
    appliance.kill();
    let (code, view) = verify(&appliance, &appliance.path("data"));
    assert_eq!(code, 0, "{view}");
    let messages = view["messages"].as_u64().unwrap();
    appliance.boot();
    assert_eq!(appliance.queue(&["list"]).len() as u64, messages);
}

#[test]
fn damage_is_named_with_its_mail_and_what_it_costs() {
    let (mut appliance, _sink) = queue(120);
    let waiting = appliance.queue(&["list"]);
    let find_mail = |long: bool| {
        let is_it = |message: &&Value| (message["size_bytes"].as_u64().unwrap() > 65_536) == long;
        let message = waiting.iter().find(is_it).unwrap();
        let shown = &appliance.queue(&["show", message["id"].as_str().unwrap()])[0];
        let number = shown["subject"]
            .as_str()
            .unwrap()
            .strip_prefix("number ")
            .unwrap()
            .parse::<usize>()
            .unwrap();
        (message["id"].as_str().unwrap().to_owned(), number)
    };
    let ((short, number), (long, _)) = (find_mail(false), find_mail(true));
    appliance.stop();
    // Another start: the segments with the mail are not the last one any more, and a start does not
    // check their contents.
    appliance.boot();
    appliance.stop();
    let data = appliance.path("data");
    let pristine = everything(&data);
    let restore = || {
        for (path, (octets, _)) in &pristine {
            if !path.is_dir() {
                fs::write(path, octets).unwrap();
            }
        }
    };

    // One bit in a content.
    let (segment, at) = find(&data, format!("Message-ID: <{number}@here.example>").as_bytes());
    flip(&segment, at + 3);
    let (code, view) = verify(&appliance, &data);
    assert_eq!(code, 65, "{view}");
    let damage = &view["damages"][0];
    assert_eq!(view["damages_total"], 1);
    assert_eq!(damage["id"], short.as_str());
    assert_eq!(
        (&damage["meaning"], &damage["certain"]),
        (&"lost".into(), &true.into()),
        "{damage}"
    );
    assert_eq!(damage["sender"], "a@here.example");
    assert_eq!(damage["recipients"][0], recipients(number)[0].as_str());
    assert!(damage["file"].as_str().unwrap().starts_with("log/"));
    let (from, length) = (damage["offset"].as_u64().unwrap(), damage["length"].as_u64().unwrap());
    assert!((from..from + length).contains(&(at as u64)) && length > content(number).len() as u64);
    let (code, out, _) = said(&tool(&appliance, &["verify"]));
    assert_eq!(code, 65);
    assert!(out.contains("DAMAGED: 1 ") && out.contains("LOST") && out.contains(&short), "{out}");
    // Any octet of that record, including header and head.
    restore();
    for at in (from..from + length).step_by(23).chain(from..from + 40) {
        flip(&segment, usize::try_from(at).unwrap());
        let (code, view) = verify(&appliance, &data);
        restore();
        assert_eq!(code, 65, "octet {at}: {view}");
        let damage = &view["damages"][0];
        assert!(
            ["lost", "unknown"].contains(&damage["meaning"].as_str().unwrap()),
            "octet {at}: {view}"
        );
        assert_eq!(view["damages_total"], 1, "octet {at}: {view}");
    }
    // A content in a file of its own: changed, cut, missing.
    let body = data.join("body").join(format!("{long}.eml"));
    let whole = fs::read(&body).unwrap();
    for hurt in [
        Some([&whole[..1000], b"X", &whole[1001..]].concat()),
        Some(whole[..whole.len() - 1].to_vec()),
        None,
    ] {
        match hurt {
            Some(octets) => fs::write(&body, octets).unwrap(),
            None => fs::remove_file(&body).unwrap(),
        }
        let (code, view) = verify(&appliance, &data);
        assert_eq!((code, &view["damages"][0]["id"]), (65, &long.as_str().into()), "{view}");
        assert_eq!(view["damages"][0]["meaning"], "lost");
    }
    fs::write(&body, &whole).unwrap();
    if geteuid().is_root() {
        chown(&body, Some(ORDINARY), Some(ORDINARY)).unwrap();
    }
    // Contents that are not needed are not damage.
    fs::write(data.join("body/0000000000001.eml"), "x").unwrap();
    fs::write(data.join("body/0000000000002.part"), "x").unwrap();
    let (code, view) = verify(&appliance, &data);
    assert_eq!(
        (code, &view["strays"]["files"], &view["parts"]["files"]),
        (0, &1.into(), &1.into()),
        "{view}"
    );
    // The same when the appliance starts: it quarantines what verify called lost.
    flip(&segment, at + 3);
    appliance.boot();
    let kept =
        appliance.queue(&["list"]).iter().filter(|message| message["id"] == short.as_str()).count();
    let (code, out, _) =
        said(&tool(&appliance, &["export", appliance.path("run/x").to_str().unwrap(), &short]));
    assert!(kept == 0 || code == 65, "{code} {out}");
}

/// Cut at the end of a record, or missing: the segments themselves do not show it.
#[test]
fn what_was_taken_away_while_it_was_stopped_is_told_loudly() {
    let (mut appliance, _sink) = queue(60);
    let messages = appliance.queue(&["list"]).len();
    appliance.stop();
    // Another start, so that the segment with the mail is not the last one.
    appliance.boot();
    appliance.stop();
    let data = appliance.path("data");
    let (segment, _) = find(&data, b"Message-ID: <");
    let whole = fs::read(&segment).unwrap();
    let name = format!("log/{}", segment.file_name().unwrap().to_str().unwrap());
    let put_back = |octets: &[u8]| {
        fs::write(&segment, octets).unwrap();
        if geteuid().is_root() {
            chown(&segment, Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
    };
    let records: Vec<usize> = whole
        .windows(4)
        .enumerate()
        .filter(|(_, ui)| *ui == b"\xf5PR\xf5")
        .map(|(at, _)| at)
        .collect();
    let middle = records[records.len() / 2];
    put_back(&whole[..middle]);
    let (code, view) = verify(&appliance, &data);
    assert_eq!(code, 65, "{view}");
    let damages = view["damages"].as_array().unwrap();
    let damage = &damages[0];
    assert_eq!(
        (&damage["file"], &damage["meaning"]),
        (&name.as_str().into(), &"missing".into()),
        "{view}"
    );
    assert_eq!(damage["offset"], middle, "{view}");
    // A delivered mail with a file of its own is back if its done record was cut off.
    let is_back = |damage: &Value| {
        damage["file"].as_str().unwrap().starts_with("body/") && damage["meaning"] == "lost"
    };
    assert!(damages[1..].iter().all(is_back), "{view}");
    fs::remove_file(&segment).unwrap();
    let (code, out, _) = said(&tool(&appliance, &["verify"]));
    assert!(
        code == 65 && out.contains(&name) && out.contains("MISSING") && out.contains("backup"),
        "{out}"
    );
    // Restored, as from a backup, and everything is good; removed again, and the rest is served.
    put_back(&whole);
    assert_eq!(verify(&appliance, &data).0, 0);
    fs::remove_file(&segment).unwrap();
    appliance.boot();
    let log = appliance.log().join("\n");
    assert!(
        log.contains("ERROR")
            && log.contains(&name)
            && log.contains("restore these files from a backup"),
        "{log}"
    );
    assert_eq!(appliance.counter("mta_shortened_segments_total"), 1);
    let alerts = appliance.api("status")["alerts"].to_string();
    assert!(alerts.contains("Mail is missing"), "{alerts}");
    assert!(appliance.queue(&["list"]).len() < messages);
    appliance.stop();
    assert_eq!(verify(&appliance, &data).0, 0, "told once");
}

#[test]
fn a_file_that_may_not_be_read_is_named_with_what_to_do() {
    let (mut appliance, _sink) = queue(20);
    let messages = appliance.queue(&["list"]).len();
    appliance.stop();
    let (segment, _) = find(&appliance.path("data"), b"Message-ID: <");
    fs::set_permissions(&segment, Permissions::from_mode(0o000)).unwrap();
    let ended = appliance.command(&["init"]).output().unwrap();
    let complaint = String::from_utf8(ended.stderr).unwrap();
    assert!(
        !ended.status.success() && complaint.contains("Error: failed to mount data volume."),
        "{complaint}"
    );
    let path = segment.to_str().unwrap();
    assert!(
        complaint.contains(path)
            && complaint.contains("mode 000")
            && complaint.contains("mode 600"),
        "{complaint}"
    );
    let (code, _, complaint) = said(&tool(&appliance, &["verify"]));
    assert_eq!(code, 77, "{complaint}");
    assert!(complaint.contains(segment.file_name().unwrap().to_str().unwrap()), "{complaint}");
    fs::set_permissions(&segment, Permissions::from_mode(0o600)).unwrap();
    appliance.boot();
    assert_eq!(appliance.queue(&["list"]).len(), messages);
}

#[test]
fn a_torn_tail_and_a_newer_format_are_told_apart() {
    let (mut appliance, _sink) = queue(60);
    // The record to be cut is of a mail that stays: after the end of a mail its content may be
    // removed already, and a disk that keeps its syncs does not lose that end.
    let held = appliance.queue(&["list"])[0]["id"].as_str().unwrap().to_owned();
    let (code, _, complaint) = said(&tool(&appliance, &["hold", &held]));
    assert_eq!(code, 0, "{complaint}");
    appliance.stop();
    let data = appliance.path("data");
    assert_eq!(verify(&appliance, &data).1["messages_held"], 1);
    let pristine = everything(&data);
    // As after a crash: there is no manifest of the segments.
    fs::remove_file(data.join("closed")).unwrap();
    // The last record of the last segment that has one, cut in the middle.
    let last = segments(&data).pop().unwrap();
    let octets = fs::read(&last).unwrap();
    let mark = b"\xf5PR\xf5";
    let start = octets.windows(4).rposition(|ui| ui == mark).unwrap();
    fs::write(&last, &octets[..start + 35]).unwrap();
    let (code, view) = verify(&appliance, &data);
    assert_eq!(code, 0, "{view}");
    assert_eq!(
        (&view["unfinished"]["offset"], &view["clean"]),
        (&start.into(), &true.into()),
        "{view}"
    );
    assert_eq!(view["messages_held"], 0, "the record that was cut is the hold: {view}");
    // In a segment that is not the last one the same is damage.
    fs::write(data.join("log/4000000000.seg"), &pristine[&last].0[..4096]).unwrap();
    let (code, view) = verify(&appliance, &data);
    assert_eq!(code, 65, "{view}");
    fs::remove_file(data.join("log/4000000000.seg")).unwrap();
    fs::write(&last, &octets).unwrap();

    // One damaged copy of a header is a remark, both are damage.
    flip(&last, 14);
    let (code, view) = verify(&appliance, &data);
    assert_eq!(code, 0, "{view}");
    assert!(view["notes"][0].as_str().unwrap().contains("two copies"), "{view}");
    flip(&last, 2048 + 14);
    assert_eq!(verify(&appliance, &data).0, 65);
    fs::write(&last, &octets).unwrap();

    fs::write(data.join("format"), "postern queue format 9\n").unwrap();
    let (code, _, complaint) = said(&tool(&appliance, &["verify"]));
    assert_eq!(code, 65);
    assert!(complaint.contains("later version (format 9"), "{complaint}");
    fs::write(data.join("format"), "something else\n").unwrap();
    assert_eq!(said(&tool(&appliance, &["verify"])).0, 65);
}
