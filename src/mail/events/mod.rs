//! Distributes the events of mails to their consumers.
//!
//! In: [`MailEvent`]s. Out: each to the sinks (history, webhooks, session registry, mail log) and
//! then to the log as a line ([`log`]). Limits: a sink returns at once; an event without a consumer
//! costs almost nothing.

mod command;
mod log;

pub use command::CommandSummary;

use super::model::{MailEvent, MailEventSink};
use std::sync::Arc;

/// The event distributor. Without sinks, events go only to the log.
#[derive(Default)]
pub struct MailEvents {
    sinks: Vec<Arc<dyn MailEventSink>>,
    wants_suspended: bool,
}

impl MailEvents {
    /// Sends events to these sinks, in this order, and then to the log.
    pub fn new(sinks: Vec<Arc<dyn MailEventSink>>) -> Arc<Self> {
        let wants_suspended = sinks.iter().any(|sink| sink.wants_suspended());
        Arc::new(Self { sinks, wants_suspended })
    }

    /// Sends an event.
    pub fn emit(&self, event: MailEvent<'_>) {
        for sink in &self.sinks {
            sink.take(&event);
        }
        log::write(&event);
    }

    /// Whether any sink wants [`MailEvent::Suspended`].
    pub fn wants_suspended(&self) -> bool {
        self.wants_suspended
    }
}
