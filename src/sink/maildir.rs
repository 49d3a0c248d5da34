//! Stores the mail of a sink: a file for each in a maildir.

use crate::ground::clock;
use crate::mail::model::Envelope;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A mail that is being written to the maildir.
pub(super) struct Letter {
    pub(super) file: BufWriter<File>,
    being_written: PathBuf,
    delivered: PathBuf,
}

impl Letter {
    pub(super) fn new(maildir: &Path, envelope: &Envelope) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}.P{}Q{number}.sink", clock::now_micros(), std::process::id());
        let being_written = maildir.join("tmp").join(&name);
        let mut file = BufWriter::new(File::create_new(&being_written)?);
        write!(file, "Return-Path: <{}>\r\n", envelope.sender_text())?;
        for recipient in &envelope.recipients {
            write!(file, "X-Original-To: {recipient}\r\n")?;
        }
        Ok(Self { file, being_written, delivered: maildir.join("new").join(name) })
    }

    pub(super) fn deliver(mut self) -> io::Result<()> {
        self.file.flush()?;
        fs::rename(&self.being_written, &self.delivered)
    }
}

impl Drop for Letter {
    /// Removes an incomplete mail; a complete one has another name by now.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.being_written);
    }
}

pub(super) fn make_maildir(path: &Path) -> io::Result<()> {
    ["tmp", "new", "cur"].into_iter().try_for_each(|folder| fs::create_dir_all(path.join(folder)))
}
