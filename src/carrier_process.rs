//! `postern carrier`, the process that copies the mail log to its share; the supervisor starts it
//! next to the core.
//!
//! In: the [`Task`] on standard input, one line of JSON; lines on the data volume. Out: the file on
//! the share, and events on the status pipe when the share begins to fail and when it works again.
//! At SIGTERM, which comes after the core's end, it copies the remaining lines for at most
//! [`FAREWELL`], and ends. Lines that could not be copied wait on the data volume for the next
//! start. It ends by itself when the share was mounted again, to be restarted. Limits: one thread.
//! Calls to a dead file server do not return, and not even SIGKILL ends them: the supervisor must
//! not wait for this process. Security: the core's uid; Landlock allows it to write only the lines
//! and the share.

use crate::appliance::event::Severity;
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::supervise::confine::confine;
use crate::appliance::supervise::orders::OrderReader;
use crate::appliance::supervise::signals::SupervisorSignals;
use crate::appliance::supervise::status::StatusWriter;
use crate::ground::{clock, sys};
use crate::maillog::{self, Carrier, CarryResult};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;
use nix::unistd::{dup2_stderr, dup2_stdout};
use serde::Deserialize;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Time limit for the last lines after SIGTERM.
pub const FAREWELL: Duration = Duration::from_secs(4);

/// How often it checks for lines without a notification.
const FALLBACK: Duration = Duration::from_secs(5);

/// How long the first new line waits for others: each batch costs a sync on the file server.
const GATHER: Duration = Duration::from_millis(200);

/// The first pause after a failure; each doubles it.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How long after one problem was logged another cause is not: causes may alternate.
const RETELL: Duration = Duration::from_secs(600);

/// How often it checks whether a former carrier has ended.
const TAKEOVER_PAUSE: Duration = Duration::from_millis(200);

/// The task from the supervisor: some of its settings. Others are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Task {
    /// The data volume, where lines wait below `maillog/`.
    pub volume_data: PathBuf,
    /// The directory where the log share is mounted.
    pub terminal_log: PathBuf,
    /// The file below it.
    pub maillog_filename: String,
    /// The time zone for events; empty = that of the container.
    #[serde(default)]
    pub timezone: String,
}

/// Runs until SIGTERM.
pub fn run() -> ExitCode {
    let Ok(status) = StatusWriter::from_fd3() else {
        eprintln!("postern carrier is started by `postern init`, not by people");
        return ExitCode::from(Exit::Property.code());
    };
    match run_carrier(&status) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            status.error(&failure.line, &failure.cause);
            ExitCode::from(failure.exit.code())
        }
    }
}

fn run_carrier(status: &StatusWriter) -> Result<(), Failure> {
    leave_standard_streams(status);
    let signals = SupervisorSignals::block().map_err(|error| failed("signals", &error))?;
    let task = OrderReader::stdin().properties().map_err(|error| failed("properties", &error))?;
    let task: Task = serde_json::from_str(&task).map_err(|error| failed("properties", &error))?;
    if !task.timezone.is_empty() {
        // The supervisor has rejected an invalid name.
        let _ = clock::set_zone(&task.timezone);
    }
    let lines = task.volume_data.join(maillog::DIRECTORY);
    maillog::create_directory(&lines)
        .map_err(|error| failed(&lines.display().to_string(), &error))?;
    confine(&lines, &task.terminal_log, None);
    let inotify = watch(&lines).map_err(|error| failed("inotify", &error))?;
    let Some(carrier) = wait_for_lock(&lines, &task, &signals)? else { return Ok(()) };
    status.ready();
    sys::give_back_program();
    CarryLoop { carrier, status, signals, inotify, trouble: None, leaving: None }.go();
    Ok(())
}

/// A reader that waits for the end of this process's output must not wait for a process that hangs
/// in the kernel: all messages go through the status pipe, a panic too.
fn leave_standard_streams(status: &StatusWriter) {
    if let Ok(nothing) = std::fs::OpenOptions::new().write(true).open("/dev/null") {
        let _ = dup2_stdout(&nothing);
        let _ = dup2_stderr(&nothing);
    }
    if let Ok(status) = status.another() {
        std::panic::set_hook(Box::new(move |panic| {
            status.event(&format!(
                "the carrier of the mail log panicked: {panic}; please report this"
            ))
        }));
    }
}

