//! Keeping one core running: start, readiness, restart, stop.
//!
//! One thread, one loop: it sleeps in poll(2) on the signals and the status pipe and wakes for nothing else but its own
//! deadlines. As PID 1 it reaps everything that ends; elsewhere it asks for the orphans of its own descendants.

use super::backoff::Backoff;
use super::identity::Identity;
use super::orders::Speaker;
use super::rundir::Readiness;
use super::signals::Signals;
use super::status::{Status, StatusReader};
use crate::appliance::class::PREFIX;
use crate::appliance::event::{Journal, Severity};
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::Settings;
use crate::ground::sys::{Jail, spawn};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, pipe2};
use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Beyond `drain_time`, for the last sync and the farewells.
const GRACE: Duration = Duration::from_secs(15);
/// A long recovery says that it is alive.
const PROGRESS: Duration = Duration::from_secs(30);
/// The line when the core gives up without a word.
const START_LINE: &str = "Error: failed to start the MTA server. Please see the /var/log/appliance/log log file in MTA for more details on the failure";

/// The keeper of one core.
pub struct Keeper<'a> {
    settings: &'a Settings,
    journal: &'a Journal,
    signals: &'a Signals,
    identity: Identity,
    readiness: Readiness,
    /// The signal that ends it all, once it has come.
    stop: Option<Signal>,
    was_ready: bool,
}

/// A core that runs.
struct Core {
    pid: Pid,
    status: StatusReader,
    orders: Speaker,
    started: Instant,
    ready: bool,
    /// What it said before giving up.
    error: Option<String>,
    cause: Option<String>,
    /// When patience ends, after the stop.
    deadline: Option<Instant>,
    next_progress: Instant,
}

impl<'a> Keeper<'a> {
    /// All is prepared; nothing runs yet.
    pub fn new(settings: &'a Settings, journal: &'a Journal, signals: &'a Signals, identity: Identity) -> Self {
        let readiness = Readiness::new(&settings.run_dir);
        Self { settings, journal, signals, identity, readiness, stop: None, was_ready: false }
    }

    /// Runs the core until a signal ends it; returns the exit code: 128 + signal, or that of a core that never came up.
    pub fn keep(mut self) -> u8 {
        let mut backoff = Backoff::new();
        // A signal may have come while all was prepared.
        self.hear_stop();
        if let Some(code) = self.stopped() {
            return code;
        }
        loop {
            let (lived, why, failure) = match self.start() {
                Ok(core) => self.tend(core),
                Err(error) => {
                    let why = format!("cannot be started: {error}");
                    (Duration::ZERO, why.clone(), Failure::new(Exit::Internal, START_LINE, format!("the SMTP core {why}")))
                }
            };
            if let Some(code) = self.stopped() {
                return code;
            }
            if !self.was_ready {
                self.journal.fail(&failure);
                return failure.exit.code();
            }
            let pause = backoff.after(lived);
            let said = told(&failure);
            self.journal
                .record(Severity::Error, format!("the SMTP core {why}; it is started again in {} s{said}", pause.as_secs()));
            self.pause(pause);
            if let Some(code) = self.stopped() {
                return code;
            }
        }
    }

