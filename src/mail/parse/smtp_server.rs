//! The SMTP session of RFC 5321 as a state machine: commands in, replies out.

use super::{ChunkHeader, Command, CommandError, Mail, Recipient, SessionLimits, XclientOverride};
use crate::ground::credential::sasl::SaslMechanism;
use crate::ground::credential::secret::Secret;
use crate::mail::model::{Address, Envelope, RecipientDsn, Refusal, Reply, ReplyClass, Verdict};
use std::io::Write;
use std::sync::Arc;

mod announcement;
mod overriding;

/// Decisions that the SMTP session takes from outside.
pub trait AccessPolicy {
    /// Whether a mail may begin now.
    fn mail(&self) -> Verdict;

    /// Whether this client may send as this reverse-path (`None`: the null one); asked after
    /// [`AccessPolicy::mail`], and a refusal ends the transaction.
    fn sender(&self, _sender: Option<&Address>) -> Verdict {
        Verdict::Accept
    }

    /// Whether this client may send to this mailbox.
    fn recipient(&self, recipient: &Address) -> Verdict;
}

/// The state of STARTTLS in a session (RFC 3207).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsState {
    /// There is no key: the command is unknown, and EHLO does not announce it.
    Absent,
    /// EHLO announces it.
    Offered,
    /// The session is encrypted.
    On,
}

/// Whether XCLIENT may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum XclientState {
    /// It is an unknown command, and not announced.
    Absent,
    /// EHLO announces it.
    Offered,
    /// It has named the client, and the proxy has said nothing else since: a further one adds to
    /// it. Then comes what the client says, who must not name anybody.
    Named,
}

/// How the client of a session may log in (RFC 4954).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthOffer {
    /// The mechanisms that EHLO announces.
    pub mechanisms: Arc<[SaslMechanism]>,
    /// This client may log in without TLS.
    pub without_tls: bool,
    /// This client must log in before it sends mail.
    pub required: bool,
}

/// What happens next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// Read the next command.
    Command,
    /// Read the content of the mail with this envelope, which has a recipient; at its end call
    /// [`Dialogue::end`].
    Content(Envelope),
    /// Read so many octets of a mail's content, and drop them if it is refused already; then call
    /// [`Dialogue::end_chunk`]. The envelope is [`Dialogue::mail`].
    Chunk(ChunkHeader, Result<(), (Reply, Refusal)>),
    /// Let the client log in, with the initial response that it sent, if any; then call
    /// [`Dialogue::logged_in`] or [`Dialogue::end`].
    Authenticate(SaslMechanism, Option<Secret>),
    /// The connection is that of another client from now on; then call [`Dialogue::overridden`].
    Override(Box<XclientOverride>),
    /// Send the pending replies, then do the handshake; then call [`Dialogue::inside_tls`].
    Secure,
    /// Send the pending replies, then close.
    Close,
}

/// The result of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandResult {
    /// What happens next.
    pub next: NextStep,
    /// What was rejected and why; [`Reply`] has the text of the rejection even if the session ends
    /// with another reply.
    pub refused: Option<(Reply, Refusal)>,
}

/// One session.
#[derive(Debug)]
pub struct Dialogue<'a> {
    rules: &'a SessionLimits,
    tls: TlsState,
    auth: Option<AuthOffer>,
    has_logged_in: bool,
    xclient: XclientState,
    hello: Option<(Box<str>, bool)>,
    mail: Option<Envelope>,
    /// A chunk of its content was accepted: until the last one nothing else of it can change.
    chunking: bool,
    errors: usize,
    mails: usize,
    idle_commands: usize,
    /// The last MAIL was deferred: clients that pipeline send RCPT and DATA all the same, which is
    /// not an error of theirs.
    mail_deferred: bool,
}

impl<'a> Dialogue<'a> {
    /// A session before its greeting.
    pub fn new(rules: &'a SessionLimits, tls: TlsState) -> Self {
        Self {
            rules,
            tls,
            auth: None,
            has_logged_in: false,
            xclient: XclientState::Absent,
            hello: None,
            mail: None,
            chunking: false,
            errors: 0,
            mails: 0,
            idle_commands: 0,
            mail_deferred: false,
        }
    }

