//! Parses replies from the wire (RFC 5321 §4.2); pure, and fuzzed.
//!
//! In: octets in pieces of any size. Out: a code with its lines, or [`MalformedReply`]. Limits:
//! [`LINE_MAX`], [`LINES_MAX`], [`REPLY_MAX`]; a [`Reply`] made of it has at most [`TEXT_MAX`]
//! octets of text, one line without control characters. Tolerance: a bare LF ends a line too, a
//! code may have no text, lines of one reply may have different codes (the last one counts, the
//! text of all is kept), and of a line that is too long the start is kept. Real servers do all of
//! these, and they are harmless here: a server's reply about a mail should not be lost because of
//! its form.

use crate::mail::model::{Enhanced, Reply};
use memchr::memchr;

/// Octets of a line that are kept; RFC 5321 §4.5.3.1.5 allows 512 with the line end, some servers
/// send more.
pub const LINE_MAX: usize = 2048;

/// Lines of one reply, at most.
pub const LINES_MAX: usize = 128;

/// Octets of one reply, at most.
pub const REPLY_MAX: usize = 64 * 1024;

/// Octets of a reply's text that are kept, at most.
pub const TEXT_MAX: usize = 1000;

/// Why octets are not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MalformedReply {
    /// No three digits at the start (from 200 to 599 in the last line), or something else than a
    /// space or a hyphen after them.
    #[error("a line does not begin with a reply code")]
    Code,
    /// More than [`LINES_MAX`] lines or [`REPLY_MAX`] octets.
    #[error("the reply has more than {LINES_MAX} lines or {REPLY_MAX} octets")]
    TooLong,
}

/// How much of the input was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseProgress {
    /// Octets that were consumed; the caller passes the rest again, followed by more.
    pub used: usize,
    /// The code, once the reply is complete.
    pub code: Option<u16>,
}

/// Assembles a reply, line by line. One parser serves a connection as long as it exists and reuses
/// its buffer.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// Of the last line so far: this one counts.
    code: Option<u16>,
    /// The lines without their codes, each ended by LF.
    text: Vec<u8>,
    lines: usize,
    octets: usize,
    /// The start of a line that is too long and has not ended yet.
    long: Option<Vec<u8>>,
    complete: bool,
}

impl ReplyParser {
    /// Takes the complete lines of `input` up to the end of the reply. The first call after a
    /// complete reply begins the next.
    ///
    /// # Errors
    /// [`MalformedReply`]; the connection cannot be used any more.
    pub fn feed(&mut self, input: &[u8]) -> Result<ParseProgress, MalformedReply> {
        if self.complete {
            self.text.clear();
            *self = Self { text: std::mem::take(&mut self.text), ..Self::default() };
        }
        let mut used = 0;
        while let Some(end) = memchr(b'\n', &input[used..]) {
            let line = &input[used..used + end];
            used += end + 1;
            match self.long.take() {
                Some(head) => self.take(&head, end + 1)?,
                None if end > LINE_MAX => self.take(&line[..LINE_MAX], end + 1)?,
                None => self.take(line.strip_suffix(b"\r").unwrap_or(line), end + 1)?,
            }
            if self.complete {
                return Ok(ParseProgress { used, code: self.code });
            }
        }
        let rest = &input[used..];
        if self.long.is_none() && rest.len() > LINE_MAX {
            self.long = Some(rest[..LINE_MAX].to_vec());
        }
        if self.long.is_some() {
            self.count(rest.len())?;
            used = input.len();
        }
        Ok(ParseProgress { used, code: None })
    }

    /// The lines so far, without code and line end; untrusted octets.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split_inclusive(|octet| *octet == b'\n').map(|line| &line[..line.len() - 1])
    }

    /// The complete reply for people: lines joined by spaces, control characters replaced, cut to
    /// [`TEXT_MAX`]. The enhanced code is removed from each line (RFC 2034 §4 repeats it) if its
    /// class agrees with the code.
    pub fn reply(&self) -> Reply {
        let code = self.code.unwrap_or_default();
        let mut enhanced = None;
        let mut text = String::with_capacity(self.text.len().min(TEXT_MAX));
        for line in self.lines() {
            let line = String::from_utf8_lossy(line);
            let mut words = line.trim();
            let found = Enhanced::parse(words).filter(|found| u16::from(found.0) == code / 100);
            if found.is_some_and(|found| *enhanced.get_or_insert(found) == found) {
                words = words.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
            }
            if !text.is_empty() && !words.is_empty() {
                text.push(' ');
            }
            if words.bytes().all(|octet| (0x20..0x7f).contains(&octet)) {
                text.push_str(words);
            } else {
                text.extend(words.chars().map(|c| if c.is_control() { ' ' } else { c }));
            }
            if text.len() > TEXT_MAX {
                text.truncate(text.floor_char_boundary(TEXT_MAX));
                break;
            }
        }
        Reply { code, enhanced, text: text.into() }
    }

    fn take(&mut self, line: &[u8], octets: usize) -> Result<(), MalformedReply> {
        self.lines += 1;
        self.count(octets)?;
        let (code, last, text) = split(line).ok_or(MalformedReply::Code)?;
        if last && !(200..600).contains(&code) {
            return Err(MalformedReply::Code);
        }
        self.code = Some(code);
        self.text.extend_from_slice(text);
        self.text.push(b'\n');
        self.complete = last;
        Ok(())
    }

    fn count(&mut self, octets: usize) -> Result<(), MalformedReply> {
        self.octets += octets;
        if self.lines > LINES_MAX || self.octets > REPLY_MAX {
            Err(MalformedReply::TooLong)
        } else {
            Ok(())
        }
    }
}

