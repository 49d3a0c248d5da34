//! The relaxed canonical forms of a header field and of a body (RFC 6376 §3.4.2, §3.4.4).

use aws_lc_rs::digest::{Context, SHA256};
use memchr::memchr3;

/// Appends the relaxed form of a field: `raw` is the field as it stands in the message, with or
/// without its last CR LF. The result has no line end.
pub fn relaxed_field(raw: &[u8], out: &mut Vec<u8>) {
    let colon = raw.iter().position(|octet| *octet == b':').unwrap_or(raw.len());
    let (name, value) = raw.split_at(colon);
    out.extend(name.trim_ascii_end().iter().map(u8::to_ascii_lowercase));
    out.push(b':');
    let start = out.len();
    let mut blank = false;
    for octet in value.iter().skip(1) {
        match octet {
            b' ' | b'\t' => blank = true,
            // The line ends of folding; there are no others in a field.
            b'\r' | b'\n' => {}
            octet => {
                if blank && out.len() > start {
                    out.push(b' ');
                }
                blank = false;
                out.push(*octet);
            }
        }
    }
}

/// The hash of a body in relaxed form, from pieces of any size.
///
/// Blanks at the end of a line and empty lines at the end of the body do not count; other blanks
/// count as one space. A body without an octet that counts has the hash of nothing.
pub struct BodyHash {
    hash: Context,
    /// Line ends that count only if something follows.
    line_ends: u64,
    /// Blanks since the last other octet of the line.
    blank: bool,
    /// The last octet was CR.
    after_cr: bool,
    /// Something was hashed, or stands in the present line.
    any: bool,
    line_has_text: bool,
    out: Vec<u8>,
}

/// Octets that are hashed at once.
const HASHED_AT_ONCE: usize = 4096;

impl Default for BodyHash {
    fn default() -> Self {
        Self {
            hash: Context::new(&SHA256),
            line_ends: 0,
            blank: false,
            after_cr: false,
            any: false,
            line_has_text: false,
            out: Vec::with_capacity(HASHED_AT_ONCE + 256),
        }
    }
}

impl BodyHash {
    /// Takes the next octets of the body.
    pub fn take(&mut self, mut piece: &[u8]) {
        while let Some(octet) = piece.first().copied() {
            if self.after_cr {
                self.after_cr = false;
                if octet == b'\n' {
                    self.end_line();
                    piece = &piece[1..];
                    continue;
                }
                // A CR alone is an octet like any other.
                self.text(b"\r");
            }
            match octet {
                b'\r' => self.after_cr = true,
                b' ' | b'\t' => self.blank = true,
                _ => {
                    let end = text_end(piece);
                    self.text(&piece[..end]);
                    piece = &piece[end..];
                    continue;
                }
            }
            piece = &piece[1..];
        }
    }

    /// The hash. A last line without its end gets one, as on the wire (RFC 5321 §4.1.1.4).
    pub fn finish(mut self) -> [u8; 32] {
        if self.after_cr {
            self.text(b"\r");
        }
        if self.line_has_text || (self.any && self.line_ends > 0) {
            self.out.extend_from_slice(b"\r\n");
        }
        self.hash.update(&self.out);
        let mut hash = [0; 32];
        hash.copy_from_slice(self.hash.finish().as_ref());
        hash
    }

    fn end_line(&mut self) {
        self.blank = false;
        self.line_has_text = false;
        self.line_ends += 1;
    }

    /// Octets of a line without blanks and line ends.
    fn text(&mut self, octets: &[u8]) {
        while self.line_ends > 0 {
            self.line_ends -= 1;
            self.put(b"\r\n");
        }
        if std::mem::take(&mut self.blank) {
            self.put(b" ");
        }
        self.any = true;
        self.line_has_text = true;
        self.put(octets);
    }

    fn put(&mut self, octets: &[u8]) {
        if self.out.len() + octets.len() > HASHED_AT_ONCE {
            self.hash.update(&self.out);
            self.out.clear();
            if octets.len() > HASHED_AT_ONCE {
                self.hash.update(octets);
                return;
            }
        }
        self.out.extend_from_slice(octets);
    }
}

/// Where the text at the start ends: before the next blank or CR.
fn text_end(piece: &[u8]) -> usize {
    memchr3(b' ', b'\t', b'\r', piece).unwrap_or(piece.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::digest::digest;
    use proptest::prelude::*;

    fn hash(pieces: &[&[u8]]) -> [u8; 32] {
        let mut hash = BodyHash::default();
        pieces.iter().for_each(|piece| hash.take(piece));
        hash.finish()
    }

    /// The rules of the RFC, one after the other, on a whole body.
    fn by_the_book(body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        if !body.is_empty() && !body.ends_with(b"\r\n") {
            body.extend_from_slice(b"\r\n");
        }
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut rest = &body[..];
        while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
            let mut line = Vec::new();
            for octet in &rest[..end] {
                match octet {
                    b' ' | b'\t' if line.last() == Some(&b' ') => {}
                    b' ' | b'\t' => line.push(b' '),
                    octet => line.push(*octet),
                }
            }
            while line.last() == Some(&b' ') {
                line.pop();
            }
            lines.push(line);
            rest = &rest[end + 2..];
        }
        while lines.last().is_some_and(Vec::is_empty) {
            lines.pop();
        }
        lines.iter().flat_map(|line| [&line[..], b"\r\n"].concat()).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let mut out = Vec::new();
        relaxed_field(b"A: X\r\n", &mut out);
        assert_eq!(out, b"a:X");
        out.clear();
        relaxed_field(b"B : Y\t\r\n\tZ  \r\n", &mut out);
        assert_eq!(out, b"b:Y Z");
        assert_eq!(by_the_book(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        assert_eq!(hash(&[b" C \r\nD \t E\r\n\r\n\r\n"]), hash(&[b" C\r\nD E\r\n"]));
    }

    #[test]
    fn an_empty_body_is_the_hash_of_nothing() {
        for body in [&b""[..], b"\r\n", b" \t\r\n\r\n", b"  "] {
            assert_eq!(hash(&[body]), digest(&SHA256, b"").as_ref(), "{body:?}");
        }
    }

    proptest! {
        #[test]
        fn any_pieces_hash_as_the_whole_does_by_the_book(
            body in proptest::collection::vec(
                proptest::sample::select(vec![
                    " ", "\t", "\r\n", "\r", "\n", "a", "\u{fc}", ".", "words and words",
                ]),
                0..60,
            ),
            size in 1usize..20,
        ) {
            let body = body.concat().into_bytes();
            let pieces: Vec<&[u8]> = body.chunks(size).collect();
            let wanted = digest(&SHA256, &by_the_book(&body));
            prop_assert_eq!(&hash(&pieces)[..], wanted.as_ref());
        }
    }

    #[test]
    fn long_lines_are_hashed_whatever_the_buffer() {
        let body = [&b"x".repeat(3 * HASHED_AT_ONCE)[..], b" y\r\n"].concat();
        let pieces: Vec<&[u8]> = body.chunks(777).collect();
        assert_eq!(&hash(&pieces)[..], digest(&SHA256, &by_the_book(&body)).as_ref());
    }
}
