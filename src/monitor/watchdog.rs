//! What hangs in this process, for those who ask whether it is well.
//!
//! In: what the watchdog notes. Out: the reason for 503. A lock that nobody holds for longer than
//! it takes to copy a line.

use crate::ground::lock::{Guard, Lock};

/// What the watchdog has seen.
pub struct Vitals(Lock<Trouble>);

impl Default for Vitals {
    fn default() -> Self {
        Self(Lock::leaf(Trouble::default()))
    }
}

#[derive(Debug, Default)]
struct Trouble {
    late: Option<String>,
    slow: Option<String>,
    control: Option<String>,
}

impl Vitals {
    /// Notes which part hangs, and what the disk does not do, each in words; `None` = all is well.
    pub fn note(&self, late: Option<String>, slow: Option<String>) {
        let mut trouble = self.lock();
        (trouble.late, trouble.slow) = (late, slow);
    }

    /// The part that hangs.
    pub fn late(&self) -> Option<String> {
        self.lock().late.clone()
    }

    /// What the disk does not do.
    pub fn slow(&self) -> Option<String> {
        self.lock().slow.clone()
    }

    /// Notes why there is no control socket; `None` = there is one.
    pub fn note_control(&self, cause: Option<String>) {
        self.lock().control = cause;
    }

    /// Why there is no control socket.
    pub fn control(&self) -> Option<String> {
        self.lock().control.clone()
    }

    fn lock(&self) -> Guard<'_, Trouble> {
        self.0.lock()
    }
}
