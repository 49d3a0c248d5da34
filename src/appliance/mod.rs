//! The words of the box, as 3Tera used them; nothing here knows what a mail is.

pub mod class;
pub mod counter;
pub mod event;
pub mod failure;
pub mod lines;
pub mod mount;
pub mod mounts;
pub mod places;
pub mod preflight;
pub mod property;
pub mod resources;
pub mod supervise;
pub mod terminal;
pub mod volume;
