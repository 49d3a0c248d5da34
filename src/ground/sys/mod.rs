//! System calls that need `unsafe`; the only place in this project that uses it.
//!
//! Each `unsafe` block is inside a safe function and has a comment why it is sound.

#![allow(unsafe_code)] // this is the place

mod fork;
mod inherit;
mod memory;
mod spawn;
mod stacks;

pub use fork::fork_with_pipe;
pub use inherit::inherited;
pub use memory::{Allocator, give_back_in_background, give_back_program};
pub use spawn::{Jail, STATUS_FD, spawn};
pub use stacks::{Stack, stacks, words_of_stack};
