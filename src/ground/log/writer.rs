//! A writer of lines on a thread of its own.
//!
//! Purpose: a caller passes a line on and never waits, neither for a slow reader nor for a disk.
//! In: whole lines. Out: the same in their order, many at once, to an [`LineSink`]. Limits:
//! [`BACKLOG_MAX`] octets wait in memory; lines that do not fit are counted, and the outlet gets
//! their number.

use crate::ground::lock::{Guard, Level, Lock};
use std::sync::{Arc, Condvar};
use std::thread;
use std::time::{Duration, Instant};

/// Octets that wait for a slow outlet, at most.
pub const BACKLOG_MAX: usize = 4 * 1024 * 1024;

/// The output of lines. Called only by the writer's thread; it may block.
pub trait LineSink: Send + 'static {
    /// How long the first line waits for others.
    const GATHER: Duration = Duration::ZERO;

    /// How often [`LineSink::tick`] is called at least; `None` = never.
    const PACE: Option<Duration> = None;

    /// Writes whole lines. After them `missed` lines did not fit into memory.
    fn take(&mut self, lines: String, missed: u64);

    /// Called regularly.
    fn tick(&mut self) {}

    /// There will be no more lines.
    fn close(&mut self) {}
}

/// The waiting lines. Without [`LogWriter::serve`] they only wait.
pub struct LogWriter {
    state: Lock<State>,
    /// Notified when the first line comes, and at the end.
    change: Condvar,
}

#[derive(Default)]
struct State {
    backlog: String,
    /// Lines that did not fit since the outlet was last told.
    missed: u64,
    closing: bool,
    /// There is no thread any more: everything has been written, or there never was one.
    closed: bool,
}

impl State {
    fn is_empty(&self) -> bool {
        self.backlog.is_empty() && self.missed == 0
    }
}

impl LogWriter {
    /// Without lines.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Lock::new(Level::Log, State::default()), change: Condvar::new() })
    }

    /// Starts the thread, under a name of at most 15 characters; once.
    pub fn serve(self: &Arc<Self>, name: &str, outlet: impl LineSink) {
        let writer = Arc::clone(self);
        if thread::Builder::new().name(name.to_owned()).spawn(move || writer.run(outlet)).is_err() {
            // Without a thread there is no log; the relay continues.
            self.lock().closed = true;
        }
    }

    /// Passes on whole lines. From the first line that does not fit, all are dropped until the
    /// outlet has been told, so that there is a single gap.
    pub fn push(&self, lines: &str) {
        let mut state = self.lock();
        if state.closed || state.missed > 0 || state.backlog.len() + lines.len() > BACKLOG_MAX {
            state.missed += lines.bytes().filter(|byte| *byte == b'\n').count() as u64;
            return;
        }
        let first = state.is_empty();
        state.backlog.push_str(lines);
        drop(state);
        if first {
            self.change.notify_all();
        }
    }

    /// The same for lines that must leave space for others: only while half of the space is free.
    /// Gives whether they were accepted.
    pub fn push_if_half_empty(&self, lines: &str) -> bool {
        let has_room = {
            let state = self.lock();
            state.missed == 0 && state.backlog.len() + lines.len() <= BACKLOG_MAX / 2
        };
        if has_room {
            self.push(lines);
        }
        has_room
    }

    /// Ends the thread when it has written the waiting lines, and waits for that.
    pub fn close(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.closing = true;
        self.change.notify_all();
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = state.wait(&self.change, left);
        }
    }

    fn run<O: LineSink>(&self, mut outlet: O) {
        while let Some((lines, missed)) = self.next::<O>() {
            if !lines.is_empty() || missed > 0 {
                outlet.take(lines, missed);
            }
            outlet.tick();
        }
        outlet.close();
        self.lock().closed = true;
        self.change.notify_all();
    }

    /// All waiting lines, after collecting for a while; empty when a tick is due; `None` at the
    /// end.
    fn next<O: LineSink>(&self) -> Option<(String, u64)> {
        let mut state = self.lock();
        let due = O::PACE.map(|pace| Instant::now() + pace);
        while state.is_empty() && !state.closing {
            state = match due.map(|due| due.saturating_duration_since(Instant::now())) {
                None => state.wait(&self.change, Duration::MAX),
                Some(Duration::ZERO) => return Some((String::new(), 0)),
                Some(left) => state.wait(&self.change, left),
            };
        }
        if state.is_empty() {
            return None;
        }
        let gathered = Instant::now() + O::GATHER;
        while !state.closing && state.missed == 0 && state.backlog.len() < BACKLOG_MAX / 2 {
            let left = gathered.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = state.wait(&self.change, left);
        }
        Some((std::mem::take(&mut state.backlog), std::mem::take(&mut state.missed)))
    }

    fn lock(&self) -> Guard<'_, State> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Accepts lines only when the test receives them.
    struct Slow(mpsc::SyncSender<(String, u64)>);

    impl LineSink for Slow {
        fn take(&mut self, lines: String, missed: u64) {
            let _ = self.0.send((lines, missed));
        }
    }

    #[test]
    fn an_outlet_that_takes_nothing_blocks_nobody_and_hears_how_much_it_missed() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let writer = LogWriter::new();
        writer.serve("log", Slow(sender));
        let line = "x".repeat(BACKLOG_MAX / 8 - 100) + "\n";
        for _ in 0..40 {
            writer.push(&line);
        }
        writer.push("a short one would fit, but not in its place\n");
        assert!(writer.lock().backlog.len() <= BACKLOG_MAX);
        let begin = Instant::now();
        writer.close(Duration::from_millis(50));
        assert!(begin.elapsed() < Duration::from_secs(1), "the end waited for the outlet");
        let (mut whole, mut missed) = (0, 0);
        for (lines, gap) in receiver.iter() {
            assert!(!lines.contains("short"), "a line overtook the gap");
            whole += lines.matches('\n').count() as u64;
            missed += gap;
        }
        assert_eq!(whole + missed, 41);
        assert!(missed > 0);
    }

    #[test]
    fn lines_wait_for_their_thread() {
        let (sender, receiver) = mpsc::sync_channel(10);
        let writer = LogWriter::new();
        writer.push("one\n");
        writer.push("two\n");
        writer.serve("log", Slow(sender));
        writer.close(Duration::from_secs(10));
        assert_eq!(receiver.iter().map(|(lines, _)| lines).collect::<String>(), "one\ntwo\n");
    }

    struct Ticking(mpsc::Sender<()>);

    impl LineSink for Ticking {
        const PACE: Option<Duration> = Some(Duration::from_millis(1));

        fn take(&mut self, _: String, _: u64) {}

        fn tick(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn time_passes_without_lines() {
        let (sender, receiver) = mpsc::channel();
        let writer = LogWriter::new();
        writer.serve("log", Ticking(sender));
        for _ in 0..3 {
            receiver.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        writer.close(Duration::from_secs(10));
    }
}
