//! Replies as they come over the wire (RFC 5321 §4.2); pure, and fuzzed.
//!
//! In: octets in pieces of any size. Out: a code with its lines, or [`Malformed`].
//! Limits: [`LINE_MAX`], [`LINES_MAX`], [`REPLY_MAX`]; a [`Reply`] made of it has at most [`TEXT_MAX`] octets of text, one
//! line without control characters.
//! Tolerance: a bare LF ends a line too, and a code may stand alone; both are seen in the field and mean no harm here.

use crate::mail::model::{Enhanced, Reply};
use memchr::memchr;

/// The longest line with its end; RFC 5321 §4.5.3.1.5 says 512, some servers say more.
pub const LINE_MAX: usize = 2048;

/// The most lines of one reply.
pub const LINES_MAX: usize = 128;

/// The most octets of one reply.
pub const REPLY_MAX: usize = 64 * 1024;

/// The most octets of text that are kept of a reply to a person.
pub const TEXT_MAX: usize = 1000;

/// Why octets are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No three digits from 200 to 599 at the start, or something else than a space or a hyphen behind them.
    #[error("a line does not begin with a reply code")]
    Code,
    /// The lines of one reply have different codes.
    #[error("the lines of one reply have different codes")]
    CodesDiffer,
    /// A line has more than [`LINE_MAX`] octets.
    #[error("a line is longer than {LINE_MAX} octets")]
    LineTooLong,
    /// More than [`LINES_MAX`] lines or [`REPLY_MAX`] octets.
    #[error("the reply has more than {LINES_MAX} lines or {REPLY_MAX} octets")]
    TooLong,
}

/// How far a piece of input led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fed {
    /// Octets that were used up; the caller brings the rest again, with more behind it.
    pub used: usize,
    /// The code, once the reply is complete.
    pub code: Option<u16>,
}

/// Puts a reply together, line by line. One parser serves a connection for all its life and keeps its buffer.
#[derive(Debug, Default)]
pub struct Parser {
    code: Option<u16>,
    /// The lines without their codes, each ended by LF.
    text: Vec<u8>,
    lines: usize,
    octets: usize,
    complete: bool,
}

impl Parser {
    /// Takes the complete lines of `input` up to the end of the reply. The first call after a complete reply begins the next.
    ///
    /// # Errors
    /// [`Malformed`]; the connection is of no more use.
    pub fn feed(&mut self, input: &[u8]) -> Result<Fed, Malformed> {
        if self.complete {
            self.text.clear();
            *self = Self { text: std::mem::take(&mut self.text), ..Self::default() };
        }
        let mut used = 0;
        while let Some(end) = memchr(b'\n', &input[used..]) {
            if end >= LINE_MAX {
                return Err(Malformed::LineTooLong);
            }
            let line = &input[used..used + end];
            used += end + 1;
            self.take(line.strip_suffix(b"\r").unwrap_or(line), end + 1)?;
            if self.complete {
                return Ok(Fed { used, code: self.code });
            }
        }
        if input.len() - used >= LINE_MAX { Err(Malformed::LineTooLong) } else { Ok(Fed { used, code: None }) }
    }

