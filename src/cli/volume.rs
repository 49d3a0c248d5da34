//! `postern queue verify`, and how the tool finds a data volume.

use super::progress::ProgressReporter;
use super::shared_text::{messages, null_sender, to_json};
use super::tool_error::{
    EX_DATAERR, EX_NOINPUT, EX_NOPERM, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE, ToolError,
};
use crate::ground::display_text::{count, counted, harmless, size};
use crate::mail::model::{
    Address, Damage, DamageMeaning, FileCount, OfflineError, OfflineQueue, VerifyReport,
};
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Data volumes for the tool, which itself knows neither properties nor the queue's files.
pub trait Volumes {
    /// The path in property `volume_data`.
    ///
    /// # Errors
    /// What is wrong with the properties, as text.
    fn usual(&self) -> Result<PathBuf, String>;

    /// Opens a volume for reading.
    ///
    /// # Errors
    /// [`OfflineError`].
    fn open(&self, path: &Path) -> Result<Box<dyn OfflineQueue>, OfflineError>;
}

/// The volume that is meant, and its path.
pub(super) fn open(
    volumes: &dyn Volumes,
    given: Option<PathBuf>,
) -> Result<(PathBuf, Box<dyn OfflineQueue>), ToolError> {
    let path = match given {
        Some(path) => path,
        None => volumes.usual().map_err(|words| {
            ToolError::new(
                EX_USAGE,
                format!(
                    "the properties do not say which volume is meant: {words}; give --volume DIR"
                ),
            )
        })?,
    };
    let rest = volumes.open(&path).map_err(|error| trouble(&error))?;
    Ok((path, rest))
}

pub(super) fn trouble(error: &OfflineError) -> ToolError {
    let code = match error {
        OfflineError::Missing(_) => EX_NOINPUT,
        OfflineError::InUse(_) => EX_UNAVAILABLE,
        OfflineError::Forbidden(_) => EX_NOPERM,
        OfflineError::NotUnderstood(_) => EX_DATAERR,
        OfflineError::Storage(_) => EX_SOFTWARE,
    };
    ToolError::new(code, harmless(&error.to_string()))
}

/// Verifies a volume and prints a report.
pub(super) fn verify(
    volumes: &dyn Volumes,
    given: Option<PathBuf>,
    json: bool,
    out: &mut dyn Write,
    complaints: &mut dyn Write,
) -> Result<(), ToolError> {
    let (path, rest) = open(volumes, given)?;
    let mut progress = ProgressReporter::new(complaints);
    let findings = rest.verify(&mut |looked| {
        progress.tell(|| {
            format!(
                "{} of {} files read, {} in all",
                count(looked.files),
                count(looked.files_total),
                size(looked.octets)
            )
        });
    });
    let findings = findings.map_err(|error| trouble(&error))?;
    if json {
        writeln!(out, "{}", to_json(&VerifiedView::of(&path, &findings))?)?;
    } else {
        report(&path, &findings, out)?;
    }
    out.flush()?;
    match findings.damages_total {
        0 => Ok(()),
        _ => Err(ToolError::new(EX_DATAERR, "")),
    }
}

