//! The first pass: decides what is done with each part.

use super::encode::is_escaped;
use super::lines::ContentLine;
use super::mime_fields::{Encoding, Field, Header};
use super::mime_walker::{MimePart, PartKind, PartVisitor};
use super::{EncodingRefusal, LINE_LONGEST, PARTS_MAX};

/// Text of which less than a third must be escaped becomes quoted-printable; this many octets more
/// are tolerated.
const READABLE: u64 = 64;

/// What is done with a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    #[default]
    Keep,
    /// It is in 7 bits, or has only parts that will be, but its label says otherwise.
    Relabel,
    QuotedPrintable,
    Base64,
    /// It is quoted-printable with raw 8-bit octets in it, which are escaped.
    Mend,
}

/// The decision about one part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Decision {
    pub action: Action,
    /// Its header section has no MIME-Version, and the message that it begins needs one now.
    pub add_version: bool,
    /// It has no Content-Type, and needs one now.
    pub add_type: bool,
    /// Its header section has a MIME-Version.
    has_version: bool,
}

/// The decisions about all parts, in their order.
#[derive(Debug)]
pub(super) struct EncodingPlan {
    pub parts: Vec<Decision>,
}

/// Reads the content, counts, and decides.
#[derive(Debug, Default)]
pub(super) struct Analysis {
    parts: Vec<Decision>,
    part: MimePart,
    /// The kind of the present part by its header section.
    shape: Option<PartKind>,
    encoding: Option<Encoding>,
    typed: bool,
    count: Count,
    /// Text around parts will change.
    around: bool,
    refusal: Option<EncodingRefusal>,
}

/// Counts for the body of a leaf part.
#[derive(Debug, Default)]
struct Count {
    octets: u64,
    eight_bit: u64,
    escaped: u64,
    /// Octets of the present line.
    line: usize,
    long: bool,
    /// A NUL, CR or LF that is not a line end (RFC 2045 §2.7).
    flawed: bool,
}

impl Analysis {
    /// The plan; `None` when nothing changes.
    ///
    /// # Errors
    /// The message would have to be changed, but must not be.
    pub fn plan(self) -> Result<Option<EncodingPlan>, EncodingRefusal> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            None if self.around || self.parts.iter().any(|part| part.action != Action::Keep) => {
                Ok(Some(EncodingPlan { parts: self.parts }))
            }
            None => Ok(None),
        }
    }

    fn refuse(&mut self, refusal: EncodingRefusal) {
        self.refusal.get_or_insert(refusal);
    }

    fn decide(&mut self, action: Action) {
        if action == Action::Keep {
            return;
        }
        if let Some(decision) = self.parts.get_mut(self.part.place) {
            decision.action = action;
            decision.add_type =
                !self.typed && matches!(action, Action::QuotedPrintable | Action::Base64);
        }
        if let Some(root) = self.parts.get_mut(self.part.root) {
            root.add_version = !root.has_version;
        }
    }

    fn leaf(&self, shape: PartKind) -> Action {
        let Count { octets, eight_bit, escaped, long, flawed, .. } = self.count;
        match self.encoding {
            Some(Encoding::QuotedPrintable) if eight_bit > 0 => Action::Mend,
            Some(Encoding::QuotedPrintable | Encoding::Base64 | Encoding::Unknown) => Action::Keep,
            declared => {
                let binary = declared == Some(Encoding::Binary);
                if eight_bit == 0 && !long && !(binary && flawed) {
                    return if binary || declared == Some(Encoding::EightBit) {
                        Action::Relabel
                    } else {
                        Action::Keep
                    };
                }
                // Text that is mostly ASCII stays readable; other text would grow to three times
                // its size.
                let readable = escaped * 3 <= octets + READABLE;
                if shape == PartKind::Text && readable {
                    Action::QuotedPrintable
                } else {
                    Action::Base64
                }
            }
        }
    }
}

impl PartVisitor for Analysis {
    fn part(&mut self, part: MimePart) {
        self.part = part;
        self.shape = None;
        self.count = Count::default();
        if part.place < PARTS_MAX {
            self.parts.push(Decision::default());
        } else {
            self.refuse(EncodingRefusal::TooManyParts);
        }
    }

    fn header_line(&mut self, _: Field, _: ContentLine<'_>) {}

    fn header_end(&mut self, header: &Header, shape: PartKind, _: bool) {
        self.shape = Some(shape);
        self.encoding = header.encoding;
        self.typed = header.content_type.is_some();
        if let Some(decision) = self.parts.get_mut(self.part.place) {
            decision.has_version = header.mime_version;
        }
        let mislabelled = matches!(header.encoding, Some(Encoding::EightBit | Encoding::Binary));
        match shape {
            PartKind::Multipart | PartKind::Message if mislabelled && !self.part.signed => {
                self.decide(Action::Relabel)
            }
            PartKind::TooDeep => self.refuse(EncodingRefusal::TooDeep),
            _ => {}
        }
    }

    fn body(&mut self, octets: &[u8]) {
        let count = &mut self.count;
        for octet in octets {
            count.eight_bit += u64::from(!octet.is_ascii());
            count.escaped += u64::from(is_escaped(*octet));
            count.flawed |= matches!(octet, 0 | b'\r' | b'\n');
        }
        count.octets += octets.len() as u64;
        count.line += octets.len();
        count.long |= count.line > LINE_LONGEST;
    }

    fn body_line_end(&mut self) {
        self.count.octets += 2;
        self.count.line = 0;
    }

    fn body_end(&mut self, _: bool) {
        let Some(shape) = self.shape else { return };
        let eight_bit = self.count.eight_bit > 0;
        match shape {
            _ if self.part.signed && eight_bit => self.refuse(EncodingRefusal::Signed),
            PartKind::Partial if eight_bit => self.refuse(EncodingRefusal::Partial),
            PartKind::Text | PartKind::Data if !self.part.signed => self.decide(self.leaf(shape)),
            _ => {}
        }
    }

    fn around(&mut self, line: ContentLine<'_>, signed: bool) {
        if !line.octets.is_ascii() {
            if signed {
                self.refuse(EncodingRefusal::Signed);
            }
            self.around = true;
        }
    }

    fn boundary(&mut self, _: &[u8], _: &[u8]) {}
}
