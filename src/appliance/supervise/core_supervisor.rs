//! Supervises the core and the other children: start, readiness, restart, stop.
//!
//! One thread, one loop: it waits in poll(2) for signals, for its children's status lines, and for
//! deadlines. As PID 1 it reaps every process that ends; otherwise it becomes the subreaper of its
//! descendants. Besides the core there may be the carrier of the mail log ([`CarrierSupervisor`])
//! and watches over the key files and the files of upstreams ([`FileWatch`]); none can delay the
//! core.

mod hanging;
mod run_dir;

use super::backoff::Backoff;
use super::carrier_supervisor::CarrierSupervisor;
use super::child::Child;
use super::file_watch::{FileChange, FileWatch};
use super::hang_report::CoreTermination;
use super::identity::Identity;
use super::orders::{CoreOrder, DkimKeyFile};
use super::rundir::ReadyFile;
use super::signals::SupervisorSignals;
use super::status::CoreMessage;
use super::upstream_files::UpstreamFiles;
use super::users_file::UsersFile;
use super::watchdog::{Watchdog, WatchdogAction};
use crate::appliance::event::{EventLog, Severity};
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::Settings;
use crate::appliance::start_errors;
use crate::appliance::volume::dkim_files::DkimDirectory;
use crate::appliance::volume::keys::KeyFiles;
use crate::ground::sys;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use run_dir::RunDirWatch;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time beyond `drain_time`, for the last sync and final messages.
const GRACE: Duration = Duration::from_secs(15);
/// How often a long recovery is reported.
const PROGRESS: Duration = Duration::from_secs(30);
/// The error line when the core ends without one.
const START_LINE: &str = start_errors::START;

/// The supervisor of one core.
pub struct CoreSupervisor<'a> {
    settings: &'a Settings,
    event_log: &'a EventLog,
    signals: &'a SupervisorSignals,
    identity: Identity,
    /// The core's working directory.
    directory: PathBuf,
    readiness: ReadyFile,
    core: Option<Core>,
    backoff: Backoff,
    /// When the next core is to be started, while there is none.
    start_at: Instant,
    carrier: Option<CarrierSupervisor<'a>>,
    keys: Option<FileWatch<KeyFiles>>,
    upstreams: Option<FileWatch<UpstreamFiles>>,
    dkim: Option<FileWatch<DkimDirectory>>,
    users: Option<FileWatch<UsersFile>>,
    run_dir: RunDirWatch<'a>,
    /// The signal that ends the appliance, once it has come.
    stop: Option<Signal>,
    was_ready: bool,
}

/// A running core.
struct Core {
    child: Child,
    ready: bool,
    /// Its error line before it gave up.
    error: Option<String>,
    cause: Option<String>,
    /// When it is not waited for any more, after the stop.
    deadline: Option<Instant>,
    /// It was told to end and has not ended yet.
    ends: bool,
    next_progress: Instant,
    /// When it last reported progress of its start.
    heard: Instant,
    /// Its start has made no progress for too long. It is checked once more a little later, because
    /// the whole machine may have been paused.
    suspected: bool,
    /// The reason why a stuck start is not ended was logged.
    spared: bool,
    /// Detects when it hangs; from the moment it is ready.
    watchdog: Option<Watchdog>,
    /// It hangs, and is being ended.
    ending: Option<CoreTermination>,
}

impl<'a> CoreSupervisor<'a> {
    /// Everything is prepared; nothing runs yet.
    pub fn new(
        settings: &'a Settings,
        event_log: &'a EventLog,
        signals: &'a SupervisorSignals,
        identity: Identity,
    ) -> Self {
        Self {
            settings,
            event_log,
            signals,
            identity,
            directory: PathBuf::from("/"),
            readiness: ReadyFile::new(&settings.run_dir),
            core: None,
            backoff: Backoff::new(),
            start_at: Instant::now(),
            carrier: None,
            keys: None,
            upstreams: None,
            dkim: None,
            users: UsersFile::watch(settings, identity),
            run_dir: RunDirWatch::new(settings, event_log, identity),
            stop: None,
            was_ready: false,
        }
    }

