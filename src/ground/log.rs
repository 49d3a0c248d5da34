//! The log: one line an event on standard error, plain or JSON.
//!
//! Purpose: rooms say what happened with `tracing` and never wait for it. In: events. Out: lines, in the order of the events of
//! each thread, written by a thread of their own.
//! Plain: `2026-11-22T12:00:00.123+01:00 INFO delivered queue_id=0D2R… to=a@b relay=…`; a value with blanks or quotes stands in
//! quotes. JSON: one flat object with `time`, `level`, `target`, `message` and the fields.
//! Limits: [`BACKLOG_MAX`] octets wait for a slow reader, then lines are dropped and a line says how many; a value has at most
//! [`VALUE_MAX`] characters, an event at most [`FIELDS_MAX`] fields.
//! Security: texts from the network cannot break a line, forge a field or steer a terminal: control characters and those that
//! turn the reading direction are escaped. Own events from level info on, those of libraries from warn on.

use super::clock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Map, Value};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

/// Octets that wait for a slow reader of standard error.
pub const BACKLOG_MAX: usize = 4 * 1024 * 1024;

/// Characters of one value; the rest is cut off, which a mark shows.
pub const VALUE_MAX: usize = 1024;

/// Fields of one event.
pub const FIELDS_MAX: usize = 32;

/// What a pipe takes from one writer without mixing it with another's (pipe(7)).
const PIPE_BUF: usize = 4096;

/// How long the end of the program waits for the last lines.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// How long a write waits for a reader that takes nothing, before it looks again; milliseconds.
const READER_PAUSE: u16 = 1000;

/// The target of events that operators read, whatever module they come from.
const TARGET: &str = "mta";

/// Writes out what waits, at its drop; keep it until the program ends.
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    journal: Arc<Journal>,
}

/// Starts the log of this process, once; later calls leave the first one in place. A panic becomes a line too.
pub fn start(json: bool) -> LogGuard {
    let journal = Journal::open(StandardError, json);
    let subscriber = Registry::default().with(Lines { journal: Arc::clone(&journal) });
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("without words"));
        }));
    }
    LogGuard { journal }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.journal.close(FAREWELL_PATIENCE);
    }
}

/// Lines on their way to the writing thread.
struct Journal {
    json: bool,
    state: Mutex<State>,
    /// Told whenever the state changes.
    change: Condvar,
}

#[derive(Default)]
struct State {
    backlog: String,
    /// Lines that found no place since the last word about it.
    dropped: u64,
    closing: bool,
    /// The thread has written everything and is gone.
    closed: bool,
}

impl Journal {
    fn open(out: impl Write + Send + 'static, json: bool) -> Arc<Self> {
        let journal = Arc::new(Self { json, state: Mutex::default(), change: Condvar::new() });
        let writer = Arc::clone(&journal);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || writer.write(out));
        if thread.is_err() {
            // Without a thread there is no log; the relay goes on.
            journal.lock().closed = true;
        }
        journal
    }

    fn push(&self, line: &str) {
        let mut state = self.lock();
        if state.closed || state.backlog.len() + line.len() > BACKLOG_MAX {
            state.dropped += 1;
            return;
        }
        state.backlog.push_str(line);
        drop(state);
        self.change.notify_all();
    }

    /// Takes all that waits and writes it in one go, until it is told to close and nothing is left.
    fn write(&self, mut out: impl Write) {
        loop {
            let mut state = self.lock();
            while state.backlog.is_empty() && state.dropped == 0 && !state.closing {
                state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.backlog.is_empty() && state.dropped == 0 {
                state.closed = true;
                drop(state);
                self.change.notify_all();
                return;
            }
            let mut lines = std::mem::take(&mut state.backlog);
            let dropped = std::mem::take(&mut state.dropped);
            drop(state);
            if dropped > 0 {
                let message = "log lines were dropped because nobody read them in time".to_owned();
                lines.push_str(&self.line(
                    Level::WARN,
                    module_path!(),
                    Fields { message, values: vec![("lines", dropped.into())] },
                ));
            }
            // A closed standard error takes no lines; there is nobody left to tell.
            let _ = bunches(lines.as_bytes()).try_for_each(|bunch| out.write_all(bunch));
        }
    }

    fn line(&self, level: Level, target: &str, fields: Fields) -> String {
        if self.json { json_line(level, target, fields) } else { plain_line(level, &fields) }
    }

    fn close(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.closing = true;
        self.change.notify_all();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.change.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whole lines in pieces that a pipe takes in one go, so that the lines of the supervisor and of the core, which share standard
/// error, do not cut each other in two.
fn bunches(mut lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let end = match lines.get(..PIPE_BUF) {
            None => lines.len(),
            Some(start) => match memchr::memrchr(b'\n', start) {
                Some(end) => end + 1,
                None => memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1),
            },
        };
        let (bunch, rest) = lines.split_at(end);
        lines = rest;
        (!bunch.is_empty()).then_some(bunch)
    })
}

