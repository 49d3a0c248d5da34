//! Which path leads where, and who may go there.
//!
//! Everything but the health pages asks for the login when there is one; the control socket asks for none.

use super::answer::{self, Answer, Content, HTML, PROMETHEUS, TEXT};
use super::server::Window;
use super::{api, carry, metrics, ui};
use crate::mail::model::MessageId;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// `ui_port`: look only.
    Public,
    /// The control socket: look, read contents, give orders, bring mail in.
    Control,
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
    ApiStatus,
    ApiDestinations,
    ApiQueue,
    ApiIntake,
    ApiMessage(&'a str),
    ApiBody(&'a str),
    ApiMail(&'a str),
    ApiOrders,
}

/// The answer to any request whatever; it never fails.
pub(super) async fn answer(window: &Window, door: Door, request: Request<Incoming>) -> Answer {
    let (parts, content) = request.into_parts();
    let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let route = Route::find(path, door);
    let health = matches!(route, Some(Route::Health | Route::Ready));
    if let (Door::Public, false, Some(login)) = (door, health, &window.login) {
        let authorization = parts.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if !login.admits(authorization) {
            return unauthorized(path);
        }
    }
    let Some(route) = route else {
        return error(path, StatusCode::NOT_FOUND, "there is nothing here");
    };
    let allowed = route.methods();
    if !allowed.contains(&parts.method) {
        return method_not_allowed(path, allowed);
    }
    match route {
        Route::Page => match ui::page(window).await {
            Ok(page) => answer::found(HTML, page),
            Err(fault) => error(path, StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
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
            Err(fault) => error(path, StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
        },
        Route::Health => answer::found(TEXT, "ok\n"),
        Route::Ready => ready(window),
        Route::ApiStatus => api::status(window).await,
        Route::ApiDestinations => api::destinations(window),
        Route::ApiIntake if parts.method == Method::POST => carry::import(window, content).await,
        Route::ApiQueue | Route::ApiIntake => api::queue(window, query).await,
        Route::ApiMessage(id) => match id.parse() {
            Ok(id) => api::message(window, id).await,
            Err(()) => no_id(path, id),
        },
        Route::ApiBody(id) => match id.parse::<MessageId>() {
            Ok(id) => api::body(window, id).await,
            Err(()) => no_id(path, id),
        },
        Route::ApiMail(id) => match id.parse::<MessageId>() {
            Ok(id) => carry::mail(window, id, query).await,
            Err(()) => no_id(path, id),
        },
        Route::ApiOrders => api::order(window, content).await,
    }
}

impl<'a> Route<'a> {
    fn find(path: &'a str, door: Door) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/assets/style.css" => Self::Style,
            "/assets/live.js" => Self::Script,
            "/assets/icon.svg" | "/favicon.ico" => Self::Icon,
            "/status" => Self::Status,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            _ => match (path.strip_prefix("/api/v1/")?, door) {
                ("status", _) => Self::ApiStatus,
                ("destinations", _) => Self::ApiDestinations,
                ("queue", Door::Control) => Self::ApiIntake,
                ("queue", Door::Public) => Self::ApiQueue,
                ("orders", Door::Control) => Self::ApiOrders,
                (rest, door) => match (rest.strip_prefix("queue/")?.split_once('/'), door) {
                    (None, _) => Self::ApiMessage(&rest["queue/".len()..]),
                    (Some((id, "body")), Door::Control) => Self::ApiBody(id),
                    (Some((id, "mail")), Door::Control) => Self::ApiMail(id),
                    _ => return None,
                },
            },
        })
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::ApiOrders => &[Method::POST],
            Self::ApiIntake => &[Method::GET, Method::HEAD, Method::POST],
            _ => &[Method::GET, Method::HEAD],
        }
    }
}

fn ready(window: &Window) -> Answer {
    match &*window.ready.borrow() {
        Ok(()) => answer::found(TEXT, "ready\n"),
        Err(reason) => answer::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

fn unauthorized(path: &str) -> Answer {
    let mut answer = error(path, StatusCode::UNAUTHORIZED, "this window asks for a user name and a password");
    let challenge = HeaderValue::from_static("Basic realm=\"Postern\", charset=\"UTF-8\"");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

fn method_not_allowed(path: &str, allowed: &[Method]) -> Answer {
    let mut answer = error(path, StatusCode::METHOD_NOT_ALLOWED, "not with this method");
    let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
        answer.headers_mut().insert(header::ALLOW, names);
    }
    answer
}

fn no_id(path: &str, text: &str) -> Answer {
    let shown: String = text.chars().take(40).collect();
    error(path, StatusCode::NOT_FOUND, &format!("'{shown}' is no queue id; an id has 13 letters and digits"))
}

/// An error in the language of the path: JSON for programs, a line for people.
fn error(path: &str, status: StatusCode, words: &str) -> Answer {
    if path.starts_with("/api/") {
        return api::error(status, words);
    }
    answer::answer(status, TEXT, Content::Whole(format!("{} {words}\n", status.as_u16()).into()))
}
