//! The locks, threads and clock of what is model-checked: here those of the standard library.
//!
//! Purpose: code that takes them from here is compiled again in `tests/model` and in `tests/crash`,
//! where a module of this name has those of a model checker, or deterministic ones. So the tests
//! check the same code that runs in production.

pub use std::sync::{Condvar, Mutex, MutexGuard, atomic};
pub use std::thread;
pub use std::thread_local;
pub use std::time::Instant;
