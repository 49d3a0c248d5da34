//! The status pipe: what the core tells its supervisor, one line each.
//!
//! The core writes to descriptor 3: `ready`, or `error: <line>` and `cause: <line>` before it gives up, and `info: <text>`,
//! `warning: <text>` or `alarm: <text>` at any time, which go to the appliance log. A line has at most [`LINE_LIMIT`] octets, so that one write is one line even with several threads (pipe(7),
//! PIPE_BUF).

use crate::appliance::event::{Event, Severity};
use crate::ground::sys::{STATUS_FD, inherited};
use nix::errno::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Octets of one line with its end.
pub const LINE_LIMIT: usize = 2048;

/// The core's end.
#[derive(Debug)]
pub struct StatusWriter(File);

impl StatusWriter {
    /// Takes descriptor 3 over from the supervisor; once, at the start of the process.
    ///
    /// # Errors
    /// Nobody left it open: the core was not started by `postern init`.
    pub fn from_fd3() -> io::Result<Self> {
        inherited(STATUS_FD).map(|fd| Self(File::from(fd)))
    }

    /// Another hand on the same pipe.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn another(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// All listeners answer and the queue is recovered.
    pub fn ready(&self) {
        self.line("ready", "");
    }

    /// The core gives up: the verbatim line of the contract and its cause; it exits with a code of sysexits next.
    pub fn error(&self, line: &str, cause: &str) {
        self.line("error: ", line);
        self.line("cause: ", cause);
    }

    /// Something that belongs into the appliance log and that somebody should look at.
    pub fn event(&self, text: &str) {
        self.report(Severity::Warning, text);
    }

    /// The same with a severity, such as an alert of the data volume. The supervisor tells it on standard error, too.
    pub fn report(&self, severity: Severity, text: &str) {
        self.line(word(severity), text);
    }

    fn line(&self, word: &str, text: &str) {
        let mut line = String::with_capacity(word.len() + text.len() + 1);
        line.push_str(word);
        line.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        line.truncate(line.floor_char_boundary(LINE_LIMIT - 1));
        line.push('\n');
        // A supervisor that is gone has no use for it; the core learns of that by SIGTERM.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

/// What the core said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It serves.
    Ready,
    /// It gives up; the verbatim line.
    Error(String),
    /// Why.
    Cause(String),
    /// For the appliance log.
    Event(Event),
}

/// The supervisor's end; its descriptor does not block.
#[derive(Debug)]
pub struct StatusReader {
    pipe: OwnedFd,
    begun: Vec<u8>,
    open: bool,
}

impl StatusReader {
    /// Reads from a pipe that does not block.
    pub fn new(pipe: OwnedFd) -> Self {
        Self { pipe, begun: Vec::new(), open: true }
    }

    /// Whether more may come.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Everything that has been said by now.
    pub fn read(&mut self) -> Vec<Status> {
        let mut said = Vec::new();
        let mut buffer = [0; LINE_LIMIT];
        while self.open {
            match nix::unistd::read(&self.pipe, &mut buffer) {
                Ok(0) => self.open = false,
                Ok(n) => self.take(&buffer[..n], &mut said),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => break,
                Err(_) => self.open = false,
            }
        }
        said
    }

    fn take(&mut self, bytes: &[u8], said: &mut Vec<Status>) {
        for &byte in bytes {
            if byte == b'\n' {
                said.extend(parse(&String::from_utf8_lossy(&self.begun)));
                self.begun.clear();
            } else if self.begun.len() < LINE_LIMIT {
                self.begun.push(byte);
            }
        }
    }
}

impl AsFd for StatusReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

fn parse(line: &str) -> Option<Status> {
    if line == "ready" {
        return Some(Status::Ready);
    }
    let (word, text) = line.split_once(": ")?;
    match word {
        "error" => Some(Status::Error(text.to_owned())),
        "cause" => Some(Status::Cause(text.to_owned())),
        _ => {
            let known = [Severity::Info, Severity::Warning, Severity::Error];
            let severity = known.into_iter().find(|severity| line.starts_with(self::word(*severity)))?;
            Some(Status::Event(Event { severity, text: text.to_owned() }))
        }
    }
}

/// How the line of an event begins.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info: ",
        Severity::Warning => "warning: ",
        Severity::Error => "alarm: ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::OFlag;

    fn pipe() -> (StatusWriter, StatusReader) {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).unwrap();
        (StatusWriter(File::from(writer)), StatusReader::new(reader))
    }

    #[test]
    fn what_is_written_is_read() {
        let (writer, mut reader) = pipe();
        writer.report(Severity::Info, "a\nb: c");
        writer.event("a\nb: c");
        writer.report(Severity::Error, "a\nb: c");
        writer.error("Error: failed to start", "port 25: in use");
        writer.ready();
        let said = reader.read();
        let text = |text: &str| text.to_owned();
        let expected = [
            Status::Event(Event { severity: Severity::Info, text: text("a b: c") }),
            Status::Event(Event { severity: Severity::Warning, text: text("a b: c") }),
            Status::Event(Event { severity: Severity::Error, text: text("a b: c") }),
            Status::Error(text("Error: failed to start")),
            Status::Cause(text("port 25: in use")),
            Status::Ready,
        ];
        assert_eq!(said, expected);
        assert!(reader.is_open());
        drop(writer);
        assert!(reader.read().is_empty() && !reader.is_open());
    }

    #[test]
    fn long_lines_are_cut_and_strange_ones_ignored() {
        let (writer, mut reader) = pipe();
        writer.event(&"ü".repeat(LINE_LIMIT));
        (&writer.0).write_all(b"nonsense\nready\n").unwrap();
        let said = reader.read();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(matches!(&said[0], Status::Event(event) if event.text.len() < LINE_LIMIT));
        let mut endless = StatusReader { begun: vec![b'x'; LINE_LIMIT], ..reader };
        endless.take(&[b'x'; 10], &mut Vec::new());
        assert_eq!(endless.begun.len(), LINE_LIMIT);
    }
}
