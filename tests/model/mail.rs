//! The queue, from its own sources.

pub use postern::mail::model;

#[path = "../../src/mail/spool/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the models use a part of it")]
pub mod spool;
