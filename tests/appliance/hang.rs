//! Cores that hang, each in its own way: seen, told, ended, started again. And those that do not.

use crate::support::{Ended, Grid, Running, get};
use nix::sys::signal::{Signal, kill};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The shortest that there is.
const LIMIT: (&str, &str) = ("MTA_WATCHDOG_TIME", "15s");

/// Asks for a fault; the answer may never come.
fn plant(grid: &Grid, fault: &str) {
    let mut stream = UnixStream::connect(grid.path("run/control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let head = format!("POST /api/v1/faults/{fault} HTTP/1.0\r\nHost: postern\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains("404"), "{answer}");
}

fn assert_says(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(words.iter().all(|words| ended.stderr.contains(words)), "{ended:?}");
}

/// The core ends, and another one comes up; returns what was said until then.
fn until_another_core(grid: &Grid, init: &mut Running) -> String {
    let former = init.core;
    init.wait_for("is started again in 1 s");
    let said = init.seen.join("\n");
    init.wait_ready();
    assert_ne!(init.core, former);
    assert!(grid.path("run/ready").exists());
    assert!(!grid.path("run/not-ready").exists());
    assert_eq!(grid.run(&["health"], &[]).code, 0);
    said
}

#[test]
fn a_stopped_core_is_seen_by_everybody_and_replaced() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    let stopped = Instant::now();
    kill(init.core, Signal::SIGSTOP).unwrap();
    init.wait_for("the SMTP core hangs and is not ready: it is stopped (SIGSTOP)");
    assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());
    assert!(!grid.path("run/ready").exists());
    assert_says(&grid.run(&["health"], &[]), &["the supervisor says: it is stopped (SIGSTOP)"]);
    let said = until_another_core(&grid, &mut init);
    assert!(said.contains("the SMTP core hangs for 15 s and is ended"), "{said}");
    assert!(said.contains("committer (") && said.contains("stopped"), "the threads by /proc: {said}");
    assert!(grid.log().contains("is ended"), "{}", grid.log());
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn the_queue_tool_does_not_wait_for_a_core_that_hangs() {
    let grid = Grid::new();
    let mut init = grid.init(&[("MTA_WATCHDOG_TIME", "0")]);
    kill(init.core, Signal::SIGSTOP).unwrap();
    init.wait_for("the SMTP core hangs and is not ready: it is stopped (SIGSTOP)");
    let asked = Instant::now();
    assert_says(&grid.run(&["queue", "list"], &[]), &["the core does not answer: it is stopped (SIGSTOP)"]);
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    kill(init.core, Signal::SIGCONT).unwrap();
    init.wait_for("the SMTP core is well and ready again");
    assert!(grid.path("run/ready").exists());
    assert_eq!(grid.run(&["queue", "list"], &[]).code, 0);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn a_deadlock_on_the_queue_is_named_with_its_stacks() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    plant(&grid, "deadlock");
    init.wait_for("the SMTP core hangs and is not ready:");
    // The windows wait for the same lock; the answer comes nevertheless.
    for path in ["/healthz", "/readyz"] {
        let answer = get(&grid, path);
        assert!(answer.contains(" 503 ") && answer.contains("queue lock: no turn for 1"), "{path}: {answer}");
    }
    assert_says(&grid.run(&["health"], &[]), &["queue lock: no turn for 1"]);
    let said = until_another_core(&grid, &mut init);
    assert!(said.contains("stack of ") && said.contains("plant_deadlock"), "{said}");
    assert!(said.contains("watchdog-locks ("), "{said}");
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn an_endless_loop_in_the_mail_runtime_is_named_with_its_stacks() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    plant(&grid, "loop");
    init.wait_for("the SMTP core hangs and is not ready: mail runtime: no turn for 10 s");
    let answer = get(&grid, "/healthz");
    assert!(answer.contains(" 503 ") && answer.contains("mail runtime: no turn for 1"), "{answer}");
    let said = until_another_core(&grid, &mut init);
    assert!(said.contains("stack of ") && said.contains("loop_for_ever"), "{said}");
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn windows_that_hang_do_not_hide_it() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    plant(&grid, "windows");
    init.wait_for("the SMTP core hangs and is not ready: stats UI: no turn for 10 s");
    assert_says(&grid.run(&["health"], &[]), &["503 Service Unavailable", "stats UI: no turn for 1"]);
    assert_says(&grid.run(&["queue", "list"], &[]), &["the core hangs: stats UI: no turn for 1"]);
    until_another_core(&grid, &mut init);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn a_pause_of_everything_hurts_nobody() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    let core = init.core;
    // As `docker pause` does it.
    for process in [init.pid(), core] {
        kill(process, Signal::SIGSTOP).unwrap();
    }
    std::thread::sleep(Duration::from_secs(25));
    for process in [init.pid(), core] {
        kill(process, Signal::SIGCONT).unwrap();
    }
    std::thread::sleep(Duration::from_secs(4));
    assert!(grid.path("run/ready").exists());
    assert_eq!(grid.run(&["health"], &[]).code, 0);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    assert!(!grid.log().contains("hangs"), "{}", grid.log());
}
