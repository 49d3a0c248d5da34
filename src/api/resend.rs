//! `POST /api/v1/history/ID/resend`: a finished message once more, as long as its content is kept.
//!
//! It becomes a new message, with the content as it was and one Received field more. A repetition
//! with the same `Idempotency-Key` sends nothing.
//! Limits: the body is that of an order.

use super::send::{key, refused, sent};
use super::{HttpResponse, ask, error, orders};
use crate::api::state::AppState;
use crate::ground::display_text::span;
use crate::http::idempotency::{Fingerprint, KeyState};
use crate::http::request::RequestHead;
use crate::mail::model::{Address, Envelope, KeptMessage, MessageId, Resubmission, Submission};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// To whom a message is sent again: to these, or to the original recipients. Where nothing is said,
/// to those that did not get it, or to all where everybody did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResendView {
    /// Addresses, of the original recipients or others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// Which of the original recipients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipients: Option<OriginalRecipients>,
}

/// Some of the recipients that a message had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginalRecipients {
    /// Those that did not get it.
    Undelivered,
    /// All.
    All,
}

impl ResendView {
    /// The recipients.
    ///
    /// # Errors
    /// What is wrong, and with which status.
    fn of(
        &self,
        kept: &KeptMessage,
        submission: &dyn Submission,
    ) -> Result<Vec<Address>, (StatusCode, String)> {
        let bad = |words: String| (StatusCode::BAD_REQUEST, words);
        let to = self.to.as_deref().unwrap_or_default();
        if self.to.is_some() && to.is_empty() {
            return Err(bad("to: no address is given; leave it out for the default".to_owned()));
        }
        if self.to.is_some() && self.recipients.is_some() {
            return Err(bad("give one of to and recipients".to_owned()));
        }
        if to.len() > Envelope::RECIPIENTS_MAX {
            return Err(bad(format!("to: at most {} addresses", Envelope::RECIPIENTS_MAX)));
        }
        let mut given = Vec::new();
        for text in to {
            let address = submission.mailbox(text).map_err(|fault| {
                let shown: String = text.chars().take(80).collect();
                bad(format!("to: '{shown}' is not an address: {fault}"))
            })?;
            if !given.contains(&address) {
                given.push(address);
            }
        }
        let undelivered = kept.undelivered();
        match self.recipients {
            _ if !given.is_empty() => Ok(given),
            Some(OriginalRecipients::Undelivered) if undelivered.is_empty() => Err((
                StatusCode::CONFLICT,
                "all recipients got this message; use \"recipients\":\"all\" or \"to\"".to_owned(),
            )),
            Some(OriginalRecipients::All) => Ok(kept.envelope.recipients.clone()),
            None if undelivered.is_empty() => Ok(kept.envelope.recipients.clone()),
            _ => Ok(undelivered),
        }
    }
}

/// `POST /api/v1/history/ID/resend`, after the check of rights.
pub(super) async fn order(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
    content: Incoming,
) -> HttpResponse {
    let content = match orders::content(visit, content).await {
        Ok(content) => content,
        Err(answer) => return answer,
    };
    let view = match &content[..] {
        [] => Ok(ResendView::default()),
        json => serde_json::from_slice::<serde_json::Map<_, _>>(json)
            .and_then(|object| serde_json::from_value(object.into())),
    };
    let view = match view {
        Ok(view) => view,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &format!("invalid order: {fault}")),
    };
    let key = match key(visit.headers) {
        Ok(key) => key,
        Err(words) => return error(StatusCode::BAD_REQUEST, words),
    };
    match resend(app, visit, id, &view, key).await {
        Ok((new, repeated)) => sent(app, new, repeated),
        Err(answer) => answer,
    }
}

/// Sends a finished message once more; tells the new one, and whether a request with this key had
/// done so before. Whoever calls has shown the right to give orders.
pub(crate) async fn resend(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
    view: &ResendView,
    key: Option<&str>,
) -> Result<(MessageId, bool), HttpResponse> {
    // Of what was asked, and before the content is looked for: the answer to a repetition must not
    // depend on how long that is kept.
    let print = Fingerprint::of_text(&format!("resend {id} {view:?}"));
    let principal = visit.principal();
    let claim = match key
        .map(|key| app.views.idempotency_keys.begin(&format!("{} resend {key}", principal.user)))
    {
        None => None,
        Some(KeyState::New(claim)) => Some(claim),
        Some(KeyState::Known(known, new)) if known == print => return Ok((new, true)),
        Some(KeyState::Known(..)) => {
            let words = "this Idempotency-Key was used for another order";
            return Err(error(StatusCode::UNPROCESSABLE_ENTITY, words));
        }
        Some(KeyState::UnderWay) => {
            let words = "a request with this Idempotency-Key is in progress; try again later";
            return Err(error(StatusCode::CONFLICT, words));
        }
    };
    let kept = kept(app, visit, id).await?;
    let submission = Arc::clone(&app.views.submission);
    let recipients =
        view.of(&kept, &*submission).map_err(|(status, words)| error(status, &words))?;
    // In a task of its own: a client that disconnects must find the message under its key.
    let task = tokio::spawn(async move {
        let new = submission.resubmit(Resubmission { kept, recipients, principal }).await;
        if let (Ok(new), Some(claim)) = (&new, claim) {
            claim.done(print, *new).await;
        }
        new
    });
    match task.await {
        Ok(Ok(new)) => Ok((new, false)),
        Ok(Err((reply, _))) => Err(refused(&reply)),
        Err(_) => {
            Err(error(StatusCode::INTERNAL_SERVER_ERROR, "the message was cut off; try again"))
        }
    }
}

/// The message with its content, or what to do where there is none.
async fn kept(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
) -> Result<KeptMessage, HttpResponse> {
    let _search = visit.search().await?;
    let history = &app.views.history;
    match ask(history.kept(id)).await? {
        Some(kept) => Ok(kept),
        None if history.content_time().is_zero() => Err(error(StatusCode::NOT_FOUND, NOT_KEPT)),
        None => {
            let time = span(history.content_time().as_secs());
            let words = format!(
                "the content of this message is not kept: only messages that were finished in the \
                last {time} (history_content) can be sent again, not those that an operator \
                deleted or moved, and the oldest go first where the data volume has no room"
            );
            Err(error(StatusCode::NOT_FOUND, &words))
        }
    }
}

/// What to do where no content is kept at all.
pub(crate) const NOT_KEPT: &str = "the content of finished messages is not kept: set \
history_content=1d (MTA_HISTORY_CONTENT) to be able to send them again from then on";
