//! Events of mails and sessions.
//!
//! Purpose: one typed value for each event. Log lines, the mail log, webhooks, the history and the
//! session registry are made of it, none of them from the text of another. In: the code that
//! processes a mail. Out: to each [`MailEventSink`]. Limits: all fields are borrowed; an event
//! without a consumer costs no allocation, and a consumer copies what it keeps. Security: texts of
//! other hosts are untrusted; code that shows them escapes them. Source: RFC 5321 (commands,
//! replies), RFC 3464 (notifications), RFC 3463 (status codes); Postfix's log for the events that
//! an operator looks for.

use super::{
    Address, DeliveryStatus, Destination, Encryption, Enhanced, Message, MessageId, Outcome,
    Principal, Refusal, Reply, ReplyClass, Target, TargetProgress,
};
use std::net::IpAddr;
use std::time::Duration;

/// A fact.
#[derive(Debug, Clone, Copy)]
pub enum MailEvent<'a> {
    /// A client got a session.
    Connected(SessionClient),
    /// Its session is over.
    Disconnected(SessionClient),
    /// A client got no session.
    TurnedAway {
        /// The client.
        client: SessionClient,
        /// The label of `mta_sessions_refused_total`.
        limit: &'static str,
        /// Why, as in the reply.
        reason: &'static str,
        /// The reply to the client, or that there was none.
        reply: &'a str,
        /// How many were turned away so far; `None` if that was logged within the last second.
        count: Option<u64>,
    },
    /// Octets that a client sent after STARTTLS in plain text were dropped (RFC 3207 §4.2).
    PlainTextDropped {
        /// The client.
        client: SessionClient,
        /// How many.
        octets: usize,
    },
    /// A client has logged in.
    LoggedIn {
        /// The client.
        client: SessionClient,
        /// As whom, and how.
        login: Authentication<'a>,
        /// Its TLS parameters; `None` in plain text.
        encryption: Option<Encryption>,
    },
    /// A client has not logged in; [`MailEvent::Rejected`] follows.
    LoginFailed {
        /// The client.
        client: SessionClient,
        /// As whom it wanted to, which is untrusted text and may be empty, and how.
        login: Authentication<'a>,
        /// Why not, for the operator.
        why: &'a str,
    },
    /// A command or content was rejected.
    Rejected(Rejection<'a>),
    /// A message from a client is durable and in the queue.
    Accepted {
        /// The message.
        message: &'a Message,
        /// The client's port; `None` for a mail by HTTP.
        port: Option<u16>,
        /// Octets of its content as received.
        size: u64,
        /// Its TLS parameters; `None` in plain text.
        encryption: Option<Encryption>,
        /// The login of the session, if there is one.
        login: Option<Authentication<'a>>,
    },
    /// A message of another queue is durable in this one.
    Imported {
        /// The message.
        message: &'a Message,
        /// Its id there.
        was: Option<MessageId>,
        /// Octets of its content.
        size: u64,
        /// Whether it is held here.
        held: bool,
    },
    /// A delivery status notification of this relay is durable and in the queue.
    Notified {
        /// The notification.
        notification: &'a Message,
        /// The message that it is about.
        about: MessageId,
        /// Its kind.
        kind: NotificationKind,
        /// Octets of its content.
        size: u64,
    },
    /// A message that was not in memory was read for its next attempt.
    Activated(&'a Message),
    /// A message waits for its destination, which is suspended or paused.
    Suspended {
        /// The message.
        message: &'a Message,
        /// The target concerned.
        target: Target,
        /// Since it was accepted.
        delay: Duration,
        /// The code of the reason, or of a suspension in general.
        status: Enhanced,
        /// The last error of the destination, or a local text.
        reason: &'a str,
    },
    /// A host has deferred recipients, and the next one is tried at once (RFC 5321 §5.1).
    NextHost {
        /// The message.
        message: &'a Message,
        /// The host.
        relay: &'a str,
        /// The outcome of the first of these recipients.
        outcome: &'a Outcome,
        /// Their number.
        recipients: usize,
        /// The next host.
        next: &'a str,
    },
    /// An attempt has ended, and the outcomes of its recipients are recorded.
    Attempted(DeliveryAttempt<'a>),
    /// The next hop took responsibility for a recipient.
    Sent(Delivery<'a>),
    /// A recipient is deferred.
    Deferred(Delivery<'a>),
    /// A recipient failed permanently, by a reply of its next hop or a name server.
    Bounced(Delivery<'a>),
    /// A recipient failed permanently, because the lifetime of the message is over.
    Expired(Delivery<'a>),
    /// A bounce failed: no sender is notified of the mail that it is about.
    Undeliverable {
        /// The bounce.
        message: &'a Message,
        /// The failure.
        outcome: &'a Outcome,
    },
    /// An operator removed a message from the queue.
    Deleted {
        /// The message, with the progress that it had.
        message: &'a Message,
        /// How it was removed.
        deletion: Deletion<'a>,
        /// When, seconds since 1970.
        at: u32,
    },
    /// An operator has sent a finished message once more.
    Resent {
        /// The new message.
        message: MessageId,
        /// The finished one.
        of: MessageId,
        /// How many recipients the new one has.
        recipients: usize,
        /// Who gave the order.
        principal: &'a Principal,
        /// When, seconds since 1970.
        at: u32,
    },
    /// A message is not in the queue any more.
    Removed {
        /// The message.
        id: MessageId,
        /// By an operator, as opposed to the end of its last recipient.
        by_operator: bool,
    },
    /// An operator holds a message.
    Held(MessageId),
    /// An operator released a message that was held.
    Released(MessageId),
}

/// How an operator removed a message from the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion<'a> {
    /// Nowhere.
    Deleted,
    /// Moved to another queue; the mark identifies the move.
    Moved(&'a str),
}

impl Deletion<'_> {
    /// The status of its pending recipients afterwards.
    pub fn status(self) -> DeliveryStatus {
        match self {
            Self::Deleted => DeliveryStatus::Deleted,
            Self::Moved(_) => DeliveryStatus::Moved,
        }
    }
}

/// The kind of a delivery status notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// Recipients failed permanently; to the sender.
    Failed,
    /// Recipients are delayed; to the sender.
    Delayed,
    /// Recipients' mail was passed on to a host without DSN; to the sender.
    Relayed,
    /// A bounce failed; to the operator's address.
    Undeliverable,
}

impl NotificationKind {
    /// The label of `mta_notifications_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Relayed => "relayed",
            Self::Undeliverable => "undeliverable",
        }
    }
}

/// The client of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionClient {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None` for a client of the HTTP API.
    pub port: Option<u16>,
    /// It is untrusted: events that it causes may come in any number.
    pub stranger: bool,
}

/// A login by SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authentication<'a> {
    /// The name of the user.
    pub user: &'a str,
    /// The name of the mechanism.
    pub mechanism: &'static str,
}

