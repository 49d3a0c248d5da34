//! The dialogue of a connection, for people who want to know why a mail was not accepted.
//!
//! Limits: [`MAX`] octets; of a longer dialogue the beginning and a remark. Security: commands and
//! replies only, never content, never credentials; control characters become dots.

use std::fmt::{self, Write as _};
use std::time::{Duration, Instant};

/// The longest transcript.
pub const MAX: usize = 4096;

/// The remark that replaces the rest.
const CUT: &str = "* …\n";

/// Octets of the longest prefix, that of a reply with its code.
const MARK_MAX: usize = "< 250-".len();

/// Lines with a prefix that shows which side sent them.
#[derive(Debug, Default)]
pub struct Transcript {
    text: String,
    full: bool,
    /// Since when the lines are timed, and the time of each; `None`: they are not.
    times: Option<(Instant, Vec<Duration>)>,
}

impl Transcript {
    /// Notes with each line how long after this moment it came.
    pub fn time_from(&mut self, begun: Instant) {
        self.times = Some((begun, Vec::new()));
    }

    /// Whether lines are timed.
    pub fn is_timed(&self) -> bool {
        self.times.is_some()
    }

    /// The timed lines.
    pub fn lines(&self) -> impl Iterator<Item = (Duration, &str)> {
        let times = self.times.iter().flat_map(|(_, times)| times.iter().copied());
        times.zip(self.text.lines())
    }

    /// A line sent by the relay.
    pub fn sent(&mut self, line: &[u8]) {
        self.line(format_args!("> "), line);
    }

    /// A line of the peer's reply with this code.
    pub fn received(&mut self, code: u16, last: bool, line: &[u8]) {
        let between = if last { ' ' } else { '-' };
        self.line(format_args!("< {code}{between}"), line);
    }

    /// A remark.
    pub fn note(&mut self, words: &str) {
        self.line(format_args!("* "), words.as_bytes());
    }

    /// All of it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Empties it for the next mail.
    pub fn clear(&mut self) {
        self.text.clear();
        self.full = false;
    }

    fn line(&mut self, mark: fmt::Arguments<'_>, line: &[u8]) {
        if self.full {
            return;
        }
        if let Some((begun, times)) = &mut self.times {
            times.push(begun.elapsed());
        }
        if self.text.len() + line.len() + MARK_MAX + 1 > MAX - CUT.len() {
            self.full = true;
            self.text.push_str(CUT);
            return;
        }
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(mark);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match std::str::from_utf8(line) {
            Ok(text) if line.iter().all(|octet| (0x20..0x7f).contains(octet)) => {
                self.text.push_str(text)
            }
            Ok(line) if !line.contains(char::is_control) => self.text.push_str(line),
            _ => {
                self.text.extend(line.iter().map(|octet| {
                    if (0x20..0x7f).contains(octet) { char::from(*octet) } else { '.' }
                }))
            }
        }
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talk_is_kept_to_its_limit_and_cannot_forge_lines() {
        let mut transcript = Transcript::default();
        transcript.sent(b"MAIL FROM:<a@b>\r");
        transcript.received(250, false, b"mx.example");
        transcript.received(250, true, b"ok\x0a> QUIT \xff");
        assert_eq!(transcript.text(), "> MAIL FROM:<a@b>\n< 250-mx.example\n< 250 ok.> QUIT .\n");
        (0..1000).for_each(|_| transcript.received(250, false, b"and so on"));
        assert!(transcript.text().len() <= MAX && transcript.text().ends_with(CUT));
        transcript.clear();
        assert_eq!(transcript.text(), "");
        transcript.time_from(Instant::now());
        transcript.sent(b"NOOP\r");
        (0..1000).for_each(|_| transcript.received(250, false, b"and so on"));
        let lines: Vec<_> = transcript.lines().collect();
        assert_eq!((lines[0].1, lines.last().unwrap().1), ("> NOOP", "* …"));
    }
}
