//! The mail log's buffer on the data volume: lines that wait for the share.
//!
//! In: lines, only from the writer's thread. Out: files of lines ([`super::segment`]) for the
//! carrier process. Nothing is synced: a killed process loses nothing, a power cut loses the last
//! seconds. Limits: `maillog_buffer_limit` octets, and never the last [`FREE_PERCENT`] of the data
//! volume, which are reserved for mail. Lines without space are dropped and counted; lines are
//! accepted again when a [`RESUME_PART`]th of the limit is free, and the first of them says what is
//! missing. A share that accepts nothing for [`STALLED`] counts as failing, even if its carrier
//! reports nothing.

use super::postfix_format::{LINE_MAX, PostfixFormat};
use super::segment::{self, Position};
use crate::ground::clock;
use crate::ground::log::LineSink;
use crate::maillog::counters::MailLogCounters;
use nix::sys::statvfs::statvfs;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Octets of one file, if the limit allows several of them.
const SEGMENT_MAX: u64 = 1 << 20;

/// At least so many files, so that copied lines soon free space.
const SEGMENTS_MIN: u64 = 8;

/// The part of the data volume that stays free, in percent.
const FREE_PERCENT: u64 = 2;

/// The part of the limit that must be free before lines are accepted again.
const RESUME_PART: u64 = 16;

/// How long lines may wait without progress before the share counts as failing.
const STALLED: Duration = Duration::from_secs(30);

/// How often the gauges are updated.
const PACE: Duration = Duration::from_secs(1);

/// The writing end of the buffer.
pub struct Buffer {
    directory: PathBuf,
    limit: u64,
    shape: Arc<PostfixFormat>,
    counters: Arc<MailLogCounters>,
    active: Option<Active>,
    lost: Option<Lost>,
    ticked: Option<Instant>,
    /// The carrier's last known position, and since when.
    seen: (Position, Instant),
    stalled: bool,
    /// Set when half of the space is in use: the rest is for lines about mail.
    scarce: Arc<AtomicBool>,
}

/// The current file.
struct Active {
    file: File,
    length: u64,
}

/// Lines that are missing at one place.
struct Lost {
    lines: u64,
    since: u32,
    until: u32,
    cause: String,
}

impl Buffer {
    /// Lines are written below `directory`, which is created with the first one; at most `limit`
    /// octets of them.
    pub fn new(
        directory: PathBuf,
        limit: u64,
        shape: Arc<PostfixFormat>,
        counters: Arc<MailLogCounters>,
        scarce: Arc<AtomicBool>,
    ) -> Self {
        let seen = (Position::default(), Instant::now());
        Self {
            directory,
            limit,
            shape,
            counters,
            active: None,
            lost: None,
            ticked: None,
            seen,
            stalled: false,
            scarce,
        }
    }

    /// Writes as many whole lines as there is space for; gives how many octets that were, and why
    /// not all were written.
    fn append(&mut self, lines: &str, least_room: u64) -> (usize, Option<String>) {
        let room = match self.room() {
            Ok(room) => room,
            Err(error) => return (0, Some(format!("{}: {error}", self.directory.display()))),
        };
        let (room, scarce) = room;
        if room < least_room {
            return (0, Some(scarce.to_owned()));
        }
        let fitting = whole_lines(lines, room);
        let mut written = 0;
        while written < fitting.len() {
            match self.write(&fitting[written..]) {
                Ok(octets) => written += octets,
                Err((octets, error)) => return (written + octets, Some(error.to_string())),
            }
        }
        let cause = (fitting.len() < lines.len()).then(|| scarce.to_owned());
        (written, cause)
    }

    /// Octets that may be written, and which limit applies.
    fn room(&self) -> io::Result<(u64, &'static str)> {
        segment::create_directory(&self.directory)?;
        let used: u64 = segment::list(&self.directory)?.iter().map(|segment| segment.length).sum();
        let volume = statvfs(&self.directory)?;
        let unit = volume.fragment_size();
        let spare = (volume.blocks() * unit / 100).saturating_mul(FREE_PERCENT);
        let free = (volume.blocks_available() * unit).saturating_sub(spare);
        let allowed = self.limit.saturating_sub(used);
        Ok(if free < allowed {
            (free, "the data volume is nearly full")
        } else {
            (allowed, "the buffer is full")
        })
    }

