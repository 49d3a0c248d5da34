//! The locks, threads and clock of what is model-checked: here those of the standard library.
//!
//! Purpose: code that takes them from here is compiled once more in `tests/model` and in
//! `tests/crash`, where a module of this name holds those of a model checker, and those of a world
//! without chance. So what is checked is the very code that runs, and what runs knows nothing of
//! it.

pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
pub use std::thread;
pub use std::thread_local;
pub use std::time::Instant;
