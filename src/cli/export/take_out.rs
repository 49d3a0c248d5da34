//! `--move`: exports a message and removes it from the queue.

use super::copy::{Copied, copy};
use super::report::{ExportReporter, not_written, note_stored};
use crate::api::{FinishedView, MatchedView, MessageView, OrderView};
use crate::cli::api_client::Core;
use crate::cli::export_directory::{ASIDE, MoveMarker, Store, StoreResult};
use crate::cli::tool_error::{EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE, ToolError};
use crate::mail::model::{DeliveryStatus, MessageId};
use std::time::{Duration, Instant};

/// How long a move waits for the attempts of one message to end.
const STILL_PATIENCE: Duration = Duration::from_secs(120);

/// How long a move waits before it asks again.
const BUSY_PAUSE: Duration = Duration::from_millis(500);

/// Moves one message out of the queue.
pub(super) async fn take_out(
    core: &Core,
    store: &Store,
    id: MessageId,
    teller: &mut ExportReporter<'_>,
) -> Result<(), ToolError> {
    let shown = match core.get::<MessageView>(&format!("/api/v1/queue/{id}")).await {
        Err(trouble) if trouble.code == EX_NOINPUT => return gone(core, store, id, teller).await,
        other => other?,
    };
    let mark = match store.marked(id).map_err(not_written)? {
        Some(mark) => mark,
        None => {
            let mark = MoveMarker::new(shown.held, store.has_any(id));
            store.mark(id, &mark).map_err(not_written)?;
            mark
        }
    };
    let stays = match hold_and_copy(core, store, id, mark.held).await {
        Ok(Copied::Stored(Ok(StoreResult::Written | StoreResult::Identical), version)) => {
            store.sync().map_err(not_written)?;
            match move_out(core, id, version, &mark).await {
                Ok(_) => {
                    store.unmark(id).map_err(not_written)?;
                    return teller.note(id, "moved", None);
                }
                Err(trouble) if trouble.code == EX_NOINPUT => {
                    return gone(core, store, id, teller).await;
                }
                Err(trouble) if trouble.code == EX_TEMPFAIL => {
                    Ok(Copied::Not("busy", trouble.words))
                }
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(Copied::Not("left", _)) => return gone(core, store, id, teller).await,
        other => other,
    };
    // It stays in the queue unchanged; or not, because the order is executed after a move of an
    // earlier attempt that was still waiting.
    match order(core, if mark.held { "hold" } else { "release" }, id).await {
        Err(trouble) if trouble.code == EX_NOINPUT => return gone(core, store, id, teller).await,
        Ok(MatchedView { messages: 0, .. }) => return gone(core, store, id, teller).await,
        other => drop(other?),
    }
    // A pair of this attempt, or of one before it, has an old state of the message: it must not be
    // imported while the message is still delivered here. The pair of an export without a move
    // belongs to the operator, and of a damaged message it may be the only intact copy.
    match &stays {
        Ok(Copied::Stored(Ok(StoreResult::Conflict), _)) => {}
        Ok(Copied::Not("damaged", _)) if !mark.exported => {
            store.set_aside(id).map_err(not_written)?;
        }
        _ if mark.exported => {}
        _ => store.discard(id).map_err(not_written)?,
    }
    store.unmark(id).map_err(not_written)?;
    match stays? {
        Copied::Stored(stored, _) => note_stored(stored, id, teller),
        Copied::Not(result, words) => teller.note(id, result, Some(&words)),
    }
}

/// A message that is not in the queue any more: an earlier attempt has moved it, or it was
/// delivered, bounced or deleted.
async fn gone(
    core: &Core,
    store: &Store,
    id: MessageId,
    teller: &mut ExportReporter<'_>,
) -> Result<(), ToolError> {
    let Some(mark) = store.marked(id).map_err(not_written)?.filter(|_| store.has_pair(id)) else {
        store.unmark(id).map_err(not_written)?;
        return teller.note(id, "left", Some("no such message in the queue"));
    };
    let (result, words) = match core.get::<FinishedView>(&format!("/api/v1/history/{id}")).await {
        Ok(end) => match how_it_left(&end, &mark) {
            None => ("moved", None),
            Some(how) => {
                store.set_aside(id).map_err(not_written)?;
                ("left", Some(format!("{how}; its files are {id}.json{ASIDE} and .eml{ASIDE} now")))
            }
        },
        Err(trouble) if trouble.code == EX_NOINPUT => {
            // A duplicate is better than a loss.
            let words = format!(
                "the history does not know (any more) whether it was moved, or delivered from \
                 here. Search for {id} in the log of this appliance. If each recipient that is \
                 pending in {id}.json was sent, bounced or deleted there, and no line has \
                 status=moved, remove all three files. Otherwise remove {id}.moving and import \
                 the pair"
            );
            return teller.note(id, "unclear", Some(&words));
        }
        Err(trouble) if trouble.code == EX_UNAVAILABLE => {
            let words = format!(
                "it is not known whether it was moved, because the history could not be read \
                 ({}). Its files are kept; repeat the command later",
                trouble.words
            );
            return teller.note(id, "unclear", Some(&words));
        }
        Err(trouble) => return Err(trouble),
    };
    store.unmark(id).map_err(not_written)?;
    teller.note(id, result, words.as_deref())
}

/// How a message left the queue, unless it was by the move with this mark.
fn how_it_left(end: &FinishedView, mark: &MoveMarker) -> Option<String> {
    let mut ends: Vec<DeliveryStatus> =
        end.recipients.iter().map(|recipient| recipient.status).collect();
    if !ends.contains(&DeliveryStatus::Moved) {
        ends.sort_unstable();
        ends.dedup();
        let ends: Vec<&str> = ends.into_iter().map(DeliveryStatus::as_str).collect();
        return Some(format!("it was not moved but {}", ends.join(", ")));
    }
    // Marks of older versions have no word.
    let ours = mark.word.is_empty() || mark.word == end.mark;
    (!ours).then(|| "another export has moved it".to_owned())
}

async fn hold_and_copy(
    core: &Core,
    store: &Store,
    id: MessageId,
    held: bool,
) -> Result<Copied, ToolError> {
    match order(core, "hold", id).await {
        Err(trouble) if trouble.code == EX_NOINPUT => {
            return Ok(Copied::Not("left", trouble.words));
        }
        other => drop(other?),
    }
    let end = Instant::now() + STILL_PATIENCE;
    loop {
        match copy(core, store, id, Some(held)).await? {
            // It is being attempted, or the core is restarting.
            Copied::Not("busy", _) if Instant::now() < end => tokio::time::sleep(BUSY_PAUSE).await,
            other => return Ok(other),
        }
    }
}

async fn order(core: &Core, word: &str, id: MessageId) -> Result<MatchedView, ToolError> {
    let order =
        OrderView { order: word.to_owned(), id: Some(id.to_string()), ..OrderView::default() };
    core.post("/api/v1/orders", &order).await
}

async fn move_out(
    core: &Core,
    id: MessageId,
    version: String,
    mark: &MoveMarker,
) -> Result<MatchedView, ToolError> {
    let order = OrderView {
        order: "move".to_owned(),
        id: Some(id.to_string()),
        version: Some(version),
        mark: Some(mark.word.clone()).filter(|word| !word.is_empty()),
        ..OrderView::default()
    };
    core.post("/api/v1/orders", &order).await
}
