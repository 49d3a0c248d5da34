//! The parts of an appliance as in 3Tera AppLogic; nothing here knows about mail.

pub mod class;
pub mod counter;
pub mod event;
pub mod failure;
pub mod mount;
pub mod mounted_directories;
pub mod mounts;
pub mod preflight;
pub mod property;
pub mod resources;
pub mod start_errors;
pub mod supervise;
pub mod terminal;
pub mod volume;
