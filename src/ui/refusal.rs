//! Error pages for people: what went wrong, and what to do next. Programs get a line or JSON.
//!
//! Security: without the right to see the numbers, nothing about the appliance is shown here, not
//! even its name.

use super::api::ErrorView;
use super::{LOGOUT, PageFrame};
use crate::api::state::AppState;
use crate::ground::display_text::harmless;
use crate::http::access::Caller;
use crate::http::request::{EntryPoint, RequestHead};
use crate::http::response::{HTML, HttpResponse, ResponseBody};
use crate::http::router::OF_PROGRAMS;
use askama::Template;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

#[derive(Template)]
#[template(path = "refusal.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    title: &'static str,
    words: String,
    next: &'static str,
}

/// Without a style sheet: that requires the login as well, and the browser would ask its user
/// again.
#[derive(Template)]
#[template(path = "login.html", config = "src/ui/askama.toml")]
struct Login {
    /// The user has logged out.
    left: bool,
}

/// The answer in the form for the client.
pub(crate) fn dressed(
    app: &AppState,
    visit: &RequestHead<'_>,
    mut answer: HttpResponse,
) -> HttpResponse {
    let is_page = matches!(visit.entry, EntryPoint::Public(_)) && !visit.path.starts_with("/api/");
    if !is_page || OF_PROGRAMS.contains(&visit.path) || !visit.wants_html() {
        return answer;
    }
    if let Some(Ok(page)) = page(app, visit, &answer) {
        *answer.body_mut() = ResponseBody::Whole(page.into());
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    }
    answer
}

fn page(
    app: &AppState,
    visit: &RequestHead<'_>,
    answer: &HttpResponse,
) -> Option<askama::Result<String>> {
    if answer.status() == StatusCode::UNAUTHORIZED {
        return Some(Login { left: visit.path == LOGOUT }.render());
    }
    let (title, next) = advice(answer.status())?;
    let nobody_is_asked = app.http.access.login.is_none();
    if matches!(visit.caller, Caller::Anybody) && !nobody_is_asked {
        return None;
    }
    let page = Page { frame: PageFrame::of(app, visit, ""), title, words: words(answer)?, next };
    Some(page.render())
}

/// What happened, and what to do; `None` for an answer that is not an error, or not one for a page.
fn advice(status: StatusCode) -> Option<(&'static str, &'static str)> {
    Some(match status {
        StatusCode::FORBIDDEN => ("Not allowed", "The overview is open to everybody."),
        StatusCode::NOT_FOUND => (
            "Not found",
            "A queue id has 13 letters and digits. Messages that have left the queue are in the \
            history, as far as it goes back.",
        ),
        StatusCode::BAD_REQUEST | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
            ("Bad request", "Go back, correct it, and try again.")
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            ("Try again later", "Wait a few seconds, then reload this page.")
        }
        StatusCode::INTERNAL_SERVER_ERROR => {
            ("Internal error", "Please report it with the last lines of the log.")
        }
        _ => return None,
    })
}

/// The text of an answer that is a line, or an error for programs.
fn words(answer: &HttpResponse) -> Option<String> {
    let ResponseBody::Whole(octets) = answer.body() else { return None };
    let text = std::str::from_utf8(octets).ok()?;
    if let Ok(view) = serde_json::from_str::<ErrorView>(text) {
        return Some(harmless(&view.error));
    }
    let line = text.strip_prefix(answer.status().as_str()).unwrap_or(text);
    Some(harmless(line.trim()))
}
