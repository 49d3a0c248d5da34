//! An SMTP session: from the wire to the queue.
//!
//! Purpose: connects accept (a stream with a peer), parse (commands and content), admit (relay
//! rules) and the intake (durable mail). Limits: [`Limits`] on time,
//! [`SessionLimits`](super::parse::SessionLimits) on commands and mails, [`SURPLUS_MAX`] on
//! rejected content. Security: the 250 after the end of data is sent only after the intake has the
//! mail. The content of a rejected mail is still read to its real end, so that content is never
//! read as commands. Source: RFC 5321 §4.5.3 (limits), §7.8 (misuse); RFC 3207 (STARTTLS); RFC 2920
//! (a group's replies go out together).

#[cfg(doc)]
use super::accept::Limits;
use super::accept::{Conduct, SmtpStage};
use super::authentication::LoginState;
use super::device::DeviceRules;
use super::events::{CommandSummary, MailEvents};
use super::incoming_message::IncomingMessage;
use super::intake::Intake;
use super::model::{Address, Encryption, MailEvent, Protocol, Refusal, Rejection, Reply, Verdict};
use super::parse::{
    AccessPolicy, AuthOffer, Command, CommandError, CommandResult, Dialogue, Grammar, InputLine,
    LineSplitter, NextStep, TlsState, XclientOverride, write_reply,
};
use super::sessions::RegisteredSession;
use super::spool::Spool;
use crate::ground::net::{Peer, PeerClass, SIGNATURE, SessionPermit, SessionSlot, Wire, WireError};
use crate::ground::stop::{Stop, draining};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::time::{Duration, Instant};

mod content;

/// Octets that are read beyond the size limit (or after an error in the content) before a client
/// that does not stop is disconnected.
pub const SURPLUS_MAX: u64 = 32 * 1024 * 1024;

/// Commands in a row of an untrusted client that do not lead to a mail, before each further one
/// counts as an error.
pub const JUNK_FREE: u32 = 20;

/// The same, before the session ends.
pub const JUNK_MAX: u32 = 100;

mod login;
mod overridden;

/// A client's session.
pub(super) struct Session<'a, S: Spool> {
    intake: &'a Intake<S>,
    wire: Wire,
    peer: Peer,
    stop: Stop,
    /// Set once the relay is stopping.
    deadline: Option<Instant>,
    lines: LineSplitter,
    dialogue: Dialogue<'a>,
    registered: RegisteredSession,
    /// Commands in a row that do not lead to a mail.
    idle_commands: u32,
    /// Errors of this session.
    errors: u32,
    slowed: bool,
    /// The mail whose chunks are coming in.
    chunked: Option<Box<IncomingMessage<'a, S>>>,
    /// The slot of the client that XCLIENT has named.
    moved: Option<SessionPermit>,
    /// What XCLIENT has said.
    named: Option<Box<XclientOverride>>,
    /// The login, once the client has logged in.
    login: Option<LoginState>,
    login_failures: u32,
}

/// How a dialogue ends regularly.
enum SessionEnd {
    /// The session ends.
    Over,
    /// With a handshake and another dialogue.
    Secure,
}

/// Why a session ends without a regular end of its dialogue.
enum SessionAbort {
    Stopping,
    Wire(WireError),
}

impl From<WireError> for SessionAbort {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl<'a, S: Spool> Session<'a, S> {
    /// A new session.
    pub(super) fn new(
        intake: &'a Intake<S>,
        wire: Wire,
        peer: Peer,
        stop: Stop,
        registered: RegisteredSession,
    ) -> Self {
        let tls = match (&intake.tls, wire.tls()) {
            (_, Some(_)) => TlsState::On,
            (Some(_), None) => TlsState::Offered,
            (None, None) => TlsState::Absent,
        };
        let mut dialogue = Dialogue::new(&intake.rules, tls);
        dialogue.set_auth(login_offer(intake, &peer, &wire));
        dialogue.set_xclient(intake.policy.may_override(peer.address));
        Self {
            intake,
            wire,
            peer,
            stop,
            deadline: None,
            lines: LineSplitter::default(),
            dialogue,
            registered,
            idle_commands: 0,
            errors: 0,
            slowed: false,
            chunked: None,
            moved: None,
            named: None,
            login: None,
            login_failures: 0,
        }
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        let events = &self.intake.events;
        if !self.peer.probe {
            events.emit(MailEvent::Connected(self.peer.into()));
        }
        if self.turns_away() {
            disconnected(events, self.peer);
            return self.wire.close().await;
        }
        self.note_encryption();
        self.dialogue.greet(self.wire.output());
        loop {
            match self.run_commands().await {
                Ok(SessionEnd::Over) => break,
                Ok(SessionEnd::Secure) => {
                    let peer = self.peer;
                    match Box::pin(self.secure()).await {
                        Some(session) => self = session,
                        None => return disconnected(events, peer),
                    }
                }
                Err(leave) => break self.leave(&leave),
            }
        }
        disconnected(events, self.peer);
        self.wire.close().await;
    }

