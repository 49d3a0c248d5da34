//! Events as log lines in Postfix's format, which common log tools read.
//!
//! In: events of mails, and other lines of the log. Out: lines such as `Nov 4 17:22:14 relay
//! postfix/smtp[71]: 0D2R…: to=<a@b>, relay=…, status=sent (…)`. Events that Postfix does not have
//! become lines of the program `postern`, which log tools skip; a problem is a `warning:` and a
//! defect a `panic:`, which they count. The number in brackets is the process id, and for a
//! client's session the client's port, so that all lines of a session have the same. Limits: a line
//! has at most [`LINE_MAX`] octets. Security: texts are untrusted. None can begin a line, and none
//! can look like another part of its line: separators inside a part become `?` ([`HostileWord`],
//! [`HostileText`]). A carbon copy has no `to=`, so that no tool counts it as a delivery. Source:
//! the log messages of Postfix 3.7; RFC 3164 §4.1.2 (time); RFC 3463 (dsn).

use super::message_id::message_id;
use crate::ground::clock;
use crate::ground::lock::{self, Lock};
use crate::ground::log::{EventFields, put_fields};
use crate::ground::text::is_tricky;
use crate::mail::model::{
    Address, Authentication, Delivery, DeliveryStatus, Enhanced, MailEvent, Message, MessageId,
    NotificationKind, Protocol, Rejection, ReplyClass, SessionClient, Target,
};
use std::fmt::{self, Write};
use std::time::Duration;
use tracing::Level;

/// Octets of one line with its end, at most.
pub const LINE_MAX: usize = 2048;

/// Makes lines.
pub struct PostfixFormat {
    syslog_name: String,
    hostname: String,
    pid: u32,
    /// The last formatted second.
    stamp: Lock<(u32, String)>,
}

impl PostfixFormat {
    /// `syslog_name` precedes each program's name, and `hostname` precedes that.
    pub fn new(syslog_name: &str, hostname: &str) -> Self {
        Self {
            syslog_name: syslog_name.to_owned(),
            hostname: hostname.to_owned(),
            pid: std::process::id(),
            stamp: Lock::new(lock::Level::Log, Default::default()),
        }
    }

    /// The lines of an event; none if other lines of the same mail contain it.
    pub fn lines(&self, event: &MailEvent<'_>) -> String {
        let mut lines = String::new();
        let put = &mut lines;
        match *event {
            MailEvent::Connected(client) => {
                let words = format_args!("connect from {}", Client(client));
                self.put(put, "smtpd", client.port, words);
            }
            MailEvent::Disconnected(client) => {
                let words = format_args!("disconnect from {}", Client(client));
                self.put(put, "smtpd", client.port, words);
            }
            MailEvent::TurnedAway { client, reason, count: Some(count), .. } => {
                let (reason, from) = (HostileText(reason), Client(client));
                let words = format_args!(
                    "warning: {count} sessions turned away so far, the last from {from}: {reason}"
                );
                // Without a session the port is not known.
                self.put(put, "smtpd", None, words);
            }
            MailEvent::Rejected(rejection) if !rejection.in_sum => self.rejected(put, &rejection),
            MailEvent::Accepted { message, port, size, login, .. } => {
                self.queued(put, message, (port, login), size);
            }
            MailEvent::LoginFailed { client, login, why } => self.not_in(put, client, login, why),
            MailEvent::Imported { message, size, .. } => {
                self.queued(put, message, (None, None), size);
            }
            MailEvent::Notified { notification, about, kind, size } => {
                self.queued(put, notification, (None, None), size);
                self.notified(put, notification.id, about, kind);
            }
            MailEvent::Activated(message) => self.active(put, message, message.body.len()),
            MailEvent::Suspended { message, target, delay, status, reason } => {
                self.suspended(put, message, target, delay, (status, reason));
            }
            MailEvent::Sent(delivery)
            | MailEvent::Deferred(delivery)
            | MailEvent::Bounced(delivery)
            | MailEvent::Expired(delivery) => self.delivery(put, &delivery),
            MailEvent::Removed { id, by_operator: false } => {
                self.put(put, "qmgr", None, format_args!("{id}: removed"));
            }
            MailEvent::Removed { id, by_operator: true } => self.ordered(put, id, "removed"),
            MailEvent::Held(id) => self.ordered(put, id, "placed on hold"),
            MailEvent::Released(id) => self.ordered(put, id, "released from hold"),
            // Logged in a summary, or by [`MailEvent::Removed`], or for each recipient, or not by
            // Postfix: these come as lines of the log.
            MailEvent::TurnedAway { .. }
            | MailEvent::Rejected(_)
            | MailEvent::LoggedIn { .. }
            | MailEvent::Attempted(_)
            | MailEvent::Deleted { .. }
            | MailEvent::Resent { .. }
            | MailEvent::PlainTextDropped { .. }
            | MailEvent::NextHost { .. }
            | MailEvent::Undeliverable { .. } => {}
        }
        lines
    }