/// A former carrier that hangs keeps the lines locked until it has ended. `None` = told to stop
/// meanwhile.
fn wait_for_lock(
    lines: &Path,
    task: &Task,
    signals: &SupervisorSignals,
) -> Result<Option<Carrier>, Failure> {
    loop {
        match Carrier::new(lines, &task.terminal_log, &task.maillog_filename) {
            Ok(carrier) => return Ok(Some(carrier)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&[signals.as_fd()], TAKEOVER_PAUSE);
                if told_to_stop(signals) {
                    return Ok(None);
                }
            }
            Err(error) => return Err(failed(&task.maillog_filename, &error)),
        }
    }
}

/// The loop of the carrier.
struct CarryLoop<'a> {
    carrier: Carrier,
    status: &'a StatusWriter,
    signals: SupervisorSignals,
    inotify: Inotify,
    trouble: Option<Trouble>,
    /// When it must end, once it was told to.
    leaving: Option<Instant>,
}

/// What is wrong with the share, and when to try again.
struct Trouble {
    since: u32,
    cause: String,
    pause: Duration,
    told: Instant,
}

impl CarryLoop<'_> {
    fn go(&mut self) {
        // A problem of a former process continues until a line has been copied.
        let former = self.carrier.failing();
        self.trouble = former.map(|(since, cause)| Trouble {
            since,
            cause,
            pause: PAUSE_MIN,
            told: Instant::now(),
        });
        let mut found = false;
        loop {
            if self.leaving.is_none() && told_to_stop(&self.signals) {
                self.leaving = Some(Instant::now() + FAREWELL);
            }
            if self.leaving.is_some_and(|end| Instant::now() >= end) {
                return;
            }
            match self.carrier.step() {
                Ok(CarryResult::Carried) => self.note_recovered(),
                Ok(CarryResult::Found) => found = true,
                Ok(CarryResult::Idle) if self.leaving.is_some() => return,
                Ok(CarryResult::Idle) => {
                    // All waiting lines were on the share already.
                    if std::mem::take(&mut found) {
                        self.note_recovered();
                    }
                    wait(&[self.signals.as_fd(), self.inotify.as_fd()], FALLBACK);
                    wait(&[self.signals.as_fd()], GATHER);
                    // The directory is read to see what has changed.
                    let _ = self.inotify.read_events();
                }
                Ok(CarryResult::AnotherShare) => {
                    self.status.report(
                        Severity::Info,
                        "the log share was remounted; its carrier is restarted",
                    );
                    return;
                }
                Err(error) => {
                    let pause = self.note_failure(error.to_string());
                    if self.leaving.is_some() {
                        return;
                    }
                    wait(&[self.signals.as_fd()], pause);
                }
            }
        }
    }

    fn note_recovered(&mut self) {
        let Some(trouble) = self.trouble.take() else { return };
        self.carrier.note_failing(None);
        let since = clock::rfc3339(trouble.since);
        self.status.report(
            Severity::Info,
            &format!("the mail log is written to its share again; it had failed since {since}"),
        );
    }

    /// Logs a problem once, and another cause not before [`RETELL`]; gives how long to wait before
    /// the next try.
    fn note_failure(&mut self, cause: String) -> Duration {
        let (since, pause, mut told) = match &self.trouble {
            Some(trouble) => {
                (trouble.since, (trouble.pause * 2).min(PAUSE_MAX), Some(trouble.told))
            }
            None => (clock::now(), PAUSE_MIN, None),
        };
        if self.trouble.as_ref().is_none_or(|trouble| trouble.cause != cause) {
            self.carrier.note_failing(Some((since, &cause)));
            if told.is_none_or(|told| told.elapsed() >= RETELL) {
                told = None;
            }
        }
        if told.is_none() {
            self.status.event(&format!(
                "the mail log cannot be written to its share, failing since {}: {cause}; lines are \
                kept on the data volume, mail is not affected",
                clock::rfc3339(since)
            ));
        }
        self.trouble =
            Some(Trouble { since, cause, pause, told: told.unwrap_or_else(Instant::now) });
        pause
    }
}

fn watch(directory: &Path) -> nix::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(directory, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE)?;
    Ok(inotify)
}

fn told_to_stop(signals: &SupervisorSignals) -> bool {
    std::iter::from_fn(|| signals.next())
        .any(|signal| matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT))
}

fn wait(fds: &[std::os::fd::BorrowedFd<'_>], time: Duration) {
    let mut fds: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout =
        i32::try_from(time.as_millis()).ok().and_then(|ms| PollTimeout::try_from(ms).ok());
    // An interruption or a failure wakes the loop, which checks everything anyway.
    let _ = poll(&mut fds, timeout.unwrap_or(PollTimeout::MAX));
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Unavailable,
        "Error: the mail log cannot be carried to its share",
        format!("{what}: {error}"),
    )
}
