//! Operator actions on the queue ("orders").
//!
//! Limits: an order has [`ORDER_MAX`] octets and names [`IDS_MAX`] ids; a preview counts for
//! [`PREVIEW_PATIENCE`].

use super::filter::FilterView;
use super::{HttpResponse, admin_error, error};
use crate::api::state::AppState;
use crate::http::request::{EntryPoint, RequestHead};
use crate::http::response;
use crate::mail::model::{
    AdminError, DESTINATIONS_MAX, Filter, MessageId, Paused, QueueOrder, Selection,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;

/// Octets of an order, at most.
const ORDER_MAX: usize = 64 * 1024;

/// Ids in an order, at most.
pub const IDS_MAX: usize = 1000;

/// Time limit to receive an order.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// Time limit of a preview.
const PREVIEW_PATIENCE: Duration = Duration::from_secs(5);

/// An order as it is sent: `{"order":"retry","domain":"example.org"}`. Exactly one of the
/// selections.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderView {
    /// `retry`, `hold`, `release`, `delete`, `move` (a `delete` after an export); for destinations
    /// `pause` and `resume`.
    pub order: String,
    /// One message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// These messages, at most [`IDS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// All with a pending recipient in this domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// All for this destination; with `pause` and `resume` the destination itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// All that match this filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterView>,
    /// All.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// For `move`: the version of the exported message, from the ETag of `GET queue/ID/mail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// For `move`: 16 hexadecimal digits that identify the move in the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// Only count the affected messages.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
}

/// How many messages an order changed, or would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedView {
    /// Messages. Of `pause` and `resume`: destinations whose state changed.
    pub messages: u64,
    /// For `retry`: those of them that are not attempted, because they are held or wait only for
    /// paused destinations; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<u64>,
    /// Whether nothing was changed; absent = it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
    /// For a preview: the first ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<String>,
    /// For a preview: there may be more, because the time limit was reached; absent = that is all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// For `pause` and `resume`: a remark about an unexpected result; absent = none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remark: Option<Remark>,
}

/// A remark about an executed `pause` or `resume`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remark {
    /// It is paused, and no mail waits for it: the name was given in advance, or it is misspelt.
    NoMailWaits,
    /// It was already paused.
    PausedAlready,
    /// It was not paused.
    NotPaused,
}

impl Remark {
    fn of(paused: bool, done: Paused) -> Option<Self> {
        match (paused, done.changed) {
            (false, false) => Some(Self::NotPaused),
            (true, _) if done.waiting == 0 => Some(Self::NoMailWaits),
            (true, false) => Some(Self::PausedAlready),
            _ => None,
        }
    }

    /// The remark as text; `name` is the destination, or a pronoun for it.
    pub(crate) fn words(self, name: &str) -> String {
        match self {
            Self::NoMailWaits => format!(
                "no mail is queued for {name} now; new mail for it will wait until you resume it"
            ),
            Self::PausedAlready => {
                format!("{name} was already paused, until you resume it")
            }
            Self::NotPaused => format!("{name} was not paused; nothing has changed"),
        }
    }
}

/// A parsed order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OrderRequest {
    Messages(QueueOrder, Selection),
    Pause(String, bool),
    /// One message, if it still has this version.
    Move {
        id: MessageId,
        version: u64,
        mark: String,
    },
}

/// The JSON of an order.
///
/// # Errors
/// It is not JSON, too long, or took too long to arrive.
pub(super) async fn content(
    visit: &RequestHead<'_>,
    content: Incoming,
) -> Result<Bytes, HttpResponse> {
    let media = visit
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let json =
        media.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json");
    // A page of another site can send forms and plain text without a preflight request, but not
    // JSON.
    if !json && visit.entry != EntryPoint::Control {
        return Err(error(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "an order is JSON: send it as 'Content-Type: application/json'",
        ));
    }
    match timeout(ORDER_PATIENCE, Limited::new(content, ORDER_MAX).collect()).await {
        Ok(Ok(content)) => Ok(content.to_bytes()),
        Ok(Err(_)) => Err(error(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the order could not be read, or is over 64 KiB",
        )),
        Err(_) => Err(error(StatusCode::REQUEST_TIMEOUT, "the order took too long to arrive")),
    }
}

/// `POST /api/v1/orders`
pub(super) async fn order(app: &AppState, visit: &RequestHead<'_>, body: Incoming) -> HttpResponse {
    let content = match content(visit, body).await {
        Ok(content) => content,
        Err(answer) => return answer,
    };
    let view: OrderView = match serde_json::from_slice(&content) {
        Ok(view) => view,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &format!("invalid order: {fault}")),
    };
    let wish = match view.wish() {
        Ok(wish) => wish,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    match carry_out(app, visit, wish, view.preview).await {
        Ok(hit) => response::json(StatusCode::OK, &hit),
        Err(fault) => admin_error(&fault),
    }
}

