//! Which path leads where, and who may go there.
//!
//! Everything but the health pages asks for the login when there is one; the control socket asks for none. What changes
//! something is never done by GET, and never at the wish of another site's page: `origin` tells those.

use super::answer::{self, Answer, Content, PROMETHEUS, TEXT};
use super::login::Admission;
use super::origin;
use super::rights::{Need, Rights};
use super::server::Window;
use super::{api, metrics, ui};
use crate::mail::model::Asker;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Version};
use std::net::IpAddr;
use std::time::Instant;

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// `ui_port`, and from which address.
    Public(IpAddr),
    /// `ui_port` in plain text, where it asks for TLS: nothing is shown but health.
    Plain,
    /// The control socket: whoever may open it may do everything.
    Control,
}

/// A request without its content.
pub(super) struct Visit<'a> {
    pub(super) door: Door,
    pub(super) method: &'a Method,
    pub(super) version: Version,
    pub(super) path: &'a str,
    /// Behind the question mark, as it came.
    pub(super) query: &'a str,
    pub(super) headers: &'a HeaderMap,
}

enum Route<'a> {
    Page(ui::Route<'a>),
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
    let visit = Visit { door, method: &parts.method, version: parts.version, path, query, headers: &parts.headers };
    let route = Route::find(&visit);
    let need = route.as_ref().map_or(Need::Look, Route::need);
    if visit.door == Door::Plain && need != Need::Health {
        return visit.inside_tls_alone();
    }
    if let Some(refusal) = visit.refusal(window, need).await {
        return refusal;
    }
    let Some(route) = route else {
        return visit.error(StatusCode::NOT_FOUND, "there is nothing here");
    };
    let allowed = route.methods();
    if !allowed.contains(visit.method) {
        return visit.method_not_allowed(allowed);
    }
    if let Err(words) = visit.right(window, need) {
        return visit.error(StatusCode::FORBIDDEN, words);
    }
    if matches!(need, Need::Order | Need::Send) && visit.door != Door::Control && origin::is_foreign(visit.headers) {
        return visit.error(StatusCode::FORBIDDEN, "another site's page asked for this; nothing was done");
    }
    match route {
        Route::Page(route) => route.answer(window, &visit, content).await,
        Route::Status => status(window).await,
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
            // Programs that speak HTTP/1.0 want numbers, not a page.
            "/" if visit.version == Version::HTTP_10 => Self::Status,
            "/status" => Self::Status,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            path => match path.strip_prefix("/api/v1/") {
                Some(rest) => Self::Api(api::Route::find(rest, visit.method)?),
                None => Self::Page(ui::Route::find(path)?),
            },
        })
    }

    fn methods(&self) -> &'static [Method] {
        match self {
            Self::Api(route) => route.methods(),
            Self::Page(route) => route.methods(),
            _ => &[Method::GET, Method::HEAD],
        }
    }

    fn need(&self) -> Need {
        match self {
            Self::Health | Self::Ready => Need::Health,
            Self::Api(route) => route.need(),
            Self::Page(route) => route.need(),
            Self::Status | Self::Metrics => Need::Look,
        }
    }
}

impl Visit<'_> {
    /// Who asks, for audit lines.
    pub(super) fn asker(&self, window: &Window) -> Asker {
        match (self.door, &window.login) {
            (Door::Control, _) => Asker { user: "operator".to_owned(), address: None },
            (Door::Plain, _) => Asker { user: String::new(), address: None },
            (Door::Public(address), login) => {
                let user = login.as_ref().map(|login| login.username().to_owned()).unwrap_or_default();
                Asker { user, address: Some(address) }
            }
        }
    }

    /// What a request may not do that its route needs, in words.
    pub(super) fn right(&self, window: &Window, need: Need) -> Result<(), &'static str> {
        match self.door {
            Door::Control => Ok(()),
            Door::Public(_) => window.rights().may(need),
            Door::Plain => Rights::Anybody.may(need),
        }
    }

    /// Sends people to the same page inside TLS; a program hears what is wrong.
    fn inside_tls_alone(&self) -> Answer {
        let mut answer = self.error(StatusCode::FORBIDDEN, "this window speaks TLS: ask for https://");
        let host = self.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let place = HeaderValue::from_str(&format!("https://{host}{}{query}", self.path));
        if let (false, true, Ok(place)) = (host.is_empty(), [Method::GET, Method::HEAD].contains(self.method), place) {
            *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
            answer.headers_mut().insert(header::LOCATION, place);
        }
        answer
    }

    /// Asks for the login where there is one, and slows down whoever guesses it.
    async fn refusal(&self, window: &Window, need: Need) -> Option<Answer> {
        let (Door::Public(client), Some(login)) = (self.door, &window.login) else { return None };
        if need == Need::Health {
            return None;
        }
        let authorization = self.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        if authorization.is_some()
            && let Some(pause) = window.brake.pause(client, Instant::now())
        {
            return Some(self.too_many(pause.as_secs() + 1));
        }
        match login.admits(authorization).await {
            Admission::Right => {
                window.brake.right(client);
                None
            }
            Admission::NotAsked => Some(self.unauthorized()),
            Admission::Wrong => {
                window.brake.wrong(client, Instant::now());
                window.counters.window_logins_refused_total.inc();
                tracing::warn!(target: "mta", %client, path = self.path, "a wrong user name or password for the stats UI");
                Some(self.unauthorized())
            }
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

    fn too_many(&self, seconds: u64) -> Answer {
        let words = format!("too many wrong passwords from this address; wait {seconds} s");
        let mut answer = self.error(StatusCode::TOO_MANY_REQUESTS, &words);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
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

async fn status(window: &Window) -> Answer {
    metrics::refresh(window).await;
    answer::found(TEXT, ui::status::text(window))
}

fn ready(window: &Window) -> Answer {
    match &*window.ready.borrow() {
        Ok(()) => answer::found(TEXT, "ready\n"),
        Err(reason) => answer::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}
