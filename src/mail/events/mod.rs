//! Every fact about a mail, on its way to those who make something of it.
//!
//! In: [`MailEvent`]s from the corridor and the rooms. Out: each to the sinks (history, webhooks,
//! session registry, mail log) and then to the log as a line ([`log`]).
//! Limits: a sink returns at once; an event that nobody wants costs a look at its variant.

mod command;
mod log;

pub use command::CommandSummary;

use super::model::{MailEvent, MailEventSink};
use std::sync::Arc;

/// Where facts are told. Without sinks, to the log alone.
#[derive(Default)]
pub struct Events {
    sinks: Vec<Arc<dyn MailEventSink>>,
    wants_suspended: bool,
}

impl Events {
    /// To these sinks, in this order, and then to the log.
    pub fn new(sinks: Vec<Arc<dyn MailEventSink>>) -> Arc<Self> {
        let wants_suspended = sinks.iter().any(|sink| sink.wants_suspended());
        Arc::new(Self { sinks, wants_suspended })
    }

    /// Something has happened.
    pub fn emit(&self, event: MailEvent<'_>) {
        for sink in &self.sinks {
            sink.take(&event);
        }
        log::write(&event);
    }

    /// Whether anybody wants [`MailEvent::Suspended`].
    pub fn wants_suspended(&self) -> bool {
        self.wants_suspended
    }
}
