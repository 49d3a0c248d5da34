//! One appliance that is started, killed and started again: same ports, same volume, another
//! process.

use crate::PATIENCE;
use crate::threads;
use crate::volume::give_away;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, geteuid};
use std::collections::VecDeque;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The uid of the appliance when root runs the tests.
pub const ORDINARY: u32 = 12345;
/// Delivery agents to the next hop at one time, at most.
pub const AGENTS: usize = 20;
/// Log lines kept for a failed test.
const LINES: usize = 2000;

pub struct Appliance {
    dir: tempfile::TempDir,
    data: PathBuf,
    next_hop: SocketAddr,
    smtp: u16,
    ui: u16,
    init: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<Told>,
    changed: Condvar,
}

/// The output of the processes so far.
#[derive(Default)]
struct Told {
    lines: VecDeque<String>,
    /// The core that last reported that it is ready.
    core: Option<Pid>,
    /// How often that was reported.
    ready: u32,
    /// Runs of init whose standard error is still open, including their cores.
    open: u32,
}

impl Appliance {
    /// The first start, with the queue on `data` or in a directory of its own.
    pub fn start(next_hop: SocketAddr, data: Option<&Path>) -> Self {
        let dir = tempfile::Builder::new().prefix("postern-crash-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let (built, program) =
            (Path::new(env!("CARGO_BIN_EXE_postern")), dir.path().join("postern"));
        fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
        for name in ["data", "run"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            give_away(&dir.path().join(name));
        }
        let data = data.map_or_else(|| dir.path().join("data"), Path::to_owned);
        let held: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let port = |at: usize| held[at].local_addr().unwrap().port();
        let (smtp, ui) = (port(0), port(1));
        drop(held);
        let log = Arc::new(Log::default());
        let init = spawn(dir.path(), &data, next_hop, (smtp, ui), &log);
        let appliance = Self { dir, data, next_hop, smtp, ui, init, log };
        appliance.wait_ready(0);
        appliance
    }

    /// Where it accepts mail.
    pub fn smtp(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.smtp).into()
    }

    /// Starts init again after it was killed; does not wait.
    pub fn start_again(&mut self) {
        self.init =
            spawn(self.dir.path(), &self.data, self.next_hop, (self.smtp, self.ui), &self.log);
    }

    /// How often a core has reported that it is ready.
    pub fn times_ready(&self) -> u32 {
        self.log.state.lock().unwrap().ready
    }

    /// Waits until a core has reported more than `before` times that it is ready.
    pub fn wait_ready(&self, before: u32) {
        let state = self.log.state.lock().unwrap();
        let (state, timeout) = self
            .log
            .changed
            .wait_timeout_while(state, PATIENCE, |told| told.ready <= before)
            .unwrap();
        // Poisoning the lock would prevent the log from being shown.
        drop(state);
        assert!(!timeout.timed_out(), "the appliance does not become ready");
    }

    /// Waits until a line contains `text`.
    pub fn wait_for(&self, text: &str) {
        let missing = |told: &mut Told| !told.lines.iter().any(|line| line.contains(text));
        let state = self.log.state.lock().unwrap();
        let (state, timeout) =
            self.log.changed.wait_timeout_while(state, PATIENCE, missing).unwrap();
        drop(state);
        assert!(!timeout.timed_out(), "no line with {text:?}");
    }

    /// Lines that contain `text`, among the last ones on standard error.
    pub fn count(&self, text: &str) -> usize {
        self.log.state.lock().unwrap().lines.iter().filter(|line| line.contains(text)).count()
    }

