//! `postern completions` and `postern man`, used by the real shells and readers.

use crate::support::program::{find, run};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const POSTERN: &str = env!("CARGO_BIN_EXE_postern");

fn postern(arguments: &[&str]) -> Output {
    Command::new(POSTERN).args(arguments).output().unwrap()
}

fn printed(arguments: &[&str]) -> String {
    String::from_utf8(run(Command::new(POSTERN).args(arguments)).stdout).unwrap()
}

/// The commands that help lists, without `help` itself.
fn commands(below: &[&str]) -> BTreeSet<String> {
    let help = printed(&[below, &["--help"]].concat());
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    list.lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect()
}

/// What bash offers after `words`, with the script loaded as users do.
fn offered(words: &[&str]) -> BTreeSet<String> {
    let script = r#"
        source <("$POSTERN" completions bash) || exit 1
        spec=$(complete -p postern) || exit 1
        function=${spec#*-F }; function=${function%% *}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        "$function" postern "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new(find("bash"));
    bash.env("POSTERN", POSTERN).args(["--norc", "-c", script, "bash"]).args(words);
    String::from_utf8(run(&mut bash).stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let queue = commands(&["queue"]);
    assert!(queue.contains("list") && queue.len() > 10, "{queue:?}");
    let all = offered(&["postern", "queue", ""]);
    assert!(queue.is_subset(&all), "{queue:?} in {all:?}");
    assert_eq!(offered(&["postern", "queue", "rel"]), BTreeSet::from(["release".to_owned()]));
    let commands = commands(&[]);
    assert!(commands.is_subset(&offered(&["postern", ""])), "{commands:?}");
    assert!(offered(&["postern", "sink", "--f"]).contains("--fail"));
    // Commands that `postern init` starts are not offered.
    assert!(!offered(&["postern", "c"]).contains("core"));
}

/// The other shells parse their script without running it, if they are installed.
#[test]
fn zsh_and_fish_understand_their_scripts() {
    for (shell, option, mark) in [("zsh", "-n", "#compdef postern"), ("fish", "--no-execute", "")] {
        let script = printed(&["completions", shell]);
        assert!(script.contains("postern") && script.contains("queue"), "{shell}: {script}");
        assert!(script.starts_with(mark), "{shell}: {script}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        fs::write(&file, script).unwrap();
        match Command::new(shell).arg(option).arg(&file).output() {
            Ok(done) => assert!(done.status.success() && done.stderr.is_empty(), "{done:?}"),
            Err(error) => {
                let told = writeln!(
                    std::io::stderr(),
                    "NOT TESTED: {shell} is not here ({error}); its completions were not read. \
                    apt-get install {shell}"
                );
                told.unwrap();
            }
        }
    }
    assert_eq!(postern(&["completions", "tcsh"]).status.code(), Some(64));
}

/// The rendered page; groff must have no warnings.
fn rendered(page: &str) -> String {
    let mut groff = Command::new(find("groff"))
        .args(["-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u", "-rLL=100n"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    groff.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let done = groff.wait_with_output().unwrap();
    let complaints = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && complaints.is_empty(), "{complaints}");
    // The hyphens of a page may be typographic.
    String::from_utf8(done.stdout).unwrap().replace(['‐', '−'], "-")
}

#[test]
fn the_manual_has_every_command() {
    let page = rendered(&printed(&["man"]));
    for name in commands(&[]) {
        assert!(page.contains(&format!("postern-{name}(1)")), "no {name} in {page}");
    }
    // Examples keep their lines.
    assert!(page.contains("  postern queue list        which mail is queued"), "{page}");
    assert!(!page.contains("postern-help"), "{page}");
    let page = rendered(&printed(&["man", "queue", "list"]));
    // The lines of its text are justified.
    let text = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("postern queue list") && text.contains("--limit"), "{page}");
    assert_eq!(postern(&["man", "letters"]).status.code(), Some(64));
}

#[test]
fn all_pages_are_written_and_refer_to_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man1");
    run(Command::new(POSTERN).args(["man", "--directory"]).arg(&pages));
    let has = |name: String| pages.join(format!("{name}.1")).is_file();
    assert!(has("postern".to_owned()));
    assert!(commands(&[]).into_iter().all(|name| has(format!("postern-{name}"))));
    assert!(commands(&["queue"]).into_iter().all(|name| has(format!("postern-queue-{name}"))));
    assert!(!has("postern-core".to_owned()) && !has("postern-help".to_owned()));
    for entry in fs::read_dir(&pages).unwrap() {
        let page = rendered(&fs::read_to_string(entry.unwrap().path()).unwrap());
        for word in page.split_whitespace().filter_map(|word| word.strip_suffix("(1)")) {
            assert!(has(word.to_owned()), "{word}(1) is nowhere");
        }
    }
    let nowhere = postern(&["man", "--directory", "/proc/nowhere"]);
    assert_eq!(nowhere.status.code(), Some(73));
    assert!(!Path::new("/proc/nowhere").exists());
}
