//! Octets to lines, in pieces of bounded size.

use super::LINE_MAX;
use memchr::memmem;

/// A line, or a piece of a long one.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContentLine<'a> {
    /// Without the CR LF.
    pub octets: &'a [u8],
    /// Whether a line starts here.
    pub starts: bool,
    /// Whether CR LF follows.
    pub ends: bool,
}

impl ContentLine<'_> {
    /// The whole line is here.
    pub fn is_whole(&self) -> bool {
        self.starts && self.ends
    }
}

/// Splits the input at CR LF, and at [`LINE_MAX`].
#[derive(Debug)]
pub(super) struct ContentLines {
    /// The start of a line that is not complete.
    held: Vec<u8>,
    starts: bool,
}

impl ContentLines {
    pub fn new() -> Self {
        Self { held: Vec::new(), starts: true }
    }

    /// Calls `each` for every line, or piece of one, that is complete with `piece`.
    pub fn feed(&mut self, mut piece: &[u8], mut each: impl FnMut(ContentLine<'_>)) {
        // A CR LF may be split between two pieces.
        if self.held.last() == Some(&b'\r') && piece.first() == Some(&b'\n') {
            self.held.pop();
            piece = &piece[1..];
            self.whole(&[], &mut each);
        }
        let mut from = 0;
        for end in memmem::find_iter(piece, b"\r\n") {
            self.whole(&piece[from..end], &mut each);
            from = end + 2;
        }
        let mut rest = &piece[from..];
        // Without its last octet, which may be the CR of a line end.
        while self.held.len() + rest.len() > LINE_MAX {
            let (head, tail) = rest.split_at((LINE_MAX - self.held.len()).min(rest.len() - 1));
            self.held.extend_from_slice(head);
            each(ContentLine { octets: &self.held, starts: self.starts, ends: false });
            self.held.clear();
            self.starts = false;
            rest = tail;
        }
        self.held.extend_from_slice(rest);
    }

    /// The rest at the end.
    pub fn finish(&mut self, mut each: impl FnMut(ContentLine<'_>)) {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            each(ContentLine { octets: &held, starts: self.starts, ends: false });
        }
    }

    fn whole(&mut self, octets: &[u8], each: &mut impl FnMut(ContentLine<'_>)) {
        if self.held.is_empty() {
            let mut octets = octets;
            while octets.len() > LINE_MAX {
                let (head, tail) = octets.split_at(LINE_MAX);
                each(ContentLine { octets: head, starts: self.starts, ends: false });
                self.starts = false;
                octets = tail;
            }
            each(ContentLine { octets, starts: self.starts, ends: true });
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(octets);
            self.whole(&held, each);
            held.clear();
            self.held = held;
        }
        self.starts = true;
    }
}
