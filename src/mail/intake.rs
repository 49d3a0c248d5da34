//! The intake of mail from sessions and programs: it becomes durable, is counted, logged and
//! scheduled.
//!
//! Purpose: what SMTP and HTTP submission have in common. In: envelope and content. Out: for each
//! mail that was answered 250, one [`Message`] to be delivered. Limits: [`STORAGE_PATIENCE`] on the
//! data volume. Security: a mail is confirmed only after [`Spool::commit`] has returned. Source:
//! RFC 5321 §4.2.5 (what 250 promises), §4.5.3.2 (the timeouts of clients).

use super::accept::{self, Conduct, Limits};
use super::admit::{ClientClass, Policy, StagingRules};
use super::authentication::Authenticator;
use super::device::DeviceRules;
use super::events::MailEvents;
use super::hold;
use super::model::{
    Address, Authentication, Destination, Encryption, Envelope, MailEvent, Message, MessageId,
    MessageKind, Origin, Refusal, Reply, SenderList, Verdict,
};
use super::parse::SessionLimits;
use super::rewrite::{self, HeaderSection, Missing, SenderFields};
use super::route::RouteRules;
use super::sessions::SessionRegistry;
use super::spool::{IncomingContent, QueueEntry, Spool, SpoolError};
use crate::ground::memory::Pressure;
use crate::ground::net::PeerClass;
use crate::mail::accept::counters::AcceptCounters;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use tokio::time::Duration;

/// Everything that sessions share.
pub struct Intake<S> {
    /// The queue in which accepted mail becomes durable.
    pub spool: Arc<S>,
    /// Takes every accepted message for delivery. Must not block: the client waits for its 250.
    pub onward: Box<dyn Fn(Message) + Send + Sync>,
    /// Serves STARTTLS, where there is a key.
    pub tls: Option<Arc<accept::SmtpTls>>,
    /// Logins, where there are users.
    pub authenticator: Option<Authenticator>,
    /// The senders of everybody who may relay.
    pub allowed_senders: SenderList,
    /// Which clients may relay.
    pub policy: Arc<Policy>,
    /// The relay's host name, and the limits of a session.
    pub rules: SessionLimits,
    /// What is changed in content of clients that may relay.
    pub rewriting: rewrite::RewriteConfig,
    /// The rules of the listener for devices, if this is its intake.
    pub device: Option<DeviceRules>,
    /// Which recipients a staging system may write to, and what is held.
    pub staging: Arc<StagingRules>,
    /// The destinations of mail, and whether all of it goes to `cc_mta` too.
    pub route_rules: RouteRules,
    /// The counters.
    pub counters: Arc<AcceptCounters>,
    /// The consumers of events.
    pub events: Arc<MailEvents>,
    /// Limits of sessions and time.
    pub limits: Limits,
    /// The registry of sessions.
    pub registry: Arc<SessionRegistry>,
    /// The recent behaviour of clients.
    pub conduct: Conduct,
}

/// How long a client waits for the data volume before it gets a temporary error: at the end of the
/// data, where clients wait ten minutes by RFC 5321 §4.5.3.2.6 (and many wait less), and within the
/// data, where they wait three minutes (§4.5.3.2.5).
pub const STORAGE_PATIENCE: Duration = Duration::from_secs(30);

/// The writer of the content, or the reply why it is rejected.
pub(super) type PendingContent<W> = Result<W, (Reply, Refusal)>;

impl<S: Spool> Intake<S> {
    /// Whether a mail can be accepted now. Where memory is used up, `room` may free some.
    ///
    /// # Errors
    /// The reply for the client.
    pub(super) fn ready(&self, room: impl FnOnce() -> bool) -> Result<(), (Reply, Refusal)> {
        self.readiness(room, storage_refusal)
    }

    /// The same for a mail that nobody sends: nothing is logged, and no memory is freed.
    ///
    /// # Errors
    /// The reply that a client would get.
    pub(super) fn would_be_ready(&self) -> Result<(), (Reply, Refusal)> {
        self.readiness(|| false, storage_reply)
    }

