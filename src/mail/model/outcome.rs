//! The outcome of one target in one attempt.

use super::{Enhanced, Reply, ReplyClass, Target};

/// The outcome of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// 2xx delivered, 4xx deferred, 5xx failed. Local failures (no route, no connection, a timeout)
    /// are given as replies too, with the enhanced code of RFC 3463 §3.5.
    pub reply: Reply,
    /// Whether the reply came from the next hop; otherwise it was made locally.
    pub remote: bool,
}

impl Outcome {
    /// A reply of the next hop.
    pub fn said(reply: Reply) -> Self {
        Self { reply, remote: true }
    }

    /// A local outcome.
    pub fn own(reply: Reply) -> Self {
        Self { reply, remote: false }
    }

    /// The outcome as text for people: the next hop's reply with its codes, or the local text
    /// alone. So a text that begins with a code came from a next hop.
    pub fn words(&self) -> String {
        if self.remote { self.reply.to_string() } else { self.reply.text.to_string() }
    }

    /// What it means for the mail.
    pub fn class(&self) -> ReplyClass {
        self.reply.class()
    }
}

/// The last error of a destination; none at first, and after a delivery. Its text is untrusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastError(Option<Outcome>);

impl LastError {
    /// As [`Outcome::words`]; empty without an error.
    pub fn words(&self) -> String {
        self.0.as_ref().map(Outcome::words).unwrap_or_default()
    }

    /// Its text without codes; empty without an error.
    pub fn text(&self) -> &str {
        self.0.as_ref().map_or("", |outcome| &outcome.reply.text)
    }

    /// Its enhanced status code, where it has one.
    pub fn enhanced(&self) -> Option<Enhanced> {
        self.0.as_ref()?.reply.enhanced
    }
}

impl From<&Outcome> for LastError {
    fn from(outcome: &Outcome) -> Self {
        Self(Some(outcome.clone()))
    }
}

impl From<String> for LastError {
    /// A local text.
    fn from(text: String) -> Self {
        Self(Some(Outcome::own(Reply::plain(451, text))))
    }
}

impl From<&str> for LastError {
    /// A local text.
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

/// The outcomes of one transaction, and the state of the connection.
#[derive(Debug, Clone)]
pub struct TransactionReport {
    /// One outcome for each target of the attempt, in the same order.
    pub outcomes: Vec<(Target, Outcome)>,
    /// The last host, `name[address]:port`; empty when none was reached.
    pub relay: String,
    /// Whether TLS covered the transaction.
    pub tls: bool,
    /// The protocol's version and its cipher suite; empty in plain text.
    pub security: String,
    /// Commands and replies, a line each, if something failed: `>` marks the relay's lines, `<` the
    /// peer's, `*` remarks. Untrusted text of limited length; empty after success.
    pub transcript: String,
    /// Whether the connection can be used for another message.
    pub reusable: bool,
    /// Targets that probably failed because the content is in 8 bits: the next hop may accept it in
    /// 7 bits.
    pub eight_bit_refused: Vec<Target>,
    /// Whether another host may be tried at once for recipients with a temporary outcome (RFC 5321
    /// §5.1). Not if the host may have accepted the content, or if the cause is local.
    pub elsewhere: bool,
    /// The reply by which the next hop rejected this relay, whatever the mail; `None` if it did
    /// not.
    pub refused_session: Option<Outcome>,
    /// The host announced DSN (RFC 3461): what was asked about notifications is its business now.
    pub dsn: bool,
}

impl TransactionReport {
    /// The targets for which another host may be tried at once.
    pub fn retryable_elsewhere(&self) -> Vec<Target> {
        let put_off = self
            .outcomes
            .iter()
            .filter(|(_, outcome)| self.elsewhere && outcome.class() == ReplyClass::Temporary);
        put_off.map(|(target, _)| *target).collect()
    }
}
