//! One message over one connection (RFC 5321 §3.3).

use super::client::Connection;
use super::content::{Pieces, Stuffer};
use super::wire::Trouble;
use super::{GROUP_MAX, MIN_PACE};
use crate::mail::model::{Address, Body, BodyType, Class, Enhanced, Envelope, Message, Outcome, Reply, Report, Target};
use memchr::memmem;
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
    /// Carries one message to `targets` in one transaction; for [`Target::Copy`] to all recipients of the envelope, with one
    /// outcome: success when the content was taken for at least one of them.
    pub async fn send(&mut self, message: &Message, targets: &[Target]) -> Report {
        let envelope = &message.envelope;
        let asked: Vec<&[Address]> = targets.iter().map(|target| addresses(envelope, *target)).collect();
        let recipients: Vec<&Address> = asked.iter().copied().flatten().collect();
        let answers = self.attempt(envelope, &message.body, &recipients).await;
        let mut rest = answers.outcomes.into_iter();
        let outcomes = targets.iter().zip(asked).map(|(target, list)| (*target, worst_or_best(rest.by_ref().take(list.len()))));
        let outcomes: Vec<(Target, Outcome)> = outcomes.collect();
        // What went well needs no record of its words.
        let all_well = outcomes.iter().all(|(_, outcome)| outcome.class() == Class::Success);
        let report = Report {
            outcomes,
            relay: self.relay.clone(),
            tls: self.tls,
            security: self.security.clone(),
            transcript: if all_well { String::new() } else { self.wire.transcript.text().to_owned() },
            reusable: answers.reusable,
        };
        self.wire.transcript.clear();
        if self.out.capacity() > BUFFER_KEPT {
            self.out = Vec::new();
        }
        report
    }

    /// One outcome a recipient. A kept connection that turns out to be gone is opened anew: the peer had a right to close it,
    /// and no octet of this message has been answered.
    async fn attempt(&mut self, envelope: &Envelope, body: &Body, recipients: &[&Address]) -> Answers {
        loop {
            let mut outcomes = vec![None; recipients.len()];
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
                Ok(outcome) => return Answers::new(outcomes, &outcome, true),
                Err(Broken::Gone(_)) if kept => {
                    if let Err(outcome) = self.reopen().await {
                        return Answers::new(vec![None; recipients.len()], &outcome, false);
                    }
                }
                Err(Broken::Gone(outcome) | Broken::Midway(outcome)) => return Answers::new(outcomes, &outcome, false),
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
        let eight_bit = envelope.body == BodyType::EightBitMime;
        if eight_bit && !self.extensions.eight_bit {
            let text = format!("the message has 8-bit content, which {relay} does not take (no 8BITMIME)");
            return Err(permanent(554, (5, 6, 3), text));
        }
        let mut smtputf8 = envelope.smtputf8;
        if !self.extensions.smtputf8 {
            let refused = || {
                let text = format!("the message needs internationalised mail, which {relay} does not take (no SMTPUTF8)");
                permanent(553, (5, 6, 7), text)
            };
            let ascii_sender = envelope.sender.as_ref().is_none_or(Address::is_ascii);
            // A client may have asked for SMTPUTF8 without using it; then there is nothing that the peer could not take.
            if !ascii_sender || (smtputf8 && !headers_are_ascii(body).await) {
                return Err(refused());
            }
            for (recipient, outcome) in recipients.iter().zip(outcomes) {
                if !recipient.is_ascii() {
                    *outcome = Some(refused());
                }
            }
            smtputf8 = false;
        }
        let mut mail = Vec::with_capacity(128);
        mail.extend_from_slice(b"MAIL FROM:<");
        mail.extend_from_slice(envelope.sender_text().as_bytes());
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
        Ok(Plan { mail })
    }

    /// The transaction itself: fills in the outcomes of refused recipients and gives the one for all others.
    async fn transact(
        &mut self,
        plan: &Plan,
        body: &Body,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Outcome, Broken> {
        let open: Vec<Step> = (0..recipients.len()).filter(|place| outcomes[*place].is_none()).map(Step::Recipient).collect();
        if open.is_empty() {
            // Every recipient has its own outcome already; the peer need not hear of it.
            return Ok(no_recipient());
        }
        let mut steps = Vec::with_capacity(open.len() + 3);
        steps.extend(std::mem::take(&mut self.dirty).then_some(Step::Reset));
        steps.push(Step::Mail);
        steps.extend(open);
        steps.push(Step::Data);

        let deadline = Instant::now() + self.client.timeouts().envelope;
        let mut state = State { deadline, heard: false, mail_refused: None, accepted: 0, data: None };
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
        match state.data {
            Some(data) if data.code == 354 && state.accepted > 0 && state.mail_refused.is_none() => {
                self.nothing_more().await?;
                let outcome = self.content(body).await?;
                self.dirty = false;
                Ok(outcome)
            }
            Some(data) if data.code == 354 => match (self.nothing().await, state.mail_refused) {
                (Ok(()), refused) => Ok(refused.unwrap_or_else(no_recipient)),
                (Err(_), Some(refused)) => Err(Broken::Midway(refused)),
                (Err(broken), None) => Err(broken),
            },
            data => match (state.mail_refused, data) {
                (Some(refused), _) => Ok(refused),
                (None, Some(data)) if data.class() != Class::Success => Ok(Outcome::said(data)),
                (None, Some(data)) if state.accepted > 0 => Err(Broken::Midway(self.unexpected(data.code, "DATA"))),
                (None, _) => Ok(no_recipient()),
            },
        }
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
                    self.out.extend_from_slice(recipients[*place].as_str().as_bytes());
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
                let outcome = state.mail_refused.take().unwrap_or_else(|| Outcome::said(self.wire.last_reply()));
                return Err(if state.heard { Broken::Midway(outcome) } else { Broken::Gone(outcome) });
            }
            state.heard = true;
            match step {
                Step::Reset => {}
                Step::Mail if code < 300 => {}
                Step::Mail if code < 400 => return Err(Broken::Midway(self.unexpected(code, name))),
                Step::Mail => state.mail_refused = Some(self.sender_refused()),
                // Without a sender there is no recipient, whatever is said of it.
                Step::Recipient(_) if state.mail_refused.is_some() => {}
                Step::Recipient(_) if code < 300 => state.accepted += 1,
                Step::Recipient(_) if code < 400 => return Err(Broken::Midway(self.unexpected(code, name))),
                Step::Recipient(place) => outcomes[*place] = Some(Outcome::said(recipient_refusal(self.wire.last_reply()))),
                Step::Data => state.data = Some(self.wire.last_reply()),
            }
        }
        match written {
            Ok(()) => Ok(()),
            Err(trouble) => Err(self.broken(&trouble, "the envelope", state)),
        }
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
                    return Err(Broken::Midway(Outcome::own(Reply::new(451, (4, 3, 0), text))));
                }
            };
            self.out.clear();
            stuffer.stuff(piece, &mut self.out);
            if last {
                self.out.extend_from_slice(stuffer.end());
            }
            let limit = times.piece.min(deadline.saturating_duration_since(Instant::now()));
            if let Err(trouble) = self.wire.write(&self.out, limit).await {
                return Err(Broken::Midway(self.last_word(&trouble).await));
            }
            if last {
                break;
            }
        }
        self.wire.transcript.note("the content, and its end");
        match self.wire.reply(times.end).await {
            Ok(200..300) => Ok(Outcome::said(self.wire.last_reply())),
            Ok(421) => Err(Broken::Midway(Outcome::said(self.wire.last_reply()))),
            Ok(400..) => Ok(Outcome::said(self.wire.last_reply())),
            Ok(code) => Err(Broken::Midway(self.unexpected(code, "the end of data"))),
            Err(trouble) => Err(Broken::Midway(trouble.outcome(&self.relay, "after the end of data", 2))),
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

    /// A peer that insists on TLS is not to blame the mail for a handshake that failed; that may work later.
    fn sender_refused(&self) -> Outcome {
        let said = Outcome::said(self.wire.last_reply());
        match &self.tls_failure {
            Some(cause) if said.reply.code == 530 => {
                let text = format!("{cause}, and without TLS it said: {}", said.reply);
                Outcome::own(Reply::new(451, (4, 7, 5), text))
            }
            _ => said,
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
}

/// A command, and whose reply it waits for.
enum Step {
    Reset,
    Mail,
    Recipient(usize),
    Data,
}

/// What the peer has said so far.
struct State {
    /// When the envelope must be through.
    deadline: Instant,
    /// Anything at all.
    heard: bool,
    mail_refused: Option<Outcome>,
    accepted: usize,
    data: Option<Reply>,
}

/// The connection ended the transaction, with the outcome of all that is open.
enum Broken {
    /// Before it answered anything: a kept connection that was closed while idle looks like this.
    Gone(Outcome),
    /// Later.
    Midway(Outcome),
}

/// The outcomes of all recipients, and whether the connection can go on.
struct Answers {
    outcomes: Vec<Outcome>,
    reusable: bool,
}

impl Answers {
    fn new(outcomes: Vec<Option<Outcome>>, rest: &Outcome, reusable: bool) -> Self {
        let outcomes = outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(|| rest.clone())).collect();
        Self { outcomes, reusable }
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

/// Old servers say 552 for too many recipients, which means "the rest later" (RFC 5321 §4.5.3.1.10). With an enhanced code of
/// another meaning (5.2.2, mailbox full) it is what it says.
fn recipient_refusal(reply: Reply) -> Reply {
    match reply {
        Reply { code: 552, enhanced: None | Some(Enhanced(5, 5, 3)), text } => Reply::new(452, (4, 5, 3), text),
        reply => reply,
    }
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
    fn too_many_recipients_means_later() {
        let code = |reply| recipient_refusal(reply).code;
        assert_eq!(code(Reply::plain(552, "too many recipients")), 452);
        assert_eq!(code(Reply::new(552, (5, 5, 3), "too many recipients")), 452);
        assert_eq!(code(Reply::new(552, (5, 2, 2), "mailbox full")), 552);
        assert_eq!(code(Reply::plain(550, "no")), 550);
    }

    #[tokio::test]
    async fn only_headers_decide_about_smtputf8() {
        for (text, ascii) in [("Subject: a\r\n\r\nü", true), ("Subject: ü\r\n\r\na", false), ("Subject: a", true), ("", true)]
        {
            assert_eq!(headers_are_ascii(&Body::Memory(text.into())).await, ascii, "{text:?}");
        }
    }
}
