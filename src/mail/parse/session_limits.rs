//! The limits of an SMTP session that the protocol shows: replies, and what EHLO announces.

use crate::mail::model::Envelope;

/// Limits of a session.
#[derive(Debug, Clone)]
pub struct SessionLimits {
    /// The relay's own name in greetings.
    pub hostname: String,
    /// The largest content in octets; EHLO announces it.
    pub size_limit: u64,
    /// Recipients of one mail, at most; not above [`Envelope::RECIPIENTS_MAX`].
    pub recipients_limit: usize,
    /// Permanent error replies before the session ends; an accepted mail resets the count.
    pub errors_limit: usize,
    /// Mails of one session.
    pub mails_limit: usize,
    /// Commands in a row that do not lead to a mail (EHLO, NOOP, RSET, VRFY, HELP).
    pub idle_commands_limit: usize,
    /// Whether BDAT is offered.
    pub chunking: bool,
    /// Whether DSN is offered.
    pub dsn: bool,
}

impl SessionLimits {
    /// The default limits.
    pub fn new(hostname: impl Into<String>, size_limit: u64) -> Self {
        Self {
            hostname: hostname.into(),
            size_limit,
            recipients_limit: Envelope::RECIPIENTS_MAX,
            errors_limit: 20,
            mails_limit: 100_000,
            idle_commands_limit: 1000,
            chunking: true,
            dsn: true,
        }
    }

    /// Recipients of one mail that are accepted.
    pub(super) fn recipients_max(&self) -> usize {
        self.recipients_limit.min(Envelope::RECIPIENTS_MAX)
    }

    /// The same for a server without BDAT and DSN.
    pub fn for_trials(hostname: impl Into<String>, size_limit: u64) -> Self {
        Self { chunking: false, dsn: false, ..Self::new(hostname, size_limit) }
    }
}
