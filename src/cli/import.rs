//! `postern queue import`: imports mail of another queue from files.
//!
//! Each pair is imported completely or not at all. An imported pair is moved into `imported/`, its
//! JSON first, because the JSON makes the pair. After a crash between the appliance's confirmation
//! and that rename it is imported once more the next time, but never lost. All files in the
//! directory are untrusted.

use super::api_client::Core;
use super::progress::ProgressReporter;
use super::shared_text::{messages, to_json};
use super::tool_error::{
    EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_TEMPFAIL, EX_USAGE, ToolError,
};
use crate::export::{
    ExportedContent, ExportedMessage, ExportedTarget, HEAD_MAX, VERSION, crc_text,
};
use crate::ground::clock;
use crate::ground::display_text::{count, harmless};
use crate::ground::folder::{Folder, FolderLock};
use crate::mail::model::{Address, TargetStatus};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// The directory for imported pairs.
const IMPORTED: &str = "imported";

/// Content is read in pieces of this size, and so many of them in advance.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 2;

/// The arguments of an import.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The directory with the files
    directory: PathBuf,
    /// For .eml files without .json: the sender; '<>' = null sender
    #[arg(long, value_name = "ADDRESS", requires = "to")]
    from: Option<String>,
    /// For .eml files without .json: the recipients
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', requires = "from")]
    to: Vec<String>,
}

/// The envelope for files without one.
struct GivenEnvelope {
    sender: Option<Address>,
    recipients: Vec<Address>,
}

impl ImportArgs {
    /// Checks the arguments.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        self.given().map(drop)
    }

    fn given(&self) -> Result<Option<GivenEnvelope>, ToolError> {
        let parse = |text: &str| {
            let inner =
                text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
            let fault = |error| ToolError::new(EX_USAGE, format!("'{}': {error}", harmless(text)));
            if inner.is_empty() { Ok(None) } else { Address::parse(inner).map(Some).map_err(fault) }
        };
        let Some(from) = &self.from else { return Ok(None) };
        let mut recipients = Vec::new();
        for text in &self.to {
            match parse(text)? {
                Some(address) if recipients.contains(&address) => {}
                Some(address) => recipients.push(address),
                None => return Err(ToolError::new(EX_USAGE, "--to: a recipient cannot be empty")),
            }
        }
        Ok(Some(GivenEnvelope { sender: parse(from)?, recipients }))
    }
}

/// The result for one pair.
#[derive(Debug, Serialize)]
struct ImportedView<'a> {
    file: &'a str,
    /// `imported` or `refused`.
    result: &'a str,
    /// The new queue id.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Debug, Default, Serialize)]
struct Tally {
    imported: u64,
    refused: u64,
}

/// Why one pair is not imported, or why the import ends.
enum ImportError {
    Pair(String),
    All(ToolError),
}

impl From<String> for ImportError {
    fn from(words: String) -> Self {
        Self::Pair(words)
    }
}

impl From<ToolError> for ImportError {
    fn from(trouble: ToolError) -> Self {
        Self::All(trouble)
    }
}

/// Imports all pairs in the directory.
pub(super) async fn run(
    import: &ImportArgs,
    core: &Core,
    json: bool,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), ToolError> {
    let desk = Importer::open(import, core)?;
    let names = desk.folder.names().map_err(|error| desk.unreadable(&error))?;
    let stems: BTreeSet<&str> = names
        .iter()
        .filter(|name| !name.starts_with('.'))
        .filter_map(|name| name.strip_suffix(".json").or_else(|| name.strip_suffix(".eml")))
        .collect();
    let mut progress = ProgressReporter::new(complaints);
    let mut tally = Tally::default();
    let total = stems.len() as u64;
    let mut stopped = None;
    for stem in stems {
        let taken = match desk.finish_rename(stem) {
            Ok(true) => continue,
            Ok(false) => desk.take(stem).await,
            Err(trouble) => Err(trouble.into()),
        };
        let (id, reason) = match taken {
            Ok(id) => (Some(id), None),
            Err(ImportError::Pair(words)) => (None, Some(words)),
            Err(ImportError::All(trouble)) => {
                stopped = Some(trouble);
                break;
            }
        };
        let result = if id.is_some() { "imported" } else { "refused" };
        *(if id.is_some() { &mut tally.imported } else { &mut tally.refused }) += 1;
        if json {
            let view =
                ImportedView { file: stem, result, id: id.as_deref(), reason: reason.as_deref() };
            writeln!(out, "{}", to_json(&view)?)?;
        } else if let Some(reason) = reason {
            writeln!(out, "{} refused: {}", harmless(stem), harmless(&reason))?;
        }
        progress
            .tell(|| format!("{} of {}", count(tally.imported + tally.refused), messages(total)));
    }
    if json {
        writeln!(out, "{}", to_json(&tally)?)?;
    } else {
        writeln!(out, "{} imported.", messages(tally.imported))?;
        if tally.refused > 0 {
            writeln!(out, "{} refused; the files were left in place.", count(tally.refused))?;
        }
    }
    match stopped {
        Some(ToolError { code, words }) => {
            let left = total - tally.imported - tally.refused;
            Err(ToolError::new(
                code,
                format!("{words}; {} left, repeat the command when that is fixed", messages(left)),
            ))
        }
        None if tally.refused > 0 => Err(ToolError::new(EX_DATAERR, "")),
        None => Ok(()),
    }
}