    /// What the supervisor logs for the operator.
    pub fn appliance_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("run/log/appliance/log")).unwrap_or_default()
    }

    /// kill -9 of the core.
    pub fn kill_core(&self) {
        let core = self.log.state.lock().unwrap().core.unwrap();
        kill(core, Signal::SIGKILL).unwrap();
    }

    /// kill -9 of init only.
    pub fn kill_init(&mut self) {
        self.init.kill().unwrap();
        assert_eq!(self.init.wait().unwrap().signal(), Some(9));
    }

    /// kill -9 of init and core at the same time, as at the end of a container.
    pub fn kill_both(&mut self) {
        killpg(self.pid(), Signal::SIGKILL).unwrap();
        assert_eq!(self.init.wait().unwrap().signal(), Some(9));
    }

    /// SIGTERM, and the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        kill(self.pid(), Signal::SIGTERM).unwrap();
        self.init.wait().unwrap().code()
    }

    /// Waits until every process that was ever started here has ended.
    pub fn wait_all_gone(&self) {
        let state = self.log.state.lock().unwrap();
        let (state, timeout) =
            self.log.changed.wait_timeout_while(state, PATIENCE, |told| told.open > 0).unwrap();
        drop(state);
        assert!(!timeout.timed_out(), "processes of the appliance outlive it");
    }

    /// The output of `postern queue … --json`, one value on each line.
    pub fn queue(&self, order: &str) -> Vec<serde_json::Value> {
        let mut command = Command::new(self.dir.path().join("postern"));
        command
            .args(["queue", order, "--json"])
            .env_clear()
            .env("MTA_RUN_DIR", self.dir.path().join("run"));
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "postern queue {order}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Messages in the queue.
    pub fn waiting(&self) -> u64 {
        self.queue("stats")[0]["queue"]["messages"].as_u64().unwrap()
    }

    /// Waits until nothing is in the queue.
    pub fn wait_empty(&self) {
        crate::until("the queue runs empty", || self.waiting() == 0);
        let list = self.queue("list");
        assert!(list.is_empty(), "{list:?}");
    }

    /// Files on the data volume in a directory.
    pub fn files(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.data.join(directory)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.init.id()).unwrap())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.init.wait();
        // The volume under it can be removed only then.
        let state = self.log.state.lock().unwrap();
        let left = self
            .log
            .changed
            .wait_timeout_while(state, Duration::from_secs(10), |told| told.open > 0);
        if std::thread::panicking()
            && let Ok((told, _)) = left
        {
            let lines: Vec<&str> =
                told.lines.iter().map(String::as_str).filter(|line| is_telling(line)).collect();
            eprintln!(
                "the last lines of the appliance, deliveries left out:\n{}",
                lines[lines.len().saturating_sub(60)..].join("\n")
            );
        }
    }
}

/// Neither one of many deliveries nor a property.
fn is_telling(line: &str) -> bool {
    !line.contains("queue_id=")
        && !line.contains("reason=")
        && !line.contains(" default")
        && !line.contains(" MTA_")
}

fn spawn(
    dir: &Path,
    data: &Path,
    next_hop: SocketAddr,
    (smtp, ui): (u16, u16),
    log: &Arc<Log>,
) -> Child {
    let mut command = Command::new(dir.join("postern"));
    command
        .arg("init")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.env_clear().envs([
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("MTA_LISTEN", "127.0.0.1".to_owned()),
        ("MTA_SMTP_PORT", smtp.to_string()),
        ("MTA_UI_PORT", ui.to_string()),
        ("MTA_SMART_RELAY", next_hop.to_string()),
        ("MTA_DESTINATION_CONCURRENCY_LIMIT", AGENTS.to_string()),
        ("MTA_MINIMAL_BACKOFF_TIME", "1s".to_owned()),
        ("MTA_MAXIMAL_BACKOFF_TIME", "2s".to_owned()),
    ]);
    command
        .env("MTA_VOLUME_DATA", data)
        .env("MTA_RUN_DIR", dir.join("run"))
        .envs(threads::property())
        .process_group(0);
    if geteuid().is_root() {
        command.uid(ORDINARY).gid(ORDINARY);
    }
    let mut init = command.spawn().unwrap();
    let lines = BufReader::new(init.stderr.take().unwrap()).lines();
    log.state.lock().unwrap().open += 1;
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            log.hear(line);
        }
        log.state.lock().unwrap().open -= 1;
        log.changed.notify_all();
    });
    init
}

impl Log {
    fn hear(&self, line: String) {
        let mut told = self.state.lock().unwrap();
        if let Some((_, rest)) = line.split_once("the SMTP core is ready (pid ") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            told.core = Some(Pid::from_raw(digits.parse().unwrap()));
            told.ready += 1;
        }
        told.lines.push_back(line);
        if told.lines.len() > LINES {
            told.lines.pop_front();
        }
        drop(told);
        self.changed.notify_all();
    }
}

/// A kill, between two times.
#[derive(Debug, Clone, Copy)]
pub struct Killing {
    pub kind: Kind,
    pub before: Instant,
    pub after: Instant,
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The core; init starts another one.
    Core,
    /// Init; its core completes its work, while the next init and core wait for the volume.
    Init,
    /// Both at once.
    Both,
    /// Both at once, and both again while they start.
    Twice,
}
