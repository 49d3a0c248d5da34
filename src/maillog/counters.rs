//! Counters of the mail log's lines on their way to terminal `log`.

use crate::appliance::counter::{Counter, Gauge};

crate::counters! {
    /// Counters of the mail log's lines on their way to terminal `log`.
    pub struct MailLogCounters {
        maillog_dropped_lines_total: Counter =
            "Lines of the mail log dropped because the buffer for the share was full";
        maillog_buffer_bytes: Gauge = "Octets of the mail log buffered for the share";
        maillog_failing: Gauge = "1 while the log share accepts no lines, else 0";
    }
}

impl MailLogCounters {
    /// Octets that wait for the share.
    pub fn waiting(&self) -> u64 {
        u64::try_from(self.maillog_buffer_bytes.get()).unwrap_or_default()
    }
}
