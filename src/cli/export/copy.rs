//! The pair of files of one message, copied from the running core.

use super::report::not_written;
use crate::cli::api_client::Core;
use crate::cli::export_directory::{Store, StoreResult};
use crate::cli::tool_error::{EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, ToolError};
use crate::mail::model::MessageId;

/// What came of a copy.
pub(super) enum Copied {
    /// With the version of the message that the pair contains.
    Stored(std::io::Result<StoreResult>, String),
    /// Why there is no pair: a result, and a text.
    Not(&'static str, String),
}

/// Writes the pair of a message. `held`: whether an operator held it before this tool did; then
/// every attempt of it has ended, too.
pub(super) async fn copy(
    core: &Core,
    store: &Store,
    id: MessageId,
    held: Option<bool>,
) -> Result<Copied, ToolError> {
    let (mut view, version, mut content) = match core.mail(id, held.is_some()).await {
        Ok(mail) => mail,
        Err(trouble) => {
            return Ok(match trouble.code {
                EX_NOINPUT => Copied::Not("left", trouble.words),
                EX_TEMPFAIL => Copied::Not("busy", trouble.words),
                EX_DATAERR => Copied::Not("damaged", trouble.words),
                _ => return Err(trouble),
            });
        }
    };
    if let Some(held) = held {
        view.held = held;
    }
    let mut draft = store.begin(id).map_err(not_written)?;
    loop {
        match content.next().await {
            Ok(None) => break,
            Ok(Some(piece)) => {
                if let Err(error) = draft.write(&piece) {
                    store.abandon(&draft);
                    return Err(not_written(error));
                }
            }
            Err(trouble) => {
                store.abandon(&draft);
                return Err(trouble);
            }
        }
    }
    Ok(Copied::Stored(store.finish(draft, &view), version))
}
