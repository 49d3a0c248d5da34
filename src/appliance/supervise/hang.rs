//! A core that hangs, on its way out: its last service is to tell where it hangs.
//!
//! In: the stacks that the core tells, or what `/proc` says of its threads. Out: lines in the
//! appliance log. Names are looked up by a copy of this process, which may take its time.
//! Limits: the core has [`PATIENCE`] to tell; a stack has [`WORDS_MAX`] characters; threads that are
//! at the same place share a line.

use super::errand;
use super::signals::Signals;
use super::watchdog::Look;
use crate::appliance::event::{Journal, Severity};
use crate::ground::sys::{Stack, words_of_stack};
use nix::unistd::Pid;
use std::collections::BTreeMap;
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
    /// When it is ended, whatever it has told; `None` = that was done.
    at: Option<Instant>,
    stacks: Vec<Stack>,
}

impl Ending {
    /// A core that can answer has been asked where it is.
    pub(super) fn begin(can_answer: bool, now: Instant) -> Self {
        Self { at: Some(if can_answer { now + PATIENCE } else { now }), stacks: Vec::new() }
    }

    /// One thread is told.
    pub(super) fn take(&mut self, stack: Stack) {
        if self.stacks.len() < STACKS_MAX {
            self.stacks.push(stack);
        }
    }

    /// All are.
    pub(super) fn complete(&mut self) {
        self.at = self.at.map(|at| at.min(Instant::now()));
    }

    /// When [`Ending::is_due`] has another answer.
    pub(super) fn next(&self) -> Option<Instant> {
        self.at
    }

    /// Whether it is time, once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.at.take_if(|at| now >= *at).is_some()
    }

    /// Tells what is known.
    pub(super) fn tell(&mut self, journal: &Journal, signals: &Signals, pid: Pid) {
        let mut alike: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for stack in std::mem::take(&mut self.stacks).into_iter().filter(|stack| !stack.places.is_empty()) {
            alike.entry(stack.places).or_default().push(format!("{} ({})", stack.name, stack.thread));
        }
        let look = Look::at(pid);
        let all = look.threads.join("; ");
        journal.record(Severity::Error, format!("the threads of the SMTP core: {all}"));
        let places: Vec<String> = alike.keys().cloned().collect();
        let names =
            errand::run(NAMES_PATIENCE, signals, || places.iter().map(|places| words_of_stack(places)).collect::<Vec<_>>());
        // Without names the places still tell something to whoever has the same program.
        let names = names.unwrap_or(places);
        for (threads, mut stack) in alike.values().zip(names) {
            stack.truncate(stack.floor_char_boundary(WORDS_MAX));
            journal.record(Severity::Error, format!("stack of {}: {stack}", threads.join(", ")));
        }
    }
}
