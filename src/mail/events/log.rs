//! Events of mails as lines of the log. Only this file knows their texts and fields, which users'
//! programs rely on (`docs/`).
//!
//! Texts are given as the client wrote them; the log escapes untrusted text. Lines that only the
//! mail log has (a session's start and end, a message that is active, held, released or removed)
//! are not written here. Limits: [`PATHS_MAX`] recipients of a line.

use crate::ground::log::TYPED;
use crate::mail::model::{
    Address, Authentication, Deletion, Delivery, Encryption, Envelope, MailEvent, Message,
    MessageId, MessageKind, NotificationKind, Outcome, Principal, Protocol, Rejection,
    SessionClient, Target, TargetStatus,
};
use std::fmt;

/// Recipients in one line.
const PATHS_MAX: usize = 5;

/// The name of the carbon copy's recipients.
const COPY: &str = "(all recipients)";

/// Writes the line of an event, if it has one.
pub(super) fn write(event: &MailEvent<'_>) {
    match *event {
        MailEvent::TurnedAway { client, reason, count: Some(count), .. } => {
            turned_away(client, reason, count);
        }
        MailEvent::PlainTextDropped { client, octets } => plain_text_dropped(client, octets),
        MailEvent::Rejected(rejection) if !rejection.in_sum => rejected(&rejection),
        MailEvent::LoggedIn { client, login, encryption } => logged_in(client, login, encryption),
        MailEvent::LoginFailed { client, login, why } => login_failed(client, login, why),
        MailEvent::Accepted { message, size, encryption, login, .. } => {
            accepted(message, size, encryption, login);
        }
        MailEvent::Imported { message, was, size, held } => imported(message, was, size, held),
        MailEvent::Notified { notification, about, kind, .. } => {
            notified(notification, about, kind);
        }
        MailEvent::NextHost { message, relay, outcome, recipients, next } => {
            next_host(message, relay, recipients, outcome, next);
        }
        MailEvent::Sent(delivery)
        | MailEvent::Deferred(delivery)
        | MailEvent::Bounced(delivery)
        | MailEvent::Expired(delivery) => delivered(&delivery),
        MailEvent::Undeliverable { message, outcome } => undeliverable(message, outcome),
        MailEvent::Deleted { message, deletion, .. } => deleted(message, deletion),
        MailEvent::Resent { message, of, recipients, principal, .. } => {
            resent(message, of, recipients, principal);
        }
        MailEvent::Connected(_)
        | MailEvent::Disconnected(_)
        | MailEvent::TurnedAway { .. }
        | MailEvent::Rejected(_)
        | MailEvent::Activated(_)
        | MailEvent::Suspended { .. }
        | MailEvent::Attempted(_)
        | MailEvent::Removed { .. }
        | MailEvent::Held(_)
        | MailEvent::Released(_) => {}
    }
}

fn turned_away(client: SessionClient, reason: &str, count: u64) {
    tracing::info!(
        name: TYPED,
        target: "mta",
        stranger = client.stranger,
        client = %client.address,
        count,
        reason,
        status = "refused",
        "session"
    );
}

fn plain_text_dropped(client: SessionClient, octets: usize) {
    tracing::info!(
        target: "mta",
        stranger = client.stranger,
        client = %client.address,
        octets,
        status = "dropped",
        "plain text after STARTTLS"
    );
}

fn rejected(rejection: &Rejection<'_>) {
    let Rejection { client, helo, protocol, command, from, to, reason, reply, .. } = *rejection;
    tracing::info!(
        name: TYPED,
        target: "mta",
        stranger = client.stranger,
        client = %client.address,
        port = client.port,
        helo = (protocol != Protocol::Http).then_some(helo),
        proto = match protocol {
            Protocol::Smtp => "SMTP",
            Protocol::Esmtp => "ESMTP",
            Protocol::Http => "HTTP",
        },
        command,
        from = %Path(from),
        to = to.map(|to| display(Path(Some(to)))),
        reason = reason.as_str(),
        reply = %reply,
        status = "refused",
        "command"
    );
}

fn logged_in(client: SessionClient, login: Authentication<'_>, encryption: Option<Encryption>) {
    tracing::info!(
        name: TYPED,
        target: "mta",
        stranger = client.stranger,
        client = %client.address,
        user = login.user,
        mechanism = login.mechanism,
        tls = encryption.map(display),
        status = "ok",
        "login"
    );
}

fn login_failed(client: SessionClient, login: Authentication<'_>, why: &str) {
    tracing::info!(
        name: TYPED,
        target: "mta",
        stranger = client.stranger,
        client = %client.address,
        user = login.user,
        mechanism = login.mechanism,
        reason = why,
        status = "failed",
        "login"
    );
}

fn accepted(
    message: &Message,
    size: u64,
    encryption: Option<Encryption>,
    login: Option<Authentication<'_>>,
) {
    tracing::info!(
        name: TYPED,
        target: "mta",
        queue_id = %message.id,
        client = message.origin.peer.map(display),
        helo = &*message.origin.helo,
        from = %Path(message.envelope.sender.as_ref()),
        to = %Paths(&message.envelope),
        recipients = message.envelope.recipients.len(),
        size,
        tls = encryption.map(display),
        user = login.map(|login| login.user),
        status = "accepted",
        "message"
    );
}

