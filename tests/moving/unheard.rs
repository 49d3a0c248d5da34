//! Moves whose result the tool did not get: how the next one handles the remaining mark.

use crate::letters::{assert_arrived, said, send, sum, tool};
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::{until, until_true};
use crate::together::{control, etag};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fails each sync while a file is there.
const SHIM: &str = r#"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
static int fails(void) {
    const char *path = getenv("FAIL_SYNC");
    if (!path || access(path, F_OK) != 0) return 0;
    errno = EIO;
    return 1;
}
int fdatasync(int fd) { return fails() ? -1 : syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return fails() ? -1 : syscall(SYS_fsync, fd); }
"#;

fn shim(directory: &Path) -> PathBuf {
    let (source, library) = (directory.join("fail.c"), directory.join("fail.so"));
    fs::write(&source, SHIM).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "a C compiler (package gcc)");
    library
}

/// A relay with one mail that waits for a paused destination; the mail's id.
fn with_one_mail(properties: &[(&str, &str)]) -> (Appliance, Sink, String) {
    let sink = Sink::start("");
    let relay = Appliance::start(&[&[("MTA_SMART_RELAY", &*sink.relay())], properties].concat());
    relay.queue(&["pause", &sink.relay()]);
    send(&relay, 0..1);
    let id = relay.queue(&["list"])[0]["id"].as_str().unwrap().to_owned();
    (relay, sink, id)
}

/// Syncs that can be made to fail.
struct Syncs {
    library: PathBuf,
    /// They fail while it is there.
    fails: PathBuf,
    _directory: tempfile::TempDir,
}