fn report(path: &Path, findings: &VerifyReport, out: &mut dyn Write) -> Result<(), ToolError> {
    let format = findings
        .format
        .map_or_else(|| "none yet (a new volume)".to_owned(), |format| format.to_string());
    let rows = [
        ("Volume", path.display().to_string()),
        ("Format", format),
        (
            "Queue",
            format!(
                "{}, {} held, {} waiting, {}",
                messages(findings.messages),
                count(findings.held),
                counted(findings.recipients_pending, "recipient"),
                size(findings.bytes)
            ),
        ),
        (
            "Log",
            format!(
                "{}, {}, {}, {} of them for completed messages",
                counted(findings.segments.files, "segment"),
                size(findings.segments.octets),
                counted(findings.records, "record"),
                count(findings.finished)
            ),
        ),
        ("Contents", files(findings.contents)),
        ("Spare", files(findings.spares)),
        ("Reserve", files(findings.reserve)),
        ("Quarantined", files(findings.set_aside)),
    ];
    for (name, value) in rows {
        writeln!(out, "{name:<11} {}", harmless(&value))?;
    }
    for note in notes(findings) {
        writeln!(out, "{:<11} {}", "Note", harmless(&note))?;
    }
    if findings.damages_total == 0 {
        writeln!(out, "\nThe queue is intact.")?;
        return Ok(());
    }
    writeln!(
        out,
        "\nDAMAGED: {} records or contents do not match their checksums.",
        count(findings.damages_total)
    )?;
    for damage in &findings.damages {
        writeln!(out, "\n{}", harmless(&place(damage)))?;
        writeln!(out, "  what      {}", damage.what)?;
        if let Some(id) = damage.id {
            let sure = if damage.certain { "" } else { " (probably; read from damaged octets)" };
            writeln!(out, "  message   {id}{sure}")?;
        }
        if !damage.recipients.is_empty() {
            let sender = damage.sender.as_ref().map_or("", Address::as_str);
            writeln!(out, "  from      {}", harmless(null_sender(sender)))?;
            let shown: Vec<&str> = damage.recipients.iter().take(5).map(Address::as_str).collect();
            let more = damage.recipients.len() - shown.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            writeln!(out, "  to        {}{more}", harmless(&shown.join(", ")))?;
        }
        writeln!(out, "  meaning   {}", meaning(damage))?;
    }
    let hidden = findings.damages_total - findings.damages.len() as u64;
    if hidden > 0 {
        writeln!(out, "\n… and {} more.", count(hidden))?;
    }
    writeln!(
        out,
        "\nThe appliance starts on this volume all the same: it quarantines damaged records under \
        corrupt/ and serves the rest.\n\
         Damage comes from the disk below: copy the volume before anything else, and look at the \
         kernel's log."
    )?;
    Ok(())
}

fn place(damage: &Damage) -> String {
    format!("{}, octets {} to {}", damage.file, damage.offset, damage.offset + damage.length)
}

fn meaning(damage: &Damage) -> &'static str {
    match damage.meaning {
        DamageMeaning::Lost => {
            "LOST: this message cannot be delivered; its octets are quarantined at the next start, \
            or when it is due. If a crash cut off the last writes, it may never have been \
            answered 250"
        }
        DamageMeaning::Repeated => {
            "the message is there; recipients that already have it may get it again"
        }
        DamageMeaning::Returns => {
            "this message was completed; it may return to the queue and be delivered again"
        }
        DamageMeaning::Missing => {
            "MISSING: the file was removed. Restore it from a backup before the next start, which \
            continues without it: messages in it are lost, and completed messages may be \
            delivered again"
        }
        DamageMeaning::Unknown => {
            "the message is unknown; it may be lost, repeated, or completed long ago"
        }
        DamageMeaning::Harmless => "nothing in the queue needs it",
    }
}

fn meaning_name(meaning: DamageMeaning) -> &'static str {
    match meaning {
        DamageMeaning::Lost => "lost",
        DamageMeaning::Repeated => "repeated",
        DamageMeaning::Returns => "returns",
        DamageMeaning::Missing => "missing",
        DamageMeaning::Unknown => "unknown",
        DamageMeaning::Harmless => "harmless",
    }
}

