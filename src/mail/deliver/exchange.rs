//! The commands of one transaction, its content, and the peer's replies (RFC 5321 §3.3).

use super::client::Connection;
use super::dot_stuffing::{DotStuffer, OutgoingContent};
use super::reply_classification::{self, ReplyStage};
use super::wire::SmtpError;
use super::{GROUP_MAX, MIN_PACE};
use crate::mail::model::{Address, Body, Enhanced, Outcome, Reply, ReplyClass};
use std::borrow::Cow;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for a last reply of a peer that does not accept input any more.
const LAST_REPLY_TIME: Duration = Duration::from_secs(1);

impl Connection {
    /// The commands of a transaction and its content.
    pub(super) async fn exchange(
        &mut self,
        plan: &TransactionPlan,
        body: &Body,
        recipients: &[&Address],
        asked: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(Outcome, EnvelopeResult), Aborted> {
        let open = asked.iter().copied().map(Step::Recipient);
        let mut steps = Vec::with_capacity(asked.len() + 3);
        steps.extend(std::mem::take(&mut self.needs_reset).then_some(Step::Reset));
        steps.push(Step::Mail);
        steps.extend(open);
        steps.push(Step::Data);

        let deadline = Instant::now() + self.client.timeouts().envelope;
        let mut state = State {
            deadline,
            heard: false,
            mail_refused: None,
            accepted: 0,
            accepted_without_mail: false,
            too_many: Vec::new(),
            data: None,
        };
        let group = if self.extensions.pipelining { GROUP_MAX } else { 1 };
        for group in steps.chunks(group) {
            if matches!(group, [Step::Data]) && state.accepted == 0 {
                break;
            }
            self.converse(group, plan, recipients, outcomes, &mut state).await?;
            if state.mail_refused.is_some() {
                break;
            }
        }

        // If the transaction did not end with the content or a rejected MAIL, the peer still has
        // recipients (RFC 5321 §4.1.1.5). After a rejected MAIL there are none, but a peer that
        // accepted RCPT may think otherwise.
        self.needs_reset = state.mail_refused.is_none() || state.accepted_without_mail;
        let heard = EnvelopeResult {
            accepted: state.accepted,
            too_many: std::mem::take(&mut state.too_many),
            mail_refused: state.mail_refused.is_some(),
        };
        let outcome = match state.data {
            Some(data)
                if data.code == 354 && state.accepted > 0 && state.mail_refused.is_none() =>
            {
                self.expect_no_reply(plan).await?;
                let outcome = self.content(body, plan).await?;
                self.needs_reset = false;
                outcome
            }
            // A peer that rejected MAIL but accepted RCPT may have a transaction after all: to end
            // it with no content would send an empty mail. Without an end it is discarded.
            Some(data) if data.code == 354 && state.accepted_without_mail => {
                return Err(Aborted::Midway(state.mail_refused.unwrap_or_else(no_recipient)));
            }
            Some(data) if data.code == 354 => match (self.end_empty().await, state.mail_refused) {
                (Ok(()), refused) => refused.unwrap_or_else(no_recipient),
                (Err(_), Some(refused)) => return Err(Aborted::Midway(refused)),
                (Err(broken), None) => return Err(broken),
            },
            data => match (state.mail_refused, data) {
                (Some(refused), _) => refused,
                (None, Some(data)) if data.class() != ReplyClass::Success => {
                    self.classify_reply(ReplyStage::Data, data, plan)
                }
                (None, Some(data)) if state.accepted > 0 => {
                    return Err(Aborted::Midway(self.unexpected_reply(data.code, "DATA")));
                }
                (None, _) => no_recipient(),
            },
        };
        Ok((outcome, heard))
    }

    /// Sends a group of commands in one write and reads their replies.
    async fn converse(
        &mut self,
        group: &[Step],
        plan: &TransactionPlan,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
        state: &mut State,
    ) -> Result<(), Aborted> {
        let times = *self.client.timeouts();
        self.out.clear();
        for step in group {
            match step {
                Step::Reset => self.out.extend_from_slice(b"RSET\r\n"),
                Step::Mail => self.out.extend_from_slice(&plan.mail),
                Step::Recipient(place) => self.ask_recipient(*place, recipients[*place]),
                Step::Data => self.out.extend_from_slice(b"DATA\r\n"),
            }
        }
        let written = self.wire.say(&self.out, times.mail).await;
        for step in group {
            let (limit, name) = match step {
                Step::Reset => (times.mail, "RSET"),
                Step::Mail => (times.mail, "MAIL FROM"),
                Step::Recipient(_) => (times.recipient, "RCPT TO"),
                Step::Data => (times.data, "DATA"),
            };
            // A peer that closes may have sent the reason before; read that even when it did not
            // accept everything.
            let limit = if written.is_ok() { limit } else { LAST_REPLY_TIME };
            let limit = limit.min(state.deadline.saturating_duration_since(Instant::now()));
            let code = match self.wire.reply(limit).await {
                Ok(code) => code,
                Err(trouble) => {
                    let cause = written.err().filter(|_| !state.heard).unwrap_or(trouble);
                    return Err(self.broken(&cause, name, state));
                }
            };
            if code == 421 {
                return Err(self.closing(step, plan, state));
            }
            state.heard = true;
            match step {
                Step::Reset => {}
                Step::Mail if code < 300 => {}
                Step::Mail if code < 400 => {
                    return Err(Aborted::Midway(self.unexpected_reply(code, name)));
                }
                Step::Mail => {
                    self.eight_bit_refused =
                        plan.eight_bit && may_want_seven_bit(&self.wire.last_reply());
                    state.mail_refused = Some(self.sender_refused(plan));
                }
                // After a rejected MAIL there is no recipient, whatever the reply to RCPT.
                Step::Recipient(_) if state.mail_refused.is_some() => {
                    state.accepted_without_mail |= code < 300
                }
                Step::Recipient(_) if code < 300 => state.accepted += 1,
                Step::Recipient(_) if code < 400 => {
                    return Err(Aborted::Midway(self.unexpected_reply(code, name)));
                }
                Step::Recipient(place) => {
                    match too_many(self.wire.last_reply(), state.accepted > 0) {
                        Ok(reply) => state.too_many.push((*place, reply)),
                        Err(reply) => {
                            outcomes[*place] =
                                Some(self.classify_reply(ReplyStage::Recipient, reply, plan))
                        }
                    }
                }
                Step::Data => state.data = Some(self.wire.last_reply()),
            }
        }
        match written {
            Ok(()) => Ok(()),
            Err(trouble) => Err(self.broken(&trouble, "the envelope", state)),
        }
    }

    /// The peer closes the session: its reply counts for everything that is open (RFC 5321 §3.8).
    fn closing(&mut self, step: &Step, plan: &TransactionPlan, state: &mut State) -> Aborted {
        self.client.refused(step.stage());
        let reply = self.wire.last_reply();
        let refused = self.refused_by_upstream(step.stage(), &reply, plan.sender());
        let refused = refused.unwrap_or_else(|| Outcome::said(reply));
        let outcome = state.mail_refused.take().unwrap_or(refused);
        // After accepted recipients this may mean that there are enough.
        if matches!(step, Step::Recipient(_)) && state.accepted > 0 {
            return Aborted::TooMany { outcome, accepted: state.accepted };
        }
        if state.heard { Aborted::Midway(outcome) } else { Aborted::Gone(outcome) }
    }

    /// Writes RCPT for the recipient at this place.
    fn ask_recipient(&mut self, place: usize, recipient: &Address) {
        let text = self.recipient_text(recipient);
        self.out.extend_from_slice(b"RCPT TO:<");
        self.out.extend_from_slice(text.as_bytes());
        self.out.push(b'>');
        if self.extensions.dsn
            && let Some(parameters) = self.recipient_parameters.get(place)
        {
            self.out.extend_from_slice(parameters.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// A recipient in a form that the peer supports. One without such a form has its outcome
    /// already and is not sent.
    fn recipient_text<'a>(&self, recipient: &'a Address) -> Cow<'a, str> {
        let ascii = if self.extensions.smtputf8 { None } else { recipient.ascii_form() };
        ascii.unwrap_or(Cow::Borrowed(recipient.as_str()))
    }

    /// Before the content: an unexpected reply would be read as the final reply, and the mail would
    /// count as delivered.
    async fn expect_no_reply(&mut self, plan: &TransactionPlan) -> Result<(), Aborted> {
        if !self.wire.has_leftover() {
            return Ok(());
        }
        Err(Aborted::Midway(self.last_reply_before_close(&SmtpError::Unasked, plan).await))
    }

    /// Sends the content and reads the final reply.
    async fn content(&mut self, body: &Body, plan: &TransactionPlan) -> Result<Outcome, Aborted> {
        let times = *self.client.timeouts();
        let deadline = Instant::now() + times.piece + Duration::from_secs(body.len() / MIN_PACE);
        let mut pieces = OutgoingContent::of(body);
        let mut stuffer = DotStuffer::new();
        loop {
            let (piece, last) = match pieces.next().await {
                Ok(next) => next,
                // Without the final dot the peer discards what it has (RFC 5321 §4.1.1.4).
                Err(error) => {
                    let text =
                        format!("the content could not be read from the data volume: {error}");
                    return Err(Aborted::Unsure(Outcome::own(Reply::new(451, (4, 3, 0), text))));
                }
            };
            self.out.clear();
            stuffer.stuff(piece, &mut self.out);
            if last {
                if !self.client.may_end() {
                    let text = format!(
                        "the attempt at {} was aborted in the middle of a message: \
                         other mail needed its delivery agent",
                        self.relay
                    );
                    return Err(Aborted::Unsure(Outcome::own(Reply::new(451, (4, 4, 2), text))));
                }
                self.out.extend_from_slice(stuffer.end());
            }
            let limit = times.piece.min(deadline.saturating_duration_since(Instant::now()));
            if let Err(trouble) = self.wire.write(&self.out, limit).await {
                let outcome = self.last_reply_before_close(&trouble, plan).await;
                // The peer may have received the end of data.
                return Err(if last && !outcome.remote {
                    Aborted::Unsure(outcome)
                } else {
                    Aborted::Midway(outcome)
                });
            }
            if last {
                break;
            }
        }
        self.wire.transcript.note("the content, and its end");
        match self.wire.reply(times.end).await {
            Ok(200..300) => Ok(Outcome::said(self.wire.last_reply())),
            Ok(421) => {
                self.client.refused(ReplyStage::Data);
                Err(Aborted::Midway(self.final_refusal(plan)))
            }
            Ok(400..) => Ok(self.final_refusal(plan)),
            // It has all of the content, and may have accepted it.
            Ok(code) => Err(Aborted::Unsure(self.unexpected_reply(code, "the end of data"))),
            Err(trouble) => {
                Err(Aborted::Unsure(trouble.outcome(&self.relay, "after the end of data", 2)))
            }
        }
    }

    /// The rejection after the end of data.
    fn final_refusal(&mut self, plan: &TransactionPlan) -> Outcome {
        let reply = self.wire.last_reply();
        let refused = self.refused_by_upstream(ReplyStage::Data, &reply, plan.sender());
        refused.unwrap_or_else(|| Outcome::said(reply))
    }

    /// All recipients were rejected, but DATA was already sent and is now answered 354: an empty
    /// content must be sent and ended (RFC 2920 §3.1). The reply to that is ignored.
    async fn end_empty(&mut self) -> Result<(), Aborted> {
        let times = *self.client.timeouts();
        let ended = async {
            self.wire.write(b".\r\n", times.piece).await?;
            self.wire.reply(times.end).await
        };
        match ended.await {
            Ok(421) => Err(Aborted::Midway(Outcome::said(self.wire.last_reply()))),
            Ok(_) => Ok(()),
            Err(trouble) => {
                Err(Aborted::Midway(trouble.outcome(&self.relay, "after an empty DATA", 2)))
            }
        }
    }

    /// A peer that stops accepting content often sends the reason before it closes.
    async fn last_reply_before_close(
        &mut self,
        trouble: &SmtpError,
        plan: &TransactionPlan,
    ) -> Outcome {
        match self.wire.reply(LAST_REPLY_TIME).await {
            Ok(400..) => self.final_refusal(plan),
            _ if matches!(trouble, SmtpError::Slow(_)) => Outcome::own(Reply::new(
                451,
                (4, 4, 2),
                format!("{} accepted the content too slowly", self.relay),
            )),
            _ => trouble.outcome(&self.relay, "while accepting the content", 2),
        }
    }

    fn broken(&self, trouble: &SmtpError, name: &str, state: &mut State) -> Aborted {
        let outcome = match trouble {
            SmtpError::Slow(_) if state.deadline <= Instant::now() => {
                let text = format!(
                    "{} took more than {:?} for the envelope",
                    self.relay,
                    self.client.timeouts().envelope
                );
                Outcome::own(Reply::new(451, (4, 4, 2), text))
            }
            _ => trouble.outcome(&self.relay, &format!("in reply to {name}"), 2),
        };
        match state.mail_refused.take() {
            Some(refused) => Aborted::Midway(refused),
            None if !state.heard && trouble.is_loss() => Aborted::Gone(outcome),
            None => Aborted::Midway(outcome),
        }
    }

    /// The rejection of a command, about the mail or about this relay.
    fn classify_reply(
        &mut self,
        stage: ReplyStage,
        reply: Reply,
        plan: &TransactionPlan,
    ) -> Outcome {
        if let Some(refused) = self.refused_by_upstream(stage, &reply, plan.sender()) {
            return refused;
        }
        if reply_classification::is_about_relay(stage, &reply, plan.null_sender) {
            return self.note_session_refused(
                stage,
                reply_classification::outcome(stage, &self.relay, reply),
            );
        }
        Outcome::said(reply)
    }

    fn note_session_refused(&mut self, stage: ReplyStage, outcome: Outcome) -> Outcome {
        self.client.refused(stage);
        self.refused_session = Some(outcome.clone());
        outcome
    }

    /// If a peer requires TLS and the handshake failed, that is not an error of the mail; it may
    /// work later.
    fn sender_refused(&mut self, plan: &TransactionPlan) -> Outcome {
        let said = self.wire.last_reply();
        match &self.tls_failure {
            Some(cause) if said.code == 530 => {
                let text = format!("{cause}, and without TLS: {said}");
                self.note_session_refused(
                    ReplyStage::Mail,
                    Outcome::own(Reply::new(451, (4, 7, 5), text)),
                )
            }
            _ => self.classify_reply(ReplyStage::Mail, said, plan),
        }
    }

    fn unexpected_reply(&self, code: u16, name: &str) -> Outcome {
        Outcome::own(Reply::new(
            451,
            (4, 5, 0),
            format!("{} answered {name} with {code}, which means nothing there", self.relay),
        ))
    }
}

/// What was decided before the first command.
pub(super) struct TransactionPlan {
    /// The MAIL command with its parameters.
    pub mail: Vec<u8>,
    /// The sender is the null sender.
    pub null_sender: bool,
    /// Whether it has BODY=8BITMIME.
    pub eight_bit: bool,
}

impl TransactionPlan {
    /// The reverse-path in the MAIL command.
    fn sender(&self) -> &str {
        let command = std::str::from_utf8(&self.mail).unwrap_or_default();
        let path = command.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>'));
        path.map_or("", |(path, _)| path)
    }
}

/// A command, and what its reply is about.
enum Step {
    Reset,
    Mail,
    Recipient(usize),
    Data,
}

impl Step {
    fn stage(&self) -> ReplyStage {
        match self {
            Self::Reset | Self::Mail => ReplyStage::Mail,
            Self::Recipient(_) => ReplyStage::Recipient,
            Self::Data => ReplyStage::Data,
        }
    }
}

/// The peer's replies so far.
struct State {
    /// When the whole envelope must be done.
    deadline: Instant,
    /// Whether any reply was received.
    heard: bool,
    mail_refused: Option<Outcome>,
    /// A recipient was accepted after MAIL was rejected.
    accepted_without_mail: bool,
    accepted: usize,
    /// Recipients that were too many for this transaction.
    too_many: Vec<(usize, Reply)>,
    data: Option<Reply>,
}

/// The part of it that counts at the end.
pub(super) struct EnvelopeResult {
    pub accepted: usize,
    pub too_many: Vec<(usize, Reply)>,
    pub mail_refused: bool,
}

/// The connection ended the transaction, with the outcome for all open recipients.
pub(super) enum Aborted {
    /// Before any reply: a kept connection that was closed while idle looks like this.
    Gone(Outcome),
    /// Later.
    Midway(Outcome),
    /// At a recipient, after so many were accepted: fewer may be accepted.
    TooMany { outcome: Outcome, accepted: usize },
    /// As [`Aborted::Midway`], but no other host may be tried at once: this one may have accepted
    /// the content, or the cause is local.
    Unsure(Outcome),
}

/// An outcome for the case that every recipient has its own; it is never shown.
pub(super) fn no_recipient() -> Outcome {
    Outcome::own(Reply::new(554, (5, 5, 1), "no valid recipients"))
}

/// Whether the rejection of a recipient means that there are too many for one transaction; then
/// gives it as a temporary reply. Old servers send 552 (RFC 5321 §4.5.3.1.10). With an enhanced
/// code of another meaning (5.2.2, mailbox full; 4.3.1, disk full) that meaning counts; without
/// one, 452 may be about the disk, unless other recipients were `accepted` before.
fn too_many(reply: Reply, accepted: bool) -> Result<Reply, Reply> {
    match (reply.code, reply.enhanced) {
        (421, _) => Err(reply),
        (552, None) | (_, Some(Enhanced(5, 5, 3))) => {
            Ok(Reply { code: 452, enhanced: Some(Enhanced(4, 5, 3)), ..reply })
        }
        (_, Some(Enhanced(4, 5, 3))) => Ok(reply),
        (452, None) if accepted => Ok(reply),
        _ => Err(reply),
    }
}

/// Whether a rejection is explicitly for 8-bit content: 5.6.1, media not supported, or 5.6.3,
/// conversion required but not supported (RFC 3463 §3.7).
pub(super) fn wants_seven_bit(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some(Enhanced(5, 6, 1 | 3))) && reply.class() == ReplyClass::Permanent
}

/// Whether the rejection of MAIL may be for its BODY parameter. Servers have no common reply for
/// that; a reply about the sender, the right to send, the mailbox, the network or the size is not.
fn may_want_seven_bit(reply: &Reply) -> bool {
    let other = match reply.enhanced {
        Some(Enhanced(_, subject, detail)) => {
            matches!(subject, 1 | 2 | 4 | 7) || (subject, detail) == (3, 4)
        }
        None => matches!(reply.code, 530 | 535 | 552 | 553),
    };
    reply.class() == ReplyClass::Permanent && !other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_recipients_are_told_from_other_refusals() {
        for (reply, accepted, expected) in [
            (Reply::plain(552, "too many recipients"), false, Ok("452 4.5.3 too many recipients")),
            (Reply::new(552, (5, 5, 3), "too many"), false, Ok("452 4.5.3 too many")),
            (Reply::new(550, (5, 5, 3), "too many"), true, Ok("452 4.5.3 too many")),
            (Reply::new(452, (4, 5, 3), "too many"), false, Ok("452 4.5.3 too many")),
            (Reply::new(451, (4, 5, 3), "too many"), true, Ok("451 4.5.3 too many")),
            (Reply::plain(452, "too many"), true, Ok("452 too many")),
            (Reply::plain(452, "no room"), false, Err("452 no room")),
            (Reply::new(452, (4, 3, 1), "disk full"), true, Err("452 4.3.1 disk full")),
            (Reply::new(552, (5, 2, 2), "mailbox full"), true, Err("552 5.2.2 mailbox full")),
            (Reply::new(421, (4, 5, 3), "too many"), true, Err("421 4.5.3 too many")),
            (Reply::plain(550, "no"), true, Err("550 no")),
        ] {
            let told = too_many(reply, accepted)
                .map(|reply| reply.to_string())
                .map_err(|reply| reply.to_string());
            assert_eq!(told.as_deref().map_err(String::as_str), expected);
        }
    }

    #[test]
    fn refusals_of_eight_bit_content_are_told_from_others() {
        let reply = |text: &str| {
            let mut words = text.split(' ');
            let code = words.next().unwrap().parse().unwrap();
            match words
                .next()
                .map(|word| word.split('.').map(|n| n.parse().unwrap()).collect::<Vec<u16>>())
                .as_deref()
            {
                Some([_, b, c]) => Reply::new(code, (if code < 500 { 4 } else { 5 }, *b, *c), "no"),
                _ => Reply::plain(code, "no"),
            }
        };
        for (text, at_mail, later) in [
            ("554 5.6.1", true, true),
            ("550 5.6.3", true, true),
            ("554 5.6.0", true, false),
            ("555 5.5.4", true, false),
            ("501", true, false),
            ("554", true, false),
            ("451 4.6.1", false, false),
            ("552 5.3.4", false, false),
            ("550 5.1.8", false, false),
            ("550 5.7.1", false, false),
            ("530", false, false),
        ] {
            assert_eq!(
                (may_want_seven_bit(&reply(text)), wants_seven_bit(&reply(text))),
                (at_mail, later),
                "{text}"
            );
        }
    }
}
