//! The content of a message: header section and body, CR LF lines, not dot-stuffed.

use bytes::Bytes;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Content that is not in memory.
pub trait StoredContent: Send + Sync {
    /// Fills `buffer` from `offset` on and gives how many octets it got; zero only at the end.
    ///
    /// # Errors
    /// The storage's error; the delivery is then tried again later.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// A message's content: in memory if small, read in pieces if large.
#[derive(Clone)]
pub enum Body {
    /// The whole content.
    Memory(Bytes),
    /// Stored content, with its length in octets. Reading blocks.
    Stored(Arc<dyn StoredContent>, u64),
}

impl Body {
    /// Length in octets.
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Stored(_, len) => *len,
        }
    }

    /// Whether there is no octet at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same content behind a prefix. Content in memory is copied.
    #[must_use]
    pub fn behind(&self, prefix: &Bytes) -> Self {
        match self {
            Self::Memory(bytes) => Self::Memory([&prefix[..], bytes].concat().into()),
            Self::Stored(content, len) => {
                let whole = Prefixed { prefix: prefix.clone(), content: content.clone() };
                Self::Stored(Arc::new(whole), prefix.len() as u64 + len)
            }
        }
    }

    /// The next octets from `offset` on, at most `limit`; none at the end. Blocks for stored
    /// content.
    ///
    /// # Errors
    /// As [`StoredContent::read_at`].
    pub fn piece(&self, offset: u64, limit: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..bytes.len().min(start.saturating_add(limit))))
            }
            Self::Stored(content, _) => {
                let mut piece = vec![0; limit];
                let got = content.read_at(offset, &mut piece)?;
                piece.truncate(got);
                Ok(piece.into())
            }
        }
    }

    /// Reads up to `limit` octets from the start; for headers in bounces and on pages. Blocks for
    /// stored content.
    ///
    /// # Errors
    /// As [`StoredContent::read_at`].
    pub fn head(&self, limit: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => Ok(bytes.slice(..bytes.len().min(limit))),
            Self::Stored(content, len) => {
                let wanted = usize::try_from(*len).unwrap_or(usize::MAX).min(limit);
                let mut buffer = vec![0; wanted];
                let mut filled = 0;
                while filled < wanted {
                    match content.read_at(filled as u64, &mut buffer[filled..])? {
                        0 => break,
                        n => filled += n,
                    }
                }
                buffer.truncate(filled);
                Ok(buffer.into())
            }
        }
    }
}

/// Stored content behind a prefix.
struct Prefixed {
    prefix: Bytes,
    content: Arc<dyn StoredContent>,
}

impl StoredContent for Prefixed {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let ahead = usize::try_from(offset).ok().and_then(|offset| self.prefix.get(offset..));
        match ahead.filter(|ahead| !ahead.is_empty()) {
            None => self.content.read_at(offset - self.prefix.len() as u64, buffer),
            Some(ahead) => {
                let from_prefix = ahead.len().min(buffer.len());
                buffer[..from_prefix].copy_from_slice(&ahead[..from_prefix]);
                // A short read means the end of the content, so the rest comes at once.
                let mut filled = from_prefix;
                while filled < buffer.len() {
                    let at = (filled - from_prefix) as u64;
                    match self.content.read_at(at, &mut buffer[filled..])? {
                        0 => break,
                        more => filled += more,
                    }
                }
                Ok(filled)
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} octets)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Octets(&'static [u8]);

    impl StoredContent for Octets {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = &self.0[self.0.len().min(usize::try_from(offset).unwrap())..];
            // In small pieces.
            let got = rest.len().min(buffer.len()).min(3);
            buffer[..got].copy_from_slice(&rest[..got]);
            Ok(got)
        }
    }

    #[test]
    fn a_prefix_is_a_part_of_the_content() {
        let stored = Body::Stored(Arc::new(Octets(b"content")), 7);
        for body in [stored, Body::Memory("content".into())] {
            let whole = body.behind(&Bytes::from_static(b"prefix "));
            assert_eq!((whole.len(), &whole.head(100).unwrap()[..]), (14, &b"prefix content"[..]));
            let Body::Stored(content, _) = &whole else { continue };
            for offset in 0..14 {
                let mut buffer = [0; 4];
                let got = content.read_at(offset as u64, &mut buffer).unwrap();
                assert!(got > 0);
                assert_eq!(buffer[..got], b"prefix content"[offset..offset + got]);
            }
        }
    }
}
