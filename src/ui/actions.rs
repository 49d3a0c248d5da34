//! The forms of the pages: an order as at `POST /api/v1/orders`, with a confirmation page.
//!
//! A deletion, and every order for more than one message, must be confirmed on a page that shows
//! the number of messages. Limits: a form has [`FORM_MAX`] octets. Security: every form contains
//! this process's token, and the router has rejected requests from pages of other sites; the page
//! to return to is always one of this server.

use super::{PageError, PageFrame, notice};
use crate::api::state::AppState;
use crate::api::{self, FilterView, IDS_MAX, OrderRequest, OrderView};
use crate::ground::display_text::{counted, harmless};
use crate::http::request::RequestHead;
use crate::http::response::{self, HTML, HttpResponse};
use crate::mail::model::{QueueOrder, Selection};
use askama::Template;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use std::time::Duration;
use tokio::time::timeout;

/// Octets of a form, at most: the checkboxes of a page and a filter.
const FORM_MAX: usize = 64 * 1024;

/// Time limit to receive a form.
const FORM_PATIENCE: Duration = Duration::from_secs(10);

/// The confirmation page of an order that is not easily undone.
#[derive(Template)]
#[template(path = "confirm.html", config = "src/ui/askama.toml")]
struct Question {
    frame: PageFrame,
    order: String,
    question: String,
    consequence: &'static str,
    sample: Vec<String>,
    fields: Vec<(String, String)>,
    back: String,
    hits: bool,
    verb: &'static str,
}

/// A form as received.
#[derive(Default)]
struct Form {
    order: OrderView,
    filter: FilterView,
    scope: String,
    token: String,
    back: String,
    confirmed: bool,
    /// All fields except the token and the confirmation, for the confirmation page's own form.
    fields: Vec<(String, String)>,
}

/// `POST /act`
pub(super) async fn act(
    app: &AppState,
    visit: &RequestHead<'_>,
    content: Incoming,
) -> Result<HttpResponse, PageError> {
    let form = Form::parse(&fields(content).await?);
    check_token(app, &form.token)?;
    let order = form.order_view()?;
    let wish = order.wish().map_err(PageError::Query)?;
    if matches!(wish, OrderRequest::Move { .. }) {
        // It removes exported messages from the queue, which no page does.
        return Err(PageError::Form("no page moves messages: 'postern queue export --move' does"));
    }
    let refused = |fault| PageError::Answer(Box::new(api::admin_error(&fault)));
    if !form.confirmed && is_grave(&wish) {
        let seen = api::carry_out(app, visit, wish, true).await.map_err(refused)?;
        let question = Question {
            frame: PageFrame::of(app, visit, "queue"),
            question: question(&order.order, seen.messages, !seen.incomplete),
            consequence: consequence(&order.order),
            sample: seen.sample,
            hits: seen.messages > 0,
            verb: verb(&order.order),
            fields: form.fields,
            back: way_back(&form.back).trim_start_matches('/').to_owned(),
            order: order.order,
        };
        return Ok(response::found(HTML, question.render().map_err(PageError::Render)?));
    }
    let hit = api::carry_out(app, visit, wish, false).await.map_err(refused)?;
    let mut back = way_back(&form.back);
    if order.order == "delete" && order.ids.len() == 1 {
        "/queue".clone_into(&mut back);
    }
    let mark = if back.contains('?') { '&' } else { '?' };
    let (root, back) = (visit.root(), back.trim_start_matches('/'));
    Ok(see_other(&format!("{root}{back}{mark}{}", notice::query(&order.order, &hit))))
}

/// The fields of a form.
pub(super) async fn fields(content: Incoming) -> Result<Bytes, PageError> {
    match timeout(FORM_PATIENCE, Limited::new(content, FORM_MAX).collect()).await {
        Ok(Ok(content)) => Ok(content.to_bytes()),
        Ok(Err(_)) => Err(PageError::Form("the form is too long")),
        Err(_) => Err(PageError::Form("the form took too long to arrive")),
    }
}

/// Whether a form is from a page of this process.
pub(super) fn check_token(app: &AppState, token: &str) -> Result<(), PageError> {
    match app.http.form_token.fits(token) {
        true => Ok(()),
        false => Err(PageError::Form(
            "this form is from before a restart, or from another site: go back, reload the page, \
            and try again",
        )),
    }
}

/// Whether an order must be confirmed.
fn is_grave(wish: &OrderRequest) -> bool {
    match wish {
        OrderRequest::Messages(QueueOrder::Delete, _) => true,
        OrderRequest::Messages(_, Selection::One(_))
        | OrderRequest::Pause(..)
        | OrderRequest::Move { .. } => false,
        OrderRequest::Messages(_, Selection::Some(ids)) => ids.len() > 1,
        OrderRequest::Messages(..) => true,
    }
}

