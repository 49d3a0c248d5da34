//! A core that hangs, on its way out: its last service is to tell where it hangs.
//!
//! In: the stacks that the core tells, or what `/proc` says of its threads. Out: lines in the
//! appliance log. Names are looked up by a copy of this process, which may take its time: nobody
//! waits for it, so that signals are heard meanwhile, and a core that comes back is left alive.
//! Limits: the core has [`PATIENCE`] to tell; a stack has [`WORDS_MAX`] characters; threads that
//! are at the same place share a line.

use super::watchdog::Look;
use super::worker_process::WorkerProcess;
use crate::appliance::event::{EventLog, Severity};
use crate::ground::sys::{Stack, words_of_stack};
use nix::poll::{PollFd, PollFlags};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// How long a core may take to tell where its threads are.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the names of functions may take.
const NAMES_PATIENCE: Duration = Duration::from_secs(20);

/// Characters of a stack.
const WORDS_MAX: usize = 3000;

/// Stacks that are kept.
const STACKS_MAX: usize = 256;

/// The end of a core that hangs.
#[derive(Debug)]
pub(super) struct Ending {
    stage: Stage,
    stacks: Vec<Stack>,
}

#[derive(Debug)]
enum Stage {
    /// The core is asked where its threads are; it is not waited for beyond this moment.
    Asked(Instant),
    /// The functions at these places are looked up.
    Named(WorkerProcess<Vec<String>>, Alike),
    /// All is told.
    Told,
}

/// Places on stacks, each with the threads that are there.
type Alike = BTreeMap<String, Vec<String>>;

impl Ending {
    /// A core that can answer has been asked where it is.
    pub(super) fn begin(can_answer: bool, now: Instant) -> Self {
        Self {
            stage: Stage::Asked(if can_answer { now + PATIENCE } else { now }),
            stacks: Vec::new(),
        }
    }

    /// One thread is told.
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

    /// When [`Ending::turn`] has something to do, if nothing happens before.
    pub(super) fn next(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Asked(at) => Some(*at),
            Stage::Named(worker, _) => Some(worker.deadline()),
            Stage::Told => None,
        }
    }

    /// What to poll.
    pub(super) fn poll_fd(&self) -> Option<PollFd<'_>> {
        let Stage::Named(worker, _) = &self.stage else { return None };
        Some(PollFd::new(worker.as_fd(), PollFlags::POLLIN))
    }

    /// Goes on without waiting. `true`, once: all that is known was told.
    pub(super) fn turn(&mut self, event_log: &EventLog, pid: Pid, now: Instant) -> bool {
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

    /// Tells of the threads, and has the functions on their stacks looked up. `true`: there is
    /// nothing to look up.
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
        let look = Look::at(pid);
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

/// Tells each stack, by the names of its functions; without them the places still tell something to
/// whoever has the same program.
fn tell(event_log: &EventLog, alike: &Alike, names: Vec<String>) {
    for (threads, mut stack) in alike.values().zip(names) {
        stack.truncate(stack.floor_char_boundary(WORDS_MAX));
        event_log.record(Severity::Error, format!("stack of {}: {stack}", threads.join(", ")));
    }
}
