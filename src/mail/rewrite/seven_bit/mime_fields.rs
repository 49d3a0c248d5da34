//! The three header fields that describe a part (RFC 2045 §4, §5, §6).

/// The relevant content of a header section.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// The first Content-Type, where there is any.
    pub content_type: Option<ContentType>,
    /// The first Content-Transfer-Encoding.
    pub encoding: Option<Encoding>,
    /// Whether MIME-Version is there.
    pub mime_version: bool,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    SevenBit,
    EightBit,
    Binary,
    QuotedPrintable,
    Base64,
    Unknown,
}

/// A media type.
#[derive(Debug, Default)]
pub(super) struct ContentType {
    /// Lower case; empty when the field is invalid.
    pub kind: String,
    /// Lower case.
    pub sub: String,
    pub boundary: Option<Vec<u8>>,
}

/// A field that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    ContentType,
    Encoding,
    MimeVersion,
    Other,
}

impl Field {
    /// The field that this line starts; `None` when it starts none (RFC 5322 §2.2).
    pub fn starting(line: &[u8]) -> Option<Self> {
        let colon = line.iter().position(|octet| *octet == b':')?;
        let name = line[..colon].trim_ascii_end();
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        Some(if name.eq_ignore_ascii_case(b"Content-Type") {
            Self::ContentType
        } else if name.eq_ignore_ascii_case(b"Content-Transfer-Encoding") {
            Self::Encoding
        } else if name.eq_ignore_ascii_case(b"MIME-Version") {
            Self::MimeVersion
        } else {
            Self::Other
        })
    }
}

impl Header {
    /// Takes a whole field, name and colon included, unfolded. The first of each kind counts.
    pub fn take(&mut self, field: Field, text: &[u8]) {
        let colon =
            text.iter().position(|octet| *octet == b':').map_or(text.len(), |colon| colon + 1);
        let value = &text[colon..];
        match field {
            Field::ContentType => {
                self.content_type.get_or_insert_with(|| ContentType::parse(value));
            }
            Field::Encoding => {
                self.encoding.get_or_insert_with(|| Encoding::parse(value));
            }
            Field::MimeVersion => self.mime_version = true,
            Field::Other => {}
        }
    }
}

impl Encoding {
    fn parse(value: &[u8]) -> Self {
        let mut words = Words(value);
        let word = words.token().to_ascii_lowercase();
        match word.as_slice() {
            b"7bit" | b"" => Self::SevenBit,
            b"8bit" => Self::EightBit,
            b"binary" => Self::Binary,
            b"quoted-printable" => Self::QuotedPrintable,
            b"base64" => Self::Base64,
            _ => Self::Unknown,
        }
    }
}

impl ContentType {
    fn parse(value: &[u8]) -> Self {
        let mut words = Words(value);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).to_ascii_lowercase();
        let kind = text(&words.token());
        let sub = if words.eat(b'/') { text(&words.token()) } else { String::new() };
        let mut found = Self { kind, sub, boundary: None };
        while words.until(b';') {
            let name = words.token();
            if !words.eat(b'=') {
                continue;
            }
            let value = words.value();
            if name.eq_ignore_ascii_case(b"boundary") && found.boundary.is_none() {
                let value = value.trim_ascii_end().to_vec();
                found.boundary = Some(value)
                    .filter(|value| !value.is_empty() && value.len() + 4 < super::LINE_MAX);
            }
        }
        found
    }
}