/// Standard error, also where somebody has made it non-blocking.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match io::stderr().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let stderr = io::stderr();
                    let mut wanted = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut wanted, PollTimeout::from(READER_PAUSE))?;
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Makes a line of each event.
struct Lines {
    journal: Arc<Journal>,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let own = matches!(metadata.target().split("::").next(), Some(TARGET | env!("CARGO_PKG_NAME")));
        *metadata.level() <= if own { Level::INFO } else { Level::WARN }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        self.journal.push(&self.journal.line(*metadata.level(), metadata.target(), fields));
    }
}

/// What an event says.
#[derive(Default)]
struct Fields {
    message: String,
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) if self.values.len() < FIELDS_MAX => self.values.push((name, value)),
            _ => {}
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Bounded::default();
        // A text that is full refuses the rest.
        let _ = write!(text, "{value:?}");
        self.put(field, Value::String(text.text));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let mut text = Bounded::default();
        let _ = text.write_str(value);
        self.put(field, Value::String(text.text));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

/// A text of at most [`VALUE_MAX`] characters and a mark.
#[derive(Default)]
struct Bounded {
    text: String,
    characters: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        for c in piece.chars() {
            if self.characters == VALUE_MAX {
                self.text.push('…');
                self.characters += 1;
            }
            if self.characters > VALUE_MAX {
                return Err(fmt::Error);
            }
            self.text.push(c);
            self.characters += 1;
        }
        Ok(())
    }
}

fn plain_line(level: Level, fields: &Fields) -> String {
    let mut line = format!("{} {level} ", now());
    escape(&mut line, &fields.message, false);
    for (name, value) in &fields.values {
        line.push(' ');
        line.push_str(name);
        line.push('=');
        match value {
            Value::String(text) => {
                let quoted = text.is_empty() || text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '='));
                if quoted {
                    line.push('"');
                }
                escape(&mut line, text, quoted);
                if quoted {
                    line.push('"');
                }
            }
            // Numbers, yes and no.
            value => drop(write!(line, "{value}")),
        }
    }
    line.push('\n');
    line
}

fn json_line(level: Level, target: &str, fields: Fields) -> String {
    let mut map = Map::with_capacity(fields.values.len() + 4);
    map.insert("time".to_owned(), now().into());
    map.insert("level".to_owned(), level.as_str().into());
    map.insert("target".to_owned(), target.into());
    map.insert("message".to_owned(), fields.message.into());
    for (name, value) in fields.values {
        // A field cannot stand in for the four above.
        map.entry(name).or_insert(value);
    }
    let mut line = String::new();
    // JSON's own rules leave alone what turns a terminal around; its strings may hold any escape.
    for c in Value::Object(map).to_string().chars() {
        match c {
            c if is_tricky(c) => drop(write!(line, "\\u{:04x}", u32::from(c))),
            c => line.push(c),
        }
    }
    line.push('\n');
    line
}

/// Adds hostile text; `quoted` says that it stands in quotes.
fn escape(line: &mut String, text: &str, quoted: bool) {
    for c in text.chars() {
        match c {
            '"' | '\\' if quoted => line.extend(['\\', c]),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if is_tricky(c) => drop(write!(line, "\\u{{{:x}}}", u32::from(c))),
            c => line.push(c),
        }
    }
}

/// Control characters, and the invisible ones that break lines or turn the reading direction; all in the first plane.
fn is_tricky(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}')
}

