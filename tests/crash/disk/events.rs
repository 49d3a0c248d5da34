//! Counts the events on the simulated disk and in its queue.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// How often each event happened; clones count together. With `POSTERN_CRASH_TRACE` in the
/// environment all of it is printed in order.
#[derive(Clone)]
pub struct Events(Arc<Mutex<BTreeMap<&'static str, u64>>>, bool);

impl Default for Events {
    fn default() -> Self {
        Self(Arc::default(), std::env::var_os("POSTERN_CRASH_TRACE").is_some())
    }
}

impl Events {
    /// It happened once more.
    pub fn count(&self, what: &'static str) {
        *self.lock().entry(what).or_default() += 1;
        self.tell(|| what.to_owned());
    }

    /// A step that is not counted.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.1 {
            eprintln!("    {}", what());
        }
    }

    /// All counts.
    pub fn all(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
