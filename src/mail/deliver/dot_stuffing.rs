//! Content for the wire: read in pieces, dot-stuffed, ended.

use super::PIECE;
use crate::mail::model::{Body, StoredContent};
use memchr::memmem;
use std::io;
use std::sync::Arc;

/// Doubles the dot at the start of a line (RFC 5321 §4.5.2) and ends the content, in pieces of any
/// size.
#[derive(Debug)]
pub(super) struct DotStuffer {
    /// The last two octets; a line end before the first.
    last: [u8; 2],
}

impl DotStuffer {
    pub fn new() -> Self {
        Self { last: *b"\r\n" }
    }

    /// Appends `piece` to `out` in its form on the wire.
    pub fn stuff(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        out.reserve(piece.len() + 16);
        if self.last[1] == b'\n' && piece.first() == Some(&b'.') {
            out.push(b'.');
        }
        let mut from = 0;
        for line_end in memmem::find_iter(piece, b"\n.") {
            out.extend_from_slice(&piece[from..=line_end]);
            out.push(b'.');
            from = line_end + 1;
        }
        out.extend_from_slice(&piece[from..]);
        match piece {
            [.., a, b] => self.last = [*a, *b],
            [b] => self.last = [self.last[1], *b],
            [] => {}
        }
    }

    /// The end of the data; the content always ends in CR LF before the dot.
    pub fn end(&self) -> &'static [u8] {
        if self.last == *b"\r\n" { b".\r\n" } else { b"\r\n.\r\n" }
    }
}

/// The content in pieces of at most [`PIECE`] octets.
pub(super) enum OutgoingContent<'a> {
    Memory(&'a [u8]),
    Stored { content: Arc<dyn StoredContent>, offset: u64, left: u64, buffer: Vec<u8> },
}

impl<'a> OutgoingContent<'a> {
    pub fn of(body: &'a Body) -> Self {
        match body {
            Body::Memory(bytes) => Self::Memory(bytes),
            Body::Stored(content, len) => {
                Self::Stored { content: content.clone(), offset: 0, left: *len, buffer: Vec::new() }
            }
        }
    }

    /// The next piece, and whether it is the last one. Stored content is read on a thread that may
    /// block.
    ///
    /// # Errors
    /// The storage fails, or has less content than it should.
    pub async fn next(&mut self) -> io::Result<(&[u8], bool)> {
        match self {
            Self::Memory(rest) => {
                let (piece, after) = rest.split_at(rest.len().min(PIECE));
                *rest = after;
                Ok((piece, after.is_empty()))
            }
            Self::Stored { content, offset, left, buffer } => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX).min(PIECE);
                *buffer = read(content.clone(), *offset, wanted, std::mem::take(buffer)).await?;
                *offset += wanted as u64;
                *left -= wanted as u64;
                Ok((buffer, *left == 0))
            }
        }
    }
}

async fn read(
    content: Arc<dyn StoredContent>,
    offset: u64,
    wanted: usize,
    mut buffer: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let reading = tokio::task::spawn_blocking(move || {
        buffer.resize(wanted, 0);
        let mut filled = 0;
        while filled < wanted {
            match content.read_at(offset + filled as u64, &mut buffer[filled..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => filled += n,
            }
        }
        Ok(buffer)
    });
    reading.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(pieces: &[&[u8]]) -> Vec<u8> {
        let mut stuffer = DotStuffer::new();
        let mut out = Vec::new();
        for piece in pieces {
            stuffer.stuff(piece, &mut out);
        }
        out.extend_from_slice(stuffer.end());
        out
    }

    #[test]
    fn dots_are_doubled_and_the_end_is_one() {
        assert_eq!(wire(&[]), b".\r\n");
        assert_eq!(wire(&[b""]), b".\r\n");
        assert_eq!(wire(&[b"a\r\n"]), b"a\r\n.\r\n");
        assert_eq!(wire(&[b"a"]), b"a\r\n.\r\n");
        assert_eq!(wire(&[b"a\r"]), b"a\r\r\n.\r\n");
        assert_eq!(wire(&[b".\r\n..\r\na.b\r\n"]), b"..\r\n...\r\na.b\r\n.\r\n");
        assert_eq!(wire(&[b"a\r\n", b".b\r\n"]), b"a\r\n..b\r\n.\r\n");
        assert_eq!(wire(&[b"a\r", b"\n", b".", b"\r", b"\n"]), b"a\r\n..\r\n.\r\n");
        assert_eq!(wire(&[b"a\n.\nb\r\n"]), b"a\n..\nb\r\n.\r\n");
    }

    proptest! {
        /// A receiver that removes the doubled dots gets the content back, whatever the pieces.
        #[test]
        fn what_goes_out_comes_back(text in "(\\.|[ab]|\r\n){0,40}", size in 1usize..9) {
            let sent = wire(&text.as_bytes().chunks(size).collect::<Vec<_>>());
            let sent = String::from_utf8(sent).unwrap();
            let (lines, end) = sent.split_at(sent.len() - 3);
            prop_assert_eq!(end, ".\r\n");
            let back: String = lines
                .split_inclusive("\r\n")
                .map(|line| line.strip_prefix('.').unwrap_or(line))
                .collect();
            let is_whole = text.is_empty() || text.ends_with("\r\n");
            let whole = if is_whole { text } else { text + "\r\n" };
            prop_assert_eq!(back, whole);
            prop_assert!(!lines.split_inclusive("\r\n").any(|line| line == ".\r\n"));
        }
    }
}