    /// The session after the handshake: everything said before is forgotten (RFC 3207 §4.2) except
    /// the counts, so that no limit applies twice.
    pub fn inside_tls(self) -> Self {
        Self {
            tls: TlsState::On,
            has_logged_in: false,
            hello: None,
            mail: None,
            chunking: false,
            mail_deferred: false,
            ..self
        }
    }

    /// How the client may log in; `None`: it may not.
    pub fn set_auth(&mut self, auth: Option<AuthOffer>) {
        self.auth = auth;
    }

    /// The client has logged in: appends the reply.
    pub fn logged_in(&mut self, out: &mut Vec<u8>) {
        self.has_logged_in = true;
        write_reply(out, &Reply::new(235, (2, 7, 0), "Authentication successful"));
    }

    /// Writes the greeting.
    pub fn greet(&self, out: &mut Vec<u8>) {
        write_reply(out, &Reply::plain(220, format!("{} ESMTP Postern", self.rules.hostname)));
    }

    /// The client's name and whether it said EHLO; empty before either.
    pub fn hello(&self) -> (&str, bool) {
        self.hello.as_ref().map_or(("", false), |(name, extended)| (name, *extended))
    }

    /// The mail in progress, between MAIL and DATA.
    pub fn mail(&self) -> Option<&Envelope> {
        self.mail.as_ref()
    }

    /// Whether chunks of its content were accepted, and more are to come.
    pub fn is_chunking(&self) -> bool {
        self.chunking
    }

    /// Handles one command, or the error in it, and appends the reply to `out`.
    pub fn handle(
        &mut self,
        command: Result<Command, CommandError>,
        policy: &impl AccessPolicy,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        self.note_for_xclient(&command);
        let answer = match command {
            Ok(Command::Mail(mail)) => self.begin(mail, policy),
            Ok(Command::Recipient(_, Some(_))) if !self.rules.dsn => Err(no_parameter()),
            Ok(Command::Recipient(recipient, dsn)) => self.recipient(recipient, dsn, policy),
            Ok(Command::Data) => match self.data() {
                Ok(envelope) => {
                    write_reply(out, &Reply::plain(354, "End the message with <CR><LF>.<CR><LF>"));
                    return CommandResult { next: NextStep::Content(envelope), refused: None };
                }
                Err(refused) => Err(refused),
            },
            Ok(Command::Bdat(chunk)) => return self.chunk(chunk, out),
            Ok(Command::StartTls) => match self.start_tls() {
                Ok(reply) => {
                    write_reply(out, &reply);
                    return CommandResult { next: NextStep::Secure, refused: None };
                }
                Err(refused) => Err(refused),
            },
            Ok(Command::Auth { mechanism, initial }) => match self.authenticate(&mechanism) {
                Ok(mechanism) => return login(mechanism, initial),
                Err(refused) => Err(refused),
            },
            Ok(Command::Xclient(overriding)) => match self.may_override(&overriding) {
                Ok(()) => {
                    let next = NextStep::Override(overriding);
                    return CommandResult { next, refused: None };
                }
                Err(refused) => Err(refused),
            },
            Ok(Command::Quit) => {
                write_reply(out, &Reply::new(221, (2, 0, 0), "Bye"));
                return CommandResult { next: NextStep::Close, refused: None };
            }
            Ok(idle) => return self.idle(idle, out),
            Err(CommandError::Auth) if self.auth.is_none() => Err(unsupported()),
            Err(CommandError::Xclient(_)) if self.xclient == XclientState::Absent => Err(unknown()),
            Err(error) if error.is_fatal() => {
                let (reply, reason) = (error.reply(), error.refusal());
                write_reply(out, &reply);
                return CommandResult { next: NextStep::Close, refused: Some((reply, reason)) };
            }
            Err(error) => Err((error.reply(), error.refusal())),
        };
        match answer {
            Ok(reply) => {
                write_reply(out, &reply);
                CommandResult { next: NextStep::Command, refused: None }
            }
            Err((reply, reason)) => self.refuse(reply, reason, out),
        }
    }