struct Importer<'a> {
    core: &'a Core,
    import: &'a ImportArgs,
    given: Option<GivenEnvelope>,
    folder: Folder,
    imported: Folder,
    /// Two imports of one directory would import each mail twice.
    _lock: FolderLock,
}

impl<'a> Importer<'a> {
    fn open(import: &'a ImportArgs, core: &'a Core) -> Result<Self, ToolError> {
        let shown = import.directory.display();
        let folder = Folder::open(&import.directory).map_err(|error| {
            let code = if error.kind() == io::ErrorKind::PermissionDenied {
                EX_NOPERM
            } else {
                EX_NOINPUT
            };
            ToolError::new(code, format!("cannot read {shown}: {error}"))
        })?;
        let lock = folder
            .lock()
            .map_err(|error| ToolError::new(EX_NOINPUT, format!("cannot lock {shown}: {error}")))?;
        let Some(lock) = lock else {
            let words = format!(
                "another 'postern queue import' takes the mail of {shown}; repeat the command when \
                it has ended"
            );
            return Err(ToolError::new(EX_TEMPFAIL, words));
        };
        let imported = folder.inner(IMPORTED).map_err(|error| {
            let words = format!(
                "cannot keep imported mail in {shown}/{IMPORTED}: {error}; the directory must be \
                writable, or mail would be imported twice"
            );
            ToolError::new(EX_CANTCREAT, words)
        })?;
        Ok(Self { core, import, given: import.given()?, folder, imported, _lock: lock })
    }

    fn unreadable(&self, error: &io::Error) -> ToolError {
        ToolError::new(
            EX_NOINPUT,
            format!("cannot read {}: {error}", self.import.directory.display()),
        )
    }

    /// Content whose JSON is in `imported/` already: a crash came between the two renames.
    fn finish_rename(&self, stem: &str) -> Result<bool, ToolError> {
        let (eml, json) = (format!("{stem}.eml"), format!("{stem}.json"));
        if self.folder.has(&json) || self.imported.has(&eml) || !self.imported.has(&json) {
            return Ok(false);
        }
        self.put_away(&[eml])?;
        Ok(true)
    }

    fn put_away(&self, names: &[String]) -> Result<(), ToolError> {
        let renamed =
            names.iter().try_for_each(|name| self.folder.rename(name, &self.imported, name));
        let moved = renamed.and_then(|()| self.imported.sync()).and_then(|()| self.folder.sync());
        moved.map_err(|error| {
            let words = format!(
                "{} is in the queue now, but cannot be moved to {IMPORTED}/: {error}; move it \
                there, or it will be imported again",
                harmless(&names.join(" and "))
            );
            ToolError::new(EX_CANTCREAT, words)
        })
    }

    /// Imports one pair; gives its new id.
    async fn take(&self, stem: &str) -> Result<String, ImportError> {
        let (eml, json) = (format!("{stem}.eml"), format!("{stem}.json"));
        if self.imported.has(&json) || self.imported.has(&eml) {
            return Err(format!(
                "it was imported before: {IMPORTED}/ has it; rename one of them if it is a \
                different message"
            )
            .into());
        }
        if self.folder.has(&format!("{stem}.moving")) {
            return Err(
                "an export with --move has not finished with it: repeat that export, or remove the \
                file .moving"
                    .to_owned()
                    .into(),
            );
        }
        let unreadable = |name: &str, error: io::Error| format!("{name} cannot be read: {error}");
        let head =
            self.folder.read_small(&json, HEAD_MAX).map_err(|error| unreadable(&json, error))?;
        let open = || match self.folder.read(&eml) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(format!("{eml} is missing"))
            }
            other => other.map_err(|error| unreadable(&eml, error)),
        };
        let (view, raw) = match (&head, &self.given) {
            (Some(text), _) => (ExportedMessage::read(text)?, true),
            (None, Some(given)) => {
                (plain(given, open()?).map_err(|error| unreadable(&eml, error))?, false)
            }
            (None, None) => {
                return Err(format!(
                    "{json} is missing: give the envelope with --from and --to, or add the file"
                )
                .into());
            }
        };
        view.imported()?;
        let file = open()?;
        if raw {
            let (size, crc) = measure(Raw(open()?)).map_err(|error| unreadable(&eml, error))?;
            if size != view.content.size || crc != view.content.crc32.to_ascii_lowercase() {
                let words = format!(
                    "{eml} is not what was exported: {size} octets with checksum {crc}, the JSON \
                    says otherwise"
                );
                return Err(words.into());
            }
        }
        let id = match self.core.import(&view, pieces(file, raw)).await {
            Err(trouble) if trouble.code == EX_DATAERR => return Err(trouble.words.into()),
            other => other?,
        };
        let names = if head.is_some() { vec![json, eml] } else { vec![eml] };
        self.put_away(&names)?;
        Ok(id)
    }
}

