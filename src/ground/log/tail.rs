//! The last lines of the log, for the page and the API.
//!
//! Limits: [`TAIL_MAX`] octets, of which lines caused by untrusted clients have [`STRANGERS_MAX`],
//! so that they displace no others.

use crate::ground::lock::{Level, Lock};
use std::collections::VecDeque;

/// Octets of lines that are kept.
pub const TAIL_MAX: usize = 256 * 1024;

/// Of these, for lines caused by untrusted clients.
pub const STRANGERS_MAX: usize = TAIL_MAX / 4;

/// The lines.
pub struct Tail(Lock<Kept>);

impl Default for Tail {
    fn default() -> Self {
        Self(Lock::new(Level::Log, Kept::default()))
    }
}

#[derive(Default)]
struct Kept {
    next: u64,
    own: Ring,
    strangers: Ring,
}

/// Numbered lines of one kind, the newest last.
#[derive(Default)]
struct Ring {
    lines: VecDeque<(u64, Box<str>)>,
    octets: usize,
}

impl Tail {
    /// Adds whole lines; drops the oldest of their kind that do not fit.
    pub fn push(&self, lines: &str, stranger: bool) {
        let mut kept = self.0.lock();
        let Kept { next, own, strangers } = &mut *kept;
        let (ring, limit) =
            if stranger { (strangers, STRANGERS_MAX) } else { (own, TAIL_MAX - STRANGERS_MAX) };
        for line in lines.lines() {
            ring.push(*next, line, limit);
            *next += 1;
        }
    }

    /// The last `wanted` lines, at most `limit`, the newest last.
    pub fn last(&self, limit: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut all: Vec<(u64, Box<str>)> = {
            let kept = self.0.lock();
            kept.own.lines.iter().chain(&kept.strangers.lines).cloned().collect()
        };
        all.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        let mut found: Vec<String> = all
            .into_iter()
            .map(|(_, line)| line.into_string())
            .filter(|line| wanted(line))
            .take(limit)
            .collect();
        found.reverse();
        found
    }
}

impl Ring {
    fn push(&mut self, number: u64, line: &str, limit: usize) {
        if line.len() > limit {
            return;
        }
        self.lines.push_back((number, line.into()));
        self.octets += line.len();
        while self.octets > limit
            && let Some((_, oldest)) = self.lines.pop_front()
        {
            self.octets -= oldest.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay() {
        let tail = Tail::default();
        for n in 0..30_000 {
            tail.push(&format!("line {n} ü\n"), false);
        }
        assert_eq!(tail.last(2, |line| line.contains('9')), ["line 29998 ü", "line 29999 ü"]);
        let all = tail.last(usize::MAX, |_| true);
        assert!(all.len() > 10_000 && all.len() < 30_000);
        tail.push(&"ü\n".repeat(TAIL_MAX), false);
        assert!(tail.last(usize::MAX, |_| true).iter().all(|line| line == "ü"));
        assert!(tail.0.lock().own.octets <= TAIL_MAX);
    }

    #[test]
    fn lines_of_strangers_displace_no_others_and_stand_in_their_order() {
        let tail = Tail::default();
        tail.push("a mail\n", false);
        for n in 0..30_000 {
            tail.push(&format!("refused {n}\n"), true);
        }
        tail.push("another mail\n", false);
        let all = tail.last(usize::MAX, |_| true);
        assert_eq!((all[0].as_str(), all[all.len() - 2].as_str()), ("a mail", "refused 29999"));
        assert_eq!(all.last().unwrap(), "another mail");
        assert!(all.iter().map(String::len).sum::<usize>() < STRANGERS_MAX + 100);
    }
}
