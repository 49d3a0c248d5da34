//! How far a long work is.

use std::io::Write;
use std::time::{Duration, Instant};

/// How often a long work says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Says from time to time how far a long work is, for whoever waits and for whoever reads the log
/// of a job.
pub(super) struct Progress<'a> {
    to: &'a mut dyn Write,
    told: Instant,
}

impl<'a> Progress<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, told: Instant::now() }
    }

    pub(super) fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            // Nobody reads it: the work goes on.
            let _ = writeln!(self.to, "postern queue: {}", words());
        }
    }
}
