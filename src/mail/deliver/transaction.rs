//! One message over one connection (RFC 5321 §3.3).

use super::client::Connection;
use super::content::{Pieces, Stuffer};
use super::refusal::{self, Stage};
use super::wire::Trouble;
use super::{GROUP_MAX, MIN_PACE};
use crate::mail::model::{Address, Body, BodyType, Class, Enhanced, Envelope, Message, Outcome, Reply, Report, Target};
use memchr::memmem;
use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;
use tokio::time::Instant;

/// How much of the header section is looked at to see whether SMTPUTF8 is needed.
const HEADERS_MAX: usize = 64 * 1024;

/// The buffer for commands and content is given back above this size.
const BUFFER_KEPT: usize = 128 * 1024;

/// How long to listen for a last word of a peer that no longer takes our octets.
const LAST_WORD: Duration = Duration::from_secs(1);

impl Connection {
    /// Carries one message to `targets`, in one transaction unless there are more than the peer takes at once; for [`Target::Copy`] to all recipients of the envelope, with one
    /// outcome: success when the content was taken for at least one of them.
    pub async fn send(&mut self, message: &Message, targets: &[Target]) -> Report {
        let envelope = &message.envelope;
        let asked: Vec<&[Address]> = targets.iter().map(|target| addresses(envelope, *target)).collect();
        let recipients: Vec<&Address> = asked.iter().copied().flatten().collect();
        self.eight_bit_refused = false;
        let answers = self.attempt(envelope, &message.body, &recipients).await;
        let mut rest = answers.outcomes.into_iter();
        let outcomes = targets.iter().zip(asked).map(|(target, list)| (*target, worst_or_best(rest.by_ref().take(list.len()))));
        let outcomes: Vec<(Target, Outcome)> = outcomes.collect();
        let eight_bit = envelope.body == BodyType::EightBitMime;
        let is_refused = |outcome: &Outcome| match self.eight_bit_refused {
            // Whatever class it was given: the peer has judged the form of the content, and nothing else.
            true => outcome.class() != Class::Success,
            false => wants_seven_bit(&outcome.reply),
        };
        let refused = outcomes.iter().filter(|(_, outcome)| eight_bit && is_refused(outcome));
        let eight_bit_refused = refused.map(|(target, _)| *target).collect();
        // What went well needs no record of its words.
        let all_well = outcomes.iter().all(|(_, outcome)| outcome.class() == Class::Success);
        let report = Report {
            outcomes,
            relay: self.relay.clone(),
            tls: self.tls,
            security: self.security.clone(),
            transcript: if all_well { String::new() } else { self.wire.transcript.text().to_owned() },
            reusable: answers.reusable,
            elsewhere: answers.elsewhere,
            eight_bit_refused,
        };
        self.wire.transcript.clear();
        if self.out.capacity() > BUFFER_KEPT {
            self.out = Vec::new();
        }
        report
    }

    /// Whether the content is in 8 bits and the peer takes that by its own word (RFC 6152 §2).
    fn sends_eight_bit(&self, envelope: &Envelope) -> bool {
        envelope.body == BodyType::EightBitMime && self.extensions.eight_bit
    }

    /// One outcome a recipient, in as many transactions as it takes (RFC 5321 §4.5.3.1.10); each of them brings at least one
    /// recipient to an end. A kept connection that turns out to be gone is opened anew: the peer had a right to close it, and no
    /// octet of this transaction has been answered.
    async fn attempt(&mut self, envelope: &Envelope, body: &Body, recipients: &[&Address]) -> Answers {
        let mut outcomes = vec![None; recipients.len()];
        loop {
            let plan = match self.plan(envelope, body, recipients, &mut outcomes).await {
                Ok(plan) => plan,
                Err(outcome) => return Answers::new(outcomes, &outcome, true),
            };
            let kept = self.carried > 0;
            if kept && self.wire.has_leftover() {
                // Out of step: no reply of this connection can be trusted any more.
                match self.reopen().await {
                    Ok(()) => continue,
                    Err(outcome) => return Answers::new(outcomes, &outcome, false),
                }
            }
            self.carried += 1;
            match self.transact(&plan, body, recipients, &mut outcomes).await {
                Ok(Ended { outcome, for_all: true, .. }) => return Answers::new(outcomes, &outcome, true),
                Ok(Ended { outcome, asked, .. }) => {
                    for place in asked {
                        outcomes[place].get_or_insert_with(|| outcome.clone());
                    }
                    if outcomes.iter().all(Option::is_some) {
                        return Answers::new(outcomes, &outcome, true);
                    }
                }
                Err(Broken::Gone(_)) if kept => {
                    if let Err(outcome) = self.reopen().await {
                        return Answers::new(outcomes, &outcome, false);
                    }
                }
                Err(Broken::Gone(outcome) | Broken::Midway(outcome)) => return Answers::new(outcomes, &outcome, false),
                Err(Broken::Unsure(outcome)) => {
                    return Answers { elsewhere: false, ..Answers::new(outcomes, &outcome, false) };
                }
            }
        }
    }