    /// The core serves TLS with the key pair of this watch, and with each later one.
    pub fn with_keys(mut self, keys: Option<FileWatch<KeyFiles>>) -> Self {
        self.keys = keys;
        self
    }

    /// The core logs in to upstreams with the content of these files, and with each later one.
    pub fn with_upstreams(mut self, upstreams: Option<FileWatch<UpstreamFiles>>) -> Self {
        self.upstreams = upstreams;
        self
    }

    /// The core signs with the DKIM keys of this watch, and with later ones.
    pub fn with_dkim(mut self, dkim: Option<FileWatch<DkimDirectory>>) -> Self {
        self.dkim = dkim;
        self
    }

    /// The core works in this directory instead of `/`.
    pub fn working_in(mut self, directory: &Path) -> Self {
        self.directory = directory.to_owned();
        self
    }

    /// The carrier of the mail log runs next to the core.
    pub fn with_carrier(mut self, carrier: Option<CarrierSupervisor<'a>>) -> Self {
        self.carrier = carrier;
        self
    }

    /// Runs the core until a signal ends it; returns the exit code: 128 + signal, or that of a core
    /// that never became ready.
    pub fn run_until_signal(mut self) -> u8 {
        let code = loop {
            if let Some(code) = self.hear().or_else(|| self.poll()) {
                break code;
            }
            self.wait();
        };
        self.end_carrier();
        code
    }

    /// Handles the pending signals. Returns the exit code when the appliance ends now.
    fn hear(&mut self) -> Option<u8> {
        let mut code = None;
        while let Some(signal) = self.signals.next() {
            match (signal, &self.core) {
                (Signal::SIGCHLD, _) => code = code.or(self.reap()),
                // Before it is ready, the core may not handle the signal yet, and has read
                // everything just now.
                (Signal::SIGHUP, Some(core)) if core.ready => {
                    core.child.signal(Signal::SIGHUP);
                }
                (Signal::SIGHUP, _) => {}
                (signal, _) => self.begin_stop(signal),
            }
        }
        code
    }

    /// Does what is due. Returns the exit code when the appliance ends now.
    fn poll(&mut self) -> Option<u8> {
        if self.core.is_none() {
            if self.stop.is_some() {
                return self.exit_code();
            }
            if Instant::now() >= self.start_at {
                self.run_dir.repair_before_start();
                self.readiness.clear_because("the SMTP core is starting");
                match self.start() {
                    Ok(core) => self.core = Some(core),
                    Err(error) => {
                        let why = format!("cannot be started: {error}");
                        let failure = Failure::new(
                            Exit::Internal,
                            START_LINE,
                            format!("the SMTP core {why}"),
                        );
                        return self.ended(Duration::ZERO, &why, &failure);
                    }
                }
            }
        }
        self.read_core_status();
        self.watch_core();
        self.watch_run_dir();
        if self.check_deadlines() {
            return self.core.take().and(self.exit_code());
        }
        if let Some(carrier) = &mut self.carrier {
            carrier.poll();
        }
        if let Some(found) = self.keys.as_mut().and_then(FileWatch::poll) {
            self.keys_were_looked_at(&found);
        }
        if let Some(found) = self.upstreams.as_mut().and_then(FileWatch::poll) {
            self.upstreams_were_looked_at(&found);
        }
        if let Some(found) = self.dkim.as_mut().and_then(FileWatch::poll) {
            self.dkim_keys_were_looked_at(&found);
        }
        if let Some(found) = self.users.as_mut().and_then(FileWatch::poll) {
            self.users_were_looked_at(&found);
        }
        None
    }

    /// The readiness file of a core that serves must exist in the run directory.
    fn watch_run_dir(&mut self) {
        let watchdog = self.core.as_ref().and_then(|core| core.watchdog.as_ref());
        if self.stop.is_some() || !watchdog.is_some_and(Watchdog::is_well) {
            return;
        }
        if self.run_dir.repair_while_serving() && !self.readiness.is_set() {
            self.announce_ready();
        }
    }