    /// The line of something that is not an event of a mail, with the log's text; none for a debug
    /// message.
    pub fn other(&self, level: Level, said: &EventFields) -> String {
        let mut words = said.message.clone();
        put_fields(&mut words, said);
        let words = match words.strip_prefix("panic: ") {
            Some(words) => format!("panic: {}", HostileText(words)),
            None if level <= Level::WARN => format!("warning: {}", HostileText(&words)),
            None => HostileText(&words).to_string(),
        };
        let mut line = String::new();
        self.put(&mut line, "postern", None, format_args!("{words}"));
        line
    }

    /// A warning of the mail log itself.
    pub fn warning(&self, words: &str) -> String {
        let mut line = String::new();
        self.put(&mut line, "postern", None, format_args!("warning: {}", HostileText(words)));
        line
    }

    /// `port` is that of a client with a session.
    fn queued(
        &self,
        lines: &mut String,
        message: &Message,
        (port, login): (Option<u16>, Option<Authentication<'_>>),
        size: u64,
    ) {
        let id = message.id;
        // Only a client with a session has a line; a generated notification and mail from HTTP or
        // an import have none.
        if let (Some(address), Some(port)) = (message.origin.peer, port) {
            let login = login.map(|login| {
                let user = HostileWord(login.user);
                format!(", sasl_method={}, sasl_username={user}", login.mechanism)
            });
            let login = login.unwrap_or_default();
            let words = format_args!("{id}: client=unknown[{address}]{login}");
            self.put(lines, "smtpd", Some(port), words);
        }
        let message_id = message_id(&message.body);
        let message_id = HostileWord(within_brackets(&message_id));
        self.put(lines, "cleanup", None, format_args!("{id}: message-id=<{message_id}>"));
        self.active(lines, message, size);
    }

    fn not_in(
        &self,
        lines: &mut String,
        client: SessionClient,
        login: Authentication<'_>,
        why: &str,
    ) {
        let (mechanism, user) = (login.mechanism, HostileWord(login.user));
        let why = HostileText(why);
        let words = format_args!(
            "warning: {}: SASL {mechanism} authentication failed: {why}, sasl_username={user}",
            Client(client)
        );
        self.put(lines, "smtpd", client.port, words);
    }

    fn active(&self, lines: &mut String, message: &Message, size: u64) {
        let (id, from) = (message.id, HostileWord(message.envelope.sender_text()));
        let recipients = message.envelope.recipients.len();
        let words =
            format_args!("{id}: from=<{from}>, size={size}, nrcpt={recipients} (queue active)");
        self.put(lines, "qmgr", None, words);
    }

    fn notified(
        &self,
        lines: &mut String,
        id: MessageId,
        about: MessageId,
        kind: NotificationKind,
    ) {
        let what = match kind {
            NotificationKind::Delayed => "delay",
            NotificationKind::Relayed => "success",
            NotificationKind::Failed | NotificationKind::Undeliverable => "non-delivery",
        };
        let words = format_args!("{about}: sender {what} notification: {id}");
        self.put(lines, "bounce", None, words);
    }

    /// An operator's action on a message.
    fn ordered(&self, lines: &mut String, id: MessageId, what: &str) {
        self.put(lines, "postsuper", None, format_args!("{id}: {what}"));
    }

    /// As error(8) logs it for mail whose destination is suspended.
    fn suspended(
        &self,
        lines: &mut String,
        message: &Message,
        target: Target,
        delay: Duration,
        (dsn, reason): (Enhanced, &str),
    ) {
        let (id, what, delay) = (message.id, To(message, target), seconds(delay));
        let why = HostileText(reason);
        let deferred = DeliveryStatus::Deferred.log_word();
        let words = format_args!(
            "{id}: {what}, relay=none, delay={delay}, delays={delay}/0/0/0, dsn={dsn}, \
            status={deferred} (delivery temporarily suspended: {why})"
        );
        self.put(lines, "error", None, words);
    }

    /// The recipient precedes the text of a rejected RCPT, as in Postfix; log tools need it.
    fn rejected(&self, lines: &mut String, rejection: &Rejection<'_>) {
        let Rejection { client, command, from, to, reply, .. } = *rejection;
        let from = HostileWord(from.map_or("", Address::as_str));
        let mut line =
            format!("NOQUEUE: reject: {command} from {}: {} ", Client(client), reply.code);
        // Writing to a string cannot fail.
        let _ = reply.enhanced.map(|enhanced| write!(line, "{enhanced} "));
        let _ = match to {
            Some(to) => {
                // Some replies contain the recipient themselves.
                let own = format!("<{to}>: ");
                let words = reply.text.strip_prefix(&own).unwrap_or(&reply.text);
                let to = HostileWord(to.as_str());
                write!(line, "<{to}>: {}; from=<{from}> to=<{to}>", HostileText(words))
            }
            None => write!(line, "{}; from=<{from}>", HostileText(&reply.text)),
        };
        let proto = match rejection.protocol {
            Protocol::Smtp => "SMTP",
            Protocol::Esmtp => "ESMTP",
            Protocol::Http => "HTTP",
        };
        let _ = write!(line, " proto={proto} helo=<{}>", HostileWord(rejection.helo));
        self.put(lines, "smtpd", client.port, format_args!("{line}"));
    }

    fn delivery(&self, lines: &mut String, delivery: &Delivery<'_>) {
        let Delivery { attempt, target, outcome } = *delivery;
        let relay = named(if attempt.relay.is_empty() { "none" } else { attempt.relay });
        let (id, what) = (attempt.message.id, To(attempt.message, target));
        let (relay, reply) = (HostileWord(&relay), outcome.words());
        let host = relay.0.rsplit_once(':').map_or(relay.0, |(host, _)| host);
        let words = match (outcome.remote, outcome.class()) {
            (true, ReplyClass::Temporary | ReplyClass::Permanent) => {
                format!("host {} said: {}", HostileWord(host), HostileText(&reply))
            }
            // Local errors have no codes in front of them; those are for the sender.
            _ => HostileText(&reply).to_string(),
        };
        // For a reply without an enhanced code it is derived from the first digit.
        let dsn = outcome.reply.enhanced.unwrap_or(match outcome.class() {
            ReplyClass::Success => Enhanced(2, 0, 0),
            ReplyClass::Temporary => Enhanced(4, 0, 0),
            ReplyClass::Permanent => Enhanced(5, 0, 0),
        });
        let delays = attempt.delays;
        let (delay, queued) = (seconds(delays.total), seconds(delays.queued()));
        // Postern has three parts: an agent takes a mail from the queue when it can attempt it, so
        // nothing waits in between.
        let (connecting, rest) = (seconds(delays.connecting), seconds(delays.transmission()));
        let status = delivery.status().log_word();
        let words = format_args!(
            "{id}: {what}, relay={relay}, delay={delay}, delays={queued}/0/{connecting}/{rest}, \
            dsn={dsn}, status={status} ({words})"
        );
        self.put(lines, "smtp", None, words);
    }

    /// Appends one line; in brackets the client's port, or the process id.
    fn put(&self, lines: &mut String, program: &str, port: Option<u16>, words: fmt::Arguments<'_>) {
        let start = lines.len();
        let number = port.map_or(self.pid, u32::from);
        {
            let mut stamp = self.stamp.lock();
            let now = clock::now();
            if stamp.0 != now {
                *stamp = (now, clock::rfc3164(now));
            }
            lines.push_str(&stamp.1);
        }
        let _ =
            write!(lines, " {} {}/{program}[{number}]: {words}", self.hostname, self.syslog_name);
        if lines.len() - start >= LINE_MAX {
            lines.truncate(lines.floor_char_boundary(start + LINE_MAX - 1));
        }
        lines.push('\n');
    }
}

/// Untrusted text without blanks and separators of the parts of a line: an address, a host's name.
struct HostileWord<'a>(&'a str);

