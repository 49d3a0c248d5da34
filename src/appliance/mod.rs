//! The parts of an appliance as in 3Tera AppLogic; nothing here knows about mail.

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