    fn readiness(
        &self,
        room: impl FnOnce() -> bool,
        refusal: fn(&SpoolError) -> (Reply, Refusal),
    ) -> Result<(), (Reply, Refusal)> {
        // No session is ended for a mail that the queue cannot accept.
        self.spool.ready().map_err(|error| refusal(&error))?;
        if self.limits.connection.memory.pressure() == Pressure::Critical && !room() {
            let words = "There is too little memory for a mail at the moment; try again later";
            return Err((Reply::new(452, (4, 3, 1), words), Refusal::Memory));
        }
        Ok(())
    }

    /// The class of a client's address. Behind a proxy that names its clients only once it is
    /// connected there may be many, as behind a gateway.
    pub(super) fn class(&self, client: IpAddr) -> PeerClass {
        let policy = &self.policy;
        match policy.standing(client) {
            ClientClass::Trusted => PeerClass::Trusted,
            ClientClass::Gateway => PeerClass::Gateway,
            ClientClass::Stranger if policy.is_gateway(client) => PeerClass::Gateway,
            ClientClass::Stranger if policy.may_override(client) => PeerClass::Gateway,
            ClientClass::Stranger => PeerClass::Stranger,
        }
    }

    /// The changes to the header section of a mail from a client that may relay.
    pub(super) fn header_section(
        &self,
        envelope: &Envelope,
        id: MessageId,
        date: &str,
    ) -> HeaderSection<'_> {
        let rewrite::RewriteConfig { origin_domain, drop_headers, add_missing_headers, senders } =
            &self.rewriting;
        let from = |sender: &Address| match senders.sender(sender) {
            Some(new) => rewrite::header_mailbox(&new),
            None => rewrite::header_mailbox(sender),
        };
        let missing = add_missing_headers.then(|| Missing {
            from: envelope
                .sender
                .as_ref()
                .map_or_else(|| format!("MAILER-DAEMON@{origin_domain}"), from),
            date: date.to_owned(),
            // The queue id is unique on its volume, the random part distinguishes volumes of the
            // same name.
            message_id: format!("<{id}.{:08x}@{}>", fastrand::u32(..), self.rules.hostname),
        });
        let senders = SenderFields::new(senders);
        HeaderSection::submitted(drop_headers, missing).with_senders(senders)
    }

    /// Writes the sender of a mail from a client that may relay anew; the null sender stays.
    fn rewrite_sender(&self, envelope: &mut Envelope, id: MessageId) {
        let Some(old) = &envelope.sender else { return };
        let Some(new) = self.rewriting.senders.sender(old) else { return };
        tracing::info!(target: "mta", queue_id = %id, was = %old, from = %new, "sender rewritten");
        envelope.sender = Some(new);
    }

    /// Whether a client may send to a recipient. A program that is `known` by the login or a token
    /// may send to anybody; of others the address decides.
    pub(super) fn may_send(&self, known: bool, client: IpAddr, recipient: &Address) -> Verdict {
        let verdict = if known { Verdict::Accept } else { self.policy.relay(client, recipient) };
        match verdict {
            Verdict::Accept => self.staging.at_recipient(recipient),
            refused => refused,
        }
    }

    /// Whether somebody who may relay may send as this address.
    ///
    /// # Errors
    /// The reply.
    pub(super) fn may_send_as(&self, sender: &Address) -> Result<(), (Reply, Refusal)> {
        if self.allowed_senders.permits(sender) {
            return Ok(());
        }
        let words = format!(
            "<{sender}>: Sender domain not allowed; see allowed_sender_domains of this relay"
        );
        Err((Reply::new(550, (5, 7, 1), words), Refusal::Sender))
    }

    /// The destinations of a mail from a client, and whether the last is that of a carbon copy.
    pub(super) fn destinations(&self, envelope: &Envelope) -> (Vec<Destination>, bool) {
        let copy = self.route_rules.copy().is_some();
        (self.route_rules.decide(envelope, copy), copy)
    }

    /// A mail from a client, with its destinations: they are decided here, once.
    pub(super) fn entry(&self, envelope: Envelope, origin: Origin) -> QueueEntry {
        let (destinations, copy) = self.destinations(&envelope);
        QueueEntry { envelope, origin, kind: MessageKind::Mail, copy, destinations }
    }

    /// Makes a mail durable, counts and logs it, and passes it on for delivery. `port` is the
    /// client's, if it has one.
    pub(super) async fn queue(
        &self,
        mut entry: QueueEntry,
        writer: S::Writer,
        size: u64,
        port: Option<u16>,
        encryption: Option<Encryption>,
        login: Option<Authentication<'_>>,
    ) -> Result<MessageId, (Reply, Refusal)> {
        if entry.origin.may_relay {
            self.rewrite_sender(&mut entry.envelope, writer.id());
        }
        let give_up = tokio::time::sleep(STORAGE_PATIENCE);
        let committed = if self.staging.is_off() {
            self.spool.commit_within(entry, writer, give_up).await.map(|message| (message, None))
        } else {
            hold::commit(&*self.spool, &self.staging, entry, writer, give_up).await
        };
        let (message, held) = committed.map_err(|error| storage_refusal(&error))?;
        if let Some(message) = &held {
            self.events.emit(MailEvent::Accepted { message, port, size, encryption, login });
        }
        let id = message.id;
        self.counters.accepted_total.inc();
        self.counters.accepted_bytes_total.inc_by(size);
        if let Some(device) = &self.device {
            self.counters.device_accepted_total.inc();
            tracing::info!(target: "mta", queue_id = %id, user = device.user(), "device mail");
        }
        self.events.emit(MailEvent::Accepted { message: &message, port, size, encryption, login });
        (self.onward)(message);
        Ok(id)
    }
}

