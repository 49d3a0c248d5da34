//! The appliance from outside: the real program, started once for each row, tested by its output,
//! files and answers.
//!
//! Run as an ordinary user, everything happens as that user. Run as root, the same tests happen as
//! an ordinary user too, and those about privileges as root.

#![allow(clippy::unwrap_used)] // clippy knows test functions as tests, but not their helpers

mod gateway;
mod hang;
mod later;
mod lifecycle;
mod matrix;
mod netns;
mod privileges;
mod slow_disk;
mod support;
mod words;
