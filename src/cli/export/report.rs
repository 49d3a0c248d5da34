//! The output of `postern queue export`: a line for each message, the totals, the exit code.

use crate::cli::export_directory::StoreResult;
use crate::cli::progress::ProgressReporter;
use crate::cli::shared_text::{messages, to_json};
use crate::cli::tool_error::{EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, ToolError};
use crate::ground::display_text::{count, harmless};
use crate::mail::model::MessageId;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// The result for one message.
#[derive(Debug, Serialize)]
struct ExportedView<'a> {
    id: String,
    /// `exported`, `moved`, `identical`, `left`, `busy`, `unclear`, `conflict` or `damaged`.
    result: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// How many messages had each result.
#[derive(Debug, Default, Serialize)]
struct Tally {
    exported: u64,
    moved: u64,
    identical: u64,
    left: u64,
    busy: u64,
    unclear: u64,
    conflicts: u64,
    damaged: u64,
}

/// Where the results of an export are printed.
pub(super) struct ExportReporter<'a> {
    json: bool,
    out: &'a mut dyn Write,
    pub(super) progress: ProgressReporter<'a>,
    tally: Tally,
    pub(super) total: usize,
    done: usize,
}

impl<'a> ExportReporter<'a> {
    pub(super) fn new(json: bool, out: &'a mut dyn Write, complaints: &'a mut dyn Write) -> Self {
        Self {
            json,
            out,
            progress: ProgressReporter::new(complaints),
            tally: Tally::default(),
            total: 0,
            done: 0,
        }
    }

    /// Prints the result for one message.
    pub(super) fn note(
        &mut self,
        id: MessageId,
        result: &'static str,
        reason: Option<&str>,
    ) -> Result<(), ToolError> {
        let tally = &mut self.tally;
        *match result {
            "exported" => &mut tally.exported,
            "moved" => &mut tally.moved,
            "identical" => &mut tally.identical,
            "left" => &mut tally.left,
            "busy" => &mut tally.busy,
            "unclear" => &mut tally.unclear,
            "conflict" => &mut tally.conflicts,
            _ => &mut tally.damaged,
        } += 1;
        self.done += 1;
        if self.json {
            writeln!(
                self.out,
                "{}",
                to_json(&ExportedView { id: id.to_string(), result, reason })?
            )?;
        } else if let Some(reason) = reason {
            writeln!(self.out, "{id} {result}: {}", harmless(reason))?;
        }
        let (done, total) = (self.done, self.total);
        self.progress.tell(|| format!("{} of {}", count(done as u64), messages(total as u64)));
        Ok(())
    }

    /// Writes the sums and gives the exit code. `by_id`: whether messages were named one by one, so
    /// that one that is missing is an error.
    pub(super) fn end(self, directory: &Path, by_id: bool) -> Result<(), ToolError> {
        let tally = &self.tally;
        if self.json {
            writeln!(self.out, "{}", to_json(tally)?)?;
        } else {
            let directory = directory.display().to_string();
            writeln!(
                self.out,
                "{} exported to {}.",
                messages(tally.exported + tally.moved),
                harmless(&directory)
            )?;
            let rows = [
                (tally.moved, "taken out of the queue"),
                (tally.identical, "already there, identical"),
                (tally.left, "had left the queue"),
                (
                    tally.busy,
                    "being delivered or released just now, and left in the queue; try again later",
                ),
                (tally.unclear, "not in the queue, and possibly not moved"),
                (tally.conflicts, "not exported: another file has the name"),
                (tally.damaged, "not exported: damaged"),
            ];
            for (number, words) in rows.into_iter().filter(|(number, _)| *number > 0) {
                writeln!(self.out, "{} {words}.", count(number))?;
            }
        }
        let code = match tally {
            Tally { damaged: 1.., .. } => EX_DATAERR,
            Tally { conflicts: 1.., .. } | Tally { unclear: 1.., .. } => EX_CANTCREAT,
            Tally { busy: 1.., .. } => EX_UNAVAILABLE,
            Tally { left: 1.., .. } if by_id => EX_NOINPUT,
            _ => return Ok(()),
        };
        Err(ToolError::new(code, ""))
    }
}

pub(super) fn note_stored(
    stored: std::io::Result<StoreResult>,
    id: MessageId,
    teller: &mut ExportReporter<'_>,
) -> Result<(), ToolError> {
    match stored {
        Ok(StoreResult::Written) => teller.note(id, "exported", None),
        Ok(StoreResult::Identical) => teller.note(id, "identical", None),
        Ok(StoreResult::Conflict) => teller.note(
            id,
            "conflict",
            Some("its files exist with different contents; use another directory"),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            teller.note(id, "damaged", Some(&error.to_string()))
        }
        Err(error) => Err(not_written(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it takes the place of a closure's error")]
pub(super) fn not_written(error: std::io::Error) -> ToolError {
    ToolError::new(
        EX_CANTCREAT,
        format!(
            "cannot write the files: {error}; what was exported before is complete, repeat the \
            command"
        ),
    )
}
