//! The files of the history: new entries are appended to one, and the oldest files are removed.

use super::lines::{HISTORY, first_second, numbers, path};
use super::mask::Masking;
use crate::ground::clock;
use crate::ground::disk::{Disk, File};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Octets that are written at once.
pub const WRITE_MAX: usize = 256 * 1024;

/// Parts of the size limit: one part is removed at a time.
const PARTS: u64 = 16;

/// Octets of a file, at least and at most; a search reads a file at once.
const FILE_MIN: u64 = 64 * 1024;
const FILE_MAX: u64 = 4 << 20;

/// Settings of the history.
#[derive(Debug, Clone, Copy)]
pub struct HistoryConfig {
    /// Whether a history is kept.
    pub enabled: bool,
    /// Octets on the volume, at most.
    pub size: u64,
    /// Age of an entry, at most.
    pub time: Duration,
    /// How long the content of finished messages is kept; zero = not at all.
    pub content: Duration,
    /// How addresses are masked.
    pub masking: Masking,
}

/// The files, and their limits.
pub struct HistoryFiles {
    disk: Arc<dyn Disk>,
    config: HistoryConfig,
    /// The current file: its number and length.
    file: Option<(u64, Arc<dyn File>, u64)>,
    /// Number and length of the others, the oldest first.
    full: Vec<(u64, u64)>,
    /// When the current file was begun.
    begun: u32,
    /// A failing volume was logged, which is done once until it works again.
    has_logged_failure: bool,
}

impl HistoryFiles {
    /// The files on a volume; begins a new file.
    pub fn open(disk: Arc<dyn Disk>, config: HistoryConfig) -> io::Result<Self> {
        disk.create_dir(HISTORY)?;
        let mut full = Vec::new();
        for number in numbers(disk.as_ref())? {
            full.push((number, disk.open(&path(number))?.length()?));
        }
        let mut book =
            Self { disk, config, file: None, full, begun: clock::now(), has_logged_failure: false };
        book.forget();
        Ok(book)
    }

    /// Removes all files, except for the file of this name.
    pub fn remove_all(disk: &dyn Disk, except: Option<&str>) -> io::Result<()> {
        disk.create_dir(HISTORY)?;
        for name in disk.list(HISTORY)? {
            let path = format!("{HISTORY}/{name}");
            if except != Some(path.as_str()) {
                disk.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Appends whole lines, and gives how many of them are lost because they cannot be written. The
    /// next ones are tried again; the log has a line when this begins and when it ends.
    pub fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        match self.append(lines) {
            Ok(()) => {
                if std::mem::take(&mut self.has_logged_failure) {
                    tracing::info!(target: "mta", "the delivery history is written again");
                }
                return 0;
            }
            Err(error) if !self.has_logged_failure => {
                self.has_logged_failure = true;
                tracing::warn!(target: "mta", cause = %error, "the delivery history cannot be \
                written; mail is not affected");
            }
            Err(_) => {}
        }
        lines.iter().filter(|octet| **octet == b'\n').count() as u64
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let space = self.disk.space()?;
        if space.free < space.size / 20 {
            return Err(io::Error::other("less than five percent of the data volume are free"));
        }
        let day_is_over = clock::age(self.begun) > 86_400;
        if self
            .file
            .as_ref()
            .is_some_and(|(_, _, len)| *len + lines.len() as u64 > self.file_max() || day_is_over)
            && let Some((number, _, len)) = self.file.take()
        {
            self.full.push((number, len));
        }
        self.forget();
        let (number, file, len) = match self.file.take() {
            Some(open) => open,
            None => {
                let number = self.full.last().map_or(1, |(last, _)| last + 1);
                self.begun = clock::now();
                (number, self.disk.create(&path(number))?, 0)
            }
        };
        let written = file.write_at(len, lines);
        match written {
            Ok(()) => self.file = Some((number, file, len + lines.len() as u64)),
            // Its end may be torn now: the next line begins another file.
            Err(_) => self.full.push((number, file.length().unwrap_or(len))),
        }
        written
    }

    /// Removes the oldest files that exceed the size or the time limit.
    fn forget(&mut self) {
        let growing = self.file.as_ref().map_or(0, |(_, _, len)| *len);
        while let Some((number, _)) = self.full.first().copied() {
            let all: u64 = self.full.iter().map(|(_, len)| len).sum::<u64>() + growing;
            if all + self.file_max() <= self.config.size && !self.is_too_old(number) {
                return;
            }
            // A file that cannot be removed now is not counted any more; the next start finds it
            // again.
            let _ = self.disk.remove(&path(number));
            self.full.remove(0);
        }
    }

    /// Whether the newest entry of a file, which is the oldest of the next, exceeds the time limit.
    fn is_too_old(&self, number: u64) -> bool {
        let next = self.full.iter().map(|(number, _)| *number).find(|other| *other > number);
        let newer = next.or(self.file.as_ref().map(|(number, ..)| *number));
        let first = newer.and_then(|newer| first_second(self.disk.as_ref(), newer).ok().flatten());
        first.is_some_and(|first| u64::from(clock::age(first)) > self.config.time.as_secs())
    }

    fn file_max(&self) -> u64 {
        (self.config.size / PARTS).clamp(FILE_MIN, FILE_MAX)
    }
}
