//! One message over one connection, in as many transactions as needed; [`super::exchange`] is one
//! of them.

use super::client::Connection;
use super::exchange::{Aborted, TransactionPlan, no_recipient, wants_seven_bit};
use super::recipient_outcomes::{RecipientOutcomes, addresses};
use crate::mail::model::{
    Address, Body, BodyType, Envelope, Message, Outcome, RecipientDsn, Reply, ReplyClass, Target,
    TransactionReport,
};
use memchr::memmem;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write;

/// How much of the header section is checked to see whether SMTPUTF8 is needed.
const HEADERS_MAX: usize = 64 * 1024;

/// The buffer for commands and content is freed above this size.
const BUFFER_KEPT: usize = 128 * 1024;

/// How often in one attempt a peer may close because of the number of recipients and be tried
/// again.
const TOO_MANY_MAX: usize = 2;

/// The parameters of RCPT for each recipient, if the client asked for any. Nobody hears of the
/// carbon copy.
fn dsn_parameters(envelope: &Envelope, targets: &[Target]) -> Vec<String> {
    let Some(dsn) = &envelope.dsn else { return Vec::new() };
    let mut parameters = Vec::new();
    for target in targets {
        match target {
            Target::Recipient(place) => {
                let recipient = dsn.recipients.get(usize::from(*place));
                parameters.push(recipient.map(RecipientDsn::parameters).unwrap_or_default());
            }
            Target::Copy => {
                let never = || " NOTIFY=NEVER".to_owned();
                parameters.extend(envelope.recipients.iter().map(|_| never()));
            }
        }
    }
    parameters
}

impl Connection {
    /// Sends one message to `targets`, in one transaction unless there are more than the peer
    /// accepts at once; for [`Target::Copy`] to all recipients of the envelope, with one outcome:
    /// success when the content was accepted for at least one of them. A caller that aborts it gets
    /// from [`Connection::given_up`] what is `known` by then.
    pub async fn send(
        &mut self,
        message: &Message,
        targets: &[Target],
        known: &mut RecipientOutcomes,
    ) -> TransactionReport {
        let envelope = &message.envelope;
        known.expect(envelope, targets);
        let asked = targets.iter().flat_map(|target| addresses(envelope, *target));
        let recipients: Vec<&Address> = asked.collect();
        self.recipient_parameters = dsn_parameters(envelope, targets);
        self.eight_bit_refused = false;
        (self.refused_session, self.judged) = (None, false);
        self.mark = self.upstream().map_or(0, |access| access.monitor.pauses());
        let end = match self.sender_waits(envelope.sender_text()) {
            Some(outcome) => End::new(outcome, true),
            None if self.take_permit().is_err() => End::waiting(self.rate_used_up()),
            None => self.attempt(envelope, &message.body, &recipients, known.outcomes()).await,
        };
        let outcomes = known.take(&end.rest);
        let eight_bit = envelope.body == BodyType::EightBitMime;
        let is_refused = |outcome: &Outcome| match self.eight_bit_refused {
            // Whatever its class: the peer has judged only the form of the content.
            true => outcome.class() != ReplyClass::Success,
            false => wants_seven_bit(&outcome.reply),
        };
        let refused = outcomes.iter().filter(|(_, outcome)| eight_bit && is_refused(outcome));
        let eight_bit_refused = refused.map(|(target, _)| *target).collect();
        let report = TransactionReport {
            reusable: end.reusable,
            elsewhere: end.elsewhere,
            eight_bit_refused,
            ..self.report(outcomes)
        };
        self.note_judged(&report);
        report
    }

    /// The report on a message whose [`Connection::send`] was aborted: known outcomes stay, and all
    /// other targets get `rest`. The connection cannot be used any more, and no other host is tried
    /// at once.
    pub fn given_up(&mut self, known: &mut RecipientOutcomes, rest: &Outcome) -> TransactionReport {
        self.report(known.take_abandoned(rest))
    }

    fn report(&mut self, outcomes: Vec<(Target, Outcome)>) -> TransactionReport {
        // A successful dialogue is not recorded.
        let all_well = outcomes.iter().all(|(_, outcome)| outcome.class() == ReplyClass::Success);
        let report = TransactionReport {
            outcomes,
            relay: self.relay.clone(),
            tls: self.tls,
            security: self.security.clone(),
            transcript: if all_well {
                String::new()
            } else {
                self.wire.transcript.text().to_owned()
            },
            reusable: false,
            elsewhere: false,
            refused_session: self.refused_session.take(),
            eight_bit_refused: Vec::new(),
            dsn: self.extensions.dsn,
        };
        self.wire.transcript.clear();
        if self.out.capacity() > BUFFER_KEPT {
            self.out = Vec::new();
        }
        report
    }

