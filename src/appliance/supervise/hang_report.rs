//! The end of a core that hangs: first it is asked where it hangs.
//!
//! In: the stacks that the core reports, or the state of its threads in `/proc`. Out: lines in the
//! appliance log. Function names are looked up by a child process, which may be slow: the
//! supervisor does not wait for it, so that signals are handled meanwhile, and a core that recovers
//! is not ended. Limits: the core has [`PATIENCE`] to report; a stack has [`WORDS_MAX`] characters;
//! threads at the same place share a line.

use super::watchdog::ProcessSample;
use super::worker_process::WorkerProcess;
use crate::appliance::event::{EventLog, Severity};
use crate::ground::sys::{Stack, words_of_stack};
use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a core may take to report its threads' stacks.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the lookup of function names may take.
const NAMES_PATIENCE: Duration = Duration::from_secs(20);

/// Characters of a stack, at most.
const WORDS_MAX: usize = 3000;

/// Stacks that are kept, at most.
const STACKS_MAX: usize = 256;

/// The end of a core that hangs.
#[derive(Debug)]
pub(super) struct CoreTermination {
    stage: Stage,
    stacks: Vec<Stack>,
}

#[derive(Debug)]
enum Stage {
    /// The core was asked for its stacks; it is not waited for beyond this time.
    Asked(Instant),
    /// The functions at these addresses are being looked up.
    Named(WorkerProcess<Vec<String>>, Alike),
    /// Everything is logged.
    Told,
}

/// Addresses on stacks, each with its threads.
type Alike = BTreeMap<String, Vec<String>>;

impl CoreTermination {
    /// Asks a core that can answer for its stacks.
    pub(super) fn begin(can_answer: bool, now: Instant) -> Self {
        Self {
            stage: Stage::Asked(if can_answer { now + PATIENCE } else { now }),
            stacks: Vec::new(),
        }
    }

    /// The stack of one thread was reported.
    pub(super) fn take(&mut self, stack: Stack) {
        if self.stacks.len() < STACKS_MAX {
            self.stacks.push(stack);
        }
    }

    /// All are.
    pub(super) fn complete(&mut self) {
        if let Stage::Asked(at) = &mut self.stage {
            *at = (*at).min(Instant::now());
        }
    }

    /// When [`CoreTermination::poll`] has something to do, if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Asked(at) => Some(*at),
            Stage::Named(worker, _) => Some(worker.deadline()),
            Stage::Told => None,
        }
    }

    /// The descriptor to poll.
    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        let Stage::Named(worker, _) = &self.stage else { return None };
        Some(PollFd::new(worker.as_fd(), PollFlags::POLLIN))
    }

    /// Continues without waiting. `true`, once: everything that is known was logged.
    pub(super) fn poll(&mut self, event_log: &EventLog, pid: Pid, now: Instant) -> bool {
        match &mut self.stage {
            Stage::Asked(at) if now >= *at => self.look_up(event_log, pid),
            Stage::Named(worker, alike) => {
                let Some(named) = worker.look() else { return false };
                let alike = std::mem::take(alike);
                tell(event_log, &alike, named.unwrap_or_else(|_| alike.keys().cloned().collect()));
                self.stage = Stage::Told;
                true
            }
            Stage::Asked(_) | Stage::Told => false,
        }
    }

    /// Starts the lookup of the functions on the stacks. `true`: there is nothing to look up.
    fn look_up(&mut self, event_log: &EventLog, pid: Pid) -> bool {
        let mut alike = Alike::new();
        for stack in
            std::mem::take(&mut self.stacks).into_iter().filter(|stack| !stack.places.is_empty())
        {
            alike
                .entry(stack.places)
                .or_default()
                .push(format!("{} ({})", stack.name, stack.thread));
        }
        let look = ProcessSample::at(pid);
        let all = look.threads.join("; ");
        event_log.record(Severity::Error, format!("the threads of the SMTP core: {all}"));
        let places: Vec<String> = alike.keys().cloned().collect();
        let naming = WorkerProcess::begin(NAMES_PATIENCE, || {
            places.iter().map(|places| words_of_stack(places)).collect()
        });
        match naming {
            Ok(worker) if !alike.is_empty() => self.stage = Stage::Named(worker, alike),
            Ok(_) | Err(_) => {
                tell(event_log, &alike, places);
                self.stage = Stage::Told;
                return true;
            }
        }
        false
    }
}

/// Logs each stack with the names of its functions; without names the addresses are still useful
/// with the same program.
fn tell(event_log: &EventLog, alike: &Alike, names: Vec<String>) {
    for (threads, mut stack) in alike.values().zip(names) {
        stack.truncate(stack.floor_char_boundary(WORDS_MAX));
        event_log.record(Severity::Error, format!("stack of {}: {stack}", threads.join(", ")));
    }
}
