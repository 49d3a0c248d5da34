//! The processes of a demo: the sink and the relay, both from this program.

use super::demo_error::DemoError;
use super::samples;
use super::signals::DemoSignals;
use crate::appliance::failure::Exit;
use crate::appliance::supervise::identity::Identity;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a process that is not ready yet is asked.
const PACE: Duration = Duration::from_millis(100);
/// How long the relay has for its sessions at the end; after twice this time it is killed.
const DRAIN: Duration = Duration::from_secs(3);
/// Last lines of the relay that are shown when it fails.
const LINES_TOLD: usize = 8;

/// The paths and ports of a demo.
pub(super) struct DemoSettings {
    pub(super) smtp: SocketAddr,
    pub(super) ui: SocketAddr,
    pub(super) directory: PathBuf,
    pub(super) identity: Identity,
}

impl DemoSettings {
    /// This program again, as an ordinary user and without the properties of the caller. In its own
    /// process group: Ctrl-C is only for the demo, which ends the processes in their order.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(arguments).stdin(Stdio::null()).process_group(0).current_dir("/");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MTA_") {
                command.env_remove(name);
            }
        }
        // `health` asks the page, `queue` the control socket.
        command
            .env("MTA_RUN_DIR", self.directory.join("run"))
            .env("MTA_LISTEN", "127.0.0.1")
            .env("MTA_UI_PORT", self.ui.port().to_string());
        if self.identity.changes {
            command.uid(self.identity.uid.as_raw()).gid(self.identity.gid.as_raw());
        }
        command
    }

    fn sink(&self) -> Command {
        let maildir = self.directory.join("sink");
        let mut command = self.command(&["sink", "--listen", "127.0.0.1:0", "--maildir"]);
        command.arg(maildir).arg("--fail").arg(format!(
            "rcpt=450@{},rcpt=550@{}",
            samples::BUSY,
            samples::GONE
        ));
        command
    }

    fn relay(&self, sink: SocketAddr) -> Command {
        let mut command = self.command(&["init"]);
        command
            .env("MTA_HOSTNAME", "demo.postern.example")
            .env("MTA_SMTP_PORT", self.smtp.port().to_string())
            .env("MTA_UI_PUBLIC", "yes")
            .env("MTA_VOLUME_DATA", self.directory.join("data"))
            .env("MTA_SMART_RELAY", format!("[{}]:{}", sink.ip(), sink.port()))
            .env("MTA_MINIMAL_BACKOFF_TIME", "2m")
            .env("MTA_DRAIN_TIME", format!("{}s", DRAIN.as_secs()));
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }

    /// Starts a process that writes to a log of its own.
    fn spawn(&self, name: &'static str, mut command: Command) -> Result<Part, DemoError> {
        let log = self.log(name);
        let started = File::create(&log).and_then(|file| {
            command.stdout(file.try_clone()?).stderr(file);
            command.spawn()
        });
        let child = started.map_err(|error| {
            DemoError::new(Exit::Unavailable, format!("the {name} cannot be started: {error}"))
        })?;
        Ok(Part { name, child, log })
    }
}

/// A process; killed when this is dropped, if it still runs.
struct Part {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Part {
    /// Its output so far.
    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// # Errors
    /// It has ended; the text has its last lines.
    fn look(&mut self) -> Result<(), DemoError> {
        let Ok(Some(status)) = self.child.try_wait() else { return Ok(()) };
        let said = self.said();
        let lines: Vec<_> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_TOLD)..].join("\n  ");
        let words = format!("the {} of the demo has ended ({status}):\n  {last}", self.name);
        Err(DemoError::new(Exit::Unavailable, words))
    }

    /// Ends it regularly, or by force when it takes too long.
    fn stop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let until = Instant::now() + 2 * DRAIN;
        while Instant::now() < until {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(PACE);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The running processes.
pub(super) struct DemoProcesses {
    pub(super) setting: DemoSettings,
    relay: Part,
    sink: Part,
}

impl DemoProcesses {
    /// Starts the sink, and when that listens, the relay.
    pub(super) fn start(setting: DemoSettings, limit: Duration) -> Result<Self, DemoError> {
        let mut sink = setting.spawn("sink", setting.sink())?;
        let until = Instant::now() + limit;
        let address = loop {
            let said = sink.said();
            let line = said.split_once('\n').map(|(line, _)| line);
            if let Some(address) = line.and_then(|line| line.rsplit(' ').next()?.parse().ok()) {
                break address;
            }
            sink.look()?;
            if Instant::now() > until {
                return Err(DemoError::new(Exit::Unavailable, "the sink of the demo is not ready"));
            }
            std::thread::sleep(PACE);
        };
        let relay = setting.spawn("relay", setting.relay(address))?;
        Ok(Self { relay, sink, setting })
    }

    /// Waits until all is ready; `false` = a signal came first.
    ///
    /// # Errors
    /// A process has ended, or the time limit was reached.
    pub(super) fn wait_ready(
        &mut self,
        limit: Duration,
        signals: &DemoSignals,
    ) -> Result<bool, DemoError> {
        let until = Instant::now() + limit;
        while self.ask(&["health"]).is_none() {
            self.look()?;
            if Instant::now() > until {
                return Err(DemoError::new(
                    Exit::Unavailable,
                    "the relay of the demo is not ready",
                ));
            }
            if signals.came_within(PACE) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until each sample is in its final state, or the time limit is reached; `false` = a
    /// signal came first.
    pub(super) fn wait_settled(&self, limit: Duration, signals: &DemoSignals) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            let list = self.ask(&["queue", "list", "--json"]).unwrap_or_default();
            let states: Vec<Value> =
                list.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            let count = |state: &str| states.iter().filter(|mail| mail["state"] == state).count();
            if states.len() == samples::WAITING && count("held") == 1 && count("active") == 0 {
                return true;
            }
            if signals.came_within(PACE) {
                return false;
            }
        }
        true
    }

    /// Runs the operator's tool; gives its output, or `None` if it fails.
    pub(super) fn ask(&self, arguments: &[&str]) -> Option<String> {
        let output = self.setting.command(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// # Errors
    /// One of them has ended.
    pub(super) fn look(&mut self) -> Result<(), DemoError> {
        self.relay.look()?;
        self.sink.look()
    }

    /// Ends them, first the relay, which sends mail to the sink.
    pub(super) fn stop(&mut self) {
        self.relay.stop();
        self.sink.stop();
    }
}