    fn announce_ready(&mut self) {
        if let Err(error) = self.readiness.set() {
            let place = self.settings.run_dir.display();
            self.event_log.record(
                Severity::Error,
                format!("the readiness file cannot be written in run_dir {place}: {error}"),
            );
        }
    }

    /// 128 + the signal that ends the appliance.
    fn exit_code(&self) -> Option<u8> {
        self.stop.map(|signal| u8::try_from(128 + signal as i32).unwrap_or(u8::MAX))
    }

    fn start(&self) -> io::Result<Core> {
        let smtps_port = (!self.settings.ssl_disabled).then_some(self.settings.smtps_port);
        let submission_port =
            (!self.settings.smtp_users.is_empty()).then_some(self.settings.submission_port);
        let Settings { smtp_port, ui_port, device_port, .. } = self.settings;
        let always =
            [Some(*smtp_port), Some(*ui_port), Some(*device_port).filter(|port| *port > 0)];
        let ports = always.into_iter().chain([smtps_port, submission_port]);
        let low_port = ports.flatten().any(|port| port < 1024);
        let mut child = Child::start(
            "core",
            &self.identity,
            &self.directory,
            low_port,
            &self.settings.to_json(),
        )?;
        if let Some(watch) = &self.keys {
            child.orders.say(&CoreOrder::Keys(watch.content().clone()));
        }
        if let Some(watch) = &self.upstreams {
            child.orders.say(&CoreOrder::Upstreams(watch.content().clone()));
        }
        child.orders.say(&CoreOrder::Dkim(self.dkim_files()));
        if let Some(watch) = &self.users
            && let Some(order) = UsersFile::order_at_start(self.settings, watch.content())
        {
            child.orders.say(&order);
        }
        if self.users.as_ref().is_some_and(FileWatch::is_failing) {
            child.orders.say(&CoreOrder::UsersFile { failing: true });
        }
        let (next_progress, heard) = (child.started + PROGRESS, child.started);
        let (error, cause, deadline, watchdog, ending) = (None, None, None, None, None);
        Ok(Core {
            child,
            ready: false,
            error,
            cause,
            deadline,
            ends: false,
            next_progress,
            heard,
            suspected: false,
            spared: false,
            watchdog,
            ending,
        })
    }

    fn read_core_status(&mut self) {
        let Some(core) = &mut self.core else { return };
        core.child.orders.flush();
        let mut is_ready = false;
        let mut steps = Vec::new();
        for status in core.child.status.read() {
            (core.heard, core.suspected) = (Instant::now(), false);
            match status {
                CoreMessage::Health(health) => {
                    let step = core
                        .watchdog
                        .as_mut()
                        .map(|watchdog| watchdog.hear(&health, Instant::now()));
                    steps.extend(step.filter(|step| *step != WatchdogAction::Wait));
                }
                CoreMessage::Stack(stack) => {
                    if let Some(ending) = &mut core.ending {
                        ending.take(stack);
                    }
                }
                CoreMessage::Stacks => {
                    if let Some(ending) = &mut core.ending {
                        ending.complete();
                    }
                }
                CoreMessage::Ready => is_ready = true,
                CoreMessage::Error(line) => core.error = Some(line),
                CoreMessage::Cause(text) => core.cause = Some(text),
                CoreMessage::Event(event) => self.event_log.record(event.severity, event.text),
            }
        }
        if is_ready {
            self.core_is_ready();
        }
        steps.into_iter().for_each(|step| self.act_on_watchdog(step));
    }