    /// At the listener for devices, greets everybody else with a refusal.
    fn turns_away(&mut self) -> bool {
        let client = self.peer.address;
        if self.intake.device.is_none() || self.intake.policy.may_relay(client) {
            return false;
        }
        let reply = DeviceRules::turned_away(client);
        write_reply(self.wire.output(), &reply);
        let refused = Some((reply, Refusal::Relay));
        let asked = CommandSummary { command: "CONNECT", from: None, to: None };
        self.note(&CommandResult { next: NextStep::Close, refused }, &asked);
        true
    }

    /// STARTTLS: the handshake, and a session that forgets everything before (RFC 3207 §4.2).
    /// Commands that were sent together with STARTTLS in plain text are dropped with the buffer.
    async fn secure(mut self) -> Option<Self> {
        let Self { intake, peer, deadline, idle_commands, errors, slowed, login_failures, .. } =
            self;
        let moved = self.moved;
        let tls = intake.tls.as_ref()?;
        let octets = self.wire.input().len();
        if octets > 0 {
            intake.events.emit(MailEvent::PlainTextDropped { client: peer.into(), octets });
        }
        let wire = tokio::select! {
            wire = tls.secure(self.wire, peer, &intake.limits.connection) => wire?,
            _ = draining(&mut self.stop), if deadline.is_none() => return None,
        };
        let dialogue = self.dialogue.inside_tls();
        let session = Self {
            deadline,
            dialogue,
            idle_commands,
            errors,
            slowed,
            login_failures,
            moved,
            ..Self::new(intake, wire, peer, self.stop, self.registered)
        };
        session.note_encryption();
        Some(session)
    }

    fn encryption(&self) -> Option<Encryption> {
        self.wire.tls().map(Encryption::from)
    }

    fn note_encryption(&self) {
        if let Some(encryption) = self.encryption() {
            self.intake.counters.tls_sessions_total.with_label_values(&[encryption.version]).inc();
            self.registered.note_tls(encryption.to_string());
        }
    }

    async fn run_commands(&mut self) -> Result<SessionEnd, SessionAbort> {
        loop {
            let (command, verb) = self.command().await?;
            let (slot, stopping) = (self.wire.slot().cloned(), self.stop.borrow().is_some());
            let (intake, peer) = (self.intake, self.peer.address);
            let is_login_over = matches!(command, Ok(Command::Mail(_))) && !self.renew_login();
            let login = self.login.clone();
            let access = SessionPolicy { intake, peer, slot, stopping, login, is_login_over };
            let asked = CommandSummary::by(&command, verb);
            let proxied = matches!(command, Err(CommandError::ProxyHeader));
            let before = self.wire.output().len();
            let result = self.dialogue.handle(command, &access, self.wire.output());
            self.registered.note_activity(
                asked.command,
                self.dialogue.hello().0,
                self.dialogue.mail(),
            );
            if self.chunked.is_some() && !self.dialogue.is_chunking() {
                self.chunked = None;
            }
            let recent = self.note(&result, &asked);
            // Behind a greeting of the client it is no header of a proxy, and changes nothing.
            if proxied && self.dialogue.hello().0.is_empty() {
                self.forget_client();
            }
            if self.peer.is_stranger()
                && self.login.is_none()
                && self.delay_after_errors(&result, recent, before).await? == NextStep::Close
            {
                return Ok(SessionEnd::Over);
            }
            match result.next {
                NextStep::Command => {}
                NextStep::Content(envelope) => {
                    if self.content(envelope).await? == NextStep::Close {
                        return Ok(SessionEnd::Over);
                    }
                }
                NextStep::Chunk(chunk, accepted) => {
                    if self.chunk(chunk, accepted).await? == NextStep::Close {
                        return Ok(SessionEnd::Over);
                    }
                }
                NextStep::Authenticate(mechanism, initial) => {
                    let next = Box::pin(self.authenticate(mechanism, initial)).await?;
                    if next == NextStep::Close {
                        return Ok(SessionEnd::Over);
                    }
                }
                NextStep::Override(overriding) => {
                    if Box::pin(self.overridden(overriding)).await == NextStep::Close {
                        return Ok(SessionEnd::Over);
                    }
                }
                NextStep::Secure => return Ok(SessionEnd::Secure),
                NextStep::Close => return Ok(SessionEnd::Over),
            }
            if self.wire.output().len() > Wire::OUTPUT_MAX {
                self.wire.flush().await?;
            }
        }
    }