impl fmt::Display for HostileWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separates = |c: char| {
            is_tricky(c) || c.is_whitespace() || matches!(c, ',' | ';' | '<' | '>' | '(' | ')')
        };
        self.0.chars().try_for_each(|c| f.write_char(if separates(c) { '?' } else { c }))
    }
}

/// Untrusted text at the end of a line: it may contain anything except `=<`, with which a part
/// begins, and `]: `, which ends the name of a program.
struct HostileText<'a>(&'a str);

impl fmt::Display for HostileText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = [' '; 2];
        self.0.chars().try_for_each(|c| {
            let forges = (c == '<' && before[1] == '=') || (c == ' ' && before == [']', ':']);
            let c = if forges || is_tricky(c) { '?' } else { c };
            before = [before[1], c];
            f.write_char(c)
        })
    }
}

/// A client in the form that Postfix uses without a reverse lookup.
struct Client(SessionClient);

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown[{}]", self.0.address)
    }
}

/// A target: its forward-path, or the carbon copy.
struct To<'a>(&'a Message, Target);

impl fmt::Display for To<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Target::Copy => f.write_str("carbon copy"),
            target => {
                let to = self.0.recipient(target).map_or("", Address::as_str);
                write!(f, "to=<{}>", HostileWord(to))
            }
        }
    }
}

/// A next hop without a name has its address as name: `192.0.2.1[192.0.2.1]:25`.
fn named(relay: &str) -> String {
    let address = relay
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or("", |(address, _)| address);
    format!("{address}{relay}")
}

fn within_brackets(text: &str) -> &str {
    text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text)
}

/// Two significant digits, and never finer than a hundredth.
fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let places = match seconds {
        s if s < 1.0 => 2,
        s if s < 10.0 => 1,
        _ => 0,
    };
    let text = format!("{seconds:.places$}");
    if places == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests;
