//! A data volume whose syncs do not return: reported, new mail refused, the core not killed, and
//! nothing lost when they return.

use crate::support::{Grid, Running};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// Delays each sync while a file exists.
const SHIM: &str = r#"
#include <stdlib.h>
#include <unistd.h>
#include <sys/syscall.h>
static void hold(void) {
    const char *path = getenv("HOLD_SYNC");
    while (path && access(path, F_OK) == 0) usleep(50000);
}
int fdatasync(int fd) { hold(); return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { hold(); return syscall(SYS_fsync, fd); }
"#;

/// One SMTP client.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(grid: &Grid) -> Self {
        let stream = TcpStream::connect((grid.address, 12925)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut client = Self(BufReader::new(stream));
        client.reply();
        client.ask("EHLO client.example");
        client
    }

    fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    /// Up to the end of the data, whose reply is pending.
    fn send(&mut self) {
        assert!(self.ask("MAIL FROM:<a@client.example>").starts_with("250"));
        assert!(self.ask("RCPT TO:<b@other.example>").starts_with("250"));
        assert!(self.ask("DATA").starts_with("354"));
        self.0.get_mut().write_all(b"Subject: s\r\n\r\nx\r\n.\r\n").unwrap();
    }
}

fn get(grid: &Grid, path: &str) -> String {
    let mut stream = TcpStream::connect((grid.address, 12980)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// An appliance with further properties, whose syncs wait as long as the named file exists.
fn held_up(grid: &Grid, more: &[(&str, &str)]) -> (Running, PathBuf) {
    let (library, hold) = (shim(grid), grid.path("run/hold"));
    let usual = [
        ("LD_PRELOAD", library.to_str().unwrap()),
        ("HOLD_SYNC", hold.to_str().unwrap()),
        ("MTA_SMART_RELAY", "127.0.0.1:9"),
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.0/8"),
    ];
    (grid.init(&[&usual, more].concat()), hold)
}

/// Builds the library that delays syncs.
fn shim(grid: &Grid) -> PathBuf {
    let source = grid.make_file("hold.c", SHIM);
    let library = grid.path("hold.so");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    assert!(built.is_ok_and(|status| status.success()), "a C compiler (package gcc)");
    library
}

#[test]
fn an_import_into_a_volume_that_does_not_answer_ends_in_time_and_nothing_is_doubled() {
    let grid = Grid::new();
    let (mut init, hold) = held_up(&grid, &[]);
    let mut client = Client::connect(&grid);
    client.send();
    assert!(client.reply().starts_with("250 "));
    let pairs = grid.make_dir("pairs").display().to_string();
    let moved = grid.run(&["queue", "export", &pairs, "--all", "--move"], &[]);
    assert_eq!(moved.code, 0, "{moved:?}");
    let waiting = || {
        let metrics = get(&grid, "/metrics");
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("mta_mqueue_messages "))
            .unwrap()
            .to_owned()
    };
    assert_eq!(waiting(), "0");
    fs::write(&hold, "").unwrap();
    let began = Instant::now();
    let refused = grid.run(&["queue", "import", &pairs], &[]);
    assert!(
        refused.code != 0 && refused.stderr.contains("the data volume has not answered for "),
        "{refused:?}"
    );
    assert!((25..50).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    fs::remove_file(&hold).unwrap();
    init.wait_for("the SMTP core answers and is ready again");
    assert_eq!(waiting(), "0", "what was given up is withdrawn");
    let taken = grid.run(&["queue", "import", &pairs], &[]);
    assert_eq!((taken.code, waiting().as_str()), (0, "1"), "{taken:?}");
    assert_eq!(init.stop(nix::sys::signal::Signal::SIGTERM), 143);
}

#[test]
fn a_sync_that_does_not_return_is_told_and_loses_nothing() {
    let grid = Grid::new();
    // Alerts are not shown to unauthenticated clients.
    let (mut init, hold) =
        held_up(&grid, &[("MTA_WATCHDOG_TIME", "15s"), ("MTA_UI_PUBLIC", "yes")]);
    let mut patient = Client::connect(&grid);
    let mut late = Client::connect(&grid);
    fs::write(&hold, "").unwrap();
    let began = Instant::now();
    patient.send();
    init.wait_for(
        "the data volume does not answer, the SMTP core accepts no mail: data volume: sync for ",
    );
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(!grid.path("run/ready").exists());
    let answer = get(&grid, "/readyz");
    assert!(answer.contains(" 503 ") && answer.contains("sync for "), "{answer}");
    assert!(get(&grid, "/healthz").contains(" 200 "), "a restart would not help");
    assert!(get(&grid, "/api/v1/status").contains("The data volume does not answer"));
    let running = get(&grid, "/metrics");
    let running = running
        .lines()
        .find_map(|line| line.strip_prefix("mta_sync_running_seconds "))
        .unwrap()
        .parse::<u32>();
    assert!(running.as_ref().is_ok_and(|seconds| *seconds >= 5), "{running:?}");
    let health = grid.run(&["health"], &[]);
    assert!(health.code == 69 && health.stderr.contains("sync for "), "{health:?}");
    // A client that comes now gets a temporary error at once.
    let asked = Instant::now();
    let refused = late.ask("MAIL FROM:<a@client.example>");
    assert!(refused.starts_with("451 4.3.0 "), "{refused}");
    assert!(asked.elapsed() < Duration::from_secs(2));
    // A waiting client gets the same within its time limit.
    let heard = patient.reply();
    assert!(heard.starts_with("451 4.3.0 "), "{heard}");
    assert!((29..50).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // Far longer than a core may hang.
    std::thread::sleep(Duration::from_secs(5));
    assert!(
        !grid.log().contains("is started again") && !grid.log().contains("hangs"),
        "{}",
        grid.log()
    );
    fs::remove_file(&hold).unwrap();
    init.wait_for("the SMTP core answers and is ready again");
    assert!(grid.path("run/ready").exists());
    assert_eq!(grid.run(&["health"], &[]).code, 0);
    // The refused mail is not in the queue; the same client's next one is.
    patient.send();
    assert!(patient.reply().starts_with("250 "));
    let messages = get(&grid, "/metrics");
    assert!(messages.contains("\nmta_mqueue_messages 1\n"), "{messages}");
    assert!(
        messages.contains("\nmta_slow_syncs_total 1\n")
            || messages.contains("\nmta_slow_syncs_total 2\n"),
        "{messages}"
    );
    assert_eq!(init.stop(nix::sys::signal::Signal::SIGTERM), 143);
}
