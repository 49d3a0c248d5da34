//! Moves whose end the tool did not hear: what the next one makes of the mark that is left.

use crate::letters::{said, send, sum, tool};
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use crate::together::{control, etag};
use std::fs;
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
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
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

#[test]
fn a_message_that_left_though_its_sync_failed_was_moved_or_deleted() {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (library, fails) = (shim(directory.path()), directory.path().join("fails"));
    let preload = [("LD_PRELOAD", library.to_str().unwrap()), ("FAIL_SYNC", fails.to_str().unwrap())];
    for (order, status) in [("delete", "deleted"), ("move", "moved")] {
        let (relay, _sink, id) = with_one_mail(&preload);
        let pairs = relay.path("run").join("pairs");
        let mark = pairs.join(format!("{id}.moving"));
        relay.queue(&["hold", &id]);
        let mut more = String::new();
        if order == "move" {
            relay.queue(&["export", pairs.to_str().unwrap(), &id]);
            fs::write(&mark, "held 0123456789abcdef\n").unwrap();
            more = format!(r#","version":{},"mark":"0123456789abcdef""#, etag(&relay, &id));
        }
        fs::write(&fails, "").unwrap();
        let answer = control(&relay, &format!(r#"{{"order":"{order}","id":"{id}"{more}}}"#));
        assert!(answer.contains(" 503 "), "{order}: {answer}");
        fs::remove_file(&fails).unwrap();
        assert!(relay.messages().is_empty(), "{order}: its record is written again");
        until("the history has it", || match &relay.queue(&["history", "--status", status])[..] {
            [end] if end["id"] == id.as_str() => Ok(()),
            other => Err(format!("{status}: {other:?}")),
        });
        assert!(relay.log().iter().any(|line| line.contains(&format!("status={status}"))), "{status}");
        if order == "move" {
            let again = relay.command(&["queue", "export", pairs.to_str().unwrap(), &id, "--move"]).output().unwrap();
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
    // Cut off when pair and mark were there; repeated with another directory.
    relay.queue(&["export", first_text, &id]);
    fs::write(first.join(format!("{id}.moving")), "free 0123456789abcdef\n").unwrap();
    assert_eq!(sum(&mut relay.command(&["queue", "--json", "export", second_text, &id, "--move"]))["moved"], 1);
    let (code, out, _) = said(&tool(&relay, &["export", first_text, &id, "--move"]));
    assert!(code == 66 && out.contains("another export has moved it"), "{code} {out}");
    let names = |ends: [&str; 2]| ends.map(|end| first.join(format!("{id}.{end}")).exists());
    assert_eq!((names(["json", "eml"]), names(["json.left", "eml.left"])), ([false; 2], [true; 2]));
    let new = Appliance::start(&[("MTA_SMART_RELAY", "127.0.0.1:9")]);
    for (directory, number) in [(first_text, 0), (second_text, 1)] {
        assert_eq!(sum(&mut new.command(&["queue", "--json", "import", directory]))["imported"], number, "{directory}");
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
    assert!(code == 73 && out.contains("every recipient") && out.contains("status=moved"), "{code} {out}");
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
    // The message is not as it was.
    relay.queue(&["hold", &id]);
    let (code, out, _) = said(&tool(&relay, &["export", directory, &id, "--move"]));
    assert!(code == 73 && out.contains("conflict"), "{code} {out}");
    assert_eq!((read(), relay.messages().len()), (before, 1));
    assert!(!pairs.join(format!("{id}.moving")).exists());
    // As it was, the pair is good for a move.
    relay.queue(&["release", &id]);
    let (code, out, _) = said(&tool(&relay, &["export", directory, &id, "--move"]));
    assert!(code == 0 && relay.messages().is_empty() && pairs.join(format!("{id}.json")).exists(), "{code} {out}");
}