    /// Slows an untrusted client down: its session gets slower with each error and each command
    /// that does not lead to a mail, and then ends.
    async fn delay_after_errors(
        &mut self,
        result: &CommandResult,
        recent: u32,
        before: usize,
    ) -> Result<NextStep, SessionAbort> {
        let Self { intake, .. } = *self;
        let mail = self.dialogue.mail();
        let recipients = mail.map_or(0, |mail| mail.recipients.len());
        if let Some(slot) = self.wire.slot() {
            let stage = match (mail, recipients, self.dialogue.hello().0) {
                (Some(_), 1.., _) => SmtpStage::Recipient,
                (Some(_), 0, _) => SmtpStage::Mail,
                (None, _, "") => SmtpStage::Connected,
                (None, ..) => SmtpStage::Greeted,
            };
            slot.reached(stage.into());
        }
        if result.refused.is_none()
            && (recipients > 0 || matches!(result.next, NextStep::Content(_)))
        {
            self.idle_commands = 0;
            return Ok(NextStep::Command);
        }
        self.idle_commands += 1;
        if self.idle_commands >= JUNK_MAX && result.next == NextStep::Command {
            let reply = Reply::new(421, (4, 7, 0), "Too many commands without a mail");
            self.wire.output().truncate(before);
            write_reply(self.wire.output(), &reply);
            self.intake.counters.refused_total.with_label_values(&[Refusal::Limit.as_str()]).inc();
            return Ok(NextStep::Close);
        }
        self.errors += u32::from(result.refused.is_some() || self.idle_commands > JUNK_FREE);
        // Behind a gateway there are other clients, too: they must not wait for one client's
        // errors.
        let recent = if self.peer.source == PeerClass::Gateway {
            self.errors
        } else {
            self.errors.max(recent)
        };
        let wait = Conduct::wait(recent, &intake.limits);
        if (result.refused.is_some() || self.idle_commands > JUNK_FREE) && !wait.is_zero() {
            if !std::mem::replace(&mut self.slowed, true) {
                intake.counters.clients_slowed_total.inc();
            }
            self.pause(wait).await?;
        }
        Ok(NextStep::Command)
    }