impl Syncs {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (library, fails) = (shim(directory.path()), directory.path().join("fails"));
        Self { library, fails, _directory: directory }
    }

    /// Properties of a relay with these syncs.
    fn preload(&self) -> [(&str, &str); 2] {
        let text = |path| Path::to_str(path).unwrap();
        [("LD_PRELOAD", text(&self.library)), ("FAIL_SYNC", text(&self.fails))]
    }

    /// An order for a mail, whose sync fails: the relay reports that, and writes an audit line.
    fn order(&self, relay: &Appliance, order: &str, id: &str, more: &str) {
        fs::write(&self.fails, "").unwrap();
        let answer = control(relay, &format!(r#"{{"order":"{order}","id":"{id}"{more}}}"#));
        assert!(answer.contains(" 503 "), "{order}: {answer}");
        fs::remove_file(&self.fails).unwrap();
        let audit = format!("order={order} selection={id} messages=1 ");
        let has_line = || relay.log().iter().any(|line| line.contains(&audit));
        until_true(&format!("the log has {audit}"), has_line);
    }
}

/// Their records are written again.
#[test]
fn a_hold_and_a_release_whose_sync_failed_have_taken_effect() {
    let syncs = Syncs::new();
    let (relay, sink, id) = with_one_mail(&syncs.preload());
    let waits = |held: bool, number: u64| {
        until(&format!("{number} waits for the destination"), || {
            let rows = relay.api("destinations")["destinations"].clone();
            let waiting = rows[0]["messages"].as_u64().unwrap_or_default();
            if waiting == number { Ok(()) } else { Err(rows.to_string()) }
        });
        assert_eq!(relay.messages()[0]["held"], held);
    };
    waits(false, 1);
    syncs.order(&relay, "hold", &id, "");
    waits(true, 0);
    until("the volume works again", || {
        let answer = control(&relay, &format!(r#"{{"order":"hold","id":"{id}"}}"#));
        if answer.contains(" 200 ") { Ok(()) } else { Err(answer) }
    });
    syncs.order(&relay, "release", &id, "");
    waits(false, 1);
    relay.queue(&["resume", &sink.relay()]);
    relay.until_empty();
    assert_arrived(&[&sink], 0..1, 1);
}

#[test]
fn a_message_that_left_though_its_sync_failed_was_moved_or_deleted() {
    let syncs = Syncs::new();
    for (order, status) in [("delete", "deleted"), ("move", "moved")] {
        let (relay, _sink, id) = with_one_mail(&syncs.preload());
        let pairs = relay.path("run").join("pairs");
        let mark = pairs.join(format!("{id}.moving"));
        relay.queue(&["hold", &id]);
        let mut more = String::new();
        if order == "move" {
            relay.queue(&["export", pairs.to_str().unwrap(), &id]);
            fs::write(&mark, "held 0123456789abcdef\n").unwrap();
            more = format!(r#","version":{},"mark":"0123456789abcdef""#, etag(&relay, &id));
        }
        syncs.order(&relay, order, &id, &more);
        assert!(relay.messages().is_empty(), "{order}: its record is written again");
        until("the history has it", || match &relay.queue(&["history", "--status", status])[..] {
            [end] if end["id"] == id.as_str() => Ok(()),
            other => Err(format!("{status}: {other:?}")),
        });
        assert!(
            relay.log().iter().any(|line| line.contains(&format!("status={status}"))),
            "{status}"
        );
        if order == "move" {
            let again = relay
                .command(&["queue", "export", pairs.to_str().unwrap(), &id, "--move"])
                .output()
                .unwrap();
            let (code, out, complaint) = said(&again);
            assert!(code == 0 && !mark.exists(), "{code} {out}{complaint}");
        }
    }
}

#[test]
fn a_mail_that_another_directory_has_is_not_in_this_one_too() {
    let (relay, _sink, id) = with_one_mail(&[]);
    let [first, second] = ["first", "second"].map(|name| relay.path("run").join(name));
    let [first_text, second_text] = [&first, &second].map(|path| path.to_str().unwrap());
    // Interrupted when pair and mark were there; repeated with another directory.
    relay.queue(&["export", first_text, &id]);
    fs::write(first.join(format!("{id}.moving")), "free 0123456789abcdef\n").unwrap();
    assert_eq!(
        sum(&mut relay.command(&["queue", "--json", "export", second_text, &id, "--move"]))["moved"],
        1
    );
    let (code, out, _) = said(&tool(&relay, &["export", first_text, &id, "--move"]));
    assert!(code == 66 && out.contains("another export has moved it"), "{code} {out}");
    let names = |ends: [&str; 2]| ends.map(|end| first.join(format!("{id}.{end}")).exists());
    assert_eq!((names(["json", "eml"]), names(["json.left", "eml.left"])), ([false; 2], [true; 2]));
    let new = Appliance::start(&[("MTA_SMART_RELAY", "127.0.0.1:9")]);
    for (directory, number) in [(first_text, 0), (second_text, 1)] {
        assert_eq!(
            sum(&mut new.command(&["queue", "--json", "import", directory]))["imported"],
            number,
            "{directory}"
        );
    }
}

#[test]
fn without_a_history_the_files_of_a_move_are_kept() {
    let (relay, _sink, id) = with_one_mail(&[("MTA_HISTORY_ENABLED", "no")]);
    let pairs = relay.path("run").join("pairs");
    let directory = pairs.to_str().unwrap();
    relay.queue(&["export", directory, &id, "--move"]);
    fs::write(pairs.join(format!("{id}.moving")), "free 0123456789abcdef\n").unwrap();
    let (code, out, _) = said(&tool(&relay, &["export", directory, &id, "--move"]));
    assert!(
        code == 73 && out.contains("each recipient") && out.contains("status=moved"),
        "{code} {out}"
    );
    for end in ["json", "eml", "moving"] {
        assert!(pairs.join(format!("{id}.{end}")).exists(), "{end}");
    }
}

#[test]
fn a_pair_of_an_export_without_a_move_stays_as_it_is() {
    let (relay, _sink, id) = with_one_mail(&[]);
    let pairs = relay.path("run").join("pairs");
    let directory = pairs.to_str().unwrap();
    relay.queue(&["export", directory, &id]);
    let read = || fs::read(pairs.join(format!("{id}.json"))).unwrap();
    let before = read();
    // The message has changed.
    relay.queue(&["hold", &id]);
    let (code, out, _) = said(&tool(&relay, &["export", directory, &id, "--move"]));
    assert!(code == 73 && out.contains("conflict"), "{code} {out}");
    assert_eq!((read(), relay.messages().len()), (before, 1));
    assert!(!pairs.join(format!("{id}.moving")).exists());
    // Unchanged, the pair can be used for a move.
    relay.queue(&["release", &id]);
    let (code, out, _) = said(&tool(&relay, &["export", directory, &id, "--move"]));
    assert!(
        code == 0 && relay.messages().is_empty() && pairs.join(format!("{id}.json")).exists(),
        "{code} {out}"
    );
}