impl Form {
    fn parse(content: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(content) {
            match &*name {
                "csrf" => {
                    form.token = value.into_owned();
                    continue;
                }
                "confirmed" => {
                    form.confirmed = value == "1";
                    continue;
                }
                "order" => form.order.order = value.to_string(),
                "scope" => form.scope = value.to_string(),
                "back" => form.back = value.to_string(),
                "destination" => form.order.destination = Some(value.to_string()),
                "ids" if form.order.ids.len() < IDS_MAX => form.order.ids.push(value.to_string()),
                name => {
                    if let Some(field) =
                        name.strip_prefix("f.").and_then(|name| form.filter.field(name))
                    {
                        *field = value.to_string();
                    }
                }
            }
            form.fields.push((name.into_owned(), value.into_owned()));
        }
        form
    }

    /// The order of the form.
    fn order_view(&self) -> Result<OrderView, PageError> {
        let mut order = self.order.clone();
        match self.scope.as_str() {
            "matching" => {
                order.ids.clear();
                if self.filter == FilterView::default() {
                    order.all = true;
                } else {
                    order.filter = Some(self.filter.clone());
                }
            }
            _ if order.destination.is_some() => {}
            _ if order.ids.is_empty() => {
                return Err(PageError::Query(
                    "select messages first, or choose all that match".to_owned(),
                ));
            }
            _ => {}
        }
        Ok(order)
    }
}

fn question(order: &str, messages: u64, complete: bool) -> String {
    let number = match (messages, complete) {
        (0, true) => return "No messages match. Nothing would change.".to_owned(),
        (messages, true) => counted(messages, "message"),
        (messages, false) => format!("at least {}", counted(messages, "message")),
    };
    format!("{} {number}?", verb(order))
}

fn verb(order: &str) -> &'static str {
    match order {
        "delete" => "Delete",
        "hold" => "Hold",
        "release" => "Release",
        _ => "Retry",
    }
}

fn consequence(order: &str) -> &'static str {
    match order {
        "delete" => {
            "They are removed from the queue at once, without bounces. This cannot be undone."
        }
        "hold" => {
            "They stay in the queue and are not delivered until they are released. They do not \
            expire while held."
        }
        "release" => "They are delivered as soon as connections are free.",
        _ => {
            "They are delivered as soon as connections are free, also to destinations that were \
            unreachable a moment ago."
        }
    }
}

/// The page to return to; only pages of this server.
fn way_back(text: &str) -> String {
    let steps = text.split('?').next().unwrap_or_default();
    let own = (steps == "/queue" || steps.starts_with("/queue/"))
        && !steps.contains("..")
        && text.len() < 2000
        && text.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    if own { harmless(text) } else { "/queue".to_owned() }
}

/// 303: the browser requests the page again, and a reload repeats nothing (RFC 9110 §15.4.4).
pub(super) fn see_other(path: &str) -> HttpResponse {
    let mut answer: Response<_> = response::plain(StatusCode::SEE_OTHER, format!("see {path}\n"));
    if let Ok(path) = HeaderValue::from_str(path) {
        answer.headers_mut().insert(header::LOCATION, path);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_back_leads_nowhere_else() {
        assert_eq!(way_back("/queue?sender=a%40b"), "/queue?sender=a%40b");
        assert_eq!(way_back("/queue/0000000000010"), "/queue/0000000000010");
        for bad in [
            "",
            "//evil.example",
            "https://evil.example/queue",
            "/queue\r\nX: y",
            "/log",
            "/queue/../../x",
            "/queuex",
        ] {
            assert_eq!(way_back(bad), "/queue", "{bad}");
        }
    }

    #[test]
    fn a_form_means_what_was_pressed() {
        let order = |text: &str| {
            Form::parse(text.as_bytes()).order_view().ok().and_then(|view| view.wish().ok())
        };
        let all =
            |filter: &str| order(&format!("order=hold&scope=matching&ids=0000000000010{filter}"));
        assert_eq!(all(""), Some(OrderRequest::Messages(QueueOrder::Hold, Selection::All)));
        assert!(matches!(
            all("&f.sender=a"),
            Some(OrderRequest::Messages(QueueOrder::Hold, Selection::Matching(_)))
        ));
        assert!(matches!(
            order("order=retry&scope=ids&ids=0000000000010"),
            Some(OrderRequest::Messages(_, Selection::Some(_)))
        ));
        assert_eq!(
            order("order=pause&destination=a.example"),
            Some(OrderRequest::Pause("a.example".into(), true))
        );
        assert_eq!(order("order=delete&scope=ids"), None);
        let twice = order("order=hold&ids=0000000000010&ids=0000000000010");
        let Some(OrderRequest::Messages(_, Selection::Some(ids))) = twice else {
            panic!("no selection")
        };
        assert_eq!(ids.len(), 1, "it is one message");
    }
}
