//! Finds the end of the header section, and keeps of it what a signature needs.

use memchr::memchr;

/// Fields that are signed once more than they occur, so that none can be added (RFC 6376 §8.15).
pub const OVERSIGNED: [&str; 6] = ["from", "to", "cc", "subject", "date", "reply-to"];

/// Fields that are signed where they occur (RFC 6376 §5.4.1), besides [`OVERSIGNED`]. Trace fields
/// are not: next hops add and change them.
pub const SIGNED: [&str; 24] = [
    "sender",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "content-disposition",
    "content-id",
    "content-description",
    "content-language",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "resent-message-id",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-post",
    "feedback-id",
];

/// The field of a signature.
pub(super) const SIGNATURE: &str = "dkim-signature";

/// Octets of the fields that are kept, at most.
pub const FIELDS_MAX: usize = 512 * 1024;

/// The field that says whose mail it is.
const FROM: &str = "from";

/// Octets of From that are kept, at most, where the fields are too large.
const FROM_MAX: usize = 8 * 1024;

/// Octets of a line of which the name is taken: no longer name is signed.
const NAME_MAX: usize = 64;

/// A field that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptField {
    /// Its name in lower case.
    pub name: &'static str,
    /// The whole field as it stands in the message, with its line ends.
    pub raw: Vec<u8>,
}

/// Reads a header section in pieces of any size. It ends at the first empty line, or with the
/// content.
#[derive(Debug, Default)]
pub struct HeaderScan {
    /// The kept fields, from the top.
    fields: Vec<KeptField>,
    /// Octets of all of them.
    kept: usize,
    /// The start of the present line, while its field is not known.
    start: Vec<u8>,
    place: Place,
    /// Whether the present field is kept.
    keep: bool,
    too_large: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the start of a line.
    #[default]
    Start,
    /// Behind what decides about the line.
    Line,
    /// Behind the header section.
    Body,
}

impl HeaderScan {
    /// Takes the next octets of the content, and gives back those that belong to the body.
    pub fn take<'p>(&mut self, mut piece: &'p [u8]) -> &'p [u8] {
        while let Some(octet) = piece.first().copied() {
            match self.place {
                Place::Body => return piece,
                Place::Line => {
                    let end = memchr(b'\n', piece).map(|at| at + 1);
                    let (line, later) = piece.split_at(end.unwrap_or(piece.len()));
                    self.put(line);
                    if end.is_some() {
                        self.place = Place::Start;
                    }
                    piece = later;
                }
                Place::Start if self.start.is_empty() && matches!(octet, b' ' | b'\t') => {
                    // Continues the field above.
                    self.place = Place::Line;
                }
                Place::Start => {
                    self.start.push(octet);
                    piece = &piece[1..];
                    self.decide(octet);
                }
            }
        }
        piece
    }

    /// The kept fields, from the top, and whether they were larger than [`FIELDS_MAX`]: then only
    /// the beginning of From is there.
    pub fn finish(self) -> (Vec<KeptField>, bool) {
        (self.fields, self.too_large)
    }

    /// Whether the end of the header section was seen.
    pub fn has_ended(&self) -> bool {
        self.place == Place::Body
    }

    fn decide(&mut self, last: u8) {
        match last {
            b'\n' if self.start == b"\r\n" => {
                self.place = Place::Body;
                self.start.clear();
            }
            b':' => {
                let name = self.start[..self.start.len() - 1].trim_ascii_end();
                self.keep = match known(name) {
                    Some(name) if !self.too_large || (name == FROM && self.fields.is_empty()) => {
                        self.fields.push(KeptField { name, raw: Vec::new() });
                        true
                    }
                    _ => false,
                };
                self.begin_line();
            }
            // A line that is no field, or one that nobody signs.
            b'\n' => {
                self.keep = false;
                self.start.clear();
            }
            _ if self.start.len() > NAME_MAX => {
                self.keep = false;
                self.begin_line();
            }
            _ => {}
        }
    }

    fn begin_line(&mut self) {
        let start = std::mem::take(&mut self.start);
        self.put(&start);
        self.place = Place::Line;
    }

    fn put(&mut self, octets: &[u8]) {
        if !self.keep {
            return;
        }
        self.kept += octets.len();
        if self.kept > FIELDS_MAX && !self.too_large {
            self.too_large = true;
            // Whose mail it is must be known all the same.
            self.keep = self.fields.last().is_some_and(|field| field.name == FROM);
            self.fields.retain(|field| field.name == FROM);
        }
        if let Some(field) = self.fields.last_mut()
            && self.keep
            && (!self.too_large || field.raw.len() < FROM_MAX)
        {
            field.raw.extend_from_slice(octets);
        }
    }
}

/// The name in the tables that a name is in any case of letters.
fn known(name: &[u8]) -> Option<&'static str> {
    let mut names = OVERSIGNED.iter().chain(&SIGNED).chain(std::iter::once(&SIGNATURE));
    names.find(|known| known.as_bytes().eq_ignore_ascii_case(name)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scanned(content: &[u8], size: usize) -> (Vec<(String, String)>, Vec<u8>) {
        let (mut scan, mut body) = (HeaderScan::default(), Vec::new());
        for piece in content.chunks(size) {
            body.extend_from_slice(scan.take(piece));
        }
        let fields = scan.finish().0.into_iter();
        let text = |raw: Vec<u8>| String::from_utf8_lossy(&raw).into_owned();
        (fields.map(|field| (field.name.to_owned(), text(field.raw))).collect(), body)
    }

    #[test]
    fn fields_that_are_signed_are_kept_as_they_stand() {
        let content =
            b"Received: by x\r\n\tid 1\r\nFROM : a@b\r\nX-Long: y\r\nSubject: one\r\n two\
            \r\nsubject:\r\n\r\nFrom: body\r\n";
        for size in 1..content.len() {
            let (fields, body) = scanned(content, size);
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, raw)| (&**name, &**raw)).collect();
            assert_eq!(
                fields,
                [
                    ("from", "FROM : a@b\r\n"),
                    ("subject", "Subject: one\r\n two\r\n"),
                    ("subject", "subject:\r\n")
                ]
            );
            assert_eq!(body, b"From: body\r\n", "{size}");
        }
    }

    #[test]
    fn a_content_without_an_empty_line_is_all_header() {
        assert_eq!(scanned(b"To: a\r\nFrom: b", 3).0.len(), 2);
        assert_eq!(scanned(b"\r\nbody", 1), (Vec::new(), b"body".to_vec()));
        assert_eq!(scanned(b"", 1), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_header_section_that_is_too_large_is_told_and_not_kept() {
        let mut scan = HeaderScan::default();
        let line = format!("To: {}\r\n", "a@b, ".repeat(20_000));
        for _ in 0..FIELDS_MAX / line.len() + 2 {
            scan.take(line.as_bytes());
        }
        scan.take(b"From: a@b.example\r\nTo: c@d.example\r\n");
        let (fields, is_too_large) = scan.finish();
        let kept: Vec<_> = fields.iter().map(|field| (field.name, &field.raw[..])).collect();
        assert_eq!((kept, is_too_large), (vec![("from", &b"From: a@b.example\r\n"[..])], true));
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            content in proptest::collection::vec(
                proptest::sample::select(vec![
                    "\r\n", " ", ":", "To", "from:", "\n", "\r", "Date: now\r\n", "x",
                ]),
                0..40,
            ),
            size in 1usize..9,
        ) {
            let content = content.concat().into_bytes();
            prop_assert_eq!(scanned(&content, size), scanned(&content, content.len().max(1)));
        }
    }
}