    /// Waits for a while, unless the relay stops or the session must end to free a slot.
    async fn pause(&mut self, wait: Duration) -> Result<(), SessionAbort> {
        let displaced = async {
            match self.wire.slot() {
                Some(slot) => slot.displaced().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            () = displaced => Err(WireError::Displaced.into()),
            _ = draining(&mut self.stop) => Ok(()),
        }
    }

    /// The next command, and the verb of its line. Replies are buffered as long as more commands
    /// have arrived (RFC 2920 §3.2).
    async fn command(
        &mut self,
    ) -> Result<(Result<Command, CommandError>, Option<&'static str>), SessionAbort> {
        let mut until = None;
        loop {
            if self.wire.input().starts_with(SIGNATURE) {
                self.wire.take(SIGNATURE.len());
                return Ok((Err(CommandError::ProxyHeader), Some("PROXY")));
            }
            match self.lines.next(self.wire.input()) {
                InputLine::Complete { text, taken } => {
                    let grammar = match self.may_relay() {
                        true => {
                            Grammar::Lenient { origin_domain: &self.intake.rewriting.origin_domain }
                        }
                        false => Grammar::Strict,
                    };
                    let command = (Command::parse_with(text, grammar), Command::verb(text));
                    self.wire.take(taken);
                    return Ok(command);
                }
                InputLine::Flawed { error, taken } => {
                    self.wire.take(taken);
                    return Ok((Err(error.into()), None));
                }
                InputLine::More { taken } => {
                    self.wire.take(taken);
                    self.wire.flush().await?;
                    let until = *until.get_or_insert_with(|| Instant::now() + self.command_time());
                    self.read(until, self.dialogue.mail().is_some()).await?;
                }
            }
        }
    }

    /// The client sent a PROXY header, and is not listed as a proxy: its address is believed no
    /// more than the one in the header. Otherwise all clients of a proxy that is trusted, and not
    /// listed, could relay.
    fn forget_client(&mut self) {
        let address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let source = PeerClass::Stranger;
        self.peer = Peer { address, port: 0, source, probe: false };
        self.dialogue.set_xclient(false);
        self.dialogue.set_auth(login_offer(self.intake, &self.peer, &self.wire));
    }

    /// Whether the client may send to anybody.
    fn may_relay(&self) -> bool {
        self.login.is_some() || self.intake.policy.may_relay(self.peer.address)
    }

    fn command_time(&self) -> Duration {
        let limits = &self.intake.limits.connection;
        self.wire.slot().map_or(limits.command, |slot| slot.command_time(limits))
    }

    /// Reads once. Once the relay is stopping, a session without a mail ends here; another one has
    /// until the deadline.
    async fn read(&mut self, until: Instant, in_mail: bool) -> Result<(), SessionAbort> {
        loop {
            if self.deadline.is_some() && !in_mail {
                return Err(SessionAbort::Stopping);
            }
            let limit = self.deadline.map_or(until, |deadline| deadline.min(until));
            tokio::select! {
                read = self.wire.fill(limit) => return match read {
                    Err(WireError::Timeout) if limit < until => Err(SessionAbort::Stopping),
                    read => Ok(read?),
                },
                deadline = draining(&mut self.stop), if self.deadline.is_none() => {
                    self.deadline = Some(deadline);
                }
            }
        }
    }

    /// Counts a rejection, and logs it unless this client has reached its limit of log lines. Gives
    /// back the recent errors of its address.
    fn note(&self, result: &CommandResult, asked: &CommandSummary) -> u32 {
        let Some((reply, reason)) = &result.refused else { return 0 };
        self.intake.counters.refused_total.with_label_values(&[reason.as_str()]).inc();
        let (helo, extended) = self.dialogue.hello();
        let from = asked.from.as_ref().or_else(|| self.dialogue.mail()?.sender.as_ref());
        let noted = self.intake.conduct.refused(self.peer.address, self.peer.source);
        if !noted.told {
            self.intake.counters.log_suppressed_lines_total.inc();
        }
        self.intake.events.emit(MailEvent::Rejected(Rejection {
            client: self.peer.into(),
            helo,
            protocol: if extended { Protocol::Esmtp } else { Protocol::Smtp },
            command: asked.command,
            from,
            to: asked.to.as_ref(),
            reason: *reason,
            reply,
            in_sum: !noted.told,
        }));
        noted.errors
    }

    /// The last reply of a session that did not end by QUIT.
    fn leave(&mut self, leave: &SessionAbort) {
        let hostname = &self.intake.rules.hostname;
        match leave {
            SessionAbort::Stopping => {
                write_reply(
                    self.wire.output(),
                    &Reply::new(421, (4, 3, 2), format!("{hostname} is stopping; try again later")),
                );
                self.intake
                    .counters
                    .refused_total
                    .with_label_values(&[Refusal::Stopping.as_str()])
                    .inc();
            }
            SessionAbort::Wire(WireError::Timeout) => {
                write_reply(
                    self.wire.output(),
                    &Reply::new(421, (4, 4, 2), format!("{hostname} waited too long; closing")),
                );
                self.intake
                    .counters
                    .refused_total
                    .with_label_values(&[Refusal::Limit.as_str()])
                    .inc();
            }
            SessionAbort::Wire(WireError::Displaced) => {
                let text =
                    format!("{hostname} needs this session for another client; try again later");
                write_reply(self.wire.output(), &Reply::new(421, (4, 7, 0), text));
                self.intake
                    .counters
                    .refused_total
                    .with_label_values(&[Refusal::Limit.as_str()])
                    .inc();
            }
            // Without TLS's close_notify nothing is different: a mail's end is a dot, so a mail
            // cannot be truncated unnoticed.
            SessionAbort::Wire(
                WireError::Closed | WireError::Truncated | WireError::Unread | WireError::Broken(_),
            ) => self.wire.output().clear(),
        }
    }
}

fn disconnected(events: &MailEvents, peer: Peer) {
    if !peer.probe {
        events.emit(MailEvent::Disconnected(peer.into()));
    }
}

/// How a client may log in; `None` without users.
fn login_offer<S>(intake: &Intake<S>, peer: &Peer, wire: &Wire) -> Option<AuthOffer> {
    let authenticator = intake.authenticator.as_ref()?;
    // Whose guesses these were, nobody could say.
    if peer.address.is_unspecified() {
        return None;
    }
    Some(authenticator.offer(peer.address, wire.local_port(), !peer.is_stranger()))
}

/// What the intake and the relay rules answer to a client.
struct SessionPolicy<'a, S> {
    intake: &'a Intake<S>,
    peer: IpAddr,
    slot: Option<Arc<SessionSlot>>,
    stopping: bool,
    login: Option<LoginState>,
    /// The user of the session may no longer send.
    is_login_over: bool,
}

impl<S> SessionPolicy<'_, S> {
    /// Whether an untrusted client's session is ended to make room for a mail of this one.
    fn frees_memory(&self) -> bool {
        let goes = self.slot.as_ref().is_some_and(|slot| slot.takes_room());
        if goes {
            self.intake.counters.sessions_displaced_total.inc();
        }
        goes
    }
}