    /// A command that does not lead to a mail.
    fn idle(&mut self, command: Command, out: &mut Vec<u8>) -> CommandResult {
        if let Err((reply, reason)) = self.count_idle() {
            return self.refuse(reply, reason, out);
        }
        let reply = match command {
            Command::Hello { name, extended } => {
                self.forget_mail();
                self.hello = Some((name, extended));
                self.write_hello(extended, out);
                return CommandResult { next: NextStep::Command, refused: None };
            }
            Command::Reset => {
                self.forget_mail();
                Reply::new(250, (2, 0, 0), "Ok")
            }
            Command::Verify => Reply::new(252, (2, 0, 0), "Cannot verify; send mail and see"),
            Command::Help => Reply::new(
                214,
                (2, 0, 0),
                "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT: see RFC 5321",
            ),
            _ => Reply::new(250, (2, 0, 0), "Ok"),
        };
        write_reply(out, &reply);
        CommandResult { next: NextStep::Command, refused: None }
    }

    fn count_idle(&mut self) -> Result<(), (Reply, Refusal)> {
        self.idle_commands += 1;
        if self.idle_commands > self.rules.idle_commands_limit {
            let reply = Reply::new(421, (4, 7, 0), "Too many commands without a mail");
            return Err((reply, Refusal::Limit));
        }
        Ok(())
    }

    /// BDAT: the reply waits for the end of the chunk.
    fn chunk(&mut self, chunk: ChunkHeader, out: &mut Vec<u8>) -> CommandResult {
        if !self.rules.chunking {
            // Without knowing BDAT one would read the chunk as commands.
            let reply = CommandError::Unsupported.reply();
            write_reply(out, &reply);
            let refused = Some((reply, CommandError::Unsupported.refusal()));
            return CommandResult { next: NextStep::Close, refused };
        }
        let accepted = match &self.mail {
            Some(mail) if !mail.recipients.is_empty() => Ok(()),
            Some(_) => Err(no_recipient()),
            None => Err(out_of_order("Say MAIL first")),
        };
        self.chunking |= accepted.is_ok();
        CommandResult { next: NextStep::Chunk(chunk, accepted), refused: None }
    }

    /// The content has ended: appends the reply with the result.
    pub fn end(
        &mut self,
        result: Result<Reply, (Reply, Refusal)>,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        match result {
            Ok(reply) => {
                self.errors = 0;
                self.idle_commands = 0;
                write_reply(out, &reply);
                CommandResult { next: NextStep::Command, refused: None }
            }
            Err((reply, reason)) => self.refuse(reply, reason, out),
        }
    }

    /// The mail whose last chunk has ended.
    ///
    /// # Errors
    /// There is none.
    pub fn take_mail(&mut self) -> Result<Envelope, (Reply, Refusal)> {
        self.mail.take().ok_or_else(|| out_of_order("Say MAIL first"))
    }

    /// A chunk has ended: appends the reply with the result. `repeated` is the result of an earlier
    /// chunk of the same mail, which counts once. The mail ends with the last one, whatever the
    /// result (RFC 3030 §2: after an error RSET must follow, or nothing of this mail is left).
    pub fn end_chunk(
        &mut self,
        chunk: ChunkHeader,
        result: Result<Reply, (Reply, Refusal)>,
        repeated: bool,
        out: &mut Vec<u8>,
    ) -> CommandResult {
        if chunk.last {
            self.forget_mail();
        }
        match result {
            Err((reply, _)) if repeated => {
                write_reply(out, &reply);
                CommandResult { next: NextStep::Command, refused: None }
            }
            Ok(reply) if !chunk.last => {
                write_reply(out, &reply);
                CommandResult { next: NextStep::Command, refused: None }
            }
            result => self.end(result, out),
        }
    }

    fn forget_mail(&mut self) {
        self.mail = None;
        self.chunking = false;
    }

    /// 421 ends the session (RFC 5321 §3.8), and so do too many permanent error replies.
    fn refuse(&mut self, reply: Reply, reason: Refusal, out: &mut Vec<u8>) -> CommandResult {
        let follows = self.mail_deferred && reply.code == 503;
        self.errors += usize::from(reply.class() == ReplyClass::Permanent && !follows);
        let over = self.errors >= self.rules.errors_limit;
        if over {
            write_reply(out, &Reply::new(421, (4, 7, 0), "Too many errors; closing"));
        } else {
            write_reply(out, &reply);
        }
        let next = if over || reply.code == 421 { NextStep::Close } else { NextStep::Command };
        CommandResult { next, refused: Some((reply, reason)) }
    }

