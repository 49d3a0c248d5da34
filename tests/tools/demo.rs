//! `postern demo`, used as its output says.

use crate::support::patience::until;
use crate::support::program::{find, free_port, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const POSTERN: &str = env!("CARGO_BIN_EXE_postern");

/// A running demo, and its output.
struct Demo {
    child: Child,
    said: String,
    /// Contains the output, and the temporary directories.
    home: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let home = tempfile::Builder::new().prefix("demo-").tempdir_in("/tmp").unwrap();
        // The relay of a demo has a user of its own.
        run(Command::new("chmod").arg("755").arg(home.path()));
        let output = home.path().join("output");
        let file = File::create(&output).unwrap();
        let mut child = Command::new(POSTERN)
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", home.path())
            // The environment of the shell does not affect the demo.
            .env("MTA_SMTP_PORT", "nonsense")
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0)
            .spawn()
            .unwrap();
        let said = until("the demo says what to do", || {
            let said = fs::read_to_string(&output).unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the demo ended ({status}): {said}");
            }
            if said.contains("Ctrl-C ends the demo") { Ok(said) } else { Err(said) }
        });
        Self { child, said, home }
    }

    /// The text after a word at the beginning of a line.
    fn after(&self, word: &str) -> &str {
        let line = self.said.lines().find_map(|line| line.trim().strip_prefix(word));
        line.and_then(|rest| rest.split_whitespace().next())
            .unwrap_or_else(|| panic!("no {word} in {}", self.said))
    }

    fn directory(&self) -> PathBuf {
        PathBuf::from(self.after("Files"))
    }

    fn get(&self, path: &str) -> String {
        let address = format!("{}{path}", self.after("Web UI"));
        let done = run(Command::new(find("curl")).args(["-sS", "--fail", &address]));
        String::from_utf8(done.stdout).unwrap()
    }

    fn queue(&self) -> Vec<Value> {
        let page: Value = serde_json::from_str(&self.get("api/v1/queue")).unwrap();
        page["messages"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
    }

    /// Presses Ctrl-C; gives the exit code.
    fn interrupt(&mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        until("the demo ends", || {
            self.child.try_wait().unwrap().map(|status| status.code()).ok_or_else(String::new)
        })
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A command from the demo's output, run by a shell unchanged, without swaks' wait for names that
/// do not resolve.
fn as_told(demo: &Demo, begins: &str) -> String {
    let lines = demo.said.split("\n\n").flat_map(|block| block.split_once("\n  "));
    let commands = lines.map(|(_, commands)| commands.replace("\\\n    ", ""));
    let all: Vec<String> = commands
        .flat_map(|commands| commands.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let command = all.iter().map(|line| line.trim()).find(|line| line.starts_with(begins));
    command.unwrap_or_else(|| panic!("no {begins} in {all:?}")).to_owned()
}

fn shell(command: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let built = Path::new(POSTERN).parent().unwrap().display().to_string();
    let done = run(Command::new("sh").args(["-c", command]).env("PATH", format!("{built}:{path}")));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn a_visitor_finds_mail_in_trouble_sends_one_and_leaves_nothing_behind() {
    let mut demo = Demo::start(&["--ui-port", &free_port().to_string()]);
    let directory = demo.directory();
    assert!(directory.starts_with(demo.home.path()), "{}", directory.display());

    let queue = demo.queue();
    let count = |state: &str| queue.iter().filter(|mail| mail["state"] == state).count();
    assert_eq!((count("deferred"), count("held"), queue.len()), (2, 1, 3), "{queue:?}");
    let page = demo.get("");
    assert!(page.contains("<html") && page.contains("127.0.0.1"), "{page}");
    assert!(demo.get("queue").contains("dan@busy.example"));
    let history = demo.get("api/v1/history");
    assert!(history.contains("bounced") && history.contains("ann@customers.example"), "{history}");

    shell(&as_told(&demo, "swaks"));
    shell(&as_told(&demo, "printf"));
    until("both mails wait", || match demo.queue().len() {
        5 => Ok(()),
        other => Err(format!("{other} mails")),
    });
    assert!(shell(&as_told(&demo, "postern queue list")).contains("friend@busy.example"));
    shell(&as_told(&demo, "postern queue release"));
    until("nothing is held", || match demo.queue() {
        queue if queue.iter().all(|mail| mail["state"] != "held") => Ok(()),
        queue => Err(format!("{queue:?}")),
    });

    let (smtp, ui) = (demo.after("SMTP").to_owned(), demo.after("Web UI").to_owned());
    let ui = ui.trim_start_matches("http://").trim_end_matches('/');
    assert_eq!(demo.interrupt(), Some(0));
    assert!(!directory.exists(), "{} is still there", directory.display());
    assert!(TcpStream::connect(&smtp).is_err() && TcpStream::connect(ui).is_err());
}

#[test]
fn a_directory_of_ones_own_is_kept_and_ports_that_are_taken_are_left_alone() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let kept = tempfile::Builder::new().prefix("demo-kept-").tempdir_in("/tmp").unwrap();
    run(Command::new("chmod").arg("755").arg(kept.path()));
    let directory = kept.path().join("mine").display().to_string();
    let arguments = ["--directory", &directory, "--ui-port", &port, "--smtp-port", &port];
    for round in 1..=2 {
        let mut demo = Demo::start(&arguments);
        assert!(!demo.after("SMTP").ends_with(&format!(":{port}")), "{}", demo.said);
        assert_eq!(demo.queue().len(), 3, "the same mail in round {round}");
        assert_eq!(demo.interrupt(), Some(0));
        assert!(Path::new(&directory).join("data").is_dir());
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let done = Command::new(POSTERN).args(["demo", "--directory", "/proc/demo"]).output().unwrap();
    assert_eq!(done.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&done.stderr).contains("Error: cannot make the directory"));
}
