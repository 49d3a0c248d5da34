//! The mail log: events of mails, as lines in a file of terminal `log`.
//!
//! In: events of mails (as a [`MailEventSink`]), and everything else that the log shows (as a
//! [`LogSubscriber`]). Out: lines in Postfix's format ([`PostfixFormat`]), which wait on the data
//! volume ([`Buffer`]) until a separate process ([`Carrier`]) has copied them to the share. So a
//! file server that is slow, full, dead or not reachable blocks only that process. Limits: lines
//! wait in memory as in [`crate::ground::log`], then on the data volume within [`Buffer`]'s limits.
//! Lines without space are dropped and counted in `mta_maillog_dropped_lines_total`, and a line in
//! their place says so; lines caused by untrusted clients are dropped when half of the space is in
//! use, and beyond their [`LogQuota`] of each minute.

mod buffer;
pub mod counters;
mod message_id;
mod postfix_format;
mod segment;
mod share_file;
mod share_writer;

use crate::ground::log::{EventFields, LogQuota, LogSubscriber, LogWriter};
use crate::mail::model::{MailEvent, MailEventSink};
use crate::maillog::counters::MailLogCounters;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::Level;

pub use buffer::Buffer;
pub use postfix_format::{LINE_MAX, PostfixFormat};
pub use segment::create_directory;
pub use share_writer::{Carrier, CarryError, CarryResult};

/// The directory of the lines that wait, on the data volume.
pub const DIRECTORY: &str = "maillog";

/// How long the end of the program waits for the last lines to be written.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// Makes lines of events. Before [`MailLog::open`] they wait in memory.
pub struct MailLog {
    shape: Arc<PostfixFormat>,
    writer: Arc<LogWriter>,
    strangers: LogQuota,
    scarce: Arc<AtomicBool>,
}

/// When dropped, writes what waits in memory to the data volume.
#[must_use = "dropping it ends the mail log"]
pub struct MailLogGuard(Arc<LogWriter>);

impl MailLog {
    /// `syslog_name` and `hostname` are in each line.
    pub fn new(syslog_name: &str, hostname: &str) -> Arc<Self> {
        Arc::new(Self {
            shape: Arc::new(PostfixFormat::new(syslog_name, hostname)),
            writer: LogWriter::new(),
            strangers: LogQuota::new(),
            scarce: Arc::default(),
        })
    }

    /// From now on lines go to a directory on the data volume, which only this process uses; at
    /// most `limit` octets.
    pub fn open(
        &self,
        data_volume: &Path,
        limit: u64,
        counters: Arc<MailLogCounters>,
    ) -> MailLogGuard {
        let buffer = Buffer::new(
            data_volume.join(DIRECTORY),
            limit,
            self.shape.clone(),
            counters,
            self.scarce.clone(),
        );
        self.writer.serve("maillog", buffer);
        MailLogGuard(self.writer.clone())
    }
}

impl Drop for MailLogGuard {
    fn drop(&mut self) {
        self.0.close(FAREWELL_PATIENCE);
    }
}

impl MailLog {
    /// Passes lines on; `stranger` means that an untrusted client can cause them in any number.
    fn write(&self, lines: &str, stranger: bool) {
        if lines.is_empty() {
            return;
        }
        if !stranger {
            return self.writer.push(lines);
        }
        if self.scarce.load(Ordering::Relaxed)
            || self.strangers.takes(lines) && !self.writer.push_if_half_empty(lines)
        {
            LogQuota::leave_out(lines);
        }
    }
}

impl MailEventSink for MailLog {
    fn take(&self, event: &MailEvent<'_>) {
        let client = match event {
            MailEvent::Connected(client)
            | MailEvent::Disconnected(client)
            | MailEvent::TurnedAway { client, .. } => Some(client),
            MailEvent::Rejected(rejection) => Some(&rejection.client),
            _ => None,
        };
        let stranger = client.is_some_and(|client| client.stranger);
        self.write(&self.shape.lines(event), stranger);
    }

    fn wants_suspended(&self) -> bool {
        true
    }
}

impl LogSubscriber for MailLog {
    fn event(&self, level: Level, said: &EventFields) {
        self.write(&self.shape.other(level, said), said.stranger);
    }
}
