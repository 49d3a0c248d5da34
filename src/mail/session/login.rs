//! AUTH in a session (RFC 4954): challenges and responses, and what follows from their end.
//!
//! Limits: [`AuthLine::MAX`] octets of a response; [`FAILURES_MAX`] wrong logins of a session.
//! Security: what the client sends is in no log, except for the names of users; every refusal of a
//! name and a password has the same words, and counts as an error of the client.

use super::{CommandResult, NextStep, Session, SessionAbort};
use crate::ground::credential::sasl::{SaslFailure, SaslMechanism, SaslServer, ServerStep};
use crate::ground::credential::secret::Secret;
use crate::mail::accept::SmtpStage;
use crate::mail::authentication::{LoginAttempt, LoginState};
use crate::mail::events::CommandSummary;
use crate::mail::model::{Authentication, MailEvent, Refusal, Reply};
use crate::mail::parse::{AuthLine, CommandError, LineError, write_reply};
use crate::mail::spool::Spool;
use tokio::time::Instant;

/// Wrong logins of a session before it ends: clients try several mechanisms.
pub const FAILURES_MAX: u32 = 5;

/// What is logged in place of a name that no user has: it may be a password.
const UNKNOWN_USER: &str = "(unknown)";

/// Why a login did not come about.
enum NoLogin {
    /// The client is told this; the second text is for the log.
    Refused(Reply, String),
    /// What follows cannot be understood: the session ends.
    Flawed(LineError),
}

