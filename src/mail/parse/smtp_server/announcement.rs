//! The reply to EHLO: what this session has to offer (RFC 5321 §4.1.1.1).
//!
//! In: the state of the session. Out: its keywords. Limits: none of its own; it announces those
//! that the session keeps to. Security: what is not announced is not accepted, and the other way
//! round.

use super::{Dialogue, SessionLimits, TlsState, XclientOverride, XclientState, write_reply};
use crate::mail::model::Reply;

impl Dialogue<'_> {
    /// Writes the reply to EHLO (`extended`) or HELO.
    pub(super) fn write_hello(&self, extended: bool, out: &mut Vec<u8>) {
        let SessionLimits { hostname, size_limit, .. } = self.rules;
        if !extended {
            return write_reply(out, &Reply::plain(250, hostname.clone()));
        }
        let auth = match &self.auth {
            Some(auth) if self.may_authenticate() && !auth.mechanisms.is_empty() => {
                let names: Vec<_> = auth.mechanisms.iter().map(|one| one.name()).collect();
                format!("250-AUTH {}\r\n", names.join(" "))
            }
            _ => String::new(),
        };
        let start_tls = if self.tls == TlsState::Offered { "250-STARTTLS\r\n" } else { "" };
        let dsn = if self.rules.dsn { "250-DSN\r\n" } else { "" };
        let chunking = if self.rules.chunking { "250-CHUNKING\r\n" } else { "" };
        let xclient = if self.xclient == XclientState::Offered {
            format!("250-XCLIENT {}\r\n", XclientOverride::ATTRIBUTES.join(" "))
        } else {
            String::new()
        };
        let limits = self.limits();
        let lines = format!(
            "250-{hostname}\r\n250-PIPELINING\r\n250-SIZE \
            {size_limit}\r\n{start_tls}{auth}250-8BITMIME\r\n{chunking}{dsn}{limits}{xclient}\
            250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n"
        );
        out.extend_from_slice(lines.as_bytes());
    }

    /// What is enforced in this session from here on, as RFC 9422 §4 announces it.
    fn limits(&self) -> String {
        let limit = |name: &str, number: usize| match number {
            // One to six digits, and not 0.
            1..=999_999 => format!(" {name}={number}"),
            _ => String::new(),
        };
        let mails = limit("MAILMAX", self.rules.mails_limit.saturating_sub(self.mails));
        let recipients = limit("RCPTMAX", self.rules.recipients_max());
        match (mails, recipients) {
            (mails, recipients) if mails.is_empty() && recipients.is_empty() => String::new(),
            (mails, recipients) => format!("250-LIMITS{mails}{recipients}\r\n"),
        }
    }
}
