//! Reads the content of a mail: the octets between 354 and the final reply (RFC 5321 §4.1.1.4,
//! §4.5.2), or those of the chunks of BDAT (RFC 3030 §2).
//!
//! The same rules hold for both: what DATA cannot carry to the next hop is not taken by BDAT.

use crate::mail::model::{Refusal, Reply};
use memchr::{memchr, memchr_iter};

/// Removes the dot-stuffing, finds the end of the data, and checks the content in the same pass.
///
/// Valid content is returned as slices of the input, never copied; whole buffers are scanned at
/// once. Content with an error is read to its real end, because the client waits for a reply only
/// there.
#[derive(Debug)]
pub struct ContentParser {
    size_limit: u64,
    size: u64,
    /// Lines that begin with a dot have another one before it, as with DATA.
    stuffed: bool,
    at: Position,
    /// Octets of the present line in earlier pieces, its CR included.
    line: usize,
    header: Option<Header>,
    received_count: usize,
    eight_bit: bool,
    error: Option<ContentError>,
}

/// The position after the last octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// After a CR LF.
    LineStart,
    /// After a dot at the start of a line.
    Dot,
    /// After the CR that follows such a dot.
    DotCr,
    /// Inside a line.
    Middle,
    /// After a CR inside a line.
    Cr,
}

/// The start of the present header line, as far as it is needed to recognize a Received field.
#[derive(Debug, Default)]
struct Header {
    start: [u8; RECEIVED.len()],
    filled: usize,
}

const RECEIVED: &[u8] = b"received:";

/// The result of one call.
#[derive(Debug, PartialEq, Eq)]
pub struct ContentChunk<'a> {
    /// The next octets of the content, without the stuffed dots; not to be used once there is an
    /// error.
    pub piece: &'a [u8],
    /// Octets of the input that are consumed.
    pub taken: usize,
    /// Whether the end of the data was found; what follows is a command.
    pub end: bool,
}

/// Why the content cannot be accepted. The first error counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentError {
    /// A CR that is not followed by an LF (RFC 5321 §2.3.8).
    BareCr,
    /// An LF that does not follow a CR.
    BareLf,
    /// More Received fields than [`ContentParser::RECEIVED_MAX`]: a mail loop (RFC 5321 §6.3).
    TooManyReceived,
    /// A line of more than [`ContentParser::LINE_MAX`] octets.
    Line,
    /// A NUL octet: RFC 5321 §4.5.2 allows a site to reject it, and many mail stores cannot store
    /// it.
    Nul,
    /// More octets than the size limit.
    Size,
}

impl ContentError {
    /// The reply at the end of the data.
    pub fn reply(self) -> Reply {
        match self {
            Self::BareCr => Reply::new(
                550,
                (5, 6, 0),
                "The message holds a CR without LF; end its lines with CR LF",
            ),
            Self::BareLf => Reply::new(
                550,
                (5, 6, 0),
                "The message holds an LF without CR; end its lines with CR LF",
            ),
            Self::TooManyReceived => Reply::new(554, (5, 4, 6), "Too many hops; the message loops"),
            Self::Line => Reply::new(
                550,
                (5, 6, 0),
                "The message holds a line of more than 65536 octets; encode it",
            ),
            Self::Nul => Reply::new(550, (5, 6, 0), "The message holds a NUL octet; encode it"),
            Self::Size => {
                Reply::new(552, (5, 3, 4), "The message is larger than this relay accepts")
            }
        }
    }

    /// The counter for it.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::BareCr | Self::BareLf => Refusal::BareLine,
            Self::TooManyReceived => Refusal::Loop,
            Self::Line | Self::Size => Refusal::Limit,
            Self::Nul => Refusal::Syntax,
        }
    }
}

impl ContentParser {
    /// Octets of a line without CR LF, at most. RFC 5321 §4.5.3.1.6 allows 998; web applications
    /// send longer ones, and breaking their lines would break their signatures.
    pub const LINE_MAX: usize = 64 * 1024;

