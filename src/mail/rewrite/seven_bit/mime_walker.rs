//! Walks through a message's parts (RFC 2046 §5.1, §5.2.1), for the deciding and for the writing
//! pass.

use super::lines::{ContentLine, ContentLines};
use super::mime_fields::{ContentType, Encoding, Field, Header};
use super::{DEPTH_MAX, FIELD_MAX, LINE_MAX};

/// The kind of a part, by its header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartKind {
    /// Parts, with text around them.
    Multipart,
    /// A message with a header section of its own.
    Message,
    /// Text of any kind, or no Content-Type.
    Text,
    /// Anything else.
    Data,
    /// A piece of a message.
    Partial,
    /// A part that must be read without decoding, or whose header fields are invalid.
    Plain,
    /// Nested deeper than the limit.
    TooDeep,
}

/// A part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MimePart {
    /// Its index among all parts, in the order in which they start.
    pub place: usize,
    /// The index of the message that contains it, which may be itself.
    pub root: usize,
    /// It is covered by a signature.
    pub signed: bool,
}

/// Receives the events of the walk.
pub(super) trait PartVisitor {
    /// The header section of a part begins.
    fn part(&mut self, part: MimePart);
    /// A line of a header section, of the field `field`.
    fn header_line(&mut self, field: Field, line: ContentLine<'_>);
    /// The header section has ended; `blank` when an empty line ends it, as it should. The empty
    /// line is still to be written.
    fn header_end(&mut self, header: &Header, shape: PartKind, blank: bool);
    /// Octets of the body of a leaf part, without line ends.
    fn body(&mut self, octets: &[u8]);
    /// A line of it ends.
    fn body_line_end(&mut self);
    /// The body of the leaf part has ended; `last` when the message has, too.
    fn body_end(&mut self, last: bool);
    /// A line around parts, which readers ignore.
    fn around(&mut self, line: ContentLine<'_>, signed: bool);
    /// A boundary's line, with the line end before it.
    fn boundary(&mut self, before: &[u8], line: &[u8]);
}

/// Reads a message of any size in pieces.
pub(super) struct Walker<L> {
    lines: ContentLines,
    way: Way<L>,
}

impl<L: PartVisitor> Walker<L> {
    pub fn new(mut listener: L) -> Self {
        listener.part(MimePart::default());
        let way = Way {
            listener,
            levels: Vec::new(),
            messages: 0,
            part: MimePart::default(),
            parts: 1,
            digest: false,
            state: State::Header {
                header: Header::default(),
                field: Field::Other,
                text: Vec::new(),
                begun: false,
            },
            line_end: false,
        };
        Self { lines: ContentLines::new(), way }
    }

    pub fn feed(&mut self, piece: &[u8]) {
        let Self { lines, way } = self;
        lines.feed(piece, |line| way.line(line));
    }

    /// The content ends here.
    pub fn finish(mut self) -> L {
        let Self { lines, way } = &mut self;
        lines.finish(|line| way.line(line));
        if matches!(way.state, State::Leaf) {
            if std::mem::take(&mut way.line_end) {
                way.listener.body_line_end();
            }
            way.listener.body_end(true);
        }
        self.way.listener
    }

    /// The listener with everything received so far.
    pub fn listener(&mut self) -> &mut L {
        &mut self.way.listener
    }
}

struct Way<L> {
    listener: L,
    /// Multiparts that are open.
    levels: Vec<Level>,
    /// Open messages in messages.
    messages: usize,
    part: MimePart,
    parts: usize,
    /// The part is in a digest, where no Content-Type means a message (RFC 2046 §5.1.5).
    digest: bool,
    state: State,
    /// A line of the leaf part has ended, and it is not known yet whether its end belongs to a
    /// boundary (RFC 2046 §5.1.1).
    line_end: bool,
}

struct Level {
    boundary: Vec<u8>,
    /// The multipart itself.
    part: MimePart,
    /// Its first part is signed (RFC 1847 §2.1).
    signs: bool,
    digest: bool,
    children: usize,
    messages: usize,
}

enum State {
    /// In a header section, with the field of its last line; `begun` when it has a line.
    Header {
        header: Header,
        field: Field,
        text: Vec<u8>,
        begun: bool,
    },
    Leaf,
    Around,
}

impl<L: PartVisitor> Way<L> {
    fn line(&mut self, line: ContentLine<'_>) {
        if line.is_whole()
            && line.octets.starts_with(b"--")
            && let Some((level, closes)) = self.boundary(line.octets)
        {
            return self.at_boundary(level, closes, line.octets);
        }
        match &mut self.state {
            State::Header { .. } => self.header_line(line),
            State::Leaf => {
                if std::mem::take(&mut self.line_end) {
                    self.listener.body_line_end();
                }
                self.listener.body(line.octets);
                self.line_end = line.ends;
            }
            State::Around => self.listener.around(line, self.part.signed),
        }
    }

    /// The level whose boundary is this line, the innermost first, and whether it is the closing
    /// one.
    fn boundary(&self, line: &[u8]) -> Option<(usize, bool)> {
        let line = line.get(2..).filter(|line| line.len() < LINE_MAX - 2)?.trim_ascii_end();
        self.levels.iter().enumerate().rev().find_map(|(place, level)| {
            match line.strip_prefix(level.boundary.as_slice())? {
                b"" => Some((place, false)),
                b"--" => Some((place, true)),
                _ => None,
            }
        })
    }

    fn at_boundary(&mut self, place: usize, closes: bool, line: &[u8]) {
        let before: &[u8] = if std::mem::take(&mut self.line_end) { b"\r\n" } else { b"" };
        if matches!(self.state, State::Leaf) {
            self.listener.body_end(false);
        }
        self.listener.boundary(before, line);
        self.levels.truncate(place + 1);
        let Some(level) = self.levels.last_mut() else { return };
        self.messages = level.messages;
        if closes {
            self.part = level.part;
            self.levels.pop();
            self.state = State::Around;
            return;
        }
        level.children += 1;
        self.digest = level.digest;
        let (root, signed) =
            (level.part.root, level.part.signed || (level.signs && level.children == 1));
        self.begin(Some(root), signed);
    }

    /// A part begins; without `root` it is a message in a message.
    fn begin(&mut self, root: Option<usize>, signed: bool) {
        let place = self.parts;
        self.parts += 1;
        self.part = MimePart { place, root: root.unwrap_or(place), signed };
        self.listener.part(self.part);
        self.state = State::Header {
            header: Header::default(),
            field: Field::Other,
            text: Vec::new(),
            begun: false,
        };
    }

    fn header_line(&mut self, line: ContentLine<'_>) {
        let State::Header { header, field, text, begun } = &mut self.state else { return };
        let continues = !line.starts || matches!(line.octets, [b' ' | b'\t', ..]);
        let starting = if continues { None } else { Field::starting(line.octets) };
        let from_line = !*begun && line.starts && line.octets.starts_with(b"From ");
        if (continues && *begun) || starting.is_some() || from_line {
            if let Some(next) = starting {
                header.take(*field, text);
                text.clear();
                *field = next;
            } else if from_line {
                *field = Field::Other;
            }
            *begun = true;
            if *field != Field::Other {
                let room = FIELD_MAX.saturating_sub(text.len());
                text.extend_from_slice(&line.octets[..line.octets.len().min(room)]);
            }
            let field = *field;
            return self.listener.header_line(field, line);
        }
        // An empty line, or one that cannot be in a header section and so begins the body.
        header.take(*field, text);
        let header = std::mem::take(header);
        let blank = line.is_whole() && line.octets.is_empty();
        self.header_end(&header, blank);
        if !blank {
            self.line(line);
        }
    }

    fn header_end(&mut self, header: &Header, blank: bool) {
        let too_deep = self.levels.len() + self.messages >= DEPTH_MAX;
        let shape = match shape(header, std::mem::take(&mut self.digest)) {
            PartKind::Multipart | PartKind::Message if too_deep => PartKind::TooDeep,
            shape => shape,
        };
        self.listener.header_end(header, shape, blank);
        match (shape, &header.content_type) {
            (PartKind::Multipart, Some(ContentType { sub, boundary: Some(boundary), .. })) => {
                self.levels.push(Level {
                    boundary: boundary.clone(),
                    part: self.part,
                    signs: sub == "signed",
                    digest: sub == "digest",
                    children: 0,
                    messages: self.messages,
                });
                self.state = State::Around;
            }
            (PartKind::Message, _) => {
                self.messages += 1;
                self.begin(None, self.part.signed);
            }
            _ => self.state = State::Leaf,
        }
    }
}

fn shape(header: &Header, digest: bool) -> PartKind {
    let encoded = matches!(
        header.encoding,
        Some(Encoding::QuotedPrintable | Encoding::Base64 | Encoding::Unknown)
    );
    let Some(content_type) = &header.content_type else {
        return if digest && !encoded { PartKind::Message } else { PartKind::Text };
    };
    match (content_type.kind.as_str(), content_type.sub.as_str()) {
        ("multipart", _) if content_type.boundary.is_some() => PartKind::Multipart,
        ("multipart", _) => PartKind::Plain,
        // These must not be encoded; if one is, it is decoded all the same.
        ("message", "rfc822" | "news") => {
            if encoded {
                PartKind::Data
            } else {
                PartKind::Message
            }
        }
        ("message", "partial") => PartKind::Partial,
        (
            "message",
            "delivery-status" | "disposition-notification" | "feedback-report" | "external-body",
        ) => PartKind::Plain,
        ("text" | "message" | "", _) => PartKind::Text,
        _ => PartKind::Data,
    }
}
