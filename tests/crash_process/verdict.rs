//! Compares the records of both sides with the guarantee.

use crate::appliance::{AGENTS, Killing, Kind};
use crate::load::{self, Fate};
use crate::mail;
use crate::next_hop;
use std::fmt;
use std::time::Duration;

/// How long before a kill a final reply may have been written and yet not be recorded: the delivery
/// agent's time from the socket to the committer, and one sync that the committer may be in. On a
/// machine that is busy with other things as well, 33 ms were measured.
pub const ON_THE_WAY: Duration = Duration::from_millis(250);

/// Counts and errors.
#[derive(Debug, Default)]
pub struct Verdict {
    pub accepted: u64,
    pub in_doubt: u64,
    pub in_doubt_arrived: u64,
    pub unfinished: u64,
    pub refused: u64,
    pub copies: u64,
    /// Ages of the final replies of duplicated copies, at the kill that explains them; none for
    /// replies after it.
    pub repeated: Vec<Duration>,
    /// Of these, the first copy was answered only after the kill.
    pub answered_late: u64,
    /// The most for one kill.
    pub most: usize,
    pub complaints: Vec<String>,
}

/// Compares confirmed mail with received mail.
pub fn judge(sent: &load::Notes, came: &next_hop::Notes, killings: &[Killing]) -> Verdict {
    judge_slow(sent, came, killings, ON_THE_WAY)
}

/// The same for an appliance that takes longer than [`ON_THE_WAY`].
pub fn judge_slow(
    sent: &load::Notes,
    came: &next_hop::Notes,
    killings: &[Killing],
    on_the_way: Duration,
) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.complaints.extend(
        sent.surprises.iter().map(|text| format!("a client heard what it should not: {text}")),
    );
    verdict.complaints.extend(came.flaws.iter().map(|text| format!("torn or changed: {text}")));
    for (number, fate) in &sent.fates {
        let places = 0..mail::recipients(*number);
        let arrived =
            places.clone().filter(|place| came.copies.contains_key(&(*number, *place))).count();
        match fate {
            Fate::Accepted => {
                verdict.accepted += 1;
                if arrived < places.len() {
                    verdict.complaints.push(format!(
                        "LOST: mail {number}, answered 250, came to {arrived} of {}",
                        places.len()
                    ));
                }
            }
            Fate::InDoubt => {
                verdict.in_doubt += 1;
                verdict.in_doubt_arrived += u64::from(arrived > 0);
                if arrived > 0 && arrived < places.len() {
                    verdict.complaints.push(format!(
                        "HALF: mail {number} came to {arrived} of {} recipients",
                        places.len()
                    ));
                }
            }
            Fate::Unfinished => {
                verdict.unfinished += 1;
                if arrived > 0 {
                    verdict
                        .complaints
                        .push(format!("TORN: mail {number} came, though its end was never sent"));
                }
            }
            Fate::Refused => {
                verdict.refused += 1;
                if arrived > 0 {
                    verdict
                        .complaints
                        .push(format!("TWO TRUTHS: mail {number} was refused and came"));
                }
            }
        }
    }
    verdict.repetitions(came, killings, on_the_way);
    verdict
}

impl Verdict {
    fn repetitions(&mut self, came: &next_hop::Notes, killings: &[Killing], on_the_way: Duration) {
        let mut by_killing = vec![0; killings.len()];
        for ((number, place), copies) in &came.copies {
            self.copies += copies.len() as u64;
            let mut copies = copies.clone();
            copies.sort_by_key(|copy| copy.received);
            for pair in copies.windows(2) {
                let (first, again) = (pair[0], pair[1]);
                let explains = |killing: &&Killing| {
                    killing.kind != Kind::Init
                        && killing.before < again.received
                        && first.replied + on_the_way >= killing.before
                        && first.received <= killing.after + on_the_way
                };
                let Some(at) = killings.iter().position(|killing| explains(&killing)) else {
                    let age = killings.iter().rev().find(|killing| killing.before < again.received);
                    let age = age.map(|killing| {
                        (killing.kind, killing.before.saturating_duration_since(first.replied))
                    });
                    self.complaints.push(format!(
                        "TWICE without need: mail {number} for recipient {place}; \
                        last killing: {age:?}"
                    ));
                    continue;
                };
                by_killing[at] += 1;
                self.repeated.push(killings[at].before.saturating_duration_since(first.replied));
                self.answered_late += u64::from(first.replied > killings[at].after);
            }
        }
        for (killing, count) in killings.iter().zip(&by_killing) {
            let ui =
                killing.before.checked_sub(on_the_way).unwrap_or(killing.before)..killing.before;
            let in_window = came.replies.iter().filter(|moment| ui.contains(*moment)).count();
            // A transaction has three recipients at most.
            let bound = 3 * (AGENTS + in_window);
            if *count > bound {
                self.complaints.push(format!(
                    "{count} copies again after one killing; {bound} can be explained"
                ));
            }
        }
        self.most = by_killing.into_iter().max().unwrap_or(0);
    }

    /// # Panics
    /// Something is wrong.
    pub fn must_be_clean(&self) {
        let shown = self.complaints.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(
            self.complaints.is_empty(),
            "{} complaints, the first of them:\n{shown}",
            self.complaints.len()
        );
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, what: &str, number: u64| {
            writeln!(f, "  {what:<58}{number:>9}")
        };
        row(f, "mails answered 250", self.accepted)?;
        row(f, "  copies that the next hop answered 250, by recipient", self.copies)?;
        row(f, "mails whose end was sent, without an answer", self.in_doubt)?;
        row(f, "  of these arrived", self.in_doubt_arrived)?;
        row(f, "mails cut before their end (none may arrive)", self.unfinished)?;
        row(f, "mails refused at their end (none may arrive)", self.refused)?;
        row(f, "copies that came again", self.repeated.len() as u64)?;
        row(f, "  final reply written after the killing", self.answered_late)?;
        let within = |ms: u64| {
            let in_time =
                self.repeated.iter().filter(|age| **age <= Duration::from_millis(ms)).count()
                    as u64;
            in_time - self.answered_late.min(in_time)
        };
        row(f, "  … at most 10 ms before it", within(10))?;
        row(f, "  … at most 100 ms before it", within(100))?;
        let oldest = self.repeated.iter().max().copied().unwrap_or_default();
        row(
            f,
            "  … the oldest, in ms before it",
            u64::try_from(oldest.as_millis()).unwrap_or(u64::MAX),
        )?;
        row(f, "  most for one killing", self.most as u64)?;
        row(f, "COMPLAINTS", self.complaints.len() as u64)
    }
}