    /// Received fields, at most; RFC 5321 §6.3 requires at least 100.
    pub const RECEIVED_MAX: usize = 100;

    /// The parser at the start of a mail's content, directly after the CR LF of the DATA command.
    pub fn new(size_limit: u64) -> Self {
        Self {
            size_limit,
            size: 0,
            stuffed: true,
            at: Position::LineStart,
            line: 0,
            header: Some(Header::default()),
            received_count: 0,
            eight_bit: false,
            error: None,
        }
    }

    /// The parser at the start of a mail's content, directly after the CR LF of its first BDAT
    /// command.
    pub fn chunked(size_limit: u64) -> Self {
        Self { stuffed: false, ..Self::new(size_limit) }
    }

    /// Consumes all of `chunk`, octets of a chunk, which are the content as they are.
    pub fn next_chunk(&mut self, chunk: &[u8]) {
        if !chunk.is_empty() {
            self.lines(chunk);
            self.judge(chunk);
        }
    }

    /// So many more octets of chunks are announced.
    pub fn announce(&mut self, octets: u64) {
        if self.size.saturating_add(octets) > self.size_limit {
            self.note_error(ContentError::Size);
        }
    }

    /// The last chunk has ended. Gives what the content lacks: the end of its last line, because
    /// DATA at the next hop cannot do without one.
    pub fn end_chunks(&mut self) -> &'static [u8] {
        match self.at {
            Position::LineStart => b"",
            Position::Cr => {
                self.note_error(ContentError::BareCr);
                b""
            }
            Position::Dot | Position::DotCr | Position::Middle => {
                self.size = self.size.saturating_add(2);
                b"\r\n"
            }
        }
    }

    /// The error found so far.
    pub fn error(&self) -> Option<ContentError> {
        self.error
    }

    /// Whether octets above 127 were read.
    pub fn eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// Octets of content so far, without the stuffed dots.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Consumes octets from the start of `input`: all of them, or up to a stuffed dot or the end of
    /// the data. The concatenated pieces are the content, however the input is cut. It must not be
    /// called again after the end.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> ContentChunk<'a> {
        let nothing = |taken, end| ContentChunk { piece: &[], taken, end };
        match (self.at, input.first()) {
            (_, None) => return nothing(0, false),
            (Position::LineStart, Some(b'.')) => {
                self.at = Position::Dot;
                return nothing(1, false);
            }
            (Position::Dot, Some(b'\r')) => {
                self.at = Position::DotCr;
                return nothing(1, false);
            }
            (Position::DotCr, Some(b'\n')) => return nothing(1, true),
            (Position::DotCr, Some(_)) => {
                // The CR after the dot was bare, so the content is rejected and the octet need not
                // be returned.
                self.note_error(ContentError::BareCr);
                self.at = if input[0] == b'\r' { Position::Cr } else { Position::Middle };
            }
            (Position::Dot | Position::LineStart | Position::Middle | Position::Cr, Some(_)) => {}
        }
        let taken = self.lines(input);
        let piece = &input[..taken];
        self.judge(piece);
        if input.get(taken) == Some(&b'.') && self.at == Position::LineStart {
            self.at = Position::Dot;
            return ContentChunk { piece, taken: taken + 1, end: false };
        }
        ContentChunk { piece, taken, end: false }
    }

    /// Passes whole lines, up to one that begins with a dot or to the end of the input; gives how
    /// many octets.
    fn lines(&mut self, input: &[u8]) -> usize {
        let (mut start, mut pairs, mut taken) = (0, 0, input.len());
        let cr_before = self.at == Position::Cr;
        for lf in memchr_iter(b'\n', input) {
            let paired = if lf == 0 { cr_before } else { input[lf - 1] == b'\r' };
            if !paired {
                self.note_error(ContentError::BareLf);
                continue;
            }
            pairs += 1;
            self.end_line(&input[start..lf]);
            start = lf + 1;
            if self.stuffed && input.get(start) == Some(&b'.') {
                taken = start;
                break;
            }
        }
        let input = &input[..taken];
        let cr_behind = input.last() == Some(&b'\r');
        // Every CR belongs to a CR LF, except perhaps the last octet, which the next piece decides.
        let crs = memchr_iter(b'\r', input).count() + usize::from(cr_before);
        if crs != pairs + usize::from(cr_behind) {
            self.note_error(ContentError::BareCr);
        }
        if start < taken {
            self.extend_line(&input[start..]);
            self.at = if cr_behind { Position::Cr } else { Position::Middle };
        } else {
            self.at = Position::LineStart;
        }
        taken
    }

    /// The present line continues with `part`.
    fn extend_line(&mut self, part: &[u8]) {
        if let Some(header) = &mut self.header {
            header.take(part);
        }
        self.line += part.len();
        if self.line > Self::LINE_MAX + 1 {
            self.note_error(ContentError::Line);
        }
    }

    /// The present line ends with `part`; the CR is at the end of it or of an earlier part.
    fn end_line(&mut self, part: &[u8]) {
        self.extend_line(part);
        let length = std::mem::take(&mut self.line).saturating_sub(1);
        if length > Self::LINE_MAX {
            self.note_error(ContentError::Line);
        }
        let Some(header) = &mut self.header else { return };
        if length == 0 {
            self.header = None; // the empty line between header section and body
            return;
        }
        if header.is_received() {
            self.received_count += 1;
        }
        *header = Header::default();
        if self.received_count > Self::RECEIVED_MAX {
            self.note_error(ContentError::TooManyReceived);
        }
    }

    fn judge(&mut self, piece: &[u8]) {
        self.size = self.size.saturating_add(piece.len() as u64);
        if self.size > self.size_limit {
            self.note_error(ContentError::Size);
        }
        if memchr(0, piece).is_some() {
            self.note_error(ContentError::Nul);
        }
        self.eight_bit = self.eight_bit || !piece.is_ascii();
    }

    fn note_error(&mut self, error: ContentError) {
        self.error.get_or_insert(error);
    }
}