/// Code, whether this is the last line, and text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(input: &[u8]) -> Result<Reply, MalformedReply> {
        let mut parser = ReplyParser::default();
        let fed = parser.feed(input)?;
        assert_eq!((fed.used, fed.code.is_some()), (input.len(), true));
        Ok(parser.reply())
    }

    #[test]
    fn replies_are_read() {
        assert_eq!(parse(b"250 2.1.0 Ok\r\n"), Ok(Reply::new(250, (2, 1, 0), "Ok")));
        assert_eq!(parse(b"250\r\n"), Ok(Reply::plain(250, "")));
        assert_eq!(parse(b"354 go\n"), Ok(Reply::plain(354, "go")));
        let two = b"550-5.1.1 No such\r\n550 5.1.1 user here\r\n";
        assert_eq!(parse(two), Ok(Reply::new(550, (5, 1, 1), "No such user here")));
        // An enhanced code of another class is text.
        assert_eq!(parse(b"450 5.1.1 odd\r\n"), Ok(Reply::plain(450, "5.1.1 odd")));
        assert_eq!(
            parse(b"550 a\x00b\x1b[2Jc\xff\x7f\r\n"),
            Ok(Reply::plain(550, "a b [2Jc\u{fffd} "))
        );
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bad in [
            "\r\n",
            "25\r\n",
            "2500 x\r\n",
            "abc\r\n",
            "150 x\r\n",
            "600 x\r\n",
            "+50 x\r\n",
            "HTTP/1.1 400 Bad\r\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(MalformedReply::Code), "{bad:?}");
        }
        assert_eq!(parse(b"250-a\r\n050 b\r\n"), Err(MalformedReply::Code));
        assert_eq!(parse(&[&[b'2'; LINE_MAX][..], b"\n"].concat()), Err(MalformedReply::Code));
        assert_eq!(parse(&vec![b'2'; REPLY_MAX + 1]), Err(MalformedReply::TooLong));
        assert_eq!(parse("250-x\r\n".repeat(10_000).as_bytes()), Err(MalformedReply::TooLong));
        let long = format!("250-{}\r\n", "x".repeat(1500));
        assert_eq!(parse(long.repeat(LINES_MAX).as_bytes()), Err(MalformedReply::TooLong));
    }

    #[test]
    fn the_last_code_counts_and_all_words_are_kept() {
        let blocked = b"220-hello\r\n521 5.7.1 blocked using bl.example\r\n";
        assert_eq!(
            parse(blocked),
            Ok(Reply::new(521, (5, 7, 1), "hello blocked using bl.example"))
        );
        assert_eq!(parse(b"550-no\r\n250 yes\r\n"), Ok(Reply::plain(250, "no yes")));
        // A meaningless code, in a line that does not count.
        assert_eq!(parse(b"120-soon\r\n220 ready\r\n"), Ok(Reply::plain(220, "soon ready")));
        // An enhanced code of another class is part of the text.
        assert_eq!(
            parse(b"550-4.7.1 a\r\n550 5.7.1 b\r\n"),
            Ok(Reply::new(550, (5, 7, 1), "4.7.1 a b"))
        );
        // Lines without text, as `220` alone.
        assert_eq!(parse(b"550-\r\n550-5.1.1\r\n550\r\n"), Ok(Reply::new(550, (5, 1, 1), "")));
    }

    #[test]
    fn of_a_line_that_is_too_long_the_start_is_kept() {
        let line = format!("550 5.7.1 {}\r\n", "x".repeat(LINE_MAX));
        let reply = parse(line.as_bytes()).unwrap();
        assert_eq!((reply.code, reply.enhanced), (550, Some(Enhanced(5, 7, 1))));
        assert_eq!(reply.text.len(), TEXT_MAX);
        let next = [line.replacen("550 ", "550-", 1).as_bytes(), b"550 end\r\n"].concat();
        assert_eq!(parse(&next).unwrap().code, 550);
    }

    #[test]
    fn text_for_people_is_cut_at_a_letter() {
        let line = format!("550 {}\r\n", "ü".repeat(900));
        let reply = parse(line.as_bytes()).unwrap();
        assert!(reply.text.len() <= TEXT_MAX && reply.text.chars().all(|c| c == 'ü'));
    }

    proptest! {
        /// For any input, in pieces of any size: no panic, the limits hold, and the pieces make no
        /// difference.
        #[test]
        fn pieces_make_no_difference(
            input in proptest::collection::vec(
                prop_oneof![
                    Just(b"250-".to_vec()), Just(b"250 ".to_vec()), Just(b"\r\n".to_vec()),
                    Just(b"5.1.1 ".to_vec()), proptest::collection::vec(any::<u8>(), 0..20),
                    Just(vec![b'x'; 1500])
                ],
                0..60
            ),
            size in 1usize..4000,
        ) {
            let input = input.concat();
            let whole = {
                let mut parser = ReplyParser::default();
                parser.feed(&input).map(|fed| fed.code.map(|_| (fed.used, parser.reply())))
            };
            let mut parser = ReplyParser::default();
            let (mut from, mut to) = (0, 0);
            let pieces = loop {
                to = (to + size).min(input.len());
                match parser.feed(&input[from..to]) {
                    Err(error) => break Err(error),
                    Ok(ParseProgress { used, code }) => {
                        from += used;
                        if code.is_some() {
                            break Ok(Some((from, parser.reply())));
                        }
                        if to == input.len() {
                            break Ok(None);
                        }
                    }
                }
            };
            prop_assert_eq!(whole, pieces);
        }
    }
}
