//! Errors of the tool: exit codes, which follow sysexits, and texts.

use std::io::{self, Write};
use std::process::ExitCode;

pub(super) const EX_OK: u8 = 0;
/// The user declined.
pub(super) const EX_DECLINED: u8 = 1;
pub(super) const EX_USAGE: u8 = 64;
pub(super) const EX_DATAERR: u8 = 65;
pub(super) const EX_NOINPUT: u8 = 66;
pub(super) const EX_UNAVAILABLE: u8 = 69;
pub(super) const EX_SOFTWARE: u8 = 70;
pub(super) const EX_CANTCREAT: u8 = 73;
pub(super) const EX_TEMPFAIL: u8 = 75;
pub(super) const EX_NOPERM: u8 = 77;

/// An error: an exit code and a text that says what to do.
#[derive(Debug)]
pub(super) struct ToolError {
    pub(super) code: u8,
    pub(super) words: String,
}

impl ToolError {
    pub(super) fn new(code: u8, words: impl Into<String>) -> Self {
        Self { code, words: words.into() }
    }
}

/// The exit code of a tool, after all of its output was written.
pub(super) fn flushed(out: &mut dyn Write, code: u8) -> Result<u8, ToolError> {
    out.flush().map(|()| code).map_err(ToolError::from)
}

/// Ends a tool: its exit code, and what is wrong on standard error behind its name.
pub(super) fn exit_code(tool: &str, ended: Result<u8, ToolError>) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(trouble) => {
            if !trouble.words.is_empty() {
                // If standard error is closed, the message is not needed.
                let _ = writeln!(io::stderr(), "{tool}: {}", trouble.words);
            }
            ExitCode::from(trouble.code)
        }
    }
}

impl From<io::Error> for ToolError {
    /// Output whose reader has closed it (`postern queue list | head`) is not an error to report.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(EX_OK, ""),
            _ => Self::new(EX_SOFTWARE, format!("cannot write: {error}")),
        }
    }
}