fn notes(findings: &VerifyReport) -> Vec<String> {
    let mut notes = findings.notes.clone();
    if let Some(damage) = &findings.unfinished {
        let who = damage.id.map(|id| format!(" of message {id}")).unwrap_or_default();
        notes.push(format!(
            "{}: an unfinished write{who}, as left by a crash; it was never answered 250, and the \
            next start quarantines it (if the relay was stopped cleanly by a version that wrote no \
            file 'closed', it is damage)",
            place(damage)
        ));
    }
    if findings.imports_unfinished > 0 {
        let cut_off = counted(findings.imports_unfinished, "import");
        notes.push(format!(
            "{cut_off} interrupted by a crash; the next start drops the partial content"
        ));
    }
    if findings.orphans.files > 0 {
        notes.push(format!(
            "{} of completed messages; the next start removes them",
            files(findings.orphans)
        ));
    }
    if findings.strays.files > 0 {
        notes.push(format!(
            "{} of messages in no segment: received during a crash, or a segment is missing; the \
            next start quarantines them in corrupt/",
            files(findings.strays)
        ));
    }
    if findings.parts.files > 0 {
        notes.push(format!(
            "{} of messages that were being received; the next start removes them",
            files(findings.parts)
        ));
    }
    notes
}

fn files(files: FileCount) -> String {
    match files.files {
        0 => "none".to_owned(),
        1 => format!("1 file, {}", size(files.octets)),
        many => format!("{} files, {}", count(many), size(files.octets)),
    }
}

/// The output of `verify --json`.
#[derive(Debug, Serialize)]
struct VerifiedView<'a> {
    volume: String,
    clean: bool,
    format: Option<u32>,
    messages: u64,
    messages_held: u64,
    recipients_pending: u64,
    bytes: u64,
    segments: FilesView,
    records: u64,
    records_finished: u64,
    contents: FilesView,
    orphans: FilesView,
    strays: FilesView,
    parts: FilesView,
    spares: FilesView,
    reserve: FilesView,
    set_aside: FilesView,
    imports_unfinished: u64,
    unfinished: Option<DamageView<'a>>,
    damages_total: u64,
    damages: Vec<DamageView<'a>>,
    notes: &'a [String],
}

#[derive(Debug, Serialize)]
struct FilesView {
    files: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct DamageView<'a> {
    file: &'a str,
    offset: u64,
    length: u64,
    what: &'a str,
    id: Option<String>,
    certain: bool,
    sender: Option<&'a str>,
    recipients: Vec<&'a str>,
    meaning: &'static str,
}

impl From<FileCount> for FilesView {
    fn from(files: FileCount) -> Self {
        Self { files: files.files, bytes: files.octets }
    }
}

impl<'a> From<&'a Damage> for DamageView<'a> {
    fn from(damage: &'a Damage) -> Self {
        let known = !damage.recipients.is_empty();
        Self {
            file: &damage.file,
            offset: damage.offset,
            length: damage.length,
            what: &damage.what,
            id: damage.id.map(|id| id.to_string()),
            certain: damage.certain,
            sender: known.then(|| damage.sender.as_ref().map_or("", Address::as_str)),
            recipients: damage.recipients.iter().map(Address::as_str).collect(),
            meaning: meaning_name(damage.meaning),
        }
    }
}

impl<'a> VerifiedView<'a> {
    fn of(path: &Path, findings: &'a VerifyReport) -> Self {
        Self {
            volume: path.display().to_string(),
            clean: findings.damages_total == 0,
            format: findings.format,
            messages: findings.messages,
            messages_held: findings.held,
            recipients_pending: findings.recipients_pending,
            bytes: findings.bytes,
            segments: findings.segments.into(),
            records: findings.records,
            records_finished: findings.finished,
            contents: findings.contents.into(),
            orphans: findings.orphans.into(),
            strays: findings.strays.into(),
            parts: findings.parts.into(),
            spares: findings.spares.into(),
            reserve: findings.reserve.into(),
            set_aside: findings.set_aside.into(),
            imports_unfinished: findings.imports_unfinished,
            unfinished: findings
                .unfinished
                .as_ref()
                .map(|damage| DamageView { meaning: "unfinished", ..damage.into() }),
            damages_total: findings.damages_total,
            damages: findings.damages.iter().map(DamageView::from).collect(),
            notes: &findings.notes,
        }
    }
}
