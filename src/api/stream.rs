//! Live events (server-sent events, WHATWG HTML §9.2).
//!
//! Limits: `rate_history` counts the streams; a stream ends with its connection, and its client
//! opens another. A client that reads nothing for [`PATIENCE`] is disconnected.

use super::{HttpResponse, error};
use crate::api::state::AppState;
use crate::ground::text::harmless_json;
use crate::http::request::RequestHead;
use crate::http::response::{self, EVENTS, ResponseBody};
use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode, Version};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a client may take to read one event.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a client waits before it reconnects, in milliseconds.
const RETRY: &str = "retry: 1000\n\n";

/// `GET /api/v1/stream`
pub(super) async fn stream(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    if visit.version == Version::HTTP_10 {
        return error(
            StatusCode::BAD_REQUEST,
            "a stream needs HTTP/1.1; poll /api/v1/status instead",
        );
    }
    let Ok(turn) = app.monitor.rate_history.streams.clone().try_acquire_owned() else {
        let mut answer =
            error(StatusCode::SERVICE_UNAVAILABLE, "too many streams; poll /api/v1/status instead");
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        return answer;
    };
    let (sender, events) = mpsc::channel(1);
    if visit.method == Method::GET {
        let look = visit.may_look();
        let mut news = app.monitor.rate_history.subscribe();
        news.mark_unchanged();
        let first =
            Bytes::from([RETRY.as_bytes(), &event(&super::status_view(app, look).await)].concat());
        tokio::spawn(async move {
            let _turn = turn;
            let mut event = first;
            while let Ok(Ok(())) = timeout(PATIENCE, sender.send(Ok(event))).await {
                // A slow client gets the newest event, and not earlier ones.
                tokio::select! {
                    changed = news.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
                event = news.borrow_and_update().of(look);
            }
        });
    }
    response::answer(StatusCode::OK, EVENTS, ResponseBody::Endless(events))
}

/// An event of the stream (WHATWG HTML §9.2).
pub(crate) fn event(status: &super::StatusView) -> Bytes {
    let json = harmless_json(serde_json::to_string(status).unwrap_or_default());
    Bytes::from(format!("event: status\ndata: {json}\n\n"))
}