    fn stopped(&self) -> Option<u8> {
        let number = self.stop? as i32;
        Some(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }

    fn start(&self) -> io::Result<Core> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let smtps_port = (!self.settings.ssl_disabled).then_some(self.settings.smtps_port);
        let ports = [Some(self.settings.smtp_port), Some(self.settings.ui_port), smtps_port];
        let low_port = ports.into_iter().flatten().any(|port| port < 1024);
        let identity = self.identity.changes.then_some((self.identity.uid, self.identity.gid));
        let mut command = Command::new("/proc/self/exe");
        command.arg("core").stdin(Stdio::piped());
        // Properties, secrets among them, travel over standard input; the environment of a process can be read by others.
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                command.env_remove(name);
            }
        }
        let mut child = spawn(&mut command, &writer, Jail { identity, keep_bind: low_port })?;
        let mut orders = Speaker::new(child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?)?;
        orders.properties(&self.settings.to_json());
        let now = Instant::now();
        Ok(Core {
            pid: Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?),
            status: StatusReader::new(reader),
            orders,
            started: now,
            ready: false,
            error: None,
            cause: None,
            deadline: None,
            next_progress: now + PROGRESS,
        })
    }

    /// Stays with a core until it ends. Returns how long it lived, how it ended in words, and the failure that this is if it
    /// was the first start.
    fn tend(&mut self, mut core: Core) -> (Duration, String, Failure) {
        loop {
            wait(self.signals, Some(&core), self.until_next(&core));
            core.orders.flush();
            self.listen_to(&mut core);
            let mut child_ended = false;
            while let Some(signal) = self.signals.next() {
                match signal {
                    Signal::SIGCHLD => child_ended = true,
                    // Before it is ready, the core may not yet know what to do with it, and has read everything just now.
                    Signal::SIGHUP if core.ready => drop(kill(core.pid, Signal::SIGHUP)),
                    Signal::SIGHUP => {}
                    signal => self.begin_stop(signal, &mut core),
                }
            }
            if child_ended && let Some(end) = reap(core.pid) {
                self.listen_to(&mut core);
                self.readiness.clear();
                let why = in_words(end);
                return (core.started.elapsed(), why.clone(), failure_of(&core, end, &why));
            }
            self.keep_time(&mut core);
        }
    }

    fn listen_to(&mut self, core: &mut Core) {
        for status in core.status.read() {
            match status {
                Status::Ready => self.core_is_ready(core),
                Status::Error(line) => core.error = Some(line),
                Status::Cause(text) => core.cause = Some(text),
                Status::Event(text) => self.journal.record(Severity::Warning, text),
            }
        }
    }

    fn core_is_ready(&mut self, core: &mut Core) {
        core.ready = true;
        self.was_ready = true;
        if self.stop.is_some() {
            return;
        }
        if let Err(error) = self.readiness.set() {
            self.journal.record(Severity::Error, format!("the readiness file cannot be written: {error}"));
        }
        let text = format!("the SMTP core is ready (pid {}, {:.1} s)", core.pid, core.started.elapsed().as_secs_f32());
        self.journal.record(Severity::Info, text);
    }

    fn begin_stop(&mut self, signal: Signal, core: &mut Core) {
        if let Some(first) = self.stop {
            self.journal.note(Severity::Info, format!("{signal} noted; the stop that {first} began goes on"));
            return;
        }
        let patience = self.settings.drain_time + GRACE;
        self.stop = Some(signal);
        self.readiness.clear();
        core.deadline = Some(Instant::now() + patience);
        // Before a word about it: whoever reads our words may be stuck. It can only be gone already, and then it is reaped
        // next.
        let _ = kill(core.pid, Signal::SIGTERM);
        let text = format!("{signal}: stopping; sessions may finish for {} s", self.settings.drain_time.as_secs());
        self.journal.record(Severity::Info, text);
    }

    fn keep_time(&self, core: &mut Core) {
        let now = Instant::now();
        if core.deadline.is_some_and(|deadline| now >= deadline) {
            core.deadline = None;
            self.journal.record(
                Severity::Error,
                "the SMTP core did not stop in time and is killed; accepted mail is safe on the data volume",
            );
            let _ = kill(core.pid, Signal::SIGKILL);
        }
        if !core.ready && now >= core.next_progress {
            core.next_progress = now + PROGRESS;
            let so_far = core.started.elapsed().as_secs();
            self.journal
                .note(Severity::Info, format!("the SMTP core is still starting ({so_far} s); a large queue takes its time"));
        }
    }

    fn until_next(&self, core: &Core) -> Option<Duration> {
        let progress = (!core.ready).then_some(core.next_progress);
        let next = [core.deadline, progress].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    /// Waits for the back-off to pass; a signal that ends it all ends the pause.
    fn pause(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        while self.stop.is_none() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            wait(self.signals, None, Some(left));
            self.hear_stop();
        }
    }

    /// Looks for the signal that ends it all, while no core runs.
    fn hear_stop(&mut self) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::SIGCHLD => drop(reap(Pid::from_raw(0))),
                Signal::SIGHUP => {}
                signal => self.stop = self.stop.or(Some(signal)),
            }
        }
    }
}

/// Sleeps until a signal, a word of the core, room for what is to be said to it, or the time.
fn wait(signals: &Signals, core: Option<&Core>, time: Option<Duration>) {
    let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
    if let Some(core) = core {
        fds.extend(core.status.is_open().then(|| PollFd::new(core.status.as_fd(), PollFlags::POLLIN)));
        fds.extend(core.orders.waits_on().map(|pipe| PollFd::new(pipe, PollFlags::POLLOUT)));
    }
    // One millisecond more, so that a deadline has passed when poll returns.
    let timeout = time.map_or(PollTimeout::NONE, |time| {
        i32::try_from(time.as_millis() + 1).ok().and_then(|ms| PollTimeout::try_from(ms).ok()).unwrap_or(PollTimeout::MAX)
    });
    // An interruption or a failure wakes the loop, which looks at everything anyway.
    let _ = poll(&mut fds, timeout);
}

/// Reaps everything that has ended; tells how the core did, if it is among them.
fn reap(core: Pid) -> Option<WaitStatus> {
    let mut end = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return end,
            Ok(status) if status.pid() == Some(core) => end = Some(status),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return end,
        }
    }
}

/// What the core itself said of its end, if anything.
fn told(failure: &Failure) -> String {
    if failure.line == START_LINE { String::new() } else { format!(" ({}: {})", failure.line, failure.cause) }
}

fn in_words(end: WaitStatus) -> String {
    match end {
        WaitStatus::Exited(_, code) => format!("ended with exit code {code}"),
        WaitStatus::Signaled(_, signal, _) => format!("was ended by {signal}"),
        other => format!("ended ({other:?})"),
    }
}

fn failure_of(core: &Core, end: WaitStatus, why: &str) -> Failure {
    let exit = match end {
        WaitStatus::Exited(_, code) => Exit::from_code(code),
        _ => None,
    };
    let line = core.error.clone().unwrap_or_else(|| START_LINE.to_owned());
    let cause = core.cause.clone().unwrap_or_else(|| format!("the SMTP core {why}"));
    Failure::new(exit.unwrap_or(Exit::Internal), line, cause)
}
