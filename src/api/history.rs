//! The history of mail: its attempts while it is in the queue, and its final state.
//!
//! Limits: a page has at most [`HISTORY_MAX`] messages.

use super::{HttpResponse, ask, error, since};
use crate::api::state::AppState;
use crate::ground::clock;
use crate::http::request::RequestHead;
use crate::http::response;
use crate::http::rights::RequiredRight;
use crate::mail::model::{
    AttemptRecord, DeliveryStatus, FinishedMessage, HistoryFilter, MessageId, RecipientResult,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Finished messages of a page, at most.
pub const HISTORY_MAX: usize = 500;

/// Messages of a page by default.
const PAGE: usize = 100;

/// Time limit of a search for a page.
const PATIENCE: Duration = Duration::from_millis(500);

/// Time limit of a search for one message. Unlike a page it cannot be continued. It suffices for a
/// history of the default size; in a longer one, or on a slow volume, an old message may not be
/// found.
const ONE_PATIENCE: Duration = Duration::from_secs(5);

const UNFINISHED: &str = "the history search took too long; try again";

/// The attempts of a message.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct AttemptsView {
    /// The oldest first.
    pub attempts: Vec<AttemptView>,
}

/// An attempt for some recipients at one next hop.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AttemptView {
    /// When it ended, RFC 3339.
    pub time: String,
    /// The destination.
    pub destination: String,
    /// The host; empty when none was reached.
    pub relay: String,
    /// Protocol version and cipher suite; empty in plain text.
    pub tls: String,
    /// How long it took.
    pub duration_seconds: f64,
    /// The outcome of each recipient.
    pub outcomes: Vec<RecipientResult>,
    /// Commands (`>`), replies (`<`) and remarks (`*`); empty after success.
    pub transcript: Vec<String>,
}

/// A page of finished messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct HistoryView {
    /// Whether there is a history: property `history_enabled`.
    pub kept: bool,
    /// Newest first.
    pub entries: Vec<FinishedView>,
    /// The value of `after` for the next page; `null` at the end.
    pub next: Option<String>,
}

/// A message that has left the queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FinishedView {
    /// Its queue id.
    pub id: String,
    /// When it was accepted, RFC 3339.
    pub arrived: String,
    /// When its last recipient was finished, RFC 3339.
    pub finished: String,
    /// Between the two.
    pub took_seconds: u64,
    /// The reverse-path; empty for the null sender.
    pub sender: String,
    /// Octets of its content.
    pub size_bytes: u64,
    /// The client's address; empty when it was generated locally.
    pub client: String,
    /// The host of the last attempt.
    pub relay: String,
    /// Protocol version and cipher suite of that attempt; empty in plain text.
    pub tls: String,
    /// The final status of each recipient.
    pub recipients: Vec<RecipientResult>,
    /// For a move: the mark in its order.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mark: String,
}

/// A query of the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HistoryQuery {
    pub(crate) wanted: HistoryFilter,
    pub(crate) after: Option<String>,
    pub(crate) limit: Option<usize>,
}

impl HistoryQuery {
    /// From a query string.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub(crate) fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let text = value.trim();
            if text.len() > super::filter::TEXT_MAX {
                return Err(format!("{name}: too long"));
            }
            let field = match &*name {
                "search" => &mut asked.wanted.search,
                "recipient" => &mut asked.wanted.recipient,
                "sender" => &mut asked.wanted.sender,
                "id" => &mut asked.wanted.id,
                "status" => {
                    let status = Some(text).filter(|text| !text.is_empty());
                    asked.wanted.status = status
                        .map(DeliveryStatus::parse_final)
                        .transpose()
                        .map_err(|words| format!("status: {words}"))?;
                    continue;
                }
                "after" => {
                    asked.after = Some(text.to_owned()).filter(|text| !text.is_empty());
                    continue;
                }
                "limit" => {
                    match text.parse() {
                        Ok(limit @ 1..=HISTORY_MAX) => asked.limit = Some(limit),
                        _ => {
                            return Err(format!(
                                "limit: a number from 1 to {HISTORY_MAX} is expected"
                            ));
                        }
                    }
                    continue;
                }
                _ => {
                    return Err(
                        "known parameters are search, recipient, sender, id, status, after \
                        and limit"
                            .to_owned(),
                    );
                }
            };
            text.clone_into(field);
        }
        Ok(asked)
    }
}

/// `GET /api/v1/queue/ID/attempts`
pub(super) async fn attempts(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
) -> HttpResponse {
    let _search = match visit.search().await {
        Ok(search) => search,
        Err(answer) => return answer,
    };
    match attempts_view(app, visit, id).await {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(answer) => answer,
    }
}

/// The attempts, for programs and for the page. The text of an undeliverable bounce is only for
/// users who may read content. The caller has the permission to search.
pub(crate) async fn attempts_view(
    app: &AppState,
    visit: &RequestHead<'_>,
    id: MessageId,
) -> Result<AttemptsView, HttpResponse> {
    let reads = visit.right(RequiredRight::Read).is_ok();
    let attempts = ask(app.views.history.attempts(id, ONE_PATIENCE)).await?;
    Ok(AttemptsView { attempts: attempts.into_iter().map(|one| attempt(one, reads)).collect() })
}

