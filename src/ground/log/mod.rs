//! The log: one line for each event on standard error, plain or JSON.
//!
//! Purpose: modules report events with `tracing` and never wait for it. In: events. Out: lines, in
//! the order of the events of each thread, written by a separate thread ([`LogWriter`]); and the
//! events themselves for one [`LogSubscriber`]. Plain: `2026-11-22T12:00:00.123+01:00 INFO
//! delivered queue_id=0D2R… to=a@b relay=…`; a value with blanks or quotes is quoted. JSON: one
//! flat object with `time`, `level`, `target`, `message` and the fields. Limits: [`BACKLOG_MAX`]
//! octets wait for a slow reader, then lines are dropped and a line gives their number; a value has
//! at most [`VALUE_MAX`] characters, an event at most [`FIELDS_MAX`] fields. Events with the field
//! `stranger = true` have a limited share ([`LogQuota`]) of standard error and of the stored lines.
//! Security: texts from the network cannot break a line, forge a field or control a terminal:
//! control characters and those that change the reading direction are escaped. Postern's events are
//! shown from level info on, those of libraries from warn on.

mod event;
mod line;
mod share;
mod tail;
mod writer;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::Value;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::Registry;

pub use event::{EventFields, FIELDS_MAX, VALUE_MAX};
pub use line::put_fields;
pub use share::{LogQuota, STRANGERS_OCTETS, left_out};
pub use tail::{TAIL_MAX, Tail};
pub use writer::{BACKLOG_MAX, LineSink, LogWriter};

/// Octets that a pipe accepts from one writer without mixing them with another's (pipe(7)).
const PIPE_BUF: usize = 4096;

/// How long the end of the program waits for the last lines.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);

/// How long a write waits for a reader that is blocked, before it checks again; milliseconds.
const READER_PAUSE: u16 = 1000;

/// The target of events for operators, whatever their module.
const TARGET: &str = "mta";

/// The name of events that others get as typed values: an [`LogSubscriber`] does not get them here.
pub const TYPED: &str = "typed";

/// A second consumer of the events that the log shows. Must not block.
pub trait LogSubscriber: Send + Sync + 'static {
    /// An event that is shown, and not [`TYPED`].
    fn event(&self, level: Level, said: &EventFields);
}

/// When dropped, writes the waiting lines; keep it until the program ends.
#[must_use = "dropping it ends the log"]
pub struct LogGuard {
    writer: Arc<LogWriter>,
    tail: Arc<Tail>,
}

impl LogGuard {
    /// The last lines.
    pub fn tail(&self) -> Arc<Tail> {
        Arc::clone(&self.tail)
    }
}

/// Starts the log of this process, once; later calls have no effect. A panic becomes a line too.
pub fn start(json: bool) -> LogGuard {
    start_with(json, None)
}

/// The same, with a second consumer.
pub fn start_with(json: bool, subscriber: Option<Arc<dyn LogSubscriber>>) -> LogGuard {
    let (lines, guard) = Lines::open(StandardError, json, subscriber);
    if tracing::subscriber::set_global_default(Registry::default().with(lines)).is_ok() {
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(place, "panic: {}", panic.payload_as_str().unwrap_or("without words"));
        }));
    }
    guard
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.writer.close(FAREWELL_PATIENCE);
    }
}

/// Makes a line of each event.
struct Lines {
    writer: Arc<LogWriter>,
    json: bool,
    subscriber: Option<Arc<dyn LogSubscriber>>,
    strangers: LogQuota,
    tail: Arc<Tail>,
}

impl Lines {
    fn open(
        out: impl Write + Send + 'static,
        json: bool,
        subscriber: Option<Arc<dyn LogSubscriber>>,
    ) -> (Self, LogGuard) {
        let writer = LogWriter::new();
        let tail = Arc::new(Tail::default());
        writer.serve("log", Written { out, json, tail: Arc::clone(&tail) });
        let lines = Self {
            writer: Arc::clone(&writer),
            json,
            subscriber,
            strangers: LogQuota::new(),
            tail: Arc::clone(&tail),
        };
        (lines, LogGuard { writer, tail })
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    /// Called once for each place in the code, which then costs nothing if its events are not
    /// wanted.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_shown(metadata)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let said = EventFields::by(event);
        let metadata = event.metadata();
        if let Some(subscriber) = &self.subscriber
            && metadata.name() != TYPED
        {
            subscriber.event(*metadata.level(), &said);
        }
        let stranger = said.stranger;
        let line = line(self.json, *metadata.level(), metadata.target(), said);
        if !stranger {
            self.writer.push(&line);
        } else if !self.strangers.takes(&line) {
            return;
        } else if !self.writer.push_if_half_empty(&line) {
            LogQuota::leave_out(&line);
        }
        self.tail.push(&line, stranger);
    }
}

fn is_own(metadata: &Metadata<'_>) -> bool {
    matches!(metadata.target().split("::").next(), Some(TARGET | env!("CARGO_PKG_NAME")))
}

/// Whether standard error shows it.
fn is_shown(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= if is_own(metadata) { Level::INFO } else { Level::WARN }
}

fn line(json: bool, level: Level, target: &str, said: EventFields) -> String {
    if json { line::json(level, target, said) } else { line::plain(level, &said) }
}

/// A writer of lines.
struct Written<W> {
    out: W,
    json: bool,
    tail: Arc<Tail>,
}

