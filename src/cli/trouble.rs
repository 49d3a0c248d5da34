//! Why the tool gives up: exit codes, which follow sysexits, and words.

use std::io;

pub(super) const EX_OK: u8 = 0;
/// Somebody was asked and said no.
pub(super) const EX_DECLINED: u8 = 1;
pub(super) const EX_USAGE: u8 = 64;
pub(super) const EX_DATAERR: u8 = 65;
pub(super) const EX_NOINPUT: u8 = 66;
pub(super) const EX_UNAVAILABLE: u8 = 69;
pub(super) const EX_SOFTWARE: u8 = 70;
pub(super) const EX_CANTCREAT: u8 = 73;
pub(super) const EX_TEMPFAIL: u8 = 75;
pub(super) const EX_NOPERM: u8 = 77;

/// Why the tool gives up: an exit code and a line that says what to do.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) code: u8,
    pub(super) words: String,
}

impl Trouble {
    pub(super) fn new(code: u8, words: impl Into<String>) -> Self {
        Self { code, words: words.into() }
    }
}

impl From<io::Error> for Trouble {
    /// Output that nobody reads any more (`postern queue list | head`) is the reader's wish, not a
    /// failure to talk about.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(EX_OK, ""),
            _ => Self::new(EX_SOFTWARE, format!("cannot write: {error}")),
        }
    }
}