fn imported(message: &Message, was: Option<MessageId>, size: u64, held: bool) {
    tracing::info!(
        target: "mta",
        queue_id = %message.id,
        was = was.map(display),
        from = %Path(message.envelope.sender.as_ref()),
        to = %Paths(&message.envelope),
        size,
        held,
        status = "imported",
        "an operator's import"
    );
}

fn notified(notification: &Message, about: MessageId, kind: NotificationKind) {
    tracing::info!(
        name: TYPED,
        target: "mta",
        queue_id = %notification.id,
        about = %about,
        to = %Path(notification.envelope.recipients.first()),
        status = "queued",
        kind = kind.as_str(),
        "notification"
    );
}

fn next_host(message: &Message, relay: &str, recipients: usize, outcome: &Outcome, next: &str) {
    tracing::info!(
        target: "mta",
        queue_id = %message.id,
        relay,
        recipients,
        reply = %Words(outcome),
        next,
        "deferred, trying the next host"
    );
}

/// `delays` are the parts of `delay`: before this attempt, until there was a connection, and on it.
fn delivered(delivery: &Delivery<'_>) {
    let Delivery { attempt, target, outcome } = *delivery;
    let (message, delays) = (attempt.message, attempt.delays);
    tracing::info!(
        name: TYPED,
        target: "mta",
        queue_id = %message.id,
        client = %Client(message),
        from = %Path(message.envelope.sender.as_ref()),
        to = %To(message, target),
        relay = if attempt.relay.is_empty() { "none" } else { attempt.relay },
        delay = format_args!("{:.3}", delays.total.as_secs_f64()),
        delays = format_args!(
            "{:.3}/{:.3}/{:.3}",
            delays.queued().as_secs_f64(),
            delays.connecting.as_secs_f64(),
            delays.transmission().as_secs_f64()
        ),
        tls = attempt.tls,
        status = delivery.status().log_word(),
        notification = message.kind == MessageKind::Notification,
        copy = target == Target::Copy,
        remote = outcome.remote,
        dsn = outcome.reply.enhanced.map(display),
        reply = %Words(outcome),
        "delivery"
    );
}

/// As the other orders of operators are told.
fn resent(message: MessageId, of: MessageId, recipients: usize, principal: &Principal) {
    let from = principal
        .address
        .map_or_else(|| "the control socket".to_owned(), |address| address.to_string());
    tracing::info!(
        target: "mta",
        order = "resend",
        selection = %of,
        queue_id = %message,
        recipients,
        by = principal.user,
        from,
        "operator action"
    );
}

fn undeliverable(message: &Message, outcome: &Outcome) {
    tracing::warn!(
        target: "mta",
        queue_id = %message.id,
        reply = %Words(outcome),
        "a bounce could not be delivered"
    );
}

/// One line for each pending recipient, and for a pending carbon copy.
fn deleted(message: &Message, deletion: Deletion<'_>) {
    for progress in
        message.progress.iter().filter(|progress| progress.status == TargetStatus::Pending)
    {
        tracing::info!(
            name: TYPED,
            target: "mta",
            queue_id = %message.id,
            from = %Path(message.envelope.sender.as_ref()),
            to = %To(message, progress.target),
            copy = progress.target == Target::Copy,
            status = deletion.status().log_word(),
            "delivery"
        );
    }
}

/// A path; the null path if there is none.
struct Path<'a>(Option<&'a Address>);

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.0.map_or("", Address::as_str))
    }
}

/// The first few forward-paths.
struct Paths<'a>(&'a Envelope);

impl fmt::Display for Paths<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, recipient) in self.0.recipients.iter().take(PATHS_MAX).enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}<{recipient}>")?;
        }
        if self.0.recipients.len() > PATHS_MAX { f.write_str(",…") } else { Ok(()) }
    }
}

/// The forward-path of a target.
struct To<'a>(&'a Message, Target);

impl fmt::Display for To<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.1, self.0.recipient(self.1)) {
            (Target::Copy, _) => f.write_str(COPY),
            (_, Some(recipient)) => write!(f, "<{recipient}>"),
            (_, None) => Ok(()),
        }
    }
}

/// The client of a message; `none` if it was generated locally.
struct Client<'a>(&'a Message);

impl fmt::Display for Client<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.origin.peer {
            Some(peer) => fmt::Display::fmt(&peer, f),
            None => f.write_str("none"),
        }
    }
}

/// The outcome, as in [`Outcome::words`].
struct Words<'a>(&'a Outcome);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.remote {
            fmt::Display::fmt(&self.0.reply, f)
        } else {
            f.write_str(&self.0.reply.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::BodyType;

    #[test]
    fn a_line_names_a_few_recipients() {
        let recipients = (0..50)
            .map(|number| Address::parse(&format!("r{number}@b.example")).unwrap())
            .collect();
        let envelope = Envelope {
            sender: None,
            recipients,
            body: BodyType::SevenBit,
            smtputf8: false,
            dsn: None,
        };
        let shown = Paths(&envelope).to_string();
        assert!(
            shown.starts_with("<r0@b.example>,<r1@b.example>,")
                && shown.ends_with("<r4@b.example>,…"),
            "{shown}"
        );
        assert_eq!(Path(None).to_string(), "<>");
    }
}
