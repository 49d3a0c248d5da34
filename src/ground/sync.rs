//! The locks and threads of what is model-checked: here those of the standard library.
//!
//! Purpose: code that takes them from here is compiled a second time in `tests/model`, where a module of this name holds those
//! of a model checker. So what is checked is the very code that runs, and what runs knows nothing of a checker.

pub use std::sync::atomic;
pub use std::sync::{Condvar, Mutex, MutexGuard};
pub use std::thread;
