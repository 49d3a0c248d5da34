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

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} octets)", self.len())
    }
}
