//! `postern queue resend`: a finished message once more.

use super::api_client::Core;
use super::shared_text::{check_id, print_json};
use super::tool_error::{EX_USAGE, ToolError};
use crate::api::{OriginalRecipients, ResendView, SentView};
use clap::Args;
use std::io::Write;

/// Which message, and to whom.
#[derive(Debug, Args)]
pub(super) struct Resend {
    /// The queue id of the finished message
    id: String,
    /// Send it to this address instead of its recipients; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Send it to all its recipients, also to those that got it
    #[arg(long)]
    all: bool,
}

impl Resend {
    /// Whether the arguments make sense.
    ///
    /// # Errors
    /// The id is none, or the recipients are named in two ways.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        if self.all && !self.to.is_empty() {
            return Err(ToolError::new(
                EX_USAGE,
                "resend to whom? Give only one of --to and --all",
            ));
        }
        check_id(&self.id)
    }

    /// Sends it.
    ///
    /// # Errors
    /// The core's: there is no content of it, or an address is none.
    pub(super) async fn run(
        &self,
        core: &Core,
        json: bool,
        out: &mut dyn Write,
    ) -> Result<(), ToolError> {
        let to = (!self.to.is_empty()).then(|| self.to.clone());
        let view = ResendView { to, recipients: self.all.then_some(OriginalRecipients::All) };
        let sent: SentView =
            core.post(&format!("/api/v1/history/{}/resend", self.id), &view).await?;
        if json {
            return print_json(out, &sent);
        }
        Ok(writeln!(out, "{} is sent again as {}.", self.id, sent.id)?)
    }
}