/// The JSON of a mail without one.
fn plain(given: &GivenEnvelope, file: File) -> io::Result<ExportedMessage> {
    let arrived = clock::rfc3339(clock::now());
    let mut eight_bit = false;
    let content = Lines::new(file).inspect(|piece| {
        eight_bit |= piece.as_ref().is_ok_and(|piece| !piece.is_ascii());
    });
    let (size, crc32) = measure(content)?;
    let addresses = given.recipients.iter().chain(&given.sender);
    let smtputf8 = !addresses.into_iter().all(Address::is_ascii);
    let target = |address: &Address| ExportedTarget {
        address: address.as_str().to_owned(),
        status: TargetStatus::Pending,
        attempts: 0,
        next_try: None,
        last_reply: String::new(),
        notify: None,
        orcpt: None,
    };
    Ok(ExportedMessage {
        postern_mail: VERSION,
        id: String::new(),
        arrived,
        kind: "mail".to_owned(),
        sender: given.sender.as_ref().map_or_else(String::new, |sender| sender.as_str().to_owned()),
        body: if eight_bit { "8bitmime" } else { "7bit" }.to_owned(),
        smtputf8,
        ret: None,
        envid: None,
        client: None,
        helo: String::new(),
        held: false,
        delay_told: false,
        recipients: given.recipients.iter().map(target).collect(),
        copy: None,
        content: ExportedContent { size, crc32 },
    })
}

/// Length and checksum of a content.
fn measure(content: impl Iterator<Item = io::Result<Vec<u8>>>) -> io::Result<(u64, String)> {
    let (mut hasher, mut size) = (crc32fast::Hasher::new(), 0);
    for piece in content {
        let piece = piece?;
        hasher.update(&piece);
        size += piece.len() as u64;
    }
    Ok((size, crc_text(hasher.finalize())))
}

/// The content for the appliance, read by a thread of its own.
fn pieces(file: File, raw: bool) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, pieces) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut content: Box<dyn Iterator<Item = io::Result<Vec<u8>>>> =
            if raw { Box::new(Raw(file)) } else { Box::new(Lines::new(file)) };
        // The appliance may not need the rest.
        while let Some(piece) = content.next()
            && sender.blocking_send(piece.map(Bytes::from)).is_ok()
        {}
    });
    pieces
}

/// A file as it is.
struct Raw(File);

impl Iterator for Raw {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = vec![0; PIECE];
        match self.0.read(&mut piece) {
            Ok(0) => None,
            Ok(got) => {
                piece.truncate(got);
                Some(Ok(piece))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// A file whose lines may end in LF alone, as usual on disks; here they end in CR LF, the last one
/// too.
struct Lines {
    raw: Raw,
    last: u8,
    ended: bool,
}

impl Lines {
    fn new(file: File) -> Self {
        Self { raw: Raw(file), last: b'\n', ended: false }
    }
}

impl Iterator for Lines {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let Some(piece) = self.raw.next() else {
            self.ended = true;
            return (self.last != b'\n')
                .then(|| Ok(if self.last == b'\r' { b"\n" } else { &b"\r\n"[..] }.to_vec()));
        };
        Some(piece.map(|piece| {
            let mut lines = Vec::with_capacity(piece.len() + piece.len() / 32);
            for octet in piece {
                if octet == b'\n' && self.last != b'\r' {
                    lines.push(b'\r');
                }
                lines.push(octet);
                self.last = octet;
            }
            lines
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_disk_become_lines_of_the_wire() {
        let directory = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\r\nb\n", "a\r\nb\r\n"),
            ("a\n\n.\nb", "a\r\n\r\n.\r\nb\r\n"),
            ("a\r", "a\r\n"),
            ("", ""),
            // A bare CR is rejected by the appliance.
            ("a\rb\n", "a\rb\r\n"),
        ] {
            let path = directory.path().join("file");
            std::fs::write(&path, text).unwrap();
            let lines: Vec<u8> = Lines::new(File::open(&path).unwrap())
                .map(Result::unwrap)
                .collect::<Vec<_>>()
                .concat();
            assert_eq!(String::from_utf8(lines).unwrap(), expected, "{text:?}");
        }
        let path = directory.path().join("long");
        std::fs::write(&path, "x".repeat(PIECE - 1) + "\ny\n").unwrap();
        let (size, _) = measure(Lines::new(File::open(&path).unwrap())).unwrap();
        assert_eq!(size, PIECE as u64 + 4);
    }
}