    fn core_is_ready(&mut self) {
        self.was_ready = true;
        let Some(core) = &mut self.core else { return };
        core.ready = true;
        if self.stop.is_some() {
            return;
        }
        core.watchdog = Some(Watchdog::new(self.settings.watchdog_time, Instant::now()));
        self.announce_ready();
        let Some(core) = &self.core else { return };
        let seconds = core.child.started.elapsed().as_secs_f32();
        self.event_log.record(
            Severity::Info,
            format!("the SMTP core is ready (pid {}, {seconds:.1} s)", core.child.pid),
        );
        // Most of the program's code was needed only for the start.
        sys::give_back_program();
    }

    fn users_were_looked_at(&mut self, found: &FileChange) {
        match found {
            FileChange::Renewed => {
                self.event_log.record(Severity::Info, "the file of smtp_users has changed");
                if let (Some(core), Some(watch)) = (&mut self.core, &self.users) {
                    core.child.orders.say(&UsersFile::order(watch.content()));
                }
            }
            FileChange::Trouble(why) => {
                let text = format!(
                    "the new file of smtp_users cannot be used, the former users stay: {why}"
                );
                self.event_log.record(Severity::Error, text);
                self.tell_users_file(true);
            }
            FileChange::Well => {
                self.event_log.record(
                    Severity::Info,
                    "the file of smtp_users is valid again; its content is unchanged",
                );
                self.tell_users_file(false);
            }
        }
    }

    fn tell_users_file(&mut self, failing: bool) {
        if let Some(core) = &mut self.core {
            core.child.orders.say(&CoreOrder::UsersFile { failing });
        }
    }

    fn keys_were_looked_at(&mut self, found: &FileChange) {
        match found {
            FileChange::Renewed => {
                self.event_log.record(
                    Severity::Info,
                    "the key files have changed; new sessions get the new certificate",
                );
                if let (Some(core), Some(watch)) = (&mut self.core, &self.keys) {
                    core.child.orders.say(&CoreOrder::Keys(watch.content().clone()));
                }
            }
            FileChange::Trouble(why) => {
                self.event_log.record(
                    Severity::Error,
                    format!(
                        "the new key files cannot be used, the loaded key and certificate stay in \
                        use: {why}"
                    ),
                );
            }
            FileChange::Well => self.event_log.record(
                Severity::Info,
                "the key files are valid again; their contents are unchanged",
            ),
        }
    }

    fn upstreams_were_looked_at(&mut self, found: &FileChange) {
        match found {
            FileChange::Renewed => {
                self.event_log.record(
                    Severity::Info,
                    "the files of upstreams have changed; the next logins use their new content",
                );
                if let (Some(core), Some(watch)) = (&mut self.core, &self.upstreams) {
                    core.child.orders.say(&CoreOrder::Upstreams(watch.content().clone()));
                }
            }
            FileChange::Trouble(why) => self.event_log.record(
                Severity::Error,
                format!(
                    "the files of upstreams cannot be used, their former content stays in use: \
                    {why}"
                ),
            ),
            FileChange::Well => self.event_log.record(
                Severity::Info,
                "the files of upstreams are valid again; their content is unchanged",
            ),
        }
    }

    /// The DKIM keys of the key volume; none without one.
    fn dkim_files(&self) -> Vec<DkimKeyFile> {
        self.dkim.as_ref().map(|watch| watch.content().clone()).unwrap_or_default()
    }

    fn dkim_keys_were_looked_at(&mut self, found: &FileChange) {
        match found {
            FileChange::Renewed => {
                self.event_log.record(Severity::Info, "the DKIM key files have changed");
                let files = self.dkim_files();
                if let Some(core) = &mut self.core {
                    core.child.orders.say(&CoreOrder::Dkim(files));
                }
            }
            FileChange::Trouble(why) => self.event_log.record(
                Severity::Error,
                format!("the DKIM key files cannot be read, the loaded keys stay in use: {why}"),
            ),
            FileChange::Well => self
                .event_log
                .record(Severity::Info, "the DKIM key files can be read again; they are unchanged"),
        }
    }