    /// What the peer's extensions make of the message. Recipients that cannot be reached through it get their outcome here.
    ///
    /// # Errors
    /// The outcome for all of them.
    async fn plan(
        &self,
        envelope: &Envelope,
        body: &Body,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Plan, Outcome> {
        let permanent = |code, enhanced, text: String| Outcome::own(Reply::new(code, enhanced, text));
        let relay = &self.relay;
        if let Some(max) = self.extensions.size_max.filter(|max| body.len() > *max) {
            let text = format!("the message has {} octets, {relay} takes at most {max}", body.len());
            return Err(permanent(552, (5, 3, 4), text));
        }
        let eight_bit = self.sends_eight_bit(envelope);
        if !eight_bit && envelope.body == BodyType::EightBitMime {
            let text = format!("the message has 8-bit content, which {relay} does not take (no 8BITMIME)");
            return Err(permanent(554, (5, 6, 3), text));
        }
        let mut smtputf8 = envelope.smtputf8;
        let mut sender = Some(Cow::Borrowed(envelope.sender_text()));
        if !self.extensions.smtputf8 {
            let refused = || {
                let text = format!("the message needs internationalised mail, which {relay} does not take (no SMTPUTF8)");
                permanent(553, (5, 6, 7), text)
            };
            sender = envelope.sender.as_ref().map_or(Some(Cow::Borrowed("")), Address::ascii_form);
            // A client may have asked for SMTPUTF8 without using it; then there is nothing that the peer could not take.
            if sender.is_none() || (smtputf8 && !headers_are_ascii(body).await) {
                return Err(refused());
            }
            for (recipient, outcome) in recipients.iter().zip(outcomes) {
                if recipient.ascii_form().is_none() {
                    *outcome = Some(refused());
                }
            }
            smtputf8 = false;
        }
        let mut mail = Vec::with_capacity(128);
        mail.extend_from_slice(b"MAIL FROM:<");
        mail.extend_from_slice(sender.unwrap_or_default().as_bytes());
        mail.push(b'>');
        if self.extensions.size {
            // Into memory, where writing cannot fail.
            let _ = write!(mail, " SIZE={}", body.len());
        }
        if eight_bit {
            mail.extend_from_slice(b" BODY=8BITMIME");
        }
        if smtputf8 {
            mail.extend_from_slice(b" SMTPUTF8");
        }
        mail.extend_from_slice(b"\r\n");
        Ok(Plan { mail, null_sender: envelope.sender.is_none(), eight_bit })
    }

    /// The transaction itself, with as many of the open recipients as the peer takes at once: fills in the outcomes of refused
    /// recipients and gives the one for all others.
    async fn transact(
        &mut self,
        plan: &Plan,
        body: &Body,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Ended, Broken> {
        let asked = (0..recipients.len()).filter(|place| outcomes[*place].is_none());
        let mut asked: Vec<usize> = asked.take(self.recipients_max).collect();
        if asked.is_empty() {
            // Every recipient has its own outcome already; the peer need not hear of it.
            return Ok(Ended { outcome: no_recipient(), asked, for_all: true });
        }
        let (outcome, state) = self.exchange(plan, body, recipients, &asked, outcomes).await?;
        let mail_refused = state.accepted == 0 && state.mail_refused;
        if state.accepted > 0 && !state.too_many.is_empty() {
            // So many and no more: the others have their turn at once, and later mail is cut to this size.
            self.recipients_max = state.accepted;
            asked.retain(|place| state.too_many.iter().all(|(too_many, _)| too_many != place));
        } else {
            state.too_many.into_iter().for_each(|(place, reply)| outcomes[place] = Some(Outcome::said(reply)));
        }
        // What is wrong for now with the content, or for good with the sender, is no better with other recipients.
        let for_all = mail_refused || (state.accepted > 0 && outcome.class() == Class::Temporary);
        Ok(Ended { outcome, asked, for_all })
    }

    /// The commands of a transaction and its content.
    async fn exchange(
        &mut self,
        plan: &Plan,
        body: &Body,
        recipients: &[&Address],
        asked: &[usize],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<(Outcome, Heard), Broken> {
        let open = asked.iter().copied().map(Step::Recipient);
        let mut steps = Vec::with_capacity(asked.len() + 3);
        steps.extend(std::mem::take(&mut self.dirty).then_some(Step::Reset));
        steps.push(Step::Mail);
        steps.extend(open);
        steps.push(Step::Data);

        let deadline = Instant::now() + self.client.timeouts().envelope;
        let mut state = State { deadline, heard: false, mail_refused: None, accepted: 0, too_many: Vec::new(), data: None };
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

        // Whatever did not end with the content or a refused MAIL leaves recipients behind (RFC 5321 §4.1.1.5).
        self.dirty = state.mail_refused.is_none();
        let heard = Heard {
            accepted: state.accepted,
            too_many: std::mem::take(&mut state.too_many),
            mail_refused: state.mail_refused.is_some(),
        };
        let outcome = match state.data {
            Some(data) if data.code == 354 && state.accepted > 0 && state.mail_refused.is_none() => {
                self.nothing_more().await?;
                let outcome = self.content(body).await?;
                self.dirty = false;
                outcome
            }
            Some(data) if data.code == 354 => match (self.nothing().await, state.mail_refused) {
                (Ok(()), refused) => refused.unwrap_or_else(no_recipient),
                (Err(_), Some(refused)) => return Err(Broken::Midway(refused)),
                (Err(broken), None) => return Err(broken),
            },
            data => match (state.mail_refused, data) {
                (Some(refused), _) => refused,
                (None, Some(data)) if data.class() != Class::Success => self.judged(Stage::Data, data, plan),
                (None, Some(data)) if state.accepted > 0 => {
                    return Err(Broken::Midway(self.unexpected(data.code, "DATA")));
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
        plan: &Plan,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
        state: &mut State,
    ) -> Result<(), Broken> {
        let times = *self.client.timeouts();
        self.out.clear();
        for step in group {
            match step {
                Step::Reset => self.out.extend_from_slice(b"RSET\r\n"),
                Step::Mail => self.out.extend_from_slice(&plan.mail),
                Step::Recipient(place) => {
                    self.out.extend_from_slice(b"RCPT TO:<");
                    self.out.extend_from_slice(self.written(recipients[*place]).as_bytes());
                    self.out.extend_from_slice(b">\r\n");
                }
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
            // A peer that closes may have said why before; listen for that even when it no longer took everything.
            let limit = if written.is_ok() { limit } else { LAST_WORD };
            let limit = limit.min(state.deadline.saturating_duration_since(Instant::now()));
            let code = match self.wire.reply(limit).await {
                Ok(code) => code,
                Err(trouble) => {
                    let cause = written.err().filter(|_| !state.heard).unwrap_or(trouble);
                    return Err(self.broken(&cause, name, state));
                }
            };
            if code == 421 {
                // The peer is leaving: what it says counts for everything that is open (RFC 5321 §3.8).
                self.client.refused(step.stage());
                let outcome = state.mail_refused.take().unwrap_or_else(|| Outcome::said(self.wire.last_reply()));
                return Err(if state.heard { Broken::Midway(outcome) } else { Broken::Gone(outcome) });
            }
            state.heard = true;
            match step {
                Step::Reset => {}
                Step::Mail if code < 300 => {}
                Step::Mail if code < 400 => return Err(Broken::Midway(self.unexpected(code, name))),
                Step::Mail => {
                    self.eight_bit_refused = plan.eight_bit && may_want_seven_bit(&self.wire.last_reply());
                    state.mail_refused = Some(self.sender_refused(plan));
                }
                // Without a sender there is no recipient, whatever is said of it.
                Step::Recipient(_) if state.mail_refused.is_some() => {}
                Step::Recipient(_) if code < 300 => state.accepted += 1,
                Step::Recipient(_) if code < 400 => return Err(Broken::Midway(self.unexpected(code, name))),
                Step::Recipient(place) => match too_many(self.wire.last_reply(), state.accepted > 0) {
                    Ok(reply) => state.too_many.push((*place, reply)),
                    Err(reply) => outcomes[*place] = Some(self.judged(Stage::Recipient, reply, plan)),
                },
                Step::Data => state.data = Some(self.wire.last_reply()),
            }
        }
        match written {
            Ok(()) => Ok(()),
            Err(trouble) => Err(self.broken(&trouble, "the envelope", state)),
        }
    }

    /// A recipient as the peer can read it. One that has no such form has its outcome already and is not asked for.
    fn written<'a>(&self, recipient: &'a Address) -> Cow<'a, str> {
        let ascii = if self.extensions.smtputf8 { None } else { recipient.ascii_form() };
        ascii.unwrap_or(Cow::Borrowed(recipient.as_str()))
    }

    /// Before the content: a reply that came unasked would be taken for the final word, and the mail for delivered.
    async fn nothing_more(&mut self) -> Result<(), Broken> {
        if !self.wire.has_leftover() {
            return Ok(());
        }
        Err(Broken::Midway(self.last_word(&Trouble::Unasked).await))
    }

    /// The content and the peer's final word.
    async fn content(&mut self, body: &Body) -> Result<Outcome, Broken> {
        let times = *self.client.timeouts();
        let deadline = Instant::now() + times.piece + Duration::from_secs(body.len() / MIN_PACE);
        let mut pieces = Pieces::of(body);
        let mut stuffer = Stuffer::new();
        loop {
            let (piece, last) = match pieces.next().await {
                Ok(next) => next,
                // Without the final dot the peer throws away what it has (RFC 5321 §4.1.1.4).
                Err(error) => {
                    let text = format!("the content could not be read from the data volume: {error}");
                    return Err(Broken::Unsure(Outcome::own(Reply::new(451, (4, 3, 0), text))));
                }
            };
            self.out.clear();
            stuffer.stuff(piece, &mut self.out);
            if last {
                if !self.client.may_end() {
                    let text = format!("{} was given up in the middle of a message: others needed the courier", self.relay);
                    return Err(Broken::Unsure(Outcome::own(Reply::new(451, (4, 4, 2), text))));
                }
                self.out.extend_from_slice(stuffer.end());
            }
            let limit = times.piece.min(deadline.saturating_duration_since(Instant::now()));
            if let Err(trouble) = self.wire.write(&self.out, limit).await {
                let outcome = self.last_word(&trouble).await;
                // The end of data may have been the last that it got.
                return Err(if last && !outcome.remote { Broken::Unsure(outcome) } else { Broken::Midway(outcome) });
            }
            if last {
                break;
            }
        }
        self.wire.transcript.note("the content, and its end");
        match self.wire.reply(times.end).await {
            Ok(200..300) => Ok(Outcome::said(self.wire.last_reply())),
            Ok(421) => {
                self.client.refused(Stage::Data);
                Err(Broken::Midway(Outcome::said(self.wire.last_reply())))
            }
            Ok(400..) => Ok(Outcome::said(self.wire.last_reply())),
            // It has all of the content, and may have taken it.
            Ok(code) => Err(Broken::Unsure(self.unexpected(code, "the end of data"))),
            Err(trouble) => Err(Broken::Unsure(trouble.outcome(&self.relay, "after the end of data", 2))),
        }
    }

    /// All recipients were refused, but DATA was on its way already and is now answered 354: nothing must be sent, and ended
    /// (RFC 2920 §3.1). What the peer says to that means nothing.
    async fn nothing(&mut self) -> Result<(), Broken> {
        let times = *self.client.timeouts();
        let ended = async {
            self.wire.write(b".\r\n", times.piece).await?;
            self.wire.reply(times.end).await
        };
        match ended.await {
            Ok(421) => Err(Broken::Midway(Outcome::said(self.wire.last_reply()))),
            Ok(_) => Ok(()),
            Err(trouble) => Err(Broken::Midway(trouble.outcome(&self.relay, "after an empty DATA", 2))),
        }
    }

    /// A peer that stops taking content often says why before it closes.
    async fn last_word(&mut self, trouble: &Trouble) -> Outcome {
        match self.wire.reply(LAST_WORD).await {
            Ok(400..) => Outcome::said(self.wire.last_reply()),
            _ if matches!(trouble, Trouble::Slow(_)) => {
                Outcome::own(Reply::new(451, (4, 4, 2), format!("{} took the content too slowly", self.relay)))
            }
            _ => trouble.outcome(&self.relay, "while taking the content", 2),
        }
    }

    fn broken(&self, trouble: &Trouble, name: &str, state: &mut State) -> Broken {
        let outcome = match trouble {
            Trouble::Slow(_) if state.deadline <= Instant::now() => {
                let text = format!("{} took more than {:?} for the envelope", self.relay, self.client.timeouts().envelope);
                Outcome::own(Reply::new(451, (4, 4, 2), text))
            }
            _ => trouble.outcome(&self.relay, &format!("in answer to {name}"), 2),
        };
        match state.mail_refused.take() {
            Some(refused) => Broken::Midway(refused),
            None if !state.heard && trouble.is_loss() => Broken::Gone(outcome),
            None => Broken::Midway(outcome),
        }
    }

    /// A refusal of a command, about the mail or about us.
    fn judged(&self, stage: Stage, reply: Reply, plan: &Plan) -> Outcome {
        if refusal::is_about_relay(stage, &reply, plan.null_sender) {
            self.client.refused(stage);
            return refusal::outcome(stage, &self.relay, reply);
        }
        Outcome::said(reply)
    }

    /// A peer that insists on TLS is not to blame the mail for a handshake that failed; that may work later.
    fn sender_refused(&self, plan: &Plan) -> Outcome {
        let said = self.wire.last_reply();
        match &self.tls_failure {
            Some(cause) if said.code == 530 => {
                self.client.refused(Stage::Mail);
                let text = format!("{cause}, and without TLS it said: {said}");
                Outcome::own(Reply::new(451, (4, 7, 5), text))
            }
            _ => self.judged(Stage::Mail, said, plan),
        }
    }

    fn unexpected(&self, code: u16, name: &str) -> Outcome {
        Outcome::own(Reply::new(
            451,
            (4, 5, 0),
            format!("{} answered {name} with {code}, which means nothing there", self.relay),
        ))
    }
}

/// What was settled before the first command.
struct Plan {
    /// The MAIL command with its parameters.
    mail: Vec<u8>,
    /// It names nobody.
    null_sender: bool,
    /// Whether it says BODY=8BITMIME.
    eight_bit: bool,
}

/// A command, and whose reply it waits for.
enum Step {
    Reset,
    Mail,
    Recipient(usize),
    Data,
}

impl Step {
    fn stage(&self) -> Stage {
        match self {
            Self::Reset | Self::Mail => Stage::Mail,
            Self::Recipient(_) => Stage::Recipient,
            Self::Data => Stage::Data,
        }
    }
}

/// What the peer has said so far.
struct State {
    /// When the envelope must be through.
    deadline: Instant,
    /// Anything at all.
    heard: bool,
    mail_refused: Option<Outcome>,
    accepted: usize,
    /// Recipients that were too many for this transaction.
    too_many: Vec<(usize, Reply)>,
    data: Option<Reply>,
}

/// What counts of it at the end.
struct Heard {
    accepted: usize,
    too_many: Vec<(usize, Reply)>,
    mail_refused: bool,
}

/// The end of a transaction over a connection that can go on.
struct Ended {
    /// For the recipients that were asked and have no outcome of their own.
    outcome: Outcome,
    asked: Vec<usize>,
    /// It counts for those as well that were not asked yet.
    for_all: bool,
}

/// The connection ended the transaction, with the outcome of all that is open.
enum Broken {
    /// Before it answered anything: a kept connection that was closed while idle looks like this.
    Gone(Outcome),
    /// Later.
    Midway(Outcome),
    /// As [`Broken::Midway`], but no other host may be asked at once: this one may have taken the content, or the cause is on
    /// our side.
    Unsure(Outcome),
}

/// The outcomes of all recipients, and whether the connection can go on.
struct Answers {
    outcomes: Vec<Outcome>,
    reusable: bool,
    /// As in [`Report::elsewhere`].
    elsewhere: bool,
}

impl Answers {
    fn new(outcomes: Vec<Option<Outcome>>, rest: &Outcome, reusable: bool) -> Self {
        let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| rest.clone())).collect();
        Self { outcomes, reusable, elsewhere: true }
    }
}

/// What is left to say when every recipient has its own outcome; nobody gets to see it.
fn no_recipient() -> Outcome {
    Outcome::own(Reply::new(554, (5, 5, 1), "no valid recipients"))
}

fn addresses(envelope: &Envelope, target: Target) -> &[Address] {
    match target {
        Target::Recipient(place) => envelope.recipients.get(usize::from(place)).map_or(&[], std::slice::from_ref),
        Target::Copy => &envelope.recipients,
    }
}

/// One outcome for a target: success if any of its addresses was taken, else a temporary failure if there is one.
fn worst_or_best(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let rank = |outcome: &Outcome| match outcome.class() {
        Class::Success => 0,
        Class::Temporary => 1,
        Class::Permanent => 2,
    };
    outcomes
        .min_by_key(rank)
        .unwrap_or_else(|| Outcome::own(Reply::new(554, (5, 3, 0), "the envelope has no such recipient; please report this")))
}

/// Whether a refusal of a recipient means that there are too many for one transaction; then, as a temporary reply. Old servers
/// say 552 (RFC 5321 §4.5.3.1.10). With an enhanced code of another meaning (5.2.2, mailbox full; 4.3.1, disk full) it is what
/// it says; without any, 452 may be about the disk, unless other recipients were `accepted` before.
fn too_many(reply: Reply, accepted: bool) -> Result<Reply, Reply> {
    match (reply.code, reply.enhanced) {
        (421, _) => Err(reply),
        (552, None) | (_, Some(Enhanced(5, 5, 3))) => Ok(Reply { code: 452, enhanced: Some(Enhanced(4, 5, 3)), ..reply }),
        (_, Some(Enhanced(4, 5, 3))) => Ok(reply),
        (452, None) if accepted => Ok(reply),
        _ => Err(reply),
    }
}

/// Whether a refusal is for 8-bit content by the letter: 5.6.1, media not supported, or 5.6.3, conversion required but not
/// supported (RFC 3463 §3.7).
fn wants_seven_bit(reply: &Reply) -> bool {
    matches!(reply.enhanced, Some(Enhanced(5, 6, 1 | 3))) && reply.class() == Class::Permanent
}

/// Whether the refusal of MAIL may be for its BODY parameter. Servers have no one word for that; a reply about the sender,
/// our right to send, the mailbox, the network or the size is none.
fn may_want_seven_bit(reply: &Reply) -> bool {
    let other = match reply.enhanced {
        Some(Enhanced(_, subject, detail)) => matches!(subject, 1 | 2 | 4 | 7) || (subject, detail) == (3, 4),
        None => matches!(reply.code, 530 | 535 | 552 | 553),
    };
    reply.class() == Class::Permanent && !other
}

async fn headers_are_ascii(body: &Body) -> bool {
    let head = match body {
        Body::Memory(_) => body.head(HEADERS_MAX),
        Body::Stored(..) => {
            let body = body.clone();
            match tokio::task::spawn_blocking(move || body.head(HEADERS_MAX)).await {
                Ok(head) => head,
                Err(_) => return false,
            }
        }
    };
    let Ok(head) = head else { return false };
    match memmem::find(&head, b"\r\n\r\n") {
        Some(end) => head[..end].is_ascii(),
        None => head.len() < HEADERS_MAX && head.is_ascii(),
    }
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
            let told = too_many(reply, accepted).map(|reply| reply.to_string()).map_err(|reply| reply.to_string());
            assert_eq!(told.as_deref().map_err(String::as_str), expected);
        }
    }

    #[test]
    fn refusals_of_eight_bit_content_are_told_from_others() {
        let reply = |text: &str| {
            let mut words = text.split(' ');
            let code = words.next().unwrap().parse().unwrap();
            match words.next().map(|word| word.split('.').map(|n| n.parse().unwrap()).collect::<Vec<u16>>()).as_deref() {
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
            assert_eq!((may_want_seven_bit(&reply(text)), wants_seven_bit(&reply(text))), (at_mail, later), "{text}");
        }
    }

    #[tokio::test]
    async fn only_headers_decide_about_smtputf8() {
        for (text, ascii) in [("Subject: a\r\n\r\nü", true), ("Subject: ü\r\n\r\na", false), ("Subject: a", true), ("", true)]
        {
            assert_eq!(headers_are_ascii(&Body::Memory(text.into())).await, ascii, "{text:?}");
        }
    }
}