    /// Whether the content is in 8 bits and the peer announced that it accepts it (RFC 6152 §2).
    fn sends_eight_bit(&self, envelope: &Envelope) -> bool {
        envelope.body == BodyType::EightBitMime && self.extensions.eight_bit
    }

    /// One outcome for each recipient, in as many transactions as needed (RFC 5321 §4.5.3.1.10);
    /// each of them finishes at least one recipient. A kept connection that turns out to be closed
    /// is opened again: the peer was free to close it, and nothing in this transaction has been
    /// answered. The outcomes belong to the caller, who may drop this at any point and must not
    /// lose what is known by then.
    async fn attempt(
        &mut self,
        envelope: &Envelope,
        body: &Body,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
    ) -> End {
        let mut too_many = 0;
        loop {
            let plan = match self.plan(envelope, body, recipients, outcomes).await {
                Ok(plan) => plan,
                Err(outcome) => return End::new(outcome, true),
            };
            match self.renewed_where_due().await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(outcome) => return End::new(outcome, false),
            }
            let kept = self.transactions > 0;
            self.transactions += 1;
            self.has_permit = false;
            match self.transact(&plan, body, recipients, outcomes).await {
                Ok(Ended { outcome, for_all: true, .. }) => return End::new(outcome, true),
                Ok(Ended { outcome, asked, .. }) => {
                    for place in asked {
                        outcomes[place].get_or_insert_with(|| outcome.clone());
                    }
                    if outcomes.iter().all(Option::is_some) {
                        return End::new(outcome, true);
                    }
                    // Each transaction needs a permit of the upstream's rate.
                    if self.take_permit().is_err() {
                        return End::waiting(self.rate_used_up());
                    }
                }
                // An upstream that refused us is not asked again at once.
                Err(Aborted::Gone(_)) if kept && self.refused_session.is_none() => {
                    if let Err(outcome) = self.reopen().await {
                        return End::new(outcome, false);
                    }
                }
                // A peer that closes after so many recipients gets no more than these the next
                // time.
                Err(Aborted::TooMany { accepted, .. })
                    if too_many < TOO_MANY_MAX && self.refused_session.is_none() =>
                {
                    too_many += 1;
                    self.recipients_max = accepted;
                    if let Err(outcome) = self.reopen().await {
                        return End::new(outcome, false);
                    }
                }
                Err(
                    Aborted::Gone(outcome)
                    | Aborted::Midway(outcome)
                    | Aborted::TooMany { outcome, .. },
                ) => {
                    return End::new(outcome, false);
                }
                Err(Aborted::Unsure(outcome)) => {
                    return End { elsewhere: false, ..End::new(outcome, false) };
                }
            }
        }
    }

    /// Opens the connection again where no further transaction can go over it: the peer takes no
    /// more, or is out of step, so that none of its replies can be trusted. Whether it did.
    ///
    /// # Errors
    /// It failed; the outcome for all that is still to be sent.
    async fn renewed_where_due(&mut self) -> Result<bool, Outcome> {
        if self.extensions.mail_max.is_some_and(|most| self.transactions >= most) {
            return self.renew().await.map(|()| true);
        }
        if self.transactions > 0 && self.wire.has_leftover() {
            return self.reopen().await.map(|()| true);
        }
        Ok(false)
    }

    /// The MAIL command for the peer's extensions. Recipients that cannot be expressed with them
    /// get their outcome here.
    ///
    /// # Errors
    /// The outcome for all of them.
    async fn plan(
        &self,
        envelope: &Envelope,
        body: &Body,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<TransactionPlan, Outcome> {
        let permanent =
            |code, enhanced, text: String| Outcome::own(Reply::new(code, enhanced, text));
        let relay = &self.relay;
        if let Some(max) = self.extensions.size_max.filter(|max| body.len() > *max) {
            let text =
                format!("the message has {} octets, {relay} accepts at most {max}", body.len());
            return Err(permanent(552, (5, 3, 4), text));
        }
        let eight_bit = self.sends_eight_bit(envelope);
        if !eight_bit && envelope.body == BodyType::EightBitMime {
            let text = format!(
                "the message has 8-bit content, which {relay} does not accept (no 8BITMIME)"
            );
            return Err(permanent(554, (5, 6, 3), text));
        }
        let mut smtputf8 = envelope.smtputf8;
        let mut sender = Some(Cow::Borrowed(envelope.sender_text()));
        if !self.extensions.smtputf8 {
            let refused = || {
                let text = format!(
                    "the message needs internationalised mail, which {relay} does not accept (no \
                    SMTPUTF8)"
                );
                permanent(553, (5, 6, 7), text)
            };
            sender = envelope.sender.as_ref().map_or(Some(Cow::Borrowed("")), Address::ascii_form);
            // A client may have sent SMTPUTF8 without using it; then there is nothing that the peer
            // could not accept.
            if sender.is_none() || (smtputf8 && !headers_are_ascii(body).await) {
                return Err(refused());
            }
            for (recipient, outcome) in recipients.iter().zip(outcomes) {
                if recipient.ascii_form().is_none() {
                    // An earlier transaction on this connection may have given its outcome.
                    outcome.get_or_insert_with(refused);
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
        if self.extensions.dsn
            && let Some(dsn) = &envelope.dsn
        {
            mail.extend_from_slice(dsn.mail_parameters().as_bytes());
        }
        mail.extend_from_slice(b"\r\n");
        Ok(TransactionPlan { mail, null_sender: envelope.sender.is_none(), eight_bit })
    }

    /// As many of these as the peer takes in one transaction; the others follow in the next.
    fn within_limits(
        &self,
        places: impl Iterator<Item = usize>,
        recipients: &[&Address],
    ) -> Vec<usize> {
        let announced = |limit: Option<u32>| limit.and_then(|limit| usize::try_from(limit).ok());
        let most = announced(self.extensions.recipient_max).unwrap_or(usize::MAX);
        let most = most.min(self.recipients_max);
        let Some(domains_max) = announced(self.extensions.recipient_domain_max) else {
            return places.take(most).collect();
        };
        let mut domains = BTreeSet::new();
        let fits = |place: &usize| {
            let domain = recipients[*place].domain_key();
            domains.contains(&domain) || (domains.len() < domains_max && domains.insert(domain))
        };
        places.filter(fits).take(most).collect()
    }

    /// The transaction itself, with as many of the open recipients as the peer accepts at once:
    /// sets the outcomes of rejected recipients and gives the one for all others.
    async fn transact(
        &mut self,
        plan: &TransactionPlan,
        body: &Body,
        recipients: &[&Address],
        outcomes: &mut [Option<Outcome>],
    ) -> Result<Ended, Aborted> {
        let asked = (0..recipients.len()).filter(|place| outcomes[*place].is_none());
        let mut asked = self.within_limits(asked, recipients);
        if asked.is_empty() {
            // Every recipient has its own outcome already; nothing needs to be sent.
            return Ok(Ended { outcome: no_recipient(), asked, for_all: true });
        }
        if !self.client.may_begin() {
            let text = format!(
                "the attempt at {} was aborted between two transactions: \
                 other mail needed its delivery agent",
                self.relay
            );
            return Err(Aborted::Unsure(Outcome::own(Reply::new(451, (4, 4, 2), text))));
        }
        let (outcome, state) = self.exchange(plan, body, recipients, &asked, outcomes).await?;
        let mail_refused = state.accepted == 0 && state.mail_refused;
        if state.accepted > 0 && !state.too_many.is_empty() {
            // So many and no more: the others follow at once, and later transactions are limited to
            // this number.
            self.recipients_max = state.accepted;
            asked.retain(|place| state.too_many.iter().all(|(too_many, _)| too_many != place));
        } else {
            state
                .too_many
                .into_iter()
                .for_each(|(place, reply)| outcomes[place] = Some(Outcome::said(reply)));
        }
        // A temporary rejection of the content, or a permanent one of the sender, is the same with
        // other recipients.
        let for_all =
            mail_refused || (state.accepted > 0 && outcome.class() == ReplyClass::Temporary);
        Ok(Ended { outcome, asked, for_all })
    }
}

/// The end of a transaction on a connection that can be used further.
struct Ended {
    /// For the recipients that were sent and have no outcome of their own.
    outcome: Outcome,
    asked: Vec<usize>,
    /// It counts for the recipients that were not sent yet as well.
    for_all: bool,
}

/// The end of an attempt, and whether the connection can be used further.
struct End {
    /// For recipients that have no outcome of their own.
    rest: Outcome,
    reusable: bool,
    /// As in [`TransactionReport::elsewhere`].
    elsewhere: bool,
}

impl End {
    fn new(rest: Outcome, reusable: bool) -> Self {
        Self { rest, reusable, elsewhere: true }
    }

    /// The upstream's rate is used up, and so for all of its hosts.
    fn waiting(rest: Outcome) -> Self {
        Self { rest, reusable: true, elsewhere: false }
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

    #[tokio::test]
    async fn only_headers_decide_about_smtputf8() {
        for (text, ascii) in [
            ("Subject: a\r\n\r\nü", true),
            ("Subject: ü\r\n\r\na", false),
            ("Subject: a", true),
            ("", true),
        ] {
            assert_eq!(headers_are_ascii(&Body::Memory(text.into())).await, ascii, "{text:?}");
        }
    }
}
