//! The queue and the state of outgoing mail, from their own sources.

pub use postern::mail::{model, schedule};

#[path = "../../src/mail/outbound"]
#[allow(dead_code, reason = "the models use a part of it")]
pub mod outbound {
    pub use postern::mail::outbound::counters;

    mod in_memory_messages;
    pub mod queue_state;
}

#[path = "../../src/mail/spool/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the models use a part of it")]
pub mod spool;
