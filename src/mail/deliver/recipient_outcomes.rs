//! The outcomes of the recipients of one message while its attempt is in progress.
//!
//! A message may take several transactions, and an attempt may be aborted in any of them. The
//! results of finished transactions count all the same: a recipient that has the message must not
//! get it again. So the outcomes belong to the caller of
//! [`Connection::send`](super::Connection::send) and remain after the attempt.

use super::exchange::wants_seven_bit;
use crate::mail::model::{Address, BodyType, Envelope, Outcome, Reply, ReplyClass, Target};

/// The outcomes of a message that are known so far; without targets it is empty.
#[derive(Debug, Default)]
pub struct RecipientOutcomes {
    /// The targets of this attempt, and how many recipients each has.
    asked: Vec<(Target, usize)>,
    /// One for each recipient, in that order.
    outcomes: Vec<Option<Outcome>>,
    /// The content is in 8 bits: a rejection for that is not final, since 7 bits may work.
    eight_bit: bool,
    /// The results of an earlier attempt on this connection.
    earlier: Vec<(Target, Outcome)>,
}

impl RecipientOutcomes {
    /// No outcome is known yet for these targets; the outcomes of others stay.
    pub(super) fn expect(&mut self, envelope: &Envelope, targets: &[Target]) {
        self.asked =
            targets.iter().map(|target| (*target, addresses(envelope, *target).len())).collect();
        self.outcomes = vec![None; self.asked.iter().map(|(_, count)| count).sum()];
        self.eight_bit = envelope.body == BodyType::EightBitMime;
    }

    /// An attempt has ended, and these targets are to be attempted `again`.
    pub fn expect_again(
        &mut self,
        envelope: &Envelope,
        earlier: &[(Target, Outcome)],
        again: &[Target],
    ) {
        self.earlier = earlier.to_vec();
        self.expect(envelope, again);
    }

    /// The outcomes of all recipients of this attempt.
    pub(super) fn outcomes(&mut self) -> &mut [Option<Outcome>] {
        &mut self.outcomes
    }

    /// The end: one outcome for each target of the attempt; recipients without an outcome get
    /// `rest`.
    pub(super) fn take(&mut self, rest: &Outcome) -> Vec<(Target, Outcome)> {
        let mut outcomes = std::mem::take(&mut self.outcomes)
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|| rest.clone()));
        let asked = std::mem::take(&mut self.asked).into_iter();
        asked
            .map(|(target, count)| (target, worst_or_best(outcomes.by_ref().take(count))))
            .collect()
    }

    /// The end of an aborted attempt, with all outcomes known from this one and an earlier one.
    pub(super) fn take_abandoned(&mut self, rest: &Outcome) -> Vec<(Target, Outcome)> {
        if self.eight_bit {
            let may_do_in_seven = |outcome: &Option<Outcome>| {
                outcome.as_ref().is_some_and(|it| wants_seven_bit(&it.reply))
            };
            self.outcomes
                .iter_mut()
                .filter(|outcome| may_do_in_seven(outcome))
                .for_each(|outcome| *outcome = None);
        }
        let mut earlier = std::mem::take(&mut self.earlier);
        let now = self.take(rest);
        if earlier.is_empty() {
            return now;
        }
        overlay(&mut earlier, now);
        earlier
    }
}

/// A later outcome replaces an earlier one of the same target.
pub fn overlay(outcomes: &mut [(Target, Outcome)], mut later: Vec<(Target, Outcome)>) {
    for (target, outcome) in outcomes {
        if let Some(place) = later.iter().position(|(other, _)| other == target) {
            *outcome = later.swap_remove(place).1;
        }
    }
}

/// The recipients of a target.
pub(super) fn addresses(envelope: &Envelope, target: Target) -> &[Address] {
    match target {
        Target::Recipient(place) => {
            envelope.recipients.get(usize::from(place)).map_or(&[], std::slice::from_ref)
        }
        Target::Copy => &envelope.recipients,
    }
}

/// One outcome for a target: success if any of its addresses was accepted, else a temporary failure
/// if there is one.
fn worst_or_best(outcomes: impl Iterator<Item = Outcome>) -> Outcome {
    let rank = |outcome: &Outcome| match outcome.class() {
        ReplyClass::Success => 0,
        ReplyClass::Temporary => 1,
        ReplyClass::Permanent => 2,
    };
    outcomes.min_by_key(rank).unwrap_or_else(|| {
        Outcome::own(Reply::new(
            554,
            (5, 3, 0),
            "the envelope has no such recipient; please report this",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(body: BodyType) -> Envelope {
        let recipients =
            (0..4).map(|n| Address::parse(&format!("r{n}@there.example")).unwrap()).collect();
        Envelope { sender: None, recipients, body, smtputf8: false, dsn: None }
    }

    /// 7 bits may still work where 8 bits were rejected: if the attempt is aborted before, that
    /// rejection is not final.
    #[test]
    fn a_try_that_is_given_up_keeps_last_words_alone() {
        let rest = Outcome::own(Reply::new(451, (4, 4, 1), "later"));
        for (body, expected) in [
            (BodyType::EightBitMime, [250, 451, 550, 451]),
            (BodyType::SevenBit, [250, 554, 550, 451]),
        ] {
            let envelope = envelope(body);
            let targets: Vec<Target> = (0..4).map(Target::Recipient).collect();
            let mut known = RecipientOutcomes::default();
            known.expect(&envelope, &targets);
            for (place, (code, enhanced)) in
                [(250, (2, 0, 0)), (554, (5, 6, 3)), (550, (5, 1, 1))].into_iter().enumerate()
            {
                known.outcomes()[place] = Some(Outcome::said(Reply::new(code, enhanced, "said")));
            }
            let told = known.take_abandoned(&rest);
            assert_eq!(told.iter().map(|(target, _)| *target).collect::<Vec<_>>(), targets);
            assert_eq!(
                told.iter().map(|(_, outcome)| outcome.reply.code).collect::<Vec<_>>(),
                expected
            );
        }
    }
}
