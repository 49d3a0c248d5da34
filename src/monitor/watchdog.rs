//! What hangs in this process, for health checks.
//!
//! In: the watchdog's findings. Out: the reason for 503. The lock is held only to copy a line.

use crate::ground::lock::{Guard, Lock};

/// The watchdog's findings.
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
    /// Records which part hangs, and what the disk does not do, each as text; `None` = nothing.
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

    /// Records why there is no control socket; `None` = there is one.
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
