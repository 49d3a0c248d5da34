//! The progress of long work.

use std::io::Write;
use std::time::{Duration, Instant};

/// How often progress is printed.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Prints the progress of long work from time to time, for a user who waits and for the log of a
/// job.
pub(super) struct ProgressReporter<'a> {
    to: &'a mut dyn Write,
    told: Instant,
}

impl<'a> ProgressReporter<'a> {
    pub(super) fn new(to: &'a mut dyn Write) -> Self {
        Self { to, told: Instant::now() }
    }

    pub(super) fn tell(&mut self, words: impl FnOnce() -> String) {
        if self.told.elapsed() >= TELL_EVERY {
            self.told = Instant::now();
            // Without a reader the work continues.
            let _ = writeln!(self.to, "postern queue: {}", words());
        }
    }
}