/// The client's protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The client sent HELO.
    Smtp,
    /// The client sent EHLO.
    Esmtp,
    /// The mail was submitted by HTTP.
    Http,
}

/// A rejected command or content.
#[derive(Debug, Clone, Copy)]
pub struct Rejection<'a> {
    /// The client.
    pub client: SessionClient,
    /// Its HELO name; by HTTP, its address as a literal.
    pub helo: &'a str,
    /// Its protocol.
    pub protocol: Protocol,
    /// The command, or `END-OF-MESSAGE`, `POST` or `UNKNOWN`.
    pub command: &'static str,
    /// The reverse-path, if it is known and not null.
    pub from: Option<&'a Address>,
    /// The forward-path, where the command is about one.
    pub to: Option<&'a Address>,
    /// The label of `mta_refused_total`.
    pub reason: Refusal,
    /// The reply to the client.
    pub reply: &'a Reply,
    /// This client has reached its limit of log lines: the rejection is counted, and logged in a
    /// summary.
    pub in_sum: bool,
}

/// An attempt to deliver a message to some recipients at one destination.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryAttempt<'a> {
    /// The message.
    pub message: &'a Message,
    /// The destination.
    pub destination: &'a Destination,
    /// The outcome of each target, in their order.
    pub outcomes: &'a [(Target, Outcome)],
    /// The last host, `name[address]:port`; empty when none was reached.
    pub relay: &'a str,
    /// Whether TLS covered the transaction.
    pub tls: bool,
    /// The protocol's version and its cipher suite; empty in plain text.
    pub security: &'a str,
    /// Commands and replies, a line each, where something went wrong.
    pub transcript: &'a str,
    /// When it ended, seconds since 1970.
    pub at: u32,
    /// When deferred recipients are attempted again, seconds since 1970; 0 where there are none.
    pub due: u32,
    /// The parts of the delay.
    pub delays: Delays,
    /// The progress of all targets of the message; `None` where it left the queue meanwhile.
    pub progress: Option<&'a [TargetProgress]>,
    /// Whether no target is pending any more.
    pub over: bool,
}

/// The outcome of one target in an attempt.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The try.
    pub attempt: &'a DeliveryAttempt<'a>,
    /// The target.
    pub target: Target,
    /// Its outcome.
    pub outcome: &'a Outcome,
}

impl<'a> Delivery<'a> {
    /// The event for this outcome; `expired` where the lifetime made it final.
    pub fn event(self, expired: bool) -> MailEvent<'a> {
        match self.outcome.class() {
            ReplyClass::Success => MailEvent::Sent(self),
            ReplyClass::Temporary => MailEvent::Deferred(self),
            ReplyClass::Permanent if expired => MailEvent::Expired(self),
            ReplyClass::Permanent => MailEvent::Bounced(self),
        }
    }

    /// What became of the target.
    pub fn status(&self) -> DeliveryStatus {
        self.outcome.class().into()
    }

    /// The forward-path; `None` for the carbon copy.
    pub fn to(&self) -> Option<&'a Address> {
        self.attempt.message.recipient(self.target)
    }

    /// When the target is attempted again, seconds since 1970.
    pub fn next_attempt_time(&self) -> Option<u32> {
        (self.outcome.class() == ReplyClass::Temporary).then_some(self.attempt.due)
    }
}

/// The parts of a message's delay, up to the end of an attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delays {
    /// Since the message was accepted.
    pub total: Duration,
    /// The try.
    pub attempt: Duration,
    /// The part of the attempt until the connection was open or had failed.
    pub connecting: Duration,
}

impl Delays {
    /// From acceptance to the start of the attempt.
    pub fn queued(&self) -> Duration {
        self.total.saturating_sub(self.attempt)
    }

    /// The part of the attempt with a connection.
    pub fn transmission(&self) -> Duration {
        self.attempt.saturating_sub(self.connecting)
    }
}

/// A consumer of events.
pub trait MailEventSink: Send + Sync {
    /// Takes an event. Returns at once: mail never waits for a consumer.
    fn take(&self, event: &MailEvent<'_>);

    /// Whether [`MailEvent::Suspended`] is wanted, which takes some work to make.
    fn wants_suspended(&self) -> bool {
        false
    }
}

/// Masks the parts of addresses that identify people, as far as the operator wants it.
pub trait AddressMask: Send + Sync {
    /// An address.
    fn address(&self, address: &str) -> String;

    /// A text in which all that looks like an address is masked.
    fn text(&self, text: &str) -> String;
}
