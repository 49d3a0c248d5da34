//! Facts about mails and sessions, at the moment at which they happen.
//!
//! Purpose: one typed value for each fact. Log lines, the mail log, webhooks, the history and the
//! session registry are made of it, none of them from the text of another.
//! In: whoever walks a mail. Out: to each [`MailEventSink`].
//! Limits: all is borrowed; an event that nobody wants costs no allocation, and who keeps one
//! copies what is needed.
//! Security: texts are as the other host wrote them; whoever shows them escapes them.
//! Source: RFC 5321 (commands, replies), RFC 3464 (notifications), RFC 3463 (status codes); the
//! daemons of Postfix for which facts an operator looks for.

use super::{
    Address, Class, Encryption, Enhanced, Message, MessageId, Outcome, Progress, Refusal, Reply,
    Target,
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
        /// Who came.
        client: SessionClient,
        /// The label of `mta_sessions_refused_total`.
        limit: &'static str,
        /// Why, in the words of the reply.
        reason: &'static str,
        /// What the client was told, or that it was not.
        reply: &'a str,
        /// How many were turned away so far; `None` where that was told within the last second.
        count: Option<u64>,
    },
    /// Octets that a client sent behind STARTTLS in plain text were dropped (RFC 3207 §4.2).
    PlainTextDropped {
        /// Who sent them.
        client: SessionClient,
        /// How many.
        octets: usize,
    },
    /// A command or a content was rejected.
    Rejected(Rejection<'a>),
    /// A message from a client is durable and in the queue.
    Accepted {
        /// The message.
        message: &'a Message,
        /// The client's port; `None` for a mail by HTTP.
        port: Option<u16>,
        /// Octets of its content as it came.
        size: u64,
        /// How it came; `None` in plain text.
        encryption: Option<Encryption>,
    },
    /// A message of another queue is durable and in this one.
    Imported {
        /// The message.
        message: &'a Message,
        /// What it was called there.
        was: Option<MessageId>,
        /// Octets of its content.
        size: u64,
        /// Whether it is held here.
        held: bool,
    },
    /// A delivery status notification of our own is durable and in the queue.
    Notified {
        /// The notification.
        notification: &'a Message,
        /// The message that it is about.
        about: MessageId,
        /// What it tells.
        kind: NotificationKind,
        /// Octets of its content.
        size: u64,
    },
    /// A message that was not in memory was read for its next try.
    Activated(&'a Message),
    /// A message waits for its destination, to which nothing goes at the moment.
    Suspended {
        /// The message.
        message: &'a Message,
        /// Which of its targets.
        target: Target,
        /// Since it was accepted.
        delay: Duration,
        /// For a reason that has no code of its own.
        status: Enhanced,
        /// What the destination said last, or our own words.
        reason: &'a str,
    },
    /// A host has put recipients off, and the next one is asked at once (RFC 5321 §5.1).
    NextHost {
        /// The message.
        message: &'a Message,
        /// The host.
        relay: &'a str,
        /// What became of the first of these recipients.
        outcome: &'a Outcome,
        /// How many they are.
        recipients: usize,
        /// The host that is asked now.
        next: &'a str,
    },
    /// A try is over, and what became of its recipients is recorded.
    Attempted(DeliveryAttempt<'a>),
    /// The next hop took responsibility for a recipient.
    Sent(Delivery<'a>),
    /// A recipient is tried again later.
    Deferred(Delivery<'a>),
    /// A recipient failed for good, by what its next hop or a name server says.
    Bounced(Delivery<'a>),
    /// A recipient failed for good, because the lifetime of the message is over.
    Expired(Delivery<'a>),
    /// A bounce failed: nobody hears of the mail that it is about.
    Undeliverable {
        /// The bounce.
        message: &'a Message,
        /// How it failed.
        outcome: &'a Outcome,
    },
    /// An operator took a message out of the queue.
    Deleted {
        /// The message, with the progress that it had.
        message: &'a Message,
        /// Where it went.
        deletion: Deletion<'a>,
        /// When, seconds since 1970.
        at: u32,
    },
    /// A message is not in the queue any more.
    Removed {
        /// The message.
        id: MessageId,
        /// By an operator's order, as opposed to the end of its last recipient.
        by_operator: bool,
    },
    /// An operator holds a message back.
    Held(MessageId),
    /// An operator released a message that was held.
    Released(MessageId),
}

/// Where a message went that an operator took out of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion<'a> {
    /// Nowhere.
    Deleted,
    /// Into another queue; the mark is what the move knows it again by.
    Moved(&'a str),
}

/// What a delivery status notification tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationKind {
    /// Recipients failed for good; to the sender.
    Failed,
    /// Recipients are late; to the sender.
    Delayed,
    /// A bounce failed; to the operator's address.
    Undeliverable,
}

impl NotificationKind {
    /// The label of `mta_notifications_total`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Undeliverable => "undeliverable",
        }
    }
}

/// Who brings mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionClient {
    /// Its address.
    pub address: IpAddr,
    /// Its port; `None` for a program that speaks HTTP.
    pub port: Option<u16>,
    /// It is none of ours: what it causes it can cause as often as it likes.
    pub stranger: bool,
}

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// It said HELO.
    Smtp,
    /// It said EHLO.
    Esmtp,
    /// It handed the mail in by HTTP.
    Http,
}

/// Who asked for what and did not get it.
#[derive(Debug, Clone, Copy)]
pub struct Rejection<'a> {
    /// The client.
    pub client: SessionClient,
    /// What it calls itself; by HTTP, its address as a literal.
    pub helo: &'a str,
    /// What it speaks.
    pub protocol: Protocol,
    /// The command, or `END-OF-MESSAGE`, `POST` or `UNKNOWN`.
    pub command: &'static str,
    /// The reverse-path, where one is known that is not null.
    pub from: Option<&'a Address>,
    /// The forward-path, where the command is about one.
    pub to: Option<&'a Address>,
    /// The label of `mta_refused_total`.
    pub reason: Refusal,
    /// What the client was told.
    pub reply: &'a Reply,
    /// This client has had its lines for now: it is counted, and told in a sum.
    pub in_sum: bool,
}