/// Reads a structured field: tokens, quoted strings, and comments between them (RFC 2045 §5.1).
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    /// Skips blanks and comments.
    fn skip(&mut self) {
        loop {
            self.0 = self.0.trim_ascii_start();
            if self.0.first() != Some(&b'(') {
                return;
            }
            let (mut depth, mut place) = (0usize, 0);
            while let Some(octet) = self.0.get(place) {
                match octet {
                    b'\\' => place += 1,
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                place += 1;
                if depth == 0 {
                    break;
                }
            }
            self.0 = self.0.get(place..).unwrap_or_default();
        }
    }

    fn eat(&mut self, octet: u8) -> bool {
        self.skip();
        let is_next = self.0.first() == Some(&octet);
        if is_next {
            self.0 = &self.0[1..];
        }
        is_next
    }

    fn token(&mut self) -> Vec<u8> {
        self.skip();
        let end = self
            .0
            .iter()
            .position(|octet| b" \t\r\n()<>@,;:\\\"/[]?=".contains(octet))
            .unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        token.to_vec()
    }

    /// A quoted string without its quotes, or anything up to a blank or a semicolon: in practice
    /// boundaries with characters outside of tokens are not always quoted.
    fn value(&mut self) -> Vec<u8> {
        self.skip();
        if self.0.first() != Some(&b'"') {
            let end =
                self.0.iter().position(|octet| b" \t\r\n;".contains(octet)).unwrap_or(self.0.len());
            let (value, rest) = self.0.split_at(end);
            self.0 = rest;
            return value.to_vec();
        }
        let mut value = Vec::new();
        let mut octets = self.0[1..].iter().enumerate();
        let mut end = self.0.len();
        while let Some((place, octet)) = octets.next() {
            match octet {
                b'"' => {
                    end = place + 2;
                    break;
                }
                b'\\' => value.extend(octets.next().map(|(_, octet)| *octet)),
                octet => value.push(*octet),
            }
        }
        self.0 = self.0.get(end..).unwrap_or_default();
        value
    }

    /// Skips to after the next `octet` that is not in a quoted string.
    fn until(&mut self, octet: u8) -> bool {
        while !self.eat(octet) {
            match self.0.first() {
                None => return false,
                Some(b'"') => drop(self.value()),
                Some(_) => self.0 = &self.0[1..],
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(field: Field, text: &str) -> Header {
        let mut header = Header::default();
        header.take(field, text.as_bytes());
        header
    }

    #[test]
    fn media_types_are_read_with_their_boundary() {
        for (text, kind, sub, boundary) in [
            (
                "Content-Type: Multipart/Mixed; boundary=\"a b\\\"c\"",
                "multipart",
                "mixed",
                Some("a b\"c"),
            ),
            (
                "content-type:multipart/mixed;charset=x;BOUNDARY=a=b:c",
                "multipart",
                "mixed",
                Some("a=b:c"),
            ),
            (
                "Content-Type: multipart/mixed (a; boundary=no) ; x=\";boundary=no\"; \
                boundary=\"yes \"",
                "multipart",
                "mixed",
                Some("yes"),
            ),
            ("Content-Type: multipart / mixed; boundary", "multipart", "mixed", None),
            ("Content-Type: text", "text", "", None),
            ("Content-Type:", "", "", None),
            (
                "Content-Type: multipart/mixed; boundary=\"never ends",
                "multipart",
                "mixed",
                Some("never ends"),
            ),
            ("Content-Type: (never ends", "", "", None),
            ("Content-Type: text/plain; \"", "text", "plain", None),
        ] {
            let found = of(Field::ContentType, text).content_type.unwrap();
            let boundary = boundary.map(|text| text.as_bytes().to_vec());
            assert_eq!(
                (found.kind.as_str(), found.sub.as_str(), found.boundary),
                (kind, sub, boundary),
                "{text}"
            );
        }
    }

    #[test]
    fn encodings_are_read_in_any_case() {
        for (text, expected) in [
            ("Content-Transfer-Encoding: 8BIT", Encoding::EightBit),
            ("Content-Transfer-Encoding: (so) Quoted-Printable (it is)", Encoding::QuotedPrintable),
            ("Content-Transfer-Encoding:base64;", Encoding::Base64),
            ("Content-Transfer-Encoding:", Encoding::SevenBit),
            ("Content-Transfer-Encoding: x-uuencode", Encoding::Unknown),
        ] {
            assert_eq!(of(Field::Encoding, text).encoding, Some(expected), "{text}");
        }
    }

    #[test]
    fn fields_are_told_from_text() {
        assert_eq!(Field::starting(b"content-TYPE : x"), Some(Field::ContentType));
        assert_eq!(Field::starting(b"X-Content-Type: x"), Some(Field::Other));
        for text in ["no field", "two words: x", ": x", "\u{fc}: x", ""] {
            assert_eq!(Field::starting(text.as_bytes()), None, "{text}");
        }
    }
}