    /// The lines so far, without code and line end; hostile octets.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split_inclusive(|octet| *octet == b'\n').map(|line| &line[..line.len() - 1])
    }

    /// The complete reply for people: lines joined by spaces, control characters replaced, cut to [`TEXT_MAX`]. The enhanced
    /// code is taken out of each line (RFC 2034 §4 repeats it) where its class agrees with the code.
    pub fn reply(&self) -> Reply {
        let code = self.code.unwrap_or_default();
        let mut enhanced = None;
        let mut text = String::new();
        for line in self.lines() {
            let line = String::from_utf8_lossy(line);
            let mut words = line.trim();
            let found = Enhanced::parse(words).filter(|found| u16::from(found.0) == code / 100);
            if let Some(found) = found.filter(|found| *enhanced.get_or_insert(*found) == *found) {
                words = words.get(found.to_string().len()..).unwrap_or_default().trim_start();
            }
            if !text.is_empty() && !words.is_empty() {
                text.push(' ');
            }
            text.extend(words.chars().map(|c| if c.is_control() { ' ' } else { c }));
            if text.len() > TEXT_MAX {
                text.truncate(text.floor_char_boundary(TEXT_MAX));
                break;
            }
        }
        Reply { code, enhanced, text: text.into() }
    }

    fn take(&mut self, line: &[u8], octets: usize) -> Result<(), Malformed> {
        self.lines += 1;
        self.octets += octets;
        if self.lines > LINES_MAX || self.octets > REPLY_MAX {
            return Err(Malformed::TooLong);
        }
        let (code, last, text) = split(line).ok_or(Malformed::Code)?;
        if *self.code.get_or_insert(code) != code {
            return Err(Malformed::CodesDiffer);
        }
        self.text.extend_from_slice(text);
        self.text.push(b'\n');
        self.complete = last;
        Ok(())
    }
}

/// Code, whether this is the last line, and text.
fn split(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    digits.iter().all(u8::is_ascii_digit).then_some(())?;
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    (200..600).contains(&code).then_some(())?;
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

    fn parse(input: &[u8]) -> Result<Reply, Malformed> {
        let mut parser = Parser::default();
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
        // A code of another class is text.
        assert_eq!(parse(b"450 5.1.1 odd\r\n"), Ok(Reply::plain(450, "5.1.1 odd")));
        assert_eq!(parse(b"550 a\x00b\x1b[2Jc\xff\x7f\r\n"), Ok(Reply::plain(550, "a b [2Jc\u{fffd} ")));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bad in ["\r\n", "25\r\n", "2500 x\r\n", "abc\r\n", "150 x\r\n", "600 x\r\n", "+50 x\r\n", "HTTP/1.1 400 Bad\r\n"] {
            assert_eq!(parse(bad.as_bytes()), Err(Malformed::Code), "{bad:?}");
        }
        assert_eq!(parse(b"250-a\r\n251 b\r\n"), Err(Malformed::CodesDiffer));
        assert_eq!(parse(&[b'2'; LINE_MAX]), Err(Malformed::LineTooLong));
        assert_eq!(parse(&[&[b'2'; LINE_MAX][..], b"\n"].concat()), Err(Malformed::LineTooLong));
        assert_eq!(parse("250-x\r\n".repeat(10_000).as_bytes()), Err(Malformed::TooLong));
        let long = format!("250-{}\r\n", "x".repeat(1500));
        assert_eq!(parse(long.repeat(LINES_MAX).as_bytes()), Err(Malformed::TooLong));
    }

    #[test]
    fn text_for_people_is_cut_at_a_letter() {
        let line = format!("550 {}\r\n", "ü".repeat(900));
        let reply = parse(line.as_bytes()).unwrap();
        assert!(reply.text.len() <= TEXT_MAX && reply.text.chars().all(|c| c == 'ü'));
    }

    proptest! {
        /// Whatever comes, in pieces of whatever size: no panic, the limits hold, and the pieces make no difference.
        #[test]
        fn pieces_make_no_difference(
            input in proptest::collection::vec(prop_oneof![Just(b"250-".to_vec()), Just(b"250 ".to_vec()), Just(b"\r\n".to_vec()),
                Just(b"5.1.1 ".to_vec()), proptest::collection::vec(any::<u8>(), 0..20)], 0..60),
            size in 1usize..40,
        ) {
            let input = input.concat();
            let whole = {
                let mut parser = Parser::default();
                parser.feed(&input).map(|fed| fed.code.map(|_| (fed.used, parser.reply())))
            };
            let mut parser = Parser::default();
            let (mut from, mut to) = (0, 0);
            let pieces = loop {
                to = (to + size).min(input.len());
                match parser.feed(&input[from..to]) {
                    Err(error) => break Err(error),
                    Ok(Fed { used, code }) => {
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
