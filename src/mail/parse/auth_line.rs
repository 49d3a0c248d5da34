//! A client's line within AUTH (RFC 4954 §4): base 64, and longer than a command.

use super::line::{LineError, LineSplitter};
use memchr::memchr;

/// Collects one line from pieces of any size.
#[derive(Default)]
pub struct AuthLine {
    collected: Vec<u8>,
    /// Octets of an over-long line that were dropped.
    dropped: usize,
}

impl AuthLine {
    /// Octets of a line without its CR LF, at most.
    pub const MAX: usize = crate::ground::credential::sasl::LINE_MAX;

    /// Takes octets of the input; gives back how many, and the line without its CR LF once it has
    /// ended. Not to be called again after that.
    pub fn feed(&mut self, input: &[u8]) -> (usize, Option<Result<Vec<u8>, LineError>>) {
        let end = memchr(b'\n', input);
        let piece = &input[..end.map_or(input.len(), |at| at + 1)];
        if self.dropped > 0 || self.collected.len() + piece.len() > Self::MAX + 2 {
            self.dropped += piece.len();
            let ends = self.dropped > LineSplitter::DISCARD_MAX;
            let line = match end {
                _ if ends => Some(Err(LineError::Endless)),
                Some(_) => Some(Err(LineError::TooLong)),
                None => None,
            };
            return (piece.len(), line);
        }
        self.collected.extend_from_slice(piece);
        (piece.len(), end.map(|_| self.whole()))
    }

    fn whole(&mut self) -> Result<Vec<u8>, LineError> {
        let mut line = std::mem::take(&mut self.collected);
        line.pop();
        if line.pop_if(|octet| *octet == b'\r').is_none() {
            return Err(LineError::BareLf);
        }
        if line.contains(&b'\r') { Err(LineError::BareCr) } else { Ok(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8], size: usize) -> (usize, Option<Result<Vec<u8>, LineError>>) {
        let (mut line, mut used) = (AuthLine::default(), 0);
        while used < input.len() {
            let piece = &input[used..(used + size).min(input.len())];
            let (taken, end) = line.feed(piece);
            used += taken;
            assert!(line.collected.len() <= AuthLine::MAX + 2);
            if end.is_some() {
                return (used, end);
            }
        }
        (used, None)
    }

    #[test]
    fn a_line_ends_with_cr_lf_and_has_a_limit() {
        let longest = [&[b'A'; AuthLine::MAX][..], b"\r\n"].concat();
        let longer = [&[b'A'; AuthLine::MAX + 1][..], b"\r\nQUIT"].concat();
        let endless = vec![b'A'; 2 * LineSplitter::DISCARD_MAX];
        for size in [1, 7, 4096, 1 << 20] {
            assert_eq!(read(b"YQ==\r\nRSET\r\n", size), (6, Some(Ok(b"YQ==".to_vec()))));
            assert_eq!(read(b"\r\n", size), (2, Some(Ok(Vec::new()))));
            assert_eq!(read(b"YQ==\n", size).1, Some(Err(LineError::BareLf)));
            assert_eq!(read(b"Y\rQ\r\n", size).1, Some(Err(LineError::BareCr)));
            assert_eq!(read(b"YQ", size), (2, None));
            assert_eq!(read(&longest, size).1, Some(Ok(vec![b'A'; AuthLine::MAX])));
            let (used, end) = read(&longer, size);
            assert_eq!((used, end), (longer.len() - 4, Some(Err(LineError::TooLong))));
            assert_eq!(read(&endless, size).1, Some(Err(LineError::Endless)));
        }
    }
}
