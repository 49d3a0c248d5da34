//! Quoted-printable and base64, octet by octet.

use super::LINE_SENT;
use base64::prelude::{BASE64_STANDARD, Engine};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Whether quoted-printable writes an octet as three.
pub(super) fn is_escaped(octet: u8) -> bool {
    !matches!(octet, b' ' | b'\t' | b'!'..=b'~') || octet == b'='
}

/// Quoted-printable (RFC 2045 §6.7).
#[derive(Debug, Default)]
pub(super) struct QuotedPrintable {
    /// Octets of the line so far.
    column: usize,
    /// A blank, which is written as itself unless the line ends after it.
    blank: Option<u8>,
    /// The line continues one that was too long.
    continues: bool,
}

impl QuotedPrintable {
    pub fn write(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for octet in octets {
            if let Some(blank) = self.blank.take() {
                self.plain(blank, out);
            }
            match *octet {
                blank @ (b' ' | b'\t') => self.blank = Some(blank),
                octet if is_escaped(octet) => self.escaped(octet, out),
                octet => self.plain(octet, out),
            }
        }
    }

    /// The line ends.
    pub fn line_end(&mut self, out: &mut Vec<u8>) {
        self.finish(out);
        out.extend_from_slice(b"\r\n");
    }

    /// The content ends, and with it the line.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let Some(blank) = self.blank.take() {
            self.escaped(blank, out);
        }
        *self = Self::default();
    }

    fn plain(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.make_room(1, out);
        // At the start of a continued line, a hyphen could form a boundary.
        if octet == b'-' && self.continues && self.column == 0 {
            return self.escaped(octet, out);
        }
        out.push(octet);
        self.column += 1;
    }

    fn escaped(&mut self, octet: u8, out: &mut Vec<u8>) {
        self.make_room(3, out);
        push_escape(octet, out);
        self.column += 3;
    }

    /// One octet stays free for the soft line break.
    fn make_room(&mut self, width: usize, out: &mut Vec<u8>) {
        if self.column + width > LINE_SENT - 1 {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
            self.continues = true;
        }
    }
}

/// Quoted-printable, or text around parts, that has raw 8-bit octets: only these are escaped. Lines
/// without them stay as they are.
#[derive(Debug, Default)]
pub(super) struct Mend {
    column: usize,
    /// The line has had an octet above 127.
    mended: bool,
    /// Octets since the last `=`, up to 2: an escape must not be cut.
    since_escape: usize,
    continues: bool,
}

impl Mend {
    pub fn write(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for octet in octets {
            if !octet.is_ascii() {
                self.mended = true;
                self.make_room(3, out);
                push_escape(*octet, out);
                self.column += 3;
                self.since_escape = 2;
                continue;
            }
            let in_escape = self.since_escape < 2 && self.column > 0 && *octet != b'=';
            if self.mended && !in_escape {
                self.make_room(if *octet == b'=' { 3 } else { 1 }, out);
            }
            if *octet == b'-' && self.continues && self.column == 0 {
                push_escape(*octet, out);
                self.column += 3;
                self.since_escape = 2;
                continue;
            }
            out.push(*octet);
            self.column += 1;
            self.since_escape = if *octet == b'=' { 0 } else { (self.since_escape + 1).min(2) };
        }
    }

    pub fn line_end(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        *self = Self { since_escape: 2, ..Self::default() };
    }

    fn make_room(&mut self, width: usize, out: &mut Vec<u8>) {
        if self.column + width > LINE_SENT - 1 {
            out.extend_from_slice(b"=\r\n");
            self.column = 0;
            self.since_escape = 2;
            self.continues = true;
        }
    }
}

/// Base64 in lines of [`LINE_SENT`] (RFC 2045 §6.8).
#[derive(Debug, Default)]
pub(super) struct Base64 {
    /// Octets that do not fill a group yet.
    group: [u8; 3],
    filled: usize,
    column: usize,
}

impl Base64 {
    pub fn write(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for octet in octets {
            self.group[self.filled] = *octet;
            self.filled += 1;
            if self.filled == 3 {
                self.put(out);
            }
        }
    }

    /// The last group, padded.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.filled > 0 {
            self.put(out);
        }
    }

    fn put(&mut self, out: &mut Vec<u8>) {
        if self.column == LINE_SENT {
            out.extend_from_slice(b"\r\n");
            self.column = 0;
        }
        let mut letters = [0; 4];
        // Four letters contain any group, so there is room for it.
        let written = BASE64_STANDARD.encode_slice(&self.group[..self.filled], &mut letters);
        out.extend_from_slice(&letters[..written.unwrap_or(0)]);
        self.filled = 0;
        self.column += 4;
    }
}

fn push_escape(octet: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'=', HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]]);
}
