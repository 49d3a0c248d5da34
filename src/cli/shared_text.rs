//! Texts and JSON shared by several commands.

use super::tool_error::{EX_SOFTWARE, EX_USAGE, ToolError};
use crate::ground::display_text::{counted, harmless};
use crate::ground::text::harmless_json;
use serde::Serialize;
use std::io::Write;

/// Messages requested at once.
pub(super) const PAGE: usize = 500;

pub(super) fn check_id(id: &str) -> Result<(), ToolError> {
    match id.parse::<crate::mail::model::MessageId>() {
        Ok(_) => Ok(()),
        Err(()) => {
            let words =
                format!("'{}' is not a queue id; 'postern queue list' shows them", harmless(id));
            Err(ToolError::new(EX_USAGE, words))
        }
    }
}

pub(super) fn messages(number: u64) -> String {
    counted(number, "message")
}

pub(super) fn null_sender(sender: &str) -> &str {
    if sender.is_empty() { "<>" } else { sender }
}

pub(super) fn to_json(value: &impl Serialize) -> Result<String, ToolError> {
    serde_json::to_string(value)
        .map(harmless_json)
        .map_err(|error| ToolError::new(EX_SOFTWARE, error.to_string()))
}

pub(super) fn print_json(out: &mut dyn Write, value: &impl Serialize) -> Result<(), ToolError> {
    Ok(writeln!(out, "{}", to_json(value)?)?)
}
