//! A directory of exported pairs, written so that after a crash no incomplete pair looks complete.
//!
//! Content first: `.ID.eml.part`, synced, renamed to `ID.eml`; then the same for `ID.json`, which
//! makes the pair. A pair counts after [`Store::sync`]. `ID.moving` marks a pair whose message is
//! being moved and is still in the queue.

use crate::export::{ExportedMessage, HEAD_MAX, crc_text};
use crate::ground::folder::Folder;
use crate::mail::model::MessageId;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// The suffix of files whose message was not moved and is not in the queue any more.
pub(super) const ASIDE: &str = ".left";

/// The result of writing a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreResult {
    /// It was written.
    Written,
    /// An identical one was there.
    Identical,
    /// Another file has its name.
    Conflict,
}

/// The content of `ID.moving`: `held 0123456789abcdef` or `free 0123456789abcdef`, followed by
/// `exported` if a pair was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MoveMarker {
    /// Whether an operator held the message before.
    pub(super) held: bool,
    /// Identifies this move in the history: another directory may have the message by now. Empty in
    /// marks of older versions.
    pub(super) word: String,
    /// Whether a pair of an export without a move was there before: that one belongs to the
    /// operator.
    pub(super) exported: bool,
}

impl MoveMarker {
    /// A unique mark.
    pub(super) fn new(held: bool, exported: bool) -> Self {
        Self { held, word: format!("{:016x}", fastrand::u64(..)), exported }
    }

    fn text(&self) -> String {
        let exported = if self.exported { " exported" } else { "" };
        format!("{} {}{exported}\n", if self.held { "held" } else { "free" }, self.word)
    }

    fn read(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let held = words.next() == Some("held");
        let word = words.next().unwrap_or_default().to_owned();
        Self { held, word, exported: words.next() == Some("exported") }
    }
}

/// The directory.
pub(super) struct Store {
    folder: Folder,
}

/// Content that is being written.
pub(super) struct ContentFile {
    id: MessageId,
    file: File,
    crc: crc32fast::Hasher,
    len: u64,
}

impl ContentFile {
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        self.crc.update(piece);
        self.len += piece.len() as u64;
        self.file.write_all(piece)
    }
}