    fn begin_stop(&mut self, signal: Signal) {
        if let Some(first) = self.stop {
            self.event_log.note(
                Severity::Info,
                format!("{signal} received; the stop started by {first} continues"),
            );
            return;
        }
        self.stop = Some(signal);
        self.readiness.clear();
        let Some(core) = &mut self.core else { return };
        core.deadline = Some(Instant::now() + self.settings.drain_time + GRACE);
        // Before it is logged: the reader of the log may be blocked.
        let may_signal = core.child.signal(Signal::SIGTERM);
        if !may_signal {
            core.child.orders.say(&CoreOrder::Stop);
        }
        let text = format!(
            "{signal}: stopping; sessions may finish for {} s",
            self.settings.drain_time.as_secs()
        );
        self.event_log.record(Severity::Info, text);
        if !may_signal {
            let text = "the SMTP core cannot be sent signals (no CAP_KILL); it was told to stop \
            over its standard input";
            self.event_log.record(Severity::Info, text);
        }
    }

    /// Checks the core's deadlines. `true`: it is not waited for any more.
    fn check_deadlines(&mut self) -> bool {
        let Some(core) = &mut self.core else { return false };
        let now = Instant::now();
        if core.deadline.is_some_and(|deadline| now >= deadline) {
            if core.ends {
                let text = format!(
                    "the SMTP core (pid {}) has not ended; the supervisor exits without it, and \
                    accepted mail is safe on the data volume",
                    core.child.pid
                );
                self.event_log.record(Severity::Error, text);
                return true;
            }
            core.deadline = Some(now + GRACE);
            let done = end_core(core);
            self.event_log
                .record(Severity::Error, format!("the SMTP core did not stop in time and {done}"));
        }
        if !core.ready && now >= core.next_progress {
            core.next_progress = now + PROGRESS;
            let so_far = core.child.started.elapsed().as_secs();
            self.event_log.note(
                Severity::Info,
                format!("the SMTP core is still starting ({so_far} s); a large queue takes time"),
            );
        }
        false
    }