impl Header {
    fn take(&mut self, part: &[u8]) {
        let room = &mut self.start[self.filled..];
        let fits = room.len().min(part.len());
        room[..fits].copy_from_slice(&part[..fits]);
        self.filled += fits;
    }

    fn is_received(&self) -> bool {
        self.start.eq_ignore_ascii_case(RECEIVED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The result for one mail: its content, the rest of the input, the error. `None`: no end was
    /// found.
    type Read = Option<(Vec<u8>, Vec<u8>, Option<ContentError>)>;

    fn read(input: &[u8], sizes: &[usize], limit: u64) -> Read {
        let mut content = ContentParser::new(limit);
        let mut out = Vec::new();
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = input;
        while !rest.is_empty() {
            let (mut piece, later) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
            rest = later;
            while !piece.is_empty() {
                let step = content.next(piece);
                assert!(step.taken > 0, "no progress");
                out.extend_from_slice(step.piece);
                piece = &piece[step.taken..];
                if step.end {
                    assert!(content.error().is_some() || content.size() == out.len() as u64);
                    return Some((out, [piece, rest].concat(), content.error()));
                }
            }
        }
        None
    }

    /// The same by the RFC, octet by octet; for content without errors.
    fn by_the_letter(input: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let framed = [b"\r\n", input].concat();
        let end = framed.windows(5).position(|window| window == b"\r\n.\r\n")?;
        let mut out = Vec::new();
        let mut line_start = true;
        for (i, &byte) in framed[2..end + 2].iter().enumerate() {
            if !(line_start && byte == b'.') {
                out.push(byte);
            }
            line_start = framed[..i + 3].ends_with(b"\r\n");
        }
        Some((out, framed[end + 5..].to_vec()))
    }

    fn error(input: &[u8]) -> Option<ContentError> {
        let wholly = read(input, &[usize::MAX], 1 << 20).expect("an end");
        let slowly = read(input, &[1], 1 << 20).expect("an end");
        assert_eq!((&wholly.1, wholly.2.is_some()), (&slowly.1, slowly.2.is_some()));
        wholly.2
    }

    #[test]
    fn content_comes_out_as_it_was_before_stuffing() {
        let long = [b"Subject: x\r\n\r\n", &vec![b'x'; 60_000][..], b"\r\n"].concat();
        let odd: Vec<u8> =
            (1..=255).filter(|byte| !b"\r\n".contains(byte)).chain(*b"\r\n").collect();
        for clean in [
            &b""[..],
            b"\r\n",
            b".\r\n",
            b"..\r\n.\r\n...\r\n.a\r\n",
            b"Subject: x\r\n\r\nbody\r\n",
            b"no empty line\r\n.dot\r\n\r\n.\r\n\r\n",
            &long,
            &odd,
        ] {
            let mut stuffed = Vec::new();
            for line in clean.split_inclusive(|byte| *byte == b'\n') {
                if line[0] == b'.' {
                    stuffed.push(b'.');
                }
                stuffed.extend_from_slice(line);
            }
            stuffed.extend_from_slice(b".\r\nQUIT\r\n");
            for size in [1, 2, 3, 5, 1000, usize::MAX] {
                let (out, rest, error) = read(&stuffed, &[size], 1 << 20).expect("an end");
                assert_eq!(
                    (&out[..], &rest[..], error),
                    (clean, &b"QUIT\r\n"[..], None),
                    "{:?} by {size}",
                    clean.get(..20)
                );
            }
        }
    }

    #[test]
    fn nothing_but_cr_lf_dot_cr_lf_ends_the_data() {
        for smuggled in [
            &b"a\n.\nQUIT\r\n"[..],
            b"a\n.\r\nQUIT\r\n",
            b"a\r\n.\nQUIT\r\n",
            b"a\r.\rQUIT\r\n",
            b"a\r.\r\nQUIT\r\n",
            b"a\r\n.\rQUIT\r\n",
            b"a\r\n\0.\r\nQUIT\r\n",
            b"a\r\r\n.\r\r\nQUIT\r\n",
            b"a\r\n.\r.\r\nQUIT\r\n",
        ] {
            assert_eq!(read(smuggled, &[usize::MAX], 1000), None, "{smuggled:?}");
            assert_eq!(read(smuggled, &[1], 1000), None, "{smuggled:?}");
            assert!(error(&[smuggled, b"\r\n.\r\n"].concat()).is_some(), "{smuggled:?}");
        }
        assert_eq!(error(b"a\nb\r\n.\r\n"), Some(ContentError::BareLf));
        assert_eq!(error(b"\n\r\n.\r\n"), Some(ContentError::BareLf));
        assert_eq!(error(b"a\rb\r\n.\r\n"), Some(ContentError::BareCr));
        assert_eq!(error(b"a\r\r\n.\r\n"), Some(ContentError::BareCr));
        assert_eq!(error(b".\r\r\n.\r\n"), Some(ContentError::BareCr));
        assert_eq!(error(b"a\0b\r\n.\r\n"), Some(ContentError::Nul));
    }

    #[test]
    fn size_and_lines_have_limits() {
        assert_eq!(read(b"12345\r\n.\r\n", &[2], 7).unwrap().2, None);
        assert_eq!(read(b"12345\r\n.\r\n", &[2], 6).unwrap().2, Some(ContentError::Size));
        assert_eq!(read(b"..2345\r\n.\r\n", &[2], 7).unwrap().2, None, "stuffed dots do not count");
        let line = |length: usize| [&vec![b'x'; length][..], b"\r\n.\r\n"].concat();
        assert_eq!(error(&line(ContentParser::LINE_MAX)), None);
        assert_eq!(error(&line(ContentParser::LINE_MAX + 1)), Some(ContentError::Line));
        assert_eq!(error(&[&b"a\r\n.."[..], &line(ContentParser::LINE_MAX - 1)].concat()), None);
    }

    #[test]
    fn hops_are_counted_in_the_header_section_only() {
        let mail = |header: usize, body: usize| {
            let line = "reCeived: from x\r\n\tby y\r\n.Received: stuffed\r\nReceived-SPF: no\r\n";
            let mut text = line.repeat(header / 2) + "\r\n" + &line.repeat(body);
            if header % 2 == 1 {
                text.insert_str(0, "Received:\r\n");
            }
            text + ".\r\n"
        };
        assert_eq!(error(mail(ContentParser::RECEIVED_MAX, 500).as_bytes()), None);
        assert_eq!(
            error(mail(ContentParser::RECEIVED_MAX + 1, 0).as_bytes()),
            Some(ContentError::TooManyReceived)
        );
    }

    #[test]
    fn chunks_are_the_content_as_they_are_and_keep_its_rules() {
        let read = |octets: &[u8], size: usize| {
            let mut content = ContentParser::chunked(1000);
            octets.chunks(size).for_each(|chunk| content.next_chunk(chunk));
            let end = content.end_chunks();
            (end, content.error(), content.size())
        };
        for size in [1, 2, 3, 1000] {
            assert_eq!(read(b".\r\n..\r\n\r\n.\r\n", size), (&b""[..], None, 12));
            assert_eq!(read(b"", size), (&b""[..], None, 0));
            assert_eq!(read(b"a\r\n.", size), (&b"\r\n"[..], None, 6));
            for (octets, error) in [
                (&b"a\nb\r\n"[..], ContentError::BareLf),
                (b"a\r\n.\n", ContentError::BareLf),
                (b"a\rb\r\n", ContentError::BareCr),
                (b"a\r", ContentError::BareCr),
                (b"a\0\r\n", ContentError::Nul),
            ] {
                assert_eq!(read(octets, size).1, Some(error), "{octets:?} by {size}");
            }
        }
        let mut content = ContentParser::chunked(10);
        content.announce(10);
        assert_eq!(content.error(), None);
        content.next_chunk(b"12345678\r\n");
        content.announce(1);
        assert_eq!(content.error(), Some(ContentError::Size));
    }

    #[test]
    fn eight_bit_content_is_noticed() {
        for (text, eight_bit) in [(&b"abc\r\n"[..], false), (b"\x80\r\n", true)] {
            let mut content = ContentParser::new(100);
            content.next(text);
            assert_eq!(content.eight_bit(), eight_bit);
        }
    }

    proptest! {
        #[test]
        fn any_octets_in_any_pieces(
            parts in prop::collection::vec(
                prop_oneof![
                    Just("\r\n"), Just("\r"), Just("\n"), Just("."), Just("\r\n.\r\n"), Just("x"),
                    Just("\r\n\r\n"), Just("Received: y"), Just("é"), Just("\0")
                ],
                0..40
            ),
            sizes in prop::collection::vec(1usize..9, 1..6),
        ) {
            let input = parts.concat();
            let wholly = read(input.as_bytes(), &[usize::MAX], 60);
            let split = read(input.as_bytes(), &sizes, 60);
            let letter = by_the_letter(input.as_bytes());
            let expected = letter.as_ref().map(|read| &read.1);
            prop_assert_eq!(wholly.as_ref().map(|read| &read.1), expected);
            prop_assert_eq!(split.as_ref().map(|read| &read.1), expected);
            let all = (wholly, split, letter);
            if let (Some((whole, _, a)), Some((cut, _, b)), Some((letter, _))) = all {
                prop_assert_eq!(a.is_some(), b.is_some());
                if a.is_none() {
                    prop_assert_eq!(&whole, &letter);
                    prop_assert_eq!(&cut, &letter);
                    prop_assert!(!letter.contains(&0) && letter.len() <= 60);
                    let text = String::from_utf8(letter).unwrap().replace("\r\n", "");
                    prop_assert!(!text.contains(['\r', '\n']));
                }
            }
        }
    }
}