    fn begin(&mut self, mail: Mail, policy: &impl AccessPolicy) -> Result<Reply, (Reply, Refusal)> {
        self.mail_deferred = false;
        if self.hello.is_none() {
            return Err(out_of_order("Say EHLO or HELO first"));
        }
        if self.mail.is_some() {
            return Err(out_of_order("One mail at a time; say RSET to drop it"));
        }
        if self.mails >= self.rules.mails_limit {
            return Err((
                Reply::new(421, (4, 7, 0), "Many mails in one session; connect again for more"),
                Refusal::Limit,
            ));
        }
        if mail.dsn.is_some() && !self.rules.dsn {
            return Err(no_parameter());
        }
        if mail.size.is_some_and(|size| size > self.rules.size_limit) {
            let text = format!("Message too large; the limit is {} octets", self.rules.size_limit);
            return Err((Reply::new(552, (5, 3, 4), text), Refusal::Limit));
        }
        if !mail.smtputf8 && mail.sender.as_ref().is_some_and(|sender| !sender.is_ascii()) {
            return Err(needs_smtputf8());
        }
        if self.auth.as_ref().is_some_and(|auth| auth.required) && !self.has_logged_in {
            let words = match self.may_authenticate() {
                true => "Authentication required: log in with AUTH first",
                false => "Authentication required: say STARTTLS, then log in with AUTH",
            };
            return Err((Reply::new(530, (5, 7, 0), words), Refusal::Auth));
        }
        let verdict = match policy.mail() {
            Verdict::Accept => policy.sender(mail.sender.as_ref()),
            refused => refused,
        };
        if let Verdict::Refuse(reply, reason) = verdict {
            self.mail_deferred = reply.class() == ReplyClass::Temporary;
            return Err((reply, reason));
        }
        self.mails += 1;
        self.mail = Some(Envelope {
            sender: mail.sender,
            recipients: Vec::new(),
            body: mail.body,
            smtputf8: mail.smtputf8,
            dsn: mail.dsn,
        });
        Ok(Reply::new(250, (2, 1, 0), "Ok"))
    }

    fn recipient(
        &mut self,
        recipient: Recipient,
        dsn: Option<Box<RecipientDsn>>,
        policy: &impl AccessPolicy,
    ) -> Result<Reply, (Reply, Refusal)> {
        if self.chunking {
            return Err(out_of_order(CHUNKS_ONLY));
        }
        let Some(mail) = &mut self.mail else {
            return Err(out_of_order("Say MAIL first"));
        };
        let recipient = match recipient {
            Recipient::Mailbox(address) => address,
            // RFC 5321 §4.5.1: the postmaster of this host.
            Recipient::Postmaster => Address::parse(&format!("postmaster@{}", self.rules.hostname))
                .map_err(|_| {
                    (
                        Reply::new(550, (5, 1, 1), "No postmaster: our own name is no domain"),
                        Refusal::Syntax,
                    )
                })?,
        };
        if !mail.smtputf8 && !recipient.is_ascii() {
            return Err(needs_smtputf8());
        }
        if let Verdict::Refuse(reply, reason) = policy.recipient(&recipient) {
            return Err((reply, reason));
        }
        if mail.recipients.iter().any(|known| same_mailbox(known, &recipient)) {
            return Ok(Reply::new(250, (2, 1, 5), "Ok, as before"));
        }
        if mail.recipients.len() >= self.rules.recipients_max() {
            // RFC 5321 §4.5.3.1.10: 452, and the client sends to the others in another transaction.
            return Err((
                Reply::new(452, (4, 5, 3), "Too many recipients; send the rest in another mail"),
                Refusal::Limit,
            ));
        }
        if let Some(dsn) = dsn {
            mail.dsn.get_or_insert_default().note(mail.recipients.len(), *dsn);
        }
        mail.recipients.push(recipient);
        Ok(Reply::new(250, (2, 1, 5), "Ok"))
    }

