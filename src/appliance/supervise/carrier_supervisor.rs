//! Supervises the carrier: the child process that copies the mail log to terminal `log`.
//!
//! The core does not depend on it: it starts and runs without the carrier, and is stopped before
//! it. A carrier that ends is started again with back-off; one that hangs in the kernel because of
//! its file server is left alone.

use super::backoff::Backoff;
use super::child::Child;
use super::identity::Identity;
use super::status::CoreMessage;
use crate::appliance::event::{EventLog, Severity};
use nix::poll::PollFd;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time after the end of the core, for the last lines.
const GRACE: Duration = Duration::from_secs(5);

/// The carrier, running or about to be started.
pub struct CarrierSupervisor<'a> {
    event_log: &'a EventLog,
    identity: Identity,
    /// Its working directory.
    directory: PathBuf,
    /// The first line on its standard input.
    properties: String,
    child: Option<Child>,
    backoff: Backoff,
    start_at: Instant,
    /// When it is not waited for any more, once it has been told to stop.
    deadline: Option<Instant>,
}

impl<'a> CarrierSupervisor<'a> {
    /// Not started yet; the first [`CarrierSupervisor::poll`] starts it.
    pub fn new(
        event_log: &'a EventLog,
        identity: Identity,
        directory: &Path,
        properties: String,
    ) -> Self {
        let (backoff, start_at) = (Backoff::new(), Instant::now());
        let directory = directory.to_owned();
        Self {
            event_log,
            identity,
            directory,
            properties,
            child: None,
            backoff,
            start_at,
            deadline: None,
        }
    }

    /// Starts it when that is due, and reads its status lines.
    pub fn poll(&mut self) {
        if self.child.is_none() && self.deadline.is_none() && Instant::now() >= self.start_at {
            match Child::start("carrier", &self.identity, &self.directory, false, &self.properties)
            {
                Ok(child) => self.child = Some(child),
                Err(error) => self.ended(Duration::ZERO, &format!("cannot be started: {error}")),
            }
        }
        let Some(child) = &mut self.child else { return };
        child.orders.flush();
        for status in child.status.read() {
            match status {
                CoreMessage::Ready
                | CoreMessage::Health(_)
                | CoreMessage::Stack(_)
                | CoreMessage::Stacks => {}
                CoreMessage::Error(text) | CoreMessage::Cause(text) => {
                    self.event_log.record(Severity::Error, format!("mail log: {text}"))
                }
                CoreMessage::Event(event) => self.event_log.record(event.severity, event.text),
            }
        }
    }

    /// A child was reaped; gives whether it was this one.
    pub fn reaped(&mut self, pid: Pid, why: &str) -> bool {
        if self.child.as_ref().is_none_or(|child| child.pid != pid) {
            return false;
        }
        // Reads its last lines.
        self.poll();
        let lived = self.child.take().map_or(Duration::ZERO, |child| child.started.elapsed());
        if self.deadline.is_none() {
            self.ended(lived, why);
        }
        true
    }

    fn ended(&mut self, lived: Duration, why: &str) {
        let pause = self.backoff.after(lived);
        self.start_at = Instant::now() + pause;
        let text = format!(
            "the carrier of the mail log {why}; it is started again in {} s",
            pause.as_secs()
        );
        self.event_log.record(Severity::Error, text);
    }

    /// Tells it to copy the remaining lines and end. Only the first call counts.
    pub fn stop(&mut self) {
        if self.deadline.is_none() {
            self.deadline = Some(Instant::now() + GRACE);
            if let Some(child) = &self.child {
                child.signal(Signal::SIGTERM);
            }
        }
    }

    /// Whether it need not be waited for any more: it has ended, or its time is up.
    pub fn is_over(&self) -> bool {
        match (&self.child, self.deadline) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(child), Some(deadline)) => {
                let over = Instant::now() >= deadline;
                if over {
                    child.signal(Signal::SIGKILL);
                    let text = "terminal log did not accept the last lines of the mail log in \
                    time; they are kept on the data volume";
                    self.event_log.record(Severity::Warning, text);
                }
                over
            }
        }
    }

    /// When [`CarrierSupervisor::poll`] or [`CarrierSupervisor::is_over`] has something to do, if
    /// nothing happens before.
    pub fn next(&self) -> Option<Instant> {
        match self.child {
            Some(_) => self.deadline,
            None => self.deadline.is_none().then_some(self.start_at),
        }
    }

    /// The descriptors to poll.
    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.child.iter().flat_map(Child::poll_fds)
    }
}