/// Executes an order, or counts the messages that it would change. The queue writes the audit line.
pub(crate) async fn carry_out(
    app: &AppState,
    visit: &RequestHead<'_>,
    wish: OrderRequest,
    preview: bool,
) -> Result<MatchedView, AdminError> {
    let admin = &app.views.admin;
    let done = |messages| MatchedView {
        messages,
        untried: None,
        preview: false,
        sample: Vec::new(),
        incomplete: false,
        remark: None,
    };
    match (wish, preview) {
        (OrderRequest::Messages(order, selection), false) => {
            let obeyed = admin.order(order, selection, visit.principal()).await?;
            Ok(MatchedView {
                untried: Some(obeyed.untried).filter(|untried| *untried > 0),
                ..done(obeyed.messages)
            })
        }
        (OrderRequest::Messages(order, selection), true) => {
            let seen = admin.preview(order, selection, PREVIEW_PATIENCE).await?;
            let sample = seen.sample.iter().map(MessageId::to_string).collect();
            Ok(MatchedView {
                preview: true,
                sample,
                incomplete: !seen.complete,
                ..done(seen.messages)
            })
        }
        // It has no preview, see OrderView::moved.
        (OrderRequest::Move { id, version, mark }, _) => {
            admin.move_out(id, version, mark, visit.principal()).await.map(|()| done(1))
        }
        (OrderRequest::Pause(destination, paused), false) => {
            let destination = admin.find_destination(&destination, paused)?;
            let became = admin.pause(destination, paused, visit.principal()).await?;
            Ok(MatchedView {
                remark: Remark::of(paused, became),
                ..done(u64::from(became.changed))
            })
        }
        (OrderRequest::Pause(destination, paused), true) => {
            let destination = admin.find_destination(&destination, paused)?;
            let known = admin
                .destinations(DESTINATIONS_MAX)
                .into_iter()
                .any(|d| d.destination == destination && d.paused);
            Ok(MatchedView { preview: true, ..done(u64::from(known != paused)) })
        }
    }
}

impl OrderView {
    /// Parses the order.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub(crate) fn wish(&self) -> Result<OrderRequest, String> {
        let order = match self.order.as_str() {
            "retry" => QueueOrder::Retry,
            "hold" => QueueOrder::Hold,
            "release" => QueueOrder::Release,
            "delete" => QueueOrder::Delete,
            "move" => return self.moved(),
            "pause" | "resume" => return self.pause(self.order == "pause"),
            _ => {
                return Err(
                    "order: retry, hold, release, delete, move, pause or resume is expected"
                        .to_owned(),
                );
            }
        };
        if self.version.is_some() || self.mark.is_some() {
            return Err("version, mark: only a move has them".to_owned());
        }
        let id =
            |id: &String| id.parse().map_err(|()| format!("'{}' is not a queue id", shortened(id)));
        let selections = [
            self.id.as_ref().map(|one| id(one).map(Selection::One)),
            (!self.ids.is_empty()).then(|| {
                self.ids.iter().map(id).collect::<Result<Vec<_>, _>>().map(Selection::Some)
            }),
            self.domain
                .as_ref()
                .filter(|domain| !domain.is_empty())
                .map(|domain| Ok(Selection::Domain(domain.clone()))),
            self.destination
                .as_ref()
                .filter(|name| !name.is_empty())
                .map(|name| Ok(Selection::Matching(to(name)))),
            self.filter.as_ref().map(|filter| filter.filter().map(Selection::Matching)),
            self.all.then_some(Ok(Selection::All)),
        ];
        let mut given = selections.into_iter().flatten();
        let (Some(selection), None) = (given.next(), given.next()) else {
            return Err(
                "name the messages: exactly one of id, ids, domain, destination, filter and all"
                    .to_owned(),
            );
        };
        match selection? {
            Selection::Some(ids) if ids.len() > IDS_MAX => {
                Err(format!("ids: at most {IDS_MAX} at once"))
            }
            Selection::Some(mut ids) => {
                // An id that is given twice counts once.
                let mut seen = HashSet::new();
                ids.retain(|id| seen.insert(*id));
                Ok(OrderRequest::Messages(order, Selection::Some(ids)))
            }
            Selection::Matching(filter) if filter.is_empty() => {
                Err("filter: it is empty; use all:true for all messages".to_owned())
            }
            selection => Ok(OrderRequest::Messages(order, selection)),
        }
    }

    /// A move is for a single message in the version that was read.
    fn moved(&self) -> Result<OrderRequest, String> {
        let others = !self.ids.is_empty()
            || self.domain.is_some()
            || self.destination.is_some()
            || self.filter.is_some();
        let id = self.id.as_ref().and_then(|id| id.parse().ok());
        let version = self.version.as_ref().and_then(|text| u64::from_str_radix(text, 16).ok());
        let mark = self.mark.clone().unwrap_or_default();
        let is_mark = mark.is_empty()
            || mark.len() == 16 && mark.bytes().all(|octet| octet.is_ascii_hexdigit());
        match (id, version) {
            (Some(id), Some(version)) if is_mark && !others && !self.all && !self.preview => {
                Ok(OrderRequest::Move { id, version, mark })
            }
            _ => Err(
                "move: give the id, the version that was read, optionally a mark of 16 hexadecimal \
                digits, and nothing else; 'postern queue export --move' moves messages"
                    .to_owned(),
            ),
        }
    }

    fn pause(&self, paused: bool) -> Result<OrderRequest, String> {
        let others = self.version.is_some()
            || self.mark.is_some()
            || self.id.is_some()
            || !self.ids.is_empty()
            || self.domain.is_some()
            || self.filter.is_some()
            || self.all;
        match &self.destination {
            Some(name)
                if !others
                    && (1..=255).contains(&name.len())
                    && !name.contains(char::is_control) =>
            {
                Ok(OrderRequest::Pause(name.to_lowercase(), paused))
            }
            _ => Err("give one destination, and nothing else: \"destination\":\"example.org\""
                .to_owned()),
        }
    }
}