    /// Writes whole lines, as many as the file may take, at least one; gives how many octets. After
    /// an error, those of the whole lines before it: a line that was cut off counts as not written.
    fn write(&mut self, lines: &str) -> Result<usize, (usize, io::Error)> {
        let size = (self.limit / SEGMENTS_MIN).clamp(LINE_MAX as u64, SEGMENT_MAX);
        if self.active.as_ref().is_some_and(|active| active.length + LINE_MAX as u64 > size) {
            self.active = None;
        }
        let active = match &mut self.active {
            Some(active) => active,
            None => {
                let file = self.begin().map_err(|error| (0, error))?;
                self.active.insert(Active { file, length: 0 })
            }
        };
        let piece =
            whole_lines(lines, size.saturating_sub(active.length).max(LINE_MAX as u64)).as_bytes();
        let mut done = 0;
        while done < piece.len() {
            match active.file.write(&piece[done..]) {
                Ok(octets) if octets > 0 => done += octets,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    // The carrier skips a torn line at the end of a file.
                    self.active = None;
                    let whole = memchr::memrchr(b'\n', &piece[..done]).map_or(0, |end| end + 1);
                    return Err((
                        whole,
                        result.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into()),
                    ));
                }
            }
        }
        active.length += done as u64;
        Ok(done)
    }

    /// A new file after all others, also after those that the carrier has removed.
    fn begin(&self) -> io::Result<File> {
        let newest = segment::list(&self.directory)?.last().map_or(0, |segment| segment.number);
        let number = newest.max(segment::position(&self.directory).segment) + 1;
        OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(segment::path(&self.directory, number))
    }

    fn note_lost(&mut self, lines: u64, cause: String) {
        let now = clock::now();
        self.counters.maillog_dropped_lines_total.inc_by(lines);
        match &mut self.lost {
            Some(lost) => {
                lost.lines += lines;
                lost.until = now;
            }
            None => {
                tracing::warn!(
                    target: "mta", %cause,
                    "lines of the mail log are dropped; mail is not affected"
                );
                self.lost = Some(Lost { lines, since: now, until: now, cause });
            }
        }
    }

    /// Writes the line about missing lines, if there is enough space again; gives whether nothing
    /// is left to report.
    fn write_lost_line(&mut self, least_room: u64) -> bool {
        let Some(Lost { lines, since, until, cause }) = &self.lost else { return true };
        let (since, until) = (clock::rfc3339(*since), clock::rfc3339(*until));
        let line = self.shape.warning(&format!(
            "{lines} lines of the mail log were dropped here between {since} and {until}: {cause}"
        ));
        let said = self.append(&line, least_room).0 == line.len();
        if said {
            self.lost = None;
        }
        said
    }

    /// Updates the gauges of the waiting lines and of the share's state.
    fn look(&mut self) -> io::Result<()> {
        let segments = segment::list(&self.directory)?;
        let position = segment::position(&self.directory);
        let waiting = segment::waiting(&segments, &position);
        if waiting == 0 || position != self.seen.0 {
            self.seen = (position, Instant::now());
        }
        let stalled = self.seen.1.elapsed() >= STALLED;
        if stalled != std::mem::replace(&mut self.stalled, stalled) {
            if stalled {
                tracing::warn!(target: "mta", waiting, "the log share has accepted no line for a \
                while; mail is not affected");
            } else {
                tracing::info!(target: "mta", "the log share accepts lines again");
            }
        }
        self.scarce.store(waiting > self.limit / 2, Ordering::Relaxed);
        let failing = stalled || segment::failing(&self.directory).is_some();
        self.counters.maillog_buffer_bytes.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.counters.maillog_failing.set(i64::from(failing));
        Ok(())
    }
}

impl LineSink for Buffer {
    /// Avoids a write for each line; at most this much is lost when the process is killed.
    const GATHER: Duration = Duration::from_millis(10);
    const PACE: Option<Duration> = Some(PACE);

    fn take(&mut self, lines: String, missed: u64) {
        let resume = self.limit / RESUME_PART;
        let (written, cause) = if self.write_lost_line(resume) {
            self.append(&lines, 0)
        } else {
            (0, Some("the buffer is full".to_owned()))
        };
        let left = lines[written..].bytes().filter(|byte| *byte == b'\n').count() as u64;
        if left > 0 {
            self.note_lost(left, cause.unwrap_or_default());
        }
        if missed > 0 {
            self.note_lost(
                missed,
                "more lines arrived than the data volume could store".to_owned(),
            );
        }
    }

    fn tick(&mut self) {
        if self.ticked.is_some_and(|ticked| ticked.elapsed() < PACE) {
            return;
        }
        self.ticked = Some(Instant::now());
        // A data volume that does not answer is reported by the queue.
        let _ = self.look();
        self.write_lost_line(self.limit / RESUME_PART);
    }

    fn close(&mut self) {
        // The last chance; one line more does not fill the volume.
        self.limit += LINE_MAX as u64;
        self.write_lost_line(0);
    }
}