    /// Reaps everything that has ended. Returns the exit code when the appliance ends now.
    fn reap(&mut self) -> Option<u8> {
        let mut code = None;
        loop {
            let end = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::EINTR) => continue,
                Ok(WaitStatus::StillAlive) | Err(_) => return code,
                Ok(end) => end,
            };
            let Some(pid) = end.pid() else { continue };
            let why = in_words(end);
            if self.core.as_ref().is_some_and(|core| core.child.pid == pid) {
                code = self.core_ended(end, &why);
            } else if !self.carrier.as_mut().is_some_and(|carrier| carrier.reaped(pid, &why)) {
                self.keys.iter_mut().for_each(|watch| watch.reaped(pid));
                self.upstreams.iter_mut().for_each(|watch| watch.reaped(pid));
                self.dkim.iter_mut().for_each(|watch| watch.reaped(pid));
                self.users.iter_mut().for_each(|watch| watch.reaped(pid));
            }
        }
    }

    fn core_ended(&mut self, end: WaitStatus, why: &str) -> Option<u8> {
        // Reads its last lines.
        self.read_core_status();
        let core = self.core.take()?;
        self.readiness.clear();
        let lived = core.child.started.elapsed();
        self.ended(lived, why, &failure_of(&core, end, why))
    }

    /// The core has ended: the appliance ends, or there is a pause before the next one.
    fn ended(&mut self, lived: Duration, why: &str, failure: &Failure) -> Option<u8> {
        if self.stop.is_some() {
            return None;
        }
        if !self.was_ready {
            self.event_log.fail(failure);
            return Some(failure.exit.code());
        }
        let pause = self.backoff.after(lived);
        self.start_at = Instant::now() + pause;
        let text = format!(
            "the SMTP core {why}; it is started again in {} s{}",
            pause.as_secs(),
            core_error_text(failure)
        );
        self.readiness.clear_because(&text);
        self.event_log.record(Severity::Error, text);
        None
    }

    /// The core has ended for good, so there will be no more lines about mail.
    fn end_carrier(&mut self) {
        let Some(mut carrier) = self.carrier.take() else { return };
        carrier.stop();
        loop {
            while let Some(signal) = self.signals.next() {
                if signal == Signal::SIGCHLD {
                    while let Ok(end) = waitpid(None, Some(WaitPidFlag::WNOHANG))
                        && let Some(pid) = end.pid()
                    {
                        carrier.reaped(pid, &in_words(end));
                    }
                }
            }
            carrier.poll();
            if carrier.is_over() {
                return;
            }
            wait(self.signals, carrier.poll_fds(), carrier.next());
        }
    }

    /// Waits until a signal, a child's status line, room in a child's input, or a deadline.
    fn wait(&self) {
        let core = self.core.as_ref();
        let core_at = match core {
            Some(core) => {
                let progress = (!core.ready).then_some(core.next_progress);
                let start = self
                    .start_limit()
                    .filter(|_| !core.ready && !core.ends && core.ending.is_none());
                let start = start.filter(|_| self.stop.is_none()).map(|limit| core.heard + limit);
                let hang = match (&core.ending, &core.watchdog) {
                    _ if self.stop.is_some() => None,
                    // It was told to end, and will.
                    _ if core.ends => None,
                    (Some(ending), _) => ending.next(),
                    (None, watchdog) => watchdog.as_ref().map(Watchdog::next),
                };
                [core.deadline, progress, start, hang].into_iter().flatten().min()
            }
            None => Some(self.start_at),
        };
        let carrier_at = self.carrier.as_ref().and_then(CarrierSupervisor::next);
        let files = [
            self.keys.as_ref().map(FileWatch::next),
            self.upstreams.as_ref().map(FileWatch::next),
            self.dkim.as_ref().map(FileWatch::next),
            self.users.as_ref().map(FileWatch::next),
        ];
        let next = [core_at, carrier_at].into_iter().chain(files).flatten().min();
        let fds = core.iter().flat_map(|core| core.child.poll_fds());
        let fds = fds.chain(core.and_then(|core| core.ending.as_ref()?.poll_fd()));
        let fds = fds.chain(self.carrier.iter().flat_map(CarrierSupervisor::poll_fds));
        let fds = fds.chain(self.keys.as_ref().and_then(FileWatch::poll_fd));
        let fds = fds.chain(self.users.as_ref().and_then(FileWatch::poll_fd));
        let fds = fds.chain(self.upstreams.as_ref().and_then(FileWatch::poll_fd));
        wait(self.signals, fds.chain(self.dkim.as_ref().and_then(FileWatch::poll_fd)), next);
    }
}

/// Ends the core at once, in any permitted way, and tells what was done.
fn end_core(core: &mut Core) -> &'static str {
    core.ends = true;
    if core.child.signal(Signal::SIGKILL) {
        return "is killed; accepted mail is safe on the data volume";
    }
    core.child.orders.say(&CoreOrder::End);
    "cannot be killed (no CAP_KILL); it was ordered over its standard input to end at once"
}

fn wait<'a>(
    signals: &'a SupervisorSignals,
    others: impl Iterator<Item = PollFd<'a>>,
    until: Option<Instant>,
) {
    let mut fds: Vec<_> =
        std::iter::once(PollFd::new(signals.as_fd(), PollFlags::POLLIN)).chain(others).collect();
    // One millisecond more, so that a deadline has passed when poll returns.
    let timeout = until.map_or(PollTimeout::NONE, |until| {
        let left = until.saturating_duration_since(Instant::now()).as_millis() + 1;
        i32::try_from(left)
            .ok()
            .and_then(|ms| PollTimeout::try_from(ms).ok())
            .unwrap_or(PollTimeout::MAX)
    });
    // An interruption or a failure wakes the loop, which checks everything anyway.
    let _ = poll(&mut fds, timeout);
}

/// The core's own error text, if any.
fn core_error_text(failure: &Failure) -> String {
    if failure.line == START_LINE {
        String::new()
    } else {
        format!(" ({}: {})", failure.line, failure.cause)
    }
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