/// Says in the log that a field stayed as it was, of a mail that is still wanted.
pub(super) fn log_unread_sender<W: IncomingContent>(
    section: &HeaderSection<'_>,
    pending: &PendingContent<W>,
) {
    if let Some(writer) = pending.as_ref().ok().filter(|_| section.has_unread_sender()) {
        tracing::warn!(
            target: "mta", queue_id = %writer.id(),
            "From or Sender could not be read, and is not rewritten"
        );
    }
}

/// Writes a piece to the queue, and drops the mail when the queue cannot take it.
pub(super) async fn store<W: IncomingContent>(pending: &mut PendingContent<W>, piece: &[u8]) {
    if piece.is_empty() {
        return;
    }
    let Ok(writer) = pending else { return };
    if let Err(error) = write_in_time(writer, piece).await {
        *pending = Err(storage_refusal(&error));
    }
}

async fn write_in_time<W: IncomingContent>(writer: &mut W, piece: &[u8]) -> Result<(), SpoolError> {
    let mut writing = pin!(writer.write(piece));
    // Most pieces go into memory at once: a timer is used only when a write waits for the disk.
    if let Poll::Ready(written) =
        poll_fn(|context| Poll::Ready(writing.as_mut().poll(context))).await
    {
        return written;
    }
    tokio::time::timeout(STORAGE_PATIENCE, writing)
        .await
        .unwrap_or(Err(SpoolError::Slow(STORAGE_PATIENCE.as_secs())))
}

/// The reply of [`storage_reply`]; the cause is only logged: clients need not know about the
/// relay's disks.
fn storage_refusal(error: &SpoolError) -> (Reply, Refusal) {
    // The watchdog logs once that the data volume does not answer.
    if !matches!(error, SpoolError::Slow(_) | SpoolError::Full) {
        tracing::error!(target: "mta", %error, "the queue cannot accept mail; clients are asked to \
        try again later");
    }
    storage_reply(error)
}

/// 452 4.3.1, or 451 4.3.0 while the data volume does not answer.
fn storage_reply(error: &SpoolError) -> (Reply, Refusal) {
    let reply = match error {
        SpoolError::Slow(_) => {
            Reply::new(451, (4, 3, 0), "The queue does not answer at the moment; try again later")
        }
        _ => {
            let words = "The queue cannot accept mail at the moment; try again later";
            Reply::new(452, (4, 3, 1), words)
        }
    };
    (reply, Refusal::Storage)
}
