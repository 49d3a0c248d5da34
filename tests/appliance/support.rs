//! An environment for the program: directories and an address of its own, and no other variables.

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The uid of an ordinary user when root runs the tests.
pub const ORDINARY: u32 = 12345;
/// Longer than anything here takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn is_root() -> bool {
    geteuid().is_root()
}

pub struct Grid {
    dir: tempfile::TempDir,
    pub as_root: bool,
    /// An address of this environment only, so that its ports are free whatever else is running.
    pub address: Ipv4Addr,
}

impl Grid {
    /// An environment whose program runs as an ordinary user.
    pub fn new() -> Self {
        Self::with(false)
    }

    /// An environment whose program runs as root; only for tests that root runs.
    pub fn as_root() -> Self {
        assert!(is_root());
        Self::with(true)
    }

    fn with(as_root: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("postern-test-").tempdir_in("/tmp").unwrap();
        // Other users must have access to the program and its directories.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let program = dir.path().join("postern");
        let built = Path::new(env!("CARGO_BIN_EXE_postern"));
        fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
        let grid = Self { dir, as_root, address: own_address() };
        for name in ["data", "run"] {
            grid.make_dir(name);
        }
        grid
    }

    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        self.give(&path);
        path
    }

    pub fn make_file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        self.give(&path);
        path
    }

    fn give(&self, path: &Path) {
        if is_root() && !self.as_root {
            chown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with valid properties, and `vars` in addition.
    pub fn command(&self, args: &[&str], vars: &[(&str, &str)]) -> Command {
        let mut command = Command::new(self.path("postern"));
        command.args(args);
        self.dress(&mut command, vars);
        command
    }

    /// Gives any command the environment and the user.
    pub fn dress(&self, command: &mut Command, vars: &[(&str, &str)]) {
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.env("MTA_LISTEN", self.address.to_string());
        command.env("MTA_VOLUME_DATA", self.path("data")).env("MTA_RUN_DIR", self.path("run"));
        // Not those of the README, which may be in use on this machine.
        command
            .env("MTA_SMTP_PORT", "12925")
            .env("MTA_SMTPS_PORT", "12965")
            .env("MTA_UI_PORT", "12980");
        command.envs(vars.iter().copied()).stdin(Stdio::null()).current_dir("/");
        if is_root() && !self.as_root {
            command.uid(ORDINARY).gid(ORDINARY);
        }
    }

    /// Runs a command that ends by itself.
    pub fn run(&self, args: &[&str], vars: &[(&str, &str)]) -> Ended {
        let child =
            self.command(args, vars).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let (sender, ended) = channel();
        std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
        let output = ended.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            // It should have ended and did not; its last lines show why.
            kill(pid, Signal::SIGTERM).unwrap();
            ended.recv().unwrap()
        });
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts `postern init` and waits until its core is ready.
    pub fn init(&self, vars: &[(&str, &str)]) -> Running {
        let mut running = Running::start(self.command(&["init"], vars));
        running.wait_ready();
        running
    }

    /// The appliance log of an ordinary user.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("run/log/appliance/log")).unwrap_or_default()
    }
}

/// A loopback address for each box of each process.
fn own_address() -> Ipv4Addr {
    static BOXES: AtomicU8 = AtomicU8::new(0);
    let [.., high, low] = std::process::id().to_be_bytes();
    let number = BOXES.fetch_add(1, Ordering::Relaxed);
    assert!(number < 250, "an octet numbers the boxes of one process");
    Ipv4Addr::new(127, high | 128, low, number + 1)
}

#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A process whose standard error is read line by line; killed when dropped.
pub struct Running {
    pub child: Child,
    pub core: Pid,
    lines: Receiver<String>,
    pub seen: Vec<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .take_while(|line| sender.send(line.clone()).is_ok())
                .count()
        });
        Self { child, core: Pid::from_raw(0), lines, seen: Vec::new() }
    }

    /// Waits for a line that contains `text`.
    pub fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => {
                    panic!("no line with '{text}' ({error}); seen:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Waits until the core is ready, and remembers its pid.
    pub fn wait_ready(&mut self) {
        let line = self.wait_for("the SMTP core is ready (pid ");
        let digits: String =
            line.split("(pid ").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        self.core = Pid::from_raw(digits.parse().unwrap());
    }

    /// Waits until standard error is closed: the process and all its descendants have ended.
    pub fn wait_all_gone(&mut self) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
                Err(error) => panic!("{error}; seen:\n{}", self.seen.join("\n")),
            }
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Sends a signal and returns the exit code.
    pub fn stop(&mut self, signal: Signal) -> i32 {
        self.signal(signal);
        let status = self.end();
        assert_eq!(status.signal(), None, "seen:\n{}", self.seen.join("\n"));
        status.code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a line of /proc/<pid>/status.
pub fn status_of(pid: Pid, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{key}:")))
        .unwrap_or_else(|| panic!("{key} in {text}"));
    line.split_once(':').unwrap().1.trim().to_owned()
}

/// Asks the stats UI of a box; head and content of the answer.
pub fn get(grid: &Grid, path: &str) -> String {
    let mut stream = TcpStream::connect((grid.address, 12980)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
