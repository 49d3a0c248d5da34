//! Cores that hang in different ways: detected, reported, ended, restarted. And those that do not
//! hang.

use crate::support::{Ended, Grid, Running, get};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The shortest permitted time.
const LIMIT: (&str, &str) = ("MTA_WATCHDOG_TIME", "15s");

/// Causes a fault; the answer may never come.
fn plant(grid: &Grid, fault: &str) {
    let mut stream = UnixStream::connect(grid.path("run/control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let head = format!(
        "POST /api/v1/faults/{fault} HTTP/1.0\r\nHost: postern\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(!answer.contains("404"), "{answer}");
}

fn assert_says(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(words.iter().all(|words| ended.stderr.contains(words)), "{ended:?}");
}

/// The core ends, and another one starts; returns the output until then.
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
    // `postern health` takes three seconds, which must be over before the core is ended.
    let mut init = grid.init(&[("MTA_WATCHDOG_TIME", "20s")]);
    let stopped = Instant::now();
    kill(init.core, Signal::SIGSTOP).unwrap();
    init.wait_for("the SMTP core hangs and is not ready: it is stopped (SIGSTOP)");
    assert!(stopped.elapsed() < Duration::from_secs(20), "{:?}", stopped.elapsed());
    assert!(!grid.path("run/ready").exists());
    assert_says(&grid.run(&["health"], &[]), &["the supervisor says: it is stopped (SIGSTOP)"]);
    let said = until_another_core(&grid, &mut init);
    assert!(said.contains("the SMTP core has hung for 20 s and is killed"), "{said}");
    assert!(
        said.contains("committer (") && said.contains("stopped"),
        "the threads by /proc: {said}"
    );
    assert!(grid.log().contains("is killed; accepted mail"), "{}", grid.log());
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn the_queue_tool_does_not_wait_for_a_core_that_hangs() {
    let grid = Grid::new();
    let mut init = grid.init(&[("MTA_WATCHDOG_TIME", "0")]);
    kill(init.core, Signal::SIGSTOP).unwrap();
    init.wait_for("the SMTP core hangs and is not ready: it is stopped (SIGSTOP)");
    let asked = Instant::now();
    assert_says(
        &grid.run(&["queue", "list"], &[]),
        &["the core does not answer: it is stopped (SIGSTOP)"],
    );
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    kill(init.core, Signal::SIGCONT).unwrap();
    init.wait_for("the SMTP core answers and is ready again");
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
    // The HTTP server waits for the same lock; the answer comes nevertheless.
    for path in ["/healthz", "/readyz"] {
        let answer = get(&grid, path);
        assert!(
            answer.contains(" 503 ") && answer.contains("queue lock: no turn for 1"),
            "{path}: {answer}"
        );
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
    assert!(said.contains("stack of ") && said.contains("hang_thread"), "{said}");
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn windows_that_hang_do_not_hide_it() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    plant(&grid, "http");
    init.wait_for("the SMTP core hangs and is not ready: stats UI: no turn for 10 s");
    assert_says(
        &grid.run(&["health"], &[]),
        &["503 Service Unavailable", "stats UI: no turn for 1"],
    );
    assert_says(&grid.run(&["queue", "list"], &[]), &["the core hangs: stats UI: no turn for 1"]);
    until_another_core(&grid, &mut init);
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn a_pause_of_everything_hurts_nobody() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    let core = init.core;
    // As `docker pause` does.
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

/// Starts that hang are detected too; here with a core that is stopped early.
#[test]
fn a_core_that_hangs_before_it_is_ready_is_ended_with_the_reason() {
    let grid = Grid::new();
    // As long as another process locks the volume, the core waits for it.
    let lock = grid.make_file("data/lock", "");
    let held = Flock::lock(File::open(&lock).unwrap(), FlockArg::LockExclusive).unwrap();
    let mut init = Running::start(grid.command(&["init"], &[LIMIT, ("MTA_DRAIN_TIME", "1s")]));
    init.wait_for("another process has the data volume");
    let core =
        children(init.pid()).into_iter().find(|child| words(*child).contains("\0core\0")).unwrap();
    kill(core, Signal::SIGSTOP).unwrap();
    drop(held);
    let begun = Instant::now();
    let line = init.wait_for("the SMTP core has made no progress in its start for ");
    assert!(line.contains("and is killed: it is stopped (SIGSTOP)"), "{line}");
    assert!((30..60).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    init.wait_for("it hung before it was ready: it is stopped (SIGSTOP)");
    assert_eq!(init.end().code(), Some(70));
}

#[test]
fn an_endless_loop_on_one_of_several_threads_is_seen() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT, ("MTA_WORKER_THREADS", "4")]);
    plant(&grid, "loop_one");
    let line = init.wait_for("the SMTP core hangs and is not ready: mail thread ");
    assert!(line.contains(" of 4: in one task for 1"), "{line}");
    assert_says(&grid.run(&["health"], &[]), &["mail thread ", " of 4: in one task for 1"]);
    let said = until_another_core(&grid, &mut init);
    assert!(said.contains("stack of ") && said.contains("hang_thread"), "{said}");
    assert_eq!(init.stop(Signal::SIGTERM), 143);
}

#[test]
fn a_core_that_comes_back_while_its_stacks_are_told_is_not_ended() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT]);
    let core = init.core;
    plant(&grid, "loop");
    init.wait_for("the threads of the SMTP core: ");
    stop_naming(&init);
    plant(&grid, "come_back");
    init.wait_for("the SMTP core answered while its stacks were collected; it is not killed");
    init.wait_for("the SMTP core answers and is ready again");
    assert!(grid.path("run/ready").exists());
    assert_eq!(grid.run(&["health"], &[]).code, 0);
    // It must not be ended later, either.
    std::thread::sleep(Duration::from_secs(22));
    assert!(children(init.pid()).contains(&core), "the core lives");
    assert_eq!(init.stop(Signal::SIGTERM), 143);
    assert!(!grid.log().contains("is killed; accepted mail"), "{}", grid.log());
}

#[test]
fn a_signal_is_heard_while_stacks_are_told() {
    let grid = Grid::new();
    let mut init = grid.init(&[LIMIT, ("MTA_DRAIN_TIME", "1s")]);
    plant(&grid, "loop");
    init.wait_for("the threads of the SMTP core: ");
    stop_naming(&init);
    let asked = Instant::now();
    init.signal(Signal::SIGTERM);
    init.wait_for("SIGTERM: stopping");
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    plant(&grid, "come_back");
    assert_eq!(init.end().code(), Some(143));
    init.wait_all_gone();
    assert!(
        init.seen.iter().any(|line| line.contains("stopped; the queue is synced")),
        "{:?}",
        init.seen
    );
}

/// The child process that looks up function names is stopped, so that it uses all of its time
/// limit.
fn stop_naming(init: &Running) {
    let until = Instant::now() + Duration::from_secs(5);
    let found = loop {
        if let Some(found) = children(init.pid()).into_iter().find(|child| *child != init.core) {
            break found;
        }
        assert!(Instant::now() < until, "nobody looks up names");
        std::thread::sleep(Duration::from_millis(1));
    };
    kill(found, Signal::SIGSTOP).unwrap();
}

fn children(process: Pid) -> Vec<Pid> {
    let text = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    text.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

fn words(process: Pid) -> String {
    std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default()
}