impl<S: Spool> AccessPolicy for SessionPolicy<'_, S> {
    fn mail(&self) -> Verdict {
        if self.stopping {
            let text = format!("{} is stopping; try again later", self.intake.rules.hostname);
            return Verdict::Refuse(Reply::new(421, (4, 3, 2), text), Refusal::Stopping);
        }
        match self.intake.ready(|| self.frees_memory()) {
            Ok(()) => {
                let device = self.intake.device.as_ref();
                device.map_or(Verdict::Accept, |device| device.mail(std::time::Instant::now()))
            }
            Err((reply, reason)) => Verdict::Refuse(reply, reason),
        }
    }

    fn sender(&self, sender: Option<&Address>) -> Verdict {
        if let (true, Some(login)) = (self.is_login_over, &self.login) {
            let words = format!(
                "User '{}' is gone or has another password; connect and log in again",
                login.user.name()
            );
            return Verdict::Refuse(Reply::new(421, (4, 7, 0), words), Refusal::Auth);
        }
        if let Some(sender) = sender
            && !self.intake.allowed_senders.is_empty()
            && (self.login.is_some() || self.intake.policy.may_relay(self.peer))
            && let Err((reply, reason)) = self.intake.may_send_as(sender)
        {
            return Verdict::Refuse(reply, reason);
        }
        let Some(login) = &self.login else { return Verdict::Accept };
        if let Err(words) = login.user.may_send_as(sender) {
            return Verdict::Refuse(Reply::new(550, (5, 7, 1), words), Refusal::Sender);
        }
        match login.user.take(Instant::now().into_std()) {
            Ok(()) => Verdict::Accept,
            Err((rate, wait)) => {
                let (name, seconds) = (login.user.name(), wait.as_secs() + 1);
                let words = format!(
                    "The rate of user '{name}' ({rate}) is used up; the next mail may come in \
                    {seconds} s"
                );
                Verdict::Refuse(Reply::new(450, (4, 7, 1), words), Refusal::Limit)
            }
        }
    }

    fn recipient(&self, recipient: &Address) -> Verdict {
        self.intake.may_send(self.login.is_some(), self.peer, recipient)
    }
}