/// The whole lines that fit into so many octets.
fn whole_lines(lines: &str, octets: u64) -> &str {
    let octets = usize::try_from(octets).unwrap_or(usize::MAX);
    if lines.len() <= octets {
        return lines;
    }
    let end = memchr::memrchr(b'\n', &lines.as_bytes()[..octets]).map_or(0, |end| end + 1);
    &lines[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(directory: &std::path::Path, limit: u64) -> Buffer {
        let shape = Arc::new(PostfixFormat::new("postfix", "relay"));
        Buffer::new(
            directory.join("maillog"),
            limit,
            shape,
            MailLogCounters::alone().unwrap(),
            Arc::default(),
        )
    }

    fn numbered(numbers: std::ops::Range<u32>) -> String {
        numbers.map(|number| format!("line {number:06}\n")).collect()
    }

    fn all(buffer: &Buffer) -> String {
        let segments = segment::list(&buffer.directory).unwrap();
        segments
            .iter()
            .map(|s| std::fs::read_to_string(segment::path(&buffer.directory, s.number)).unwrap())
            .collect()
    }

    #[test]
    fn lines_come_in_order_in_files_of_bounded_size_and_a_restart_begins_another() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = buffer(directory.path(), 1 << 20);
        for batch in 0..200 {
            first.take(numbered(batch * 100..batch * 100 + 100), 0);
        }
        let mut second = buffer(directory.path(), 1 << 20);
        second.take(numbered(20_000..20_001), 0);
        let segments = segment::list(&second.directory).unwrap();
        assert!(
            segments.len() == 3 && segments.iter().all(|segment| segment.length <= (1 << 20) / 8),
            "{segments:?}"
        );
        assert_eq!(all(&second), numbered(0..20_001));
        assert_eq!(second.counters.maillog_dropped_lines_total.get(), 0);
    }

    #[test]
    fn a_full_buffer_drops_counts_and_says_so_in_the_right_place() {
        let directory = tempfile::tempdir().unwrap();
        let mut buffer = buffer(directory.path(), 64 * 1024);
        buffer.take(numbered(0..10_000), 3);
        let kept = all(&buffer);
        let count = u32::try_from(kept.lines().count()).unwrap();
        assert!(kept == numbered(0..count) && kept.len() <= 64 * 1024 && kept.len() > 63 * 1024);
        // With a little space the lines and the gaps would alternate.
        buffer.take("too early\n".to_owned(), 0);
        let dropped = u64::from(10_000 - count) + 3 + 1;
        assert_eq!(buffer.counters.maillog_dropped_lines_total.get(), dropped);
        std::fs::remove_file(segment::path(&buffer.directory, 1)).unwrap();
        buffer.tick();
        buffer.take("after\n".to_owned(), 0);
        let text = all(&buffer);
        let mut end = text.lines().rev();
        assert_eq!(end.next(), Some("after"));
        let gap = end.next().unwrap();
        assert!(
            gap.contains(&format!(
                "]: warning: {dropped} lines of the mail log were dropped here between "
            )),
            "{gap}"
        );
        assert_eq!(end.next().unwrap(), format!("line {:06}", count - 1));
    }

    #[test]
    fn a_gap_at_the_end_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut buffer = buffer(directory.path(), 64 * 1024);
        buffer.take(numbered(0..10_000), 0);
        buffer.close();
        assert!(all(&buffer).lines().last().unwrap().contains("were dropped here"));
    }

    #[test]
    fn what_waits_becomes_a_gauge() {
        let directory = tempfile::tempdir().unwrap();
        let mut buffer = buffer(directory.path(), 64 * 1024);
        buffer.take(numbered(0..10), 0);
        segment::note_failing(&buffer.directory, Some((1, "away")));
        buffer.tick();
        assert_eq!(
            (buffer.counters.maillog_buffer_bytes.get(), buffer.counters.maillog_failing.get()),
            (120, 1)
        );
        segment::note_failing(&buffer.directory, None);
        buffer.ticked = None;
        buffer.seen.1 = Instant::now().checked_sub(STALLED).unwrap();
        buffer.tick();
        assert_eq!(
            buffer.counters.maillog_failing.get(),
            1,
            "nothing moves, whoever says nothing about it"
        );
    }

    #[test]
    fn a_place_that_cannot_be_written_costs_lines_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("maillog"), "a file").unwrap();
        let mut buffer = buffer(directory.path(), 64 * 1024);
        buffer.take(numbered(0..10), 0);
        buffer.tick();
        buffer.close();
        assert_eq!(buffer.counters.maillog_dropped_lines_total.get(), 10);
    }
}