impl<W: Write + Send + 'static> LineSink for Written<W> {
    // A busy relay writes two lines for each mail; a write call for each would cost as much as the
    // delivery.
    const GATHER: Duration = Duration::from_millis(10);

    fn take(&mut self, mut lines: String, missed: u64) {
        if missed > 0 {
            let message = "log lines were dropped because they were not read in time".to_owned();
            let said = EventFields {
                message,
                fields: vec![("lines", Value::from(missed))],
                stranger: false,
            };
            let line = line(self.json, Level::WARN, module_path!(), said);
            self.tail.push(&line, false);
            lines.push_str(&line);
        }
        // If standard error is closed, lines are lost.
        let _ = bunches(lines.as_bytes()).try_for_each(|bunch| self.out.write_all(bunch));
    }
}

/// Whole lines in pieces that a pipe accepts at once, so that the lines of the supervisor and of
/// the core, which share standard error, are not mixed.
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

/// Standard error, also if it was made non-blocking.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::text::is_tricky;
    use std::sync::{Mutex, mpsc};
    use std::time::Instant;

    /// A pipe whose reader is the test: a reader that does not read blocks the writer.
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
        let (lines, guard) = Lines::open(Pipe(sender), json, None);
        tracing::subscriber::with_default(Registry::default().with(lines), say);
        drop(guard);
        String::from_utf8(receiver.iter().flatten().collect()).unwrap()
    }

    #[test]
    fn a_plain_line_has_time_level_text_and_fields() {
        let text = logged(false, || {
            let status = "sent (250 ok)";
            tracing::info!(
                queue_id = %"0D2RK", delay = 1.5, tries = 3u16, status, tls = true, empty = "",
                "delivered"
            );
            tracing::debug!("not for operators");
            tracing::info!(target: "some_library", "chatter");
            tracing::warn!(target: "some_library", "trouble");
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let (time, rest) = lines[0].split_once(' ').unwrap();
        assert!(
            time.len() == "2026-11-22T12:00:00.123+01:00".len() && &time[19..20] == ".",
            "{time}"
        );
        assert_eq!(
            rest,
            r#"INFO delivered queue_id=0D2RK delay=1.5 tries=3 status="sent (250 ok)" tls=true empty="""#
        );
        assert!(lines[1].ends_with("WARN trouble"));
    }

    const HOSTILE: &str = "a\r\nb\t\"c\\ \u{1b}[2J\u{85}\u{2028}\u{202e}d queue_id=FORGED";

    #[test]
    fn hostile_text_breaks_no_line_and_forges_no_field() {
        let text = logged(
            false,
            || tracing::warn!(to = HOSTILE, from = %HOSTILE, reply = ?HOSTILE, "text {HOSTILE}"),
        );
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end().contains(is_tricky), "{text:?}");
        assert!(
            text.contains(
                r#" to="a\r\nb\t\"c\\ \u{1b}[2J\u{85}\u{2028}\u{202e}d queue_id=FORGED""#
            ),
            "{text}"
        );
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let text = logged(true, || {
            tracing::warn!(to = HOSTILE, tries = 3, level = "forged", "text {HOSTILE}")
        });
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
        // In pieces, up to the limit and one beyond it.
        let full = "é".repeat(VALUE_MAX - 3);
        let text = logged(
            false,
            || tracing::info!(exact = %format_args!("{full}{}", "abc"), long = %format_args!("{full}{}", "abcd"), "x"),
        );
        assert!(text.ends_with(&format!(" exact={full}abc long={full}abc…\n")), "{text}");
    }

    #[test]
    fn only_a_value_that_could_be_misread_stands_in_quotes() {
        let text = logged(false, || {
            tracing::info!(
                a = "x@y.z",
                b = "x=y",
                c = "x\\y",
                d = "x\"y",
                e = "Ü",
                f = "\u{7f}",
                "m = \"q\" \\"
            )
        });
        let said = r#"m = "q" \ a=x@y.z b="x=y" c="x\\y" d="x\"y" e=Ü f=\u{7f}"#;
        assert!(text.trim_end().ends_with(said), "{text}");
    }

    #[test]
    fn a_subscriber_hears_what_is_shown_and_is_not_typed() {
        struct Noted(Mutex<Vec<String>>);
        impl LogSubscriber for Noted {
            fn event(&self, level: Level, said: &EventFields) {
                let mut noted = format!("{level} {}", said.message);
                put_fields(&mut noted, said);
                self.0.lock().unwrap().push(noted);
            }
        }
        let subscriber = Arc::new(Noted(Mutex::default()));
        let (sender, receiver) = mpsc::sync_channel(1000);
        let (lines, guard) = Lines::open(Pipe(sender), false, Some(subscriber.clone()));
        tracing::subscriber::with_default(Registry::default().with(lines), || {
            tracing::info!(a = "x", b = 7, c = true, "shown");
            tracing::debug!("fine");
            tracing::info!(name: TYPED, a = "x", "typed");
            tracing::info!(target: "some_library", "chatter");
            tracing::warn!(target: "some_library", "trouble");
        });
        drop(guard);
        let shown = String::from_utf8(receiver.iter().flatten().collect()).unwrap();
        assert!(shown.lines().count() == 3 && shown.contains("INFO typed a=x\n"), "{shown}");
        assert_eq!(*subscriber.0.lock().unwrap(), ["INFO shown a=x b=7 c=true", "WARN trouble"]);
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
        let (lines, guard) = Lines::open(Pipe(sender), false, None);
        for _ in 0..1000 {
            lines.writer.push("lost\n");
        }
        let begin = Instant::now();
        drop(guard);
        assert!(begin.elapsed() < FAREWELL_PATIENCE);
    }
}