fn to(destination: &str) -> Filter {
    Filter { destination: destination.to_owned(), ..Default::default() }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_is_not_what_was_expected_says_so() {
        let of = |paused, changed, waiting| Remark::of(paused, Paused { changed, waiting });
        assert_eq!([of(true, true, 5), of(false, true, 5), of(false, true, 0)], [None; 3]);
        assert_eq!(of(true, true, 0), Some(Remark::NoMailWaits));
        assert_eq!(of(true, false, 0), Some(Remark::NoMailWaits));
        assert_eq!(of(true, false, 5), Some(Remark::PausedAlready));
        assert_eq!([of(false, false, 5), of(false, false, 0)], [Some(Remark::NotPaused); 2]);
        assert_eq!(
            Remark::NotPaused.words("b.example"),
            "b.example was not paused; nothing has changed"
        );
    }

    #[test]
    fn an_order_names_exactly_one_selection() {
        let parse = |text: &str| {
            serde_json::from_str::<OrderView>(text)
                .map_err(|e| e.to_string())
                .and_then(|view| view.wish())
        };
        let messages = |order, selection| Ok(OrderRequest::Messages(order, selection));
        let id = MessageId(32);
        assert_eq!(
            parse(r#"{"order":"hold","all":true}"#),
            messages(QueueOrder::Hold, Selection::All)
        );
        assert_eq!(
            parse(r#"{"order":"retry","id":"0000000000010"}"#),
            messages(QueueOrder::Retry, Selection::One(id))
        );
        assert_eq!(
            parse(r#"{"order":"retry","ids":["0000000000010"]}"#),
            messages(QueueOrder::Retry, Selection::Some(vec![id]))
        );
        assert_eq!(
            parse(r#"{"order":"delete","domain":"b"}"#),
            messages(QueueOrder::Delete, Selection::Domain("b".into()))
        );
        let filter = Filter { destination: "b".into(), ..Filter::default() };
        assert_eq!(
            parse(r#"{"order":"hold","destination":"b"}"#),
            messages(QueueOrder::Hold, Selection::Matching(filter))
        );
        let filter = Filter { sender: "shop@".into(), older: Some(3600), ..Filter::default() };
        let text = r#"{"order":"hold","filter":{"sender":"shop@","older":"1h"}}"#;
        assert_eq!(parse(text), messages(QueueOrder::Hold, Selection::Matching(filter)));
        assert_eq!(
            parse(r#"{"order":"pause","destination":"B.example"}"#),
            Ok(OrderRequest::Pause("b.example".into(), true))
        );
        let moved =
            |mark: &str| Ok(OrderRequest::Move { id, version: 0x1f, mark: mark.to_owned() });
        assert_eq!(parse(r#"{"order":"move","id":"0000000000010","version":"1f"}"#), moved(""));
        let text =
            r#"{"order":"move","id":"0000000000010","version":"1f","mark":"0123456789abcdef"}"#;
        assert_eq!(parse(text), moved("0123456789abcdef"));
        for bad in [
            "{}",
            r#"{"order":"delete"}"#,
            r#"{"order":"delete","all":false}"#,
            r#"{"order":"delete","domain":""}"#,
            r#"{"order":"delete","filter":{}}"#,
            r#"{"order":"delete","filter":{"older":"soon"}}"#,
            r#"{"order":"delete","domain":"b","all":true}"#,
            r#"{"order":"delete","id":"0000000000010","domain":"b"}"#,
            r#"{"order":"explode","all":true}"#,
            r#"{"order":"delete","all":true,"really":true}"#,
            r#"{"order":"delete","id":"1"}"#,
            r#"{"order":"move","id":"0000000000010"}"#,
            r#"{"order":"move","all":true,"version":"1f"}"#,
            r#"{"order":"move","id":"0000000000010","version":"1f","preview":true}"#,
            r#"{"order":"move","id":"0000000000010","version":"x"}"#,
            r#"{"order":"move","id":"0000000000010","version":"1f","mark":"moved"}"#,
            r#"{"order":"delete","id":"0000000000010","mark":"0123456789abcdef"}"#,
            r#"{"order":"delete","id":"0000000000010","version":"1f"}"#,
            r#"{"order":"pause","all":true}"#,
            r#"{"order":"pause","destination":"b","all":true}"#,
            r#"{"order":"pause","destination":"b\nc"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