/// RFC 3339 with milliseconds, in the zone of the appliance.
fn now() -> String {
    let micros = clock::now_micros();
    let seconds = u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX);
    let text = clock::rfc3339(seconds);
    match text.split_at_checked("0000-00-00T00:00:00".len()) {
        Some((moment, zone)) => format!("{moment}.{:03}{zone}", micros / 1000 % 1000),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// What is written can be read at the other end; a reader that takes nothing holds the writer up.
    struct Pipe(mpsc::SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(json: bool, say: impl FnOnce()) -> String {
        let (sender, receiver) = mpsc::sync_channel(1000);
        let journal = Journal::open(Pipe(sender), json);
        let guard = LogGuard { journal: Arc::clone(&journal) };
        tracing::subscriber::with_default(Registry::default().with(Lines { journal }), say);
        drop(guard);
        String::from_utf8(receiver.iter().flatten().collect()).unwrap()
    }

    #[test]
    fn a_plain_line_has_time_level_text_and_fields() {
        let text = logged(false, || {
            let status = "sent (250 ok)";
            tracing::info!(queue_id = %"0D2RK", delay = 1.5, tries = 3u16, status, tls = true, empty = "", "delivered");
            tracing::debug!("not for operators");
            tracing::info!(target: "some_library", "chatter");
            tracing::warn!(target: "some_library", "trouble");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert!(time.len() == "2026-11-22T12:00:00.123+01:00".len() && &time[19..20] == ".", "{time}");
        assert_eq!(rest, r#"INFO delivered queue_id=0D2RK delay=1.5 tries=3 status="sent (250 ok)" tls=true empty="""#);
        assert!(lines[1].ends_with("WARN trouble"));
    }

    const HOSTILE: &str = "a\r\nb\t\"c\\ \u{1b}[2J\u{85}\u{2028}\u{202e}d queue_id=FORGED";

    #[test]
    fn hostile_text_breaks_no_line_and_forges_no_field() {
        let text = logged(false, || tracing::warn!(to = HOSTILE, from = %HOSTILE, reply = ?HOSTILE, "text {HOSTILE}"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(is_tricky), "{text:?}");
        assert!(text.contains(r#" to="a\r\nb\t\"c\\ \u{1b}[2J\u{85}\u{2028}\u{202e}d queue_id=FORGED""#), "{text}");
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let text = logged(true, || tracing::warn!(to = HOSTILE, tries = 3, level = "forged", "text {HOSTILE}"));
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(is_tricky), "{text:?}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["to"], HOSTILE);
        assert_eq!(value["message"], format!("text {HOSTILE}"));
        assert_eq!((&value["tries"], &value["level"]), (&3.into(), &"WARN".into()));
        assert!(value["target"].as_str().unwrap().starts_with("postern::ground::log"));
    }

    #[test]
    fn values_have_an_end() {
        let text = logged(false, || tracing::info!(reply = "é".repeat(VALUE_MAX * 2), "x"));
        assert!(text.ends_with("é…\n") && text.chars().filter(|c| *c == 'é').count() == VALUE_MAX);
    }

    #[test]
    fn a_reader_that_takes_nothing_blocks_nobody_and_hears_how_much_it_missed() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let journal = Journal::open(Pipe(sender), false);
        let line = "x".repeat(BACKLOG_MAX / 8 - 1) + "\n";
        for _ in 0..40 {
            journal.push(&line);
        }
        assert!(journal.lock().backlog.len() <= BACKLOG_MAX);
        let begin = Instant::now();
        journal.close(Duration::from_millis(50));
        assert!(begin.elapsed() < Duration::from_secs(1), "the end waited for the reader");
        let read: Vec<u8> = receiver.iter().flatten().collect();
        let text = String::from_utf8(read).unwrap();
        let (whole, dropped): (Vec<_>, Vec<_>) = text.lines().partition(|text| text.starts_with('x'));
        let told: usize = dropped.iter().map(|line| line.rsplit('=').next().unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(whole.len() + told, 40);
        assert!(told > 0);
    }

    #[test]
    fn lines_are_written_whole() {
        for length in [1, 100, PIPE_BUF - 1, PIPE_BUF, PIPE_BUF + 1, 3 * PIPE_BUF] {
            let lines = ("x".repeat(length - 1) + "\n").repeat(100);
            let mut again = Vec::new();
            for bunch in bunches(lines.as_bytes()) {
                assert!(bunch.ends_with(b"\n") && bunch.len() <= PIPE_BUF.max(length), "{length}");
                again.extend_from_slice(bunch);
            }
            assert_eq!(again, lines.as_bytes());
        }
    }

    #[test]
    fn a_closed_standard_error_costs_nothing() {
        let (sender, receiver) = mpsc::sync_channel(0);
        drop(receiver);
        let journal = Journal::open(Pipe(sender), false);
        for _ in 0..1000 {
            journal.push("lost\n");
        }
        journal.close(FAREWELL_PATIENCE);
        assert!(journal.lock().closed);
    }
}
