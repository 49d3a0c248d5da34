//! The last lines of the log, for those who look at them from afar.
//!
//! Limits: [`TAIL_MAX`] octets.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Octets of lines that are kept.
pub const TAIL_MAX: usize = 256 * 1024;

/// The lines, in the bunches in which they were written.
#[derive(Default)]
pub struct Tail {
    bunches: Mutex<(VecDeque<Box<str>>, usize)>,
}

impl Tail {
    /// Takes whole lines; drops the oldest that have no room.
    pub fn push(&self, lines: &str) {
        let lines = match lines.len().checked_sub(TAIL_MAX) {
            Some(surplus) if surplus > 0 => {
                let start = lines.ceil_char_boundary(surplus);
                lines[start..].split_once('\n').map_or("", |(_, rest)| rest)
            }
            _ => lines,
        };
        if lines.is_empty() {
            return;
        }
        let mut kept = self.bunches.lock().unwrap_or_else(PoisonError::into_inner);
        let (bunches, octets) = &mut *kept;
        bunches.push_back(lines.into());
        *octets += lines.len();
        while *octets > TAIL_MAX
            && let Some(oldest) = bunches.pop_front()
        {
            *octets -= oldest.len();
        }
    }

    /// The last lines that are `wanted`, at most `limit`, the newest last.
    pub fn last(&self, limit: usize, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let bunches: Vec<Box<str>> =
            self.bunches.lock().unwrap_or_else(PoisonError::into_inner).0.iter().rev().cloned().collect();
        let newest_first = bunches.iter().flat_map(|bunch| bunch.lines().rev());
        let mut found: Vec<String> = newest_first.filter(|line| wanted(line)).take(limit).map(str::to_owned).collect();
        found.reverse();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_stay() {
        let tail = Tail::default();
        for n in 0..30_000 {
            tail.push(&format!("line {n} ü\n"));
        }
        assert_eq!(tail.last(2, |line| line.contains('9')), ["line 29998 ü", "line 29999 ü"]);
        let all = tail.last(usize::MAX, |_| true);
        assert!(all.len() > 10_000 && all.len() < 30_000);
        tail.push(&"ü\n".repeat(TAIL_MAX));
        assert!(tail.last(usize::MAX, |_| true).iter().all(|line| line == "ü"));
        assert!(tail.bunches.lock().unwrap().1 <= TAIL_MAX);
    }
}
