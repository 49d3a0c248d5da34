//! The status pipe: the core's status lines for its supervisor.
//!
//! The core writes to descriptor 3: `ready`, or `error: <line>` and `cause: <line>` before it gives
//! up, and `info: <text>`, `warning: <text>` or `alarm: <text>` at any time, which go to the
//! appliance log. A line has at most [`LINE_LIMIT`] octets, so that one write is one line even with
//! several threads (pipe(7), PIPE_BUF). Once it is ready it reports its health every second:
//! `alive`, `late: <what hangs>` or `slow: <what the disk does>`. When it is asked for its stacks,
//! it sends a line `stack: <name> <thread> <places>` for each thread, and then `stacks`.

use crate::appliance::event::{ApplianceEvent, Severity};
use crate::ground::sys::{STATUS_FD, Stack, inherited};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Octets of one line with its end.
pub const LINE_LIMIT: usize = 2048;

/// The separator between the name of a thread, its number and its stack.
const FIELD_END: char = '\u{1f}';

/// The health of a core that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoreHealth {
    /// Each of its parts has responded recently.
    Alive,
    /// A part that has not responded for long, and what is known about it. A restart helps.
    Late(String),
    /// The disk does not answer. A restart does not help.
    Slow(String),
}

/// The core's side.
#[derive(Debug)]
pub struct StatusWriter(File);

impl StatusWriter {
    /// Takes over descriptor 3 from the supervisor; once, at the start of the process.
    ///
    /// # Errors
    /// It is not open: the core was not started by `postern init`.
    pub fn from_fd3() -> io::Result<Self> {
        inherited(STATUS_FD).map(|fd| Self(File::from(fd)))
    }

    /// Another writer to the same pipe.
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

    /// The core gives up: the line of the contract and its cause; it then exits with a code of
    /// sysexits.
    pub fn error(&self, line: &str, cause: &str) {
        self.line("error: ", line);
        self.line("cause: ", cause);
    }

    /// A warning for the appliance log.
    pub fn event(&self, text: &str) {
        self.report(Severity::Warning, text);
    }

    /// The same with a severity, such as an alert of the data volume. The supervisor writes it to
    /// standard error, too.
    pub fn report(&self, severity: Severity, text: &str) {
        self.line(word(severity), text);
    }

    /// The core's health, once a second. It is not written into a pipe that is nearly full: a
    /// supervisor that does not read must not block other writers.
    pub fn health(&self, health: &CoreHealth) {
        let mut room = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        if poll(&mut room, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            match health {
                CoreHealth::Alive => self.line("alive", ""),
                CoreHealth::Late(what) => self.line("late: ", what),
                CoreHealth::Slow(what) => self.line("slow: ", what),
            }
        }
    }

    /// The stacks of the threads.
    pub fn stacks(&self, stacks: &[Stack]) {
        for stack in stacks {
            self.line(
                "stack: ",
                &format!("{}{FIELD_END}{}{FIELD_END}{}", stack.name, stack.thread, stack.places),
            );
        }
        self.line("stacks", "");
    }

    fn line(&self, word: &str, text: &str) {
        let mut line = String::with_capacity(word.len() + text.len() + 1);
        line.push_str(word);
        let harmless = |c: char| if c.is_control() && c != FIELD_END { ' ' } else { c };
        line.extend(text.chars().map(harmless));
        line.truncate(line.floor_char_boundary(LINE_LIMIT - 1));
        line.push('\n');
        // If the supervisor has ended it is not needed; the core gets a SIGTERM then.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}

/// A status line of the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CoreMessage {
    /// It serves.
    Ready,
    /// It gives up; the line of the contract.
    Error(String),
    /// Why.
    Cause(String),
    /// For the appliance log.
    Event(ApplianceEvent),
    /// Its health.
    Health(CoreHealth),
    /// The stack of one of its threads.
    Stack(Stack),
    /// There are no more stacks.
    Stacks,
}

/// The supervisor's side; its descriptor does not block.
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

    /// All lines that have been written so far.
    pub fn read(&mut self) -> Vec<CoreMessage> {
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

    fn take(&mut self, bytes: &[u8], said: &mut Vec<CoreMessage>) {
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

fn parse(line: &str) -> Option<CoreMessage> {
    match line {
        "ready" => return Some(CoreMessage::Ready),
        "alive" => return Some(CoreMessage::Health(CoreHealth::Alive)),
        "stacks" => return Some(CoreMessage::Stacks),
        _ => {}
    }
    let (word, text) = line.split_once(": ")?;
    match word {
        "error" => Some(CoreMessage::Error(text.to_owned())),
        "cause" => Some(CoreMessage::Cause(text.to_owned())),
        "late" => Some(CoreMessage::Health(CoreHealth::Late(text.to_owned()))),
        "slow" => Some(CoreMessage::Health(CoreHealth::Slow(text.to_owned()))),
        "stack" => {
            let mut fields = text.splitn(3, FIELD_END).map(str::to_owned);
            let (name, thread, places) =
                (fields.next()?, fields.next()?.parse().ok()?, fields.next()?);
            Some(CoreMessage::Stack(Stack { name, thread, places }))
        }
        _ => {
            let known = [Severity::Info, Severity::Warning, Severity::Error];
            let severity =
                known.into_iter().find(|severity| line.starts_with(self::word(*severity)))?;
            Some(CoreMessage::Event(ApplianceEvent { severity, text: text.to_owned() }))
        }
    }
}

/// The prefix of an event's line.
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
        let stack =
            Stack { name: "mail".to_owned(), thread: 7, places: "+1f libc.so.6+2".to_owned() };
        writer.health(&CoreHealth::Alive);
        writer.health(&CoreHealth::Late("queue lock: 12 s".to_owned()));
        writer.health(&CoreHealth::Slow("sync for 12 s".to_owned()));
        writer.stacks(std::slice::from_ref(&stack));
        let said = reader.read();
        let text = |text: &str| text.to_owned();
        let expected = [
            CoreMessage::Event(ApplianceEvent { severity: Severity::Info, text: text("a b: c") }),
            CoreMessage::Event(ApplianceEvent {
                severity: Severity::Warning,
                text: text("a b: c"),
            }),
            CoreMessage::Event(ApplianceEvent { severity: Severity::Error, text: text("a b: c") }),
            CoreMessage::Error(text("Error: failed to start")),
            CoreMessage::Cause(text("port 25: in use")),
            CoreMessage::Ready,
            CoreMessage::Health(CoreHealth::Alive),
            CoreMessage::Health(CoreHealth::Late(text("queue lock: 12 s"))),
            CoreMessage::Health(CoreHealth::Slow(text("sync for 12 s"))),
            CoreMessage::Stack(stack),
            CoreMessage::Stacks,
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
        assert!(matches!(&said[0], CoreMessage::Event(event) if event.text.len() < LINE_LIMIT));
        let mut endless = StatusReader { begun: vec![b'x'; LINE_LIMIT], ..reader };
        endless.take(&[b'x'; 10], &mut Vec::new());
        assert_eq!(endless.begun.len(), LINE_LIMIT);
    }
}
