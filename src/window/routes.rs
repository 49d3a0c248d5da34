//! Which path leads where, and who may go there.
//!
//! Everything but the health pages asks for the login when there is one; the control socket asks for none.

use super::answer::{self, Answer, Content, HTML, PROMETHEUS, TEXT};
use super::server::Window;
use super::{api, metrics, ui};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// `ui_port`: look only.
    Public,
    /// The control socket: look, read contents, give orders, bring mail in.
    Control,
}

/// What an answer takes of the right of whoever asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing: whether the appliance is well.
    Health,
    /// To see envelopes and numbers.
    Look,
    /// To see what mails say.
    Read,
    /// To change what becomes of mails.
    Order,
    /// To carry whole mails from queue to queue.
    Carry,
}

/// A request without its content.
pub(super) struct Visit<'a> {
    pub(super) door: Door,
    pub(super) method: &'a Method,
    pub(super) path: &'a str,
    /// Behind the question mark, as it came.
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
}

enum Route<'a> {
    Page,
    Style,
    Script,
    Icon,
    Status,
    Metrics,
    Health,
    Ready,
    Api(api::Route<'a>),
}

/// The answer to any request whatever; it never fails.
pub(super) async fn answer(window: &Window, door: Door, request: Request<Incoming>) -> Answer {
    let (parts, content) = request.into_parts();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let visit = Visit { door, method: &parts.method, path, query, headers: &parts.headers };
    let route = Route::find(&visit);
    let need = route.as_ref().map_or(Need::Look, Route::need);
    if !visit.is_admitted(window, need) {
        return visit.unauthorized();
    }
    let Some(route) = route.filter(|_| visit.may(need)) else {
        return visit.error(StatusCode::NOT_FOUND, "there is nothing here");
    };
    let allowed = route.methods();
    if !allowed.contains(visit.method) {
        return visit.method_not_allowed(allowed);
    }
    match route {
        Route::Page => match ui::page(window).await {
            Ok(page) => answer::found(HTML, page),
            Err(fault) => visit.error(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
        },
        Route::Style => answer::asset("text/css; charset=utf-8", ui::STYLE),
        Route::Script => answer::asset("text/javascript; charset=utf-8", ui::SCRIPT),
        Route::Icon => answer::asset("image/svg+xml", ui::ICON),
        Route::Status => {
            metrics::refresh(window).await;
            answer::found(TEXT, ui::status::text(window))
        }
        Route::Metrics => match metrics::text(window).await {
            Ok(text) => answer::found(PROMETHEUS, text),
            Err(fault) => visit.error(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
        },
        Route::Health => answer::found(TEXT, "ok\n"),
        Route::Ready => ready(window),
        Route::Api(route) => route.answer(window, &visit, content).await,
    }
}

impl<'a> Route<'a> {
    fn find(visit: &Visit<'a>) -> Option<Self> {
        Some(match visit.path {
            "/" => Self::Page,
            "/assets/style.css" => Self::Style,
            "/assets/live.js" => Self::Script,
            "/assets/icon.svg" | "/favicon.ico" => Self::Icon,
            "/status" => Self::Status,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            path => Self::Api(api::Route::find(path.strip_prefix("/api/v1/")?, visit.method)?),
        })
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Api(route) => route.methods(),
            _ => &[Method::GET, Method::HEAD],
        }
    }

    fn need(&self) -> Need {
        match self {
            Self::Health | Self::Ready => Need::Health,
            Self::Api(route) => route.need(),
            _ => Need::Look,
        }
    }
}

impl Visit<'_> {
    /// Whether the login was given, where one is asked for.
    fn is_admitted(&self, window: &Window, need: Need) -> bool {
        let (Door::Public, Some(login)) = (self.door, &window.login) else { return true };
        let authorization = self.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        need == Need::Health || login.admits(authorization)
    }

    /// What each door is for.
    fn may(&self, need: Need) -> bool {
        match self.door {
            Door::Control => true,
            Door::Public => matches!(need, Need::Health | Need::Look),
        }
    }

    /// An error in the language of the path: JSON for programs, a line for people.
    pub(super) fn error(&self, status: StatusCode, words: &str) -> Answer {
        if self.path.starts_with("/api/") {
            return api::error(status, words);
        }
        answer::answer(status, TEXT, Content::Whole(format!("{} {words}\n", status.as_u16()).into()))
    }

    fn unauthorized(&self) -> Answer {
        let mut answer = self.error(StatusCode::UNAUTHORIZED, "this window asks for a user name and a password");
        let challenge = HeaderValue::from_static("Basic realm=\"Postern\", charset=\"UTF-8\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        answer
    }

    fn method_not_allowed(&self, allowed: &[Method]) -> Answer {
        let mut answer = self.error(StatusCode::METHOD_NOT_ALLOWED, "not with this method");
        let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
        if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
            answer.headers_mut().insert(header::ALLOW, names);
        }
        answer
    }
}

fn ready(window: &Window) -> Answer {
    match &*window.ready.borrow() {
        Ok(()) => answer::found(TEXT, "ready\n"),
        Err(reason) => answer::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
