//! What became of a recipient, for those who want to be told at once.

use super::Class;

/// A try of one recipient has ended. All texts are hostile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryEvent {
    /// The message.
    pub id: String,
    /// When, seconds since 1970.
    pub at: u32,
    /// How: delivered, deferred or bounced.
    pub class: Class,
    /// The reverse-path; empty = the null one.
    pub sender: String,
    /// The forward-path.
    pub to: String,
    /// The destination that the way to this recipient leads to.
    pub destination: String,
    /// The host, `name[address]:port`; empty when none was reached.
    pub relay: String,
    /// What was said.
    pub reply: String,
    /// When it is tried again, seconds since 1970.
    pub next_try: Option<u32>,
}

/// Who carries notices out of the house.
pub trait DeliveryEventSink: Send + Sync {
    /// Whether notices of this class are wanted at all: who makes them may spare the work.
    fn wants(&self, class: Class) -> bool;

    /// Takes a notice. Returns at once: mail never waits for its news.
    fn tell(&self, notice: DeliveryEvent);
}
