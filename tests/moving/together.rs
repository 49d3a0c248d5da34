//! Two tools at once.

use crate::letters::{assert_arrived, said, send, tool};
use crate::support::appliance::{Appliance, Sink};
use std::process::Stdio;

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
    let folders = ["one", "two"].map(|name| old.path("run").join(name).to_str().unwrap().to_owned());
    let moves = folders.each_ref().map(|folder| vec!["queue", "export", folder, "--all", "--move"]);
    assert_eq!(both(&old, &moves), [0, 75], "the second one is told to come again");
    for folder in &folders {
        let (code, out, complaint) = said(&tool(&old, &["export", folder, "--all", "--move"]));
        assert_eq!(code, 0, "{out}{complaint}");
    }

    let new = Appliance::start(&[("MTA_SMART_RELAY", &here.relay())]);
    for folder in &folders {
        let codes = both(&new, &[(); 2].map(|()| vec!["queue", "import", folder]));
        assert!(codes == [0, 0] || codes == [0, 75], "{codes:?}: an empty folder may be too quick to collide");
    }
    new.until_empty();
    assert_eq!(assert_arrived(&[&here], 0..MAILS, 1), 0);
}

/// The exit codes of two tools that run at once, the smaller first.
fn both(appliance: &Appliance, commands: &[Vec<&str>; 2]) -> [i32; 2] {
    let run = |words: &Vec<&str>| appliance.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut codes = commands.each_ref().map(run).map(|mut child| child.wait().unwrap().code().unwrap());
    codes.sort_unstable();
    codes
}