impl<S: Spool> Session<'_, S> {
    /// Lets the client log in.
    pub(super) async fn authenticate(
        &mut self,
        mechanism: SaslMechanism,
        initial: Option<Secret>,
    ) -> Result<NextStep, SessionAbort> {
        let Some(authenticator) = &self.intake.authenticator else {
            return Ok(NextStep::Close);
        };
        let mut attempt = authenticator.attempt(self.peer.address, !self.peer.is_stranger());
        let mut server = SaslServer::new(mechanism);
        let first = server.start(initial.as_ref().map(|initial| initial.expose().as_bytes()));
        let outcome = self.exchange(&mut server, first, &mut attempt).await?;
        let name = attempt.name().unwrap_or(UNKNOWN_USER).to_owned();
        let before = self.wire.output().len();
        let refused = match outcome {
            Ok(()) => match attempt.succeeded() {
                Some(user) => {
                    self.dialogue.logged_in(self.wire.output());
                    self.note_login(LoginState { user, mechanism: mechanism.name() });
                    return Ok(NextStep::Command);
                }
                None => (wrong(), SaslFailure::Wrong.to_string()),
            },
            Err(NoLogin::Refused(reply, why)) => (reply, why),
            Err(NoLogin::Flawed(error)) => {
                let error = CommandError::from(error);
                write_reply(self.wire.output(), &error.reply());
                return Ok(NextStep::Close);
            }
        };
        let (reply, why) = refused;
        let result = self.refuse_login(reply, mechanism, &name, &why);
        let recent = self.note(&result, &CommandSummary::of_auth());
        if result.next == NextStep::Close {
            return Ok(NextStep::Close);
        }
        if self.peer.is_stranger() {
            return self.delay_after_errors(&result, recent, before).await;
        }
        Ok(NextStep::Command)
    }

    /// The exchange up to its end.
    async fn exchange(
        &mut self,
        server: &mut SaslServer,
        first: ServerStep,
        attempt: &mut LoginAttempt<'_>,
    ) -> Result<Result<(), NoLogin>, SessionAbort> {
        let mut step = first;
        loop {
            step = match step {
                ServerStep::Challenge(challenge) => {
                    self.wire.output().extend_from_slice(format!("334 {challenge}\r\n").as_bytes());
                    match self.response().await? {
                        Ok(line) => server.step(&line),
                        Err(LineError::TooLong) => {
                            let reply = Reply::new(500, (5, 5, 6), "Authentication line too long");
                            let why = SaslFailure::TooLong.to_string();
                            return Ok(Err(NoLogin::Refused(reply, why)));
                        }
                        Err(error) => return Ok(Err(NoLogin::Flawed(error))),
                    }
                }
                ServerStep::Ask(question) => match attempt.answer(question).await {
                    Ok(answer) => server.answer(answer),
                    Err(no_answer) => {
                        let reply = no_answer.reply().0;
                        let why = reply.text.to_string();
                        return Ok(Err(NoLogin::Refused(reply, why)));
                    }
                },
                ServerStep::Done(_) => return Ok(Ok(())),
                ServerStep::Failed(failure) => {
                    return Ok(Err(NoLogin::Refused(reply_to(&failure), failure.to_string())));
                }
            };
        }
    }

    /// The client's next line.
    async fn response(&mut self) -> Result<Result<Vec<u8>, LineError>, SessionAbort> {
        let (mut line, mut until) = (AuthLine::default(), None);
        loop {
            let (taken, end) = line.feed(self.wire.input());
            self.wire.take(taken);
            if let Some(end) = end {
                return Ok(end);
            }
            self.wire.flush().await?;
            let until = *until.get_or_insert_with(|| Instant::now() + self.command_time());
            self.read(until, false).await?;
        }
    }

    fn refuse_login(
        &mut self,
        reply: Reply,
        mechanism: SaslMechanism,
        name: &str,
        why: &str,
    ) -> CommandResult {
        self.login_failures += 1;
        self.intake.counters.logins_total.with_label_values(&["failed"]).inc();
        let login = Authentication { user: name, mechanism: mechanism.name() };
        self.intake.events.emit(MailEvent::LoginFailed { client: self.peer.into(), login, why });
        if self.login_failures >= FAILURES_MAX {
            let last = Reply::new(421, (4, 7, 0), "Too many failed logins; closing");
            write_reply(self.wire.output(), &last);
            return CommandResult { next: NextStep::Close, refused: Some((reply, Refusal::Auth)) };
        }
        self.dialogue.end(Err((reply, Refusal::Auth)), self.wire.output())
    }

    /// Looks at the user of the session again, before each mail. `false`: it is gone, has another
    /// password, or may no longer come from here.
    pub(super) fn renew_login(&mut self) -> bool {
        let (Some(login), Some(all)) = (&mut self.login, &self.intake.authenticator) else {
            return true;
        };
        match all.present(&login.user, self.peer.address) {
            Some(user) => {
                login.user = user;
                true
            }
            None => false,
        }
    }

    pub(super) fn note_login(&mut self, login: LoginState) {
        let name = login.user.name();
        self.intake.counters.logins_total.with_label_values(&["ok"]).inc();
        self.registered.note_user(name);
        // A client that has logged in is not disconnected to make room for others.
        if let Some(slot) = self.wire.slot() {
            slot.reached(SmtpStage::Recipient.into());
        }
        let (client, encryption) = (self.peer.into(), self.encryption());
        let event = MailEvent::LoggedIn { client, login: login.event(), encryption };
        self.intake.events.emit(event);
        self.idle_commands = 0;
        self.login = Some(login);
    }
}

/// The same for each cause that is not the client's grammar.
fn wrong() -> Reply {
    Reply::new(535, (5, 7, 8), "Authentication failed: wrong name or password")
}

fn reply_to(failure: &SaslFailure) -> Reply {
    match failure {
        SaslFailure::TooLong => Reply::new(500, (5, 5, 6), "Authentication line too long"),
        SaslFailure::NotBase64 => Reply::new(501, (5, 5, 2), "This is not base 64"),
        SaslFailure::Cancelled => Reply::new(501, (5, 7, 0), "Authentication cancelled"),
        SaslFailure::Malformed(words) => {
            Reply::new(501, (5, 5, 2), format!("Not as the mechanism wants it: {words}"))
        }
        SaslFailure::ChannelBinding | SaslFailure::OtherIdentity => {
            Reply::new(535, (5, 7, 8), format!("Authentication failed: {failure}"))
        }
        _ => wrong(),
    }
}
