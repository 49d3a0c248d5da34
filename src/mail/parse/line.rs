//! Splits a stream of octets into command lines.

use memchr::memchr2;

/// Splits a stream into command lines. The caller keeps the octets; this stores only how far they
/// were scanned, so that no octet is scanned twice however slowly they arrive.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// Octets at the start of the input that hold no CR and no LF.
    scanned: usize,
    /// Octets of an over-long line that were already dropped.
    discarded: usize,
}

/// What the input contains.
#[derive(Debug, PartialEq, Eq)]
pub enum InputLine<'a> {
    /// No complete line yet: drop `taken` octets and call again with more.
    More {
        /// Octets that are not needed any more.
        taken: usize,
    },
    /// A line without its CR LF.
    Complete {
        /// The octets before the CR LF; they hold no CR and no LF.
        text: &'a [u8],
        /// Octets to drop, the CR LF included.
        taken: usize,
    },
    /// Not a line that could be a command.
    Flawed {
        /// What is wrong.
        error: LineError,
        /// Octets to drop.
        taken: usize,
    },
}

/// Why it is not a valid line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineError {
    /// A CR that is not followed by an LF (RFC 5321 §2.3.8). The input after it cannot be trusted:
    /// the session ends.
    BareCr,
    /// An LF that does not follow a CR. The session ends, too.
    BareLf,
    /// The line had more than [`LineSplitter::LIMIT`] octets; it was dropped up to its end (RFC
    /// 5321 §4.5.3.1.9).
    TooLong,
    /// The line had no end within [`LineSplitter::DISCARD_MAX`] octets: the session ends.
    Endless,
}

impl LineSplitter {
    /// Octets of a command line, CR LF included, at most: the 512 of RFC 5321 §4.5.3.1.4, and room
    /// for the parameters of extensions.
    pub const LIMIT: usize = 2048;

    /// Octets of an over-long line that are dropped before the session ends.
    pub const DISCARD_MAX: usize = 64 * 1024;

    /// Finds the next line at the start of `input`. After `More` the caller must pass the same
    /// octets again, without the consumed ones, followed by new ones. It must not be called again
    /// after an error that ends the session.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> InputLine<'a> {
        let Some(at) = memchr2(b'\r', b'\n', &input[self.scanned..]).map(|at| at + self.scanned)
        else {
            return self.more(input.len(), input.len());
        };
        if self.discarded + at > Self::DISCARD_MAX {
            return InputLine::Flawed { error: LineError::Endless, taken: at };
        }
        match (input[at], input.get(at + 1)) {
            (b'\n', _) => InputLine::Flawed { error: LineError::BareLf, taken: at + 1 },
            (_, None) => self.more(at, input.len()),
            (_, Some(b'\n')) => {
                let length = self.discarded + at + 2;
                *self = Self::default();
                if length > Self::LIMIT {
                    return InputLine::Flawed { error: LineError::TooLong, taken: at + 2 };
                }
                InputLine::Complete { text: &input[..at], taken: at + 2 }
            }
            (_, Some(_)) => InputLine::Flawed { error: LineError::BareCr, taken: at + 1 },
        }
    }

    /// `plain` octets contain no line end, and the input has none.
    fn more<'a>(&mut self, plain: usize, length: usize) -> InputLine<'a> {
        if self.discarded + plain > Self::DISCARD_MAX {
            return InputLine::Flawed { error: LineError::Endless, taken: length };
        }
        if self.discarded == 0 && length < Self::LIMIT {
            self.scanned = plain;
            return InputLine::More { taken: 0 };
        }
        self.scanned = 0;
        self.discarded += plain;
        InputLine::More { taken: plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All lines of `input` when it arrives in pieces of the given sizes.
    fn cut(input: &[u8], sizes: &[usize]) -> Vec<Result<Vec<u8>, LineError>> {
        let (mut lines, mut buffer, mut out) = (LineSplitter::default(), Vec::new(), Vec::new());
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = input;
        loop {
            match lines.next(&buffer) {
                InputLine::Complete { text, taken } => {
                    out.push(Ok(text.to_vec()));
                    buffer.drain(..taken);
                }
                InputLine::Flawed { error, taken } => {
                    out.push(Err(error));
                    if error != LineError::TooLong {
                        return out;
                    }
                    buffer.drain(..taken);
                }
                InputLine::More { taken } => {
                    buffer.drain(..taken);
                    assert!(buffer.len() <= LineSplitter::LIMIT, "the buffer grows");
                    if rest.is_empty() {
                        return out;
                    }
                    let (piece, later) =
                        rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
                    buffer.extend_from_slice(piece);
                    rest = later;
                }
            }
        }
    }

    #[test]
    fn only_cr_lf_ends_a_line() {
        assert_eq!(
            cut(b"NOOP\r\n\r\nQUIT\r\nhalf", &[3]),
            [Ok(b"NOOP".to_vec()), Ok(vec![]), Ok(b"QUIT".to_vec())]
        );
        assert_eq!(cut(b"NOOP\nQUIT\r\n", &[100]), [Err(LineError::BareLf)]);
        assert_eq!(cut(b"NOOP\rQUIT\r\n", &[5]), [Err(LineError::BareCr)]);
        assert_eq!(cut(b"NOOP\r\r\n", &[1]), [Err(LineError::BareCr)]);
        assert_eq!(cut(b"\n", &[1]), [Err(LineError::BareLf)]);
    }

    #[test]
    fn long_lines_are_dropped_to_their_end_and_endless_ones_end_the_session() {
        let line = |length: usize| [&vec![b'a'; length - 2][..], b"\r\n"].concat();
        for size in [1, 7, 1000, 100_000] {
            assert_eq!(
                cut(&line(LineSplitter::LIMIT), &[size]),
                [Ok(vec![b'a'; LineSplitter::LIMIT - 2])]
            );
            assert_eq!(
                cut(&[line(LineSplitter::LIMIT + 1), line(5)].concat(), &[size]),
                [Err(LineError::TooLong), Ok(b"aaa".to_vec())]
            );
            assert_eq!(
                cut(&line(LineSplitter::DISCARD_MAX + 2), &[size]),
                [Err(LineError::TooLong)]
            );
            assert_eq!(
                cut(&line(LineSplitter::DISCARD_MAX + 3), &[size]),
                [Err(LineError::Endless)]
            );
            assert_eq!(
                cut(&vec![b'a'; 2 * LineSplitter::DISCARD_MAX], &[size]),
                [Err(LineError::Endless)]
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            input in prop::collection::vec(
                prop_oneof![
                    Just(b"\r\n".to_vec()), Just(b"\r".to_vec()), Just(b"\n".to_vec()),
                    prop::collection::vec(0x20u8..0xff, 0..3000)
                ],
                0..8
            ).prop_map(|parts| parts.concat()),
            sizes in prop::collection::vec(1usize..4000, 1..6),
        ) {
            prop_assert_eq!(cut(&input, &sizes), cut(&input, &[usize::MAX]));
        }
    }
}