impl Store {
    /// Opens the directory, which is created if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { folder: Folder::open_or_create(path)? })
    }

    pub(super) fn begin(&self, id: MessageId) -> io::Result<ContentFile> {
        let file = self.folder.write_anew(&part(id))?;
        Ok(ContentFile { id, file, crc: crc32fast::Hasher::new(), len: 0 })
    }

    /// Removes incomplete content.
    pub(super) fn abandon(&self, draft: &ContentFile) {
        // If it cannot be removed, the next attempt overwrites it.
        let _ = self.folder.remove(&part(draft.id));
    }

    /// Completes the content, and writes the pair. `Err` with `InvalidData`: the content is not
    /// what was announced.
    pub(super) fn finish(
        &self,
        draft: ContentFile,
        view: &ExportedMessage,
    ) -> io::Result<StoreResult> {
        let id = draft.id;
        let stored = self.place(draft, view);
        if !matches!(stored, Ok(StoreResult::Written)) {
            let _ = self.folder.remove(&part(id));
        }
        stored
    }

    fn place(&self, draft: ContentFile, view: &ExportedMessage) -> io::Result<StoreResult> {
        let ContentFile { id, file, crc, len } = draft;
        let crc = crc_text(crc.finalize());
        if len != view.content.size || crc != view.content.crc32 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the content is not what was announced",
            ));
        }
        let (eml, json) = (format!("{id}.eml"), format!("{id}.json"));
        if self.folder.has(&eml) && !self.is_content(&eml, view)? {
            return Ok(StoreResult::Conflict);
        }
        let mut known = false;
        if self.folder.has(&json) {
            let text = self.folder.read_small(&json, HEAD_MAX)?.unwrap_or_default();
            known = ExportedMessage::read(&text).is_ok_and(|there| there == *view);
            // With a mark that found no pair it is from an unfinished attempt of this move.
            if !known && self.marked(id)?.is_none_or(|mark| mark.exported) {
                return Ok(StoreResult::Conflict);
            }
            if known && self.folder.has(&eml) {
                return Ok(StoreResult::Identical);
            }
        }
        file.sync_all()?;
        self.folder.rename(&part(id), &self.folder, &eml)?;
        if !known {
            let mut text = serde_json::to_vec_pretty(view)?;
            text.push(b'\n');
            self.write_small(&json, &text)?;
        }
        Ok(StoreResult::Written)
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.folder.sync()
    }

    /// Records, durably, that a message is being moved.
    pub(super) fn mark(&self, id: MessageId, mark: &MoveMarker) -> io::Result<()> {
        self.write_small(&mark_name(id), mark.text().as_bytes())?;
        self.folder.sync()
    }

    /// The mark of a message that is being moved; `None` if it is not.
    pub(super) fn marked(&self, id: MessageId) -> io::Result<Option<MoveMarker>> {
        Ok(self
            .folder
            .read_small(&mark_name(id), 64)?
            .map(|text| MoveMarker::read(&String::from_utf8_lossy(&text))))
    }

    /// The move is complete.
    pub(super) fn unmark(&self, id: MessageId) -> io::Result<()> {
        self.folder.remove(&mark_name(id))
    }

    /// Messages that are being moved.
    pub(super) fn marks(&self) -> io::Result<Vec<MessageId>> {
        Ok(self
            .folder
            .names()?
            .iter()
            .filter_map(|name| name.strip_suffix(".moving")?.parse().ok())
            .collect())
    }

    /// Removes, durably, the pair of a message that stays in the queue.
    pub(super) fn discard(&self, id: MessageId) -> io::Result<()> {
        for name in pair(id) {
            self.folder.remove(&name)?;
        }
        self.folder.sync()
    }

    /// Renames the files of a message, durably, so that no import takes them; gives whether there
    /// were any.
    pub(super) fn set_aside(&self, id: MessageId) -> io::Result<bool> {
        let mut any = false;
        for name in pair(id).iter().filter(|name| self.folder.has(name)) {
            self.folder.rename(name, &self.folder, &format!("{name}{ASIDE}"))?;
            any = true;
        }
        self.folder.sync()?;
        Ok(any)
    }

    /// Whether any file of a message's pair is here.
    pub(super) fn has_any(&self, id: MessageId) -> bool {
        pair(id).iter().any(|name| self.folder.has(name))
    }

    /// Whether the pair of a message is here.
    pub(super) fn has_pair(&self, id: MessageId) -> bool {
        pair(id).iter().all(|name| self.folder.has(name))
    }

    fn is_content(&self, name: &str, view: &ExportedMessage) -> io::Result<bool> {
        let mut file = self.folder.read(name)?;
        if file.metadata()?.len() != view.content.size {
            return Ok(false);
        }
        let (mut hasher, mut buffer) = (crc32fast::Hasher::new(), vec![0; 64 * 1024]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(crc_text(hasher.finalize()) == view.content.crc32),
                got => hasher.update(&buffer[..got]),
            }
        }
    }

    fn write_small(&self, name: &str, octets: &[u8]) -> io::Result<()> {
        let part = format!(".{name}.part");
        let mut file = self.folder.write_anew(&part)?;
        file.write_all(octets)?;
        file.sync_all()?;
        self.folder.rename(&part, &self.folder, name)
    }
}

/// The JSON first: without it there is no pair.
fn pair(id: MessageId) -> [String; 2] {
    [format!("{id}.json"), format!("{id}.eml")]
}

fn part(id: MessageId) -> String {
    format!(".{id}.eml.part")
}

fn mark_name(id: MessageId) -> String {
    format!("{id}.moving")
}