/// A try of some recipients of a message at one destination.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryAttempt<'a> {
    /// The message.
    pub message: &'a Message,
    /// The destination.
    pub destination: &'a str,
    /// What became of each target, in their order.
    pub outcomes: &'a [(Target, Outcome)],
    /// The host that was spoken to last, `name[address]:port`; empty when none was reached.
    pub relay: &'a str,
    /// Whether TLS covered the transaction.
    pub tls: bool,
    /// The protocol's version and its cipher suite; empty in plain text.
    pub security: &'a str,
    /// Commands and replies, a line each, where something went wrong.
    pub transcript: &'a str,
    /// When it ended, seconds since 1970.
    pub at: u32,
    /// When those that were deferred are tried again, seconds since 1970; 0 where none was.
    pub due: u32,
    /// Where the time went.
    pub delays: Delays,
    /// Where all targets of the message stand now; `None` where it left the queue meanwhile.
    pub progress: Option<&'a [Progress]>,
    /// Whether no target is pending any more.
    pub over: bool,
}

/// What became of one target in a try.
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
    /// The fact that this outcome is; `expired` where the lifetime made it final.
    pub fn event(self, expired: bool) -> MailEvent<'a> {
        match self.outcome.class() {
            Class::Success => MailEvent::Sent(self),
            Class::Temporary => MailEvent::Deferred(self),
            Class::Permanent if expired => MailEvent::Expired(self),
            Class::Permanent => MailEvent::Bounced(self),
        }
    }

    /// The forward-path; `None` for the carbon copy.
    pub fn to(&self) -> Option<&'a Address> {
        self.attempt.message.recipient(self.target)
    }

    /// When the target is tried again, seconds since 1970.
    pub fn next_try(&self) -> Option<u32> {
        (self.outcome.class() == Class::Temporary).then_some(self.attempt.due)
    }
}

/// Where the time of a message went, up to the end of a try.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delays {
    /// Since the message was accepted.
    pub total: Duration,
    /// The try.
    pub attempt: Duration,
    /// The part of the try until there was a connection or none to be had.
    pub connecting: Duration,
}

impl Delays {
    /// From the acceptance to the start of the try.
    pub fn queued(&self) -> Duration {
        self.total.saturating_sub(self.attempt)
    }

    /// The part of the try with a connection.
    pub fn transmission(&self) -> Duration {
        self.attempt.saturating_sub(self.connecting)
    }
}

/// Who makes something of events.
pub trait MailEventSink: Send + Sync {
    /// Takes an event. Returns at once: mail never waits for its news.
    fn take(&self, event: &MailEvent<'_>);

    /// Whether [`MailEvent::Suspended`] is wanted, which is some work to find out.
    fn wants_suspended(&self) -> bool {
        false
    }
}

/// Writes addresses so that they name people only as far as the operator wants it.
pub trait AddressMask: Send + Sync {
    /// An address.
    fn address(&self, address: &str) -> String;

    /// A text in which all that looks like an address is masked.
    fn text(&self, text: &str) -> String;
}
