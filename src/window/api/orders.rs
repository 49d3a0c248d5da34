//! What an operator wants done with the queue.

use super::{Answer, desk_error, error};
use crate::mail::model::{Order, Selection};
use crate::window::answer;
use crate::window::server::Window;
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// The longest order.
const ORDER_MAX: usize = 4096;

/// How long an order may take to arrive.
const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// What an operator wants done, as it is sent: `{"order":"retry","domain":"example.org"}`. Exactly one of the three selections.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderView {
    /// `retry`, `hold`, `release` or `delete`.
    pub order: String,
    /// One message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// All with a pending recipient in this domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// All.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
}

/// How many messages an order hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HitView {
    /// Messages.
    pub messages: u64,
}

/// `POST /api/v1/orders`, on the control socket.
pub(super) async fn order(window: &Window, content: Incoming) -> Answer {
    let content = match timeout(ORDER_PATIENCE, Limited::new(content, ORDER_MAX).collect()).await {
        Ok(Ok(content)) => content.to_bytes(),
        Ok(Err(_)) => return error(StatusCode::PAYLOAD_TOO_LARGE, "the order could not be read, or is over 4 KiB"),
        Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "the order took too long to arrive"),
    };
    let view: OrderView = match serde_json::from_slice(&content) {
        Ok(view) => view,
        Err(fault) => return error(StatusCode::BAD_REQUEST, &format!("this is no order: {fault}")),
    };
    let (order, selection) = match parse_order(&view) {
        Ok(parsed) => parsed,
        Err(words) => return error(StatusCode::BAD_REQUEST, &words),
    };
    // The desk writes the audit line.
    match window.desk.order(order, selection).await {
        Ok(messages) => answer::json(StatusCode::OK, &HitView { messages }),
        Err(fault) => desk_error(&fault),
    }
}

fn parse_order(view: &OrderView) -> Result<(Order, Selection), String> {
    let order = match view.order.as_str() {
        "retry" => Order::Retry,
        "hold" => Order::Hold,
        "release" => Order::Release,
        "delete" => Order::Delete,
        _ => return Err("order: retry, hold, release or delete is wanted".to_owned()),
    };
    let selection = match (&view.id, &view.domain, view.all) {
        (Some(id), None, false) => Selection::One(id.parse().map_err(|()| "id: this is no queue id".to_owned())?),
        (None, Some(domain), false) if !domain.is_empty() => Selection::Domain(domain.clone()),
        (None, None, true) => Selection::All,
        _ => return Err("say which messages: exactly one of id, domain and all".to_owned()),
    };
    Ok((order, selection))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::model::MessageId;

    #[test]
    fn an_order_names_exactly_one_selection() {
        let parse = |text: &str| serde_json::from_str(text).map_err(|e| e.to_string()).and_then(|view| parse_order(&view));
        assert_eq!(parse(r#"{"order":"hold","all":true}"#), Ok((Order::Hold, Selection::All)));
        assert_eq!(parse(r#"{"order":"retry","id":"0000000000010"}"#), Ok((Order::Retry, Selection::One(MessageId(32)))));
        assert_eq!(parse(r#"{"order":"delete","domain":"b"}"#), Ok((Order::Delete, Selection::Domain("b".into()))));
        for bad in [
            "{}",
            r#"{"order":"delete"}"#,
            r#"{"order":"delete","all":false}"#,
            r#"{"order":"delete","domain":""}"#,
            r#"{"order":"delete","domain":"b","all":true}"#,
            r#"{"order":"delete","id":"0000000000010","domain":"b"}"#,
            r#"{"order":"explode","all":true}"#,
            r#"{"order":"delete","all":true,"really":true}"#,
            r#"{"order":"delete","id":"1"}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