    fn data(&mut self) -> Result<Envelope, (Reply, Refusal)> {
        if self.chunking {
            return Err(out_of_order(CHUNKS_ONLY));
        }
        match self.mail.take_if(|mail| !mail.recipients.is_empty()) {
            Some(mail) => Ok(mail),
            None if self.mail.is_none() => Err(out_of_order("Say MAIL first")),
            // RFC 5321 §3.3 allows 503 or 554; 554 shows that RCPT was received and rejected.
            None => Err(no_recipient()),
        }
    }

    /// The mechanism by which the client wants to log in (RFC 4954 §4).
    fn authenticate(&self, name: &str) -> Result<SaslMechanism, (Reply, Refusal)> {
        let Some(auth) = &self.auth else {
            return Err(unsupported());
        };
        let refused =
            |code, enhanced, words| Err((Reply::new(code, enhanced, words), Refusal::Auth));
        if !self.hello().1 {
            return Err(out_of_order("Say EHLO first"));
        }
        if self.has_logged_in {
            return Err(out_of_order("You have logged in already"));
        }
        if self.mail.is_some() {
            return Err(out_of_order("Not inside a mail; say RSET to drop it"));
        }
        if !self.may_authenticate() {
            return match self.tls {
                TlsState::Offered => refused(538, (5, 7, 11), "Encryption required: say STARTTLS"),
                _ => refused(538, (5, 7, 11), "Encryption required, which this port does not have"),
            };
        }
        let mechanism = SaslMechanism::parse(name).filter(|one| auth.mechanisms.contains(one));
        match mechanism {
            Some(mechanism) => Ok(mechanism),
            None => refused(504, (5, 5, 4), "Mechanism not offered; EHLO lists those that are"),
        }
    }

    /// Whether a password would not be readable on the way, or may be.
    fn may_authenticate(&self) -> bool {
        let auth = self.auth.as_ref();
        auth.is_some_and(|auth| auth.without_tls || self.tls == TlsState::On)
    }

    fn start_tls(&self) -> Result<Reply, (Reply, Refusal)> {
        match self.tls {
            TlsState::Absent => Err(unsupported()),
            TlsState::On => Err(out_of_order("TLS is on already")),
            TlsState::Offered if self.mail.is_some() => {
                Err(out_of_order("Not inside a mail; say RSET to drop it"))
            }
            TlsState::Offered => Ok(Reply::new(220, (2, 0, 0), "Ready for TLS")),
        }
    }
}

/// Appends a reply in its form on the wire.
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{reply}\r\n");
}

/// RFC 3030 §2: DATA and BDAT cannot be used for one mail.
const CHUNKS_ONLY: &str = "The content has begun; say BDAT for the rest of it, or RSET";

fn no_parameter() -> (Reply, Refusal) {
    (CommandError::Parameter.reply(), CommandError::Parameter.refusal())
}

fn no_recipient() -> (Reply, Refusal) {
    (Reply::new(554, (5, 5, 1), "No recipient was accepted"), Refusal::Syntax)
}

fn login(mechanism: SaslMechanism, initial: Option<Secret>) -> CommandResult {
    CommandResult { next: NextStep::Authenticate(mechanism, initial), refused: None }
}

fn unsupported() -> (Reply, Refusal) {
    (CommandError::Unsupported.reply(), CommandError::Unsupported.refusal())
}

fn unknown() -> (Reply, Refusal) {
    (CommandError::Unknown.reply(), CommandError::Unknown.refusal())
}

fn out_of_order(text: &'static str) -> (Reply, Refusal) {
    (Reply::new(503, (5, 5, 1), text), Refusal::Syntax)
}

/// RFC 6531 §3.5.
fn needs_smtputf8() -> (Reply, Refusal) {
    (
        Reply::new(553, (5, 6, 7), "This address needs the SMTPUTF8 parameter of MAIL"),
        Refusal::Syntax,
    )
}

/// Local parts are compared as they are, because their meaning belongs to the destination; domains
/// are compared without regard to case (RFC 5321 §2.4).
fn same_mailbox(a: &Address, b: &Address) -> bool {
    a.local_part() == b.local_part() && a.domain_text().eq_ignore_ascii_case(b.domain_text())
}

#[cfg(test)]
mod tests;