/// `GET /api/v1/history?search=…&after=…`
pub(super) async fn history(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    let asked = match HistoryQuery::parse(visit.query) {
        Ok(asked) => asked,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    let _search = match visit.search().await {
        Ok(search) => search,
        Err(answer) => return answer,
    };
    match history_view(app, asked).await {
        Ok(view) => response::json(StatusCode::OK, &view),
        Err(answer) => answer,
    }
}

/// `GET /api/v1/history/ID`
pub(super) async fn one(app: &AppState, visit: &RequestHead<'_>, id: MessageId) -> HttpResponse {
    let _search = match visit.search().await {
        Ok(search) => search,
        Err(answer) => return answer,
    };
    match finished_view(app, id).await {
        Ok(Some(view)) => response::json(StatusCode::OK, &view),
        Ok(None) => error(StatusCode::NOT_FOUND, "no such message in the history"),
        Err(answer) => answer,
    }
}

/// The final state of a message; `None` if it is not known (any more). It is a search like any
/// other, for which the caller has the permission: for an invented id all of the history may be
/// read.
pub(crate) async fn finished_view(
    app: &AppState,
    id: MessageId,
) -> Result<Option<FinishedView>, HttpResponse> {
    let wanted =
        HistoryFilter { id: id.to_string(), search: id.to_string(), ..HistoryFilter::default() };
    let page = ask(app.views.history.finished(wanted, None, 1, ONE_PATIENCE)).await?;
    match page.finished.into_iter().next() {
        Some(found) => Ok(Some(finished(found))),
        // Not known is not the same as not found in time: a move of mail would take it for an end.
        None if page.next.is_some() => Err(error(StatusCode::SERVICE_UNAVAILABLE, UNFINISHED)),
        None => Ok(None),
    }
}

/// A page, for programs and for the page.
pub(crate) async fn history_view(
    app: &AppState,
    asked: HistoryQuery,
) -> Result<HistoryView, HttpResponse> {
    let history = &app.views.history;
    let page =
        ask(history.finished(asked.wanted, asked.after, asked.limit.unwrap_or(PAGE), PATIENCE))
            .await?;
    let entries = page.finished.into_iter().map(finished).collect();
    Ok(HistoryView { kept: history.is_kept(), entries, next: page.next })
}

fn attempt(attempt: AttemptRecord, reads: bool) -> AttemptView {
    let lines = |attempt: &AttemptRecord| match reads {
        true => attempt.transcript.lines().map(str::to_owned).collect(),
        false => attempt.dialogue().map(str::to_owned).collect(),
    };
    AttemptView {
        transcript: lines(&attempt),
        time: clock::rfc3339(attempt.at),
        destination: attempt.destination,
        relay: attempt.relay,
        tls: attempt.tls,
        duration_seconds: attempt.took_ms as f64 / 1000.0,
        outcomes: attempt.outcomes,
    }
}

fn finished(finished: FinishedMessage) -> FinishedView {
    FinishedView {
        arrived: clock::rfc3339(finished.arrived),
        finished: clock::rfc3339(finished.at),
        took_seconds: since(finished.arrived, finished.at),
        id: finished.id,
        sender: finished.sender,
        size_bytes: finished.size,
        client: finished.client,
        relay: finished.relay,
        tls: finished.tls,
        recipients: finished.recipients,
        mark: finished.mark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bounce_says_is_shown_to_those_who_may_read_it() {
        let kept = AttemptRecord {
            id: "0".into(),
            at: 1,
            destination: String::new(),
            relay: String::new(),
            tls: String::new(),
            took_ms: 1,
            outcomes: Vec::new(),
            transcript: format!(
                "> RCPT TO:<a@b.example>\n< 550 no\n{}\nSubject: secret\n",
                AttemptRecord::TEXT_MARK
            ),
        };
        assert_eq!(
            attempt(kept.clone(), false).transcript,
            ["> RCPT TO:<a@b.example>", "< 550 no"]
        );
        assert_eq!(
            attempt(kept, true).transcript.last().map(String::as_str),
            Some("Subject: secret")
        );
    }

    #[test]
    fn what_is_asked_of_the_history_is_understood_or_refused() {
        let asked = HistoryQuery::parse("search=a%40b&status=bounced&after=3-7&limit=5").unwrap();
        assert_eq!(
            (asked.wanted.search.as_str(), asked.wanted.status),
            ("a@b", Some(DeliveryStatus::Bounced))
        );
        assert_eq!((asked.after.as_deref(), asked.limit), (Some("3-7"), Some(5)));
        for (query, status) in [
            ("status=", None),
            ("status=moved", Some(DeliveryStatus::Moved)),
            ("status=failed", Some(DeliveryStatus::Bounced)),
        ] {
            assert_eq!(HistoryQuery::parse(query).unwrap().wanted.status, status, "{query}");
        }
        for bad in ["status=lost", "status=pending", "limit=0", "limit=501", "x=y"] {
            assert!(HistoryQuery::parse(bad).is_err(), "{bad}");
        }
    }
}
