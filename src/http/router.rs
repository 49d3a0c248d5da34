//! Which path leads where, and who may go there.
//!
//! Everything but the health pages asks for the login when there is one; the control socket asks for none. Without a login numbers
//! are for everybody, names for nobody (`ui_public` changes that), and sending takes a token. What changes something is never done
//! by GET, and never at the wish of another site's page: `hosts` and `origin` tell those.

use crate::api;
use crate::ground::credential::throttle::network;
use crate::http::access::{Admission, Caller};
use crate::http::answer::{self, Answer, Content, Held, PROMETHEUS, TEXT};
use crate::http::forwarded::Client;
use crate::http::hosts::{self, Authority};
use crate::http::origin;
use crate::http::places::{Kind, Place, Reader, Turn};
use crate::http::rights::{Need, Rights};
use crate::http::searches::Search;
use crate::http::server::Window;
use crate::mail::model::Asker;
use crate::monitor::metrics;
use crate::ui;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use std::net::IpAddr;
use std::sync::Arc;

/// Octets of a path in the line about a wrong login: it is whatever a stranger likes.
const LOGGED_PATH_MAX: usize = 80;

/// Through which door a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// `ui_port`, and from which address.
    Public(IpAddr),
    /// `ui_port` in plain text, where it asks for TLS: nothing is shown but health.
    Plain(IpAddr),
    /// The control socket: whoever may open it may do everything.
    Control,
}

/// A request without its content.
pub(crate) struct Visit<'a> {
    pub(crate) door: Door,
    /// The client, also behind a proxy of ours; `None` at the control socket.
    pub(crate) client: Option<Client>,
    /// Who asks, once that is known.
    pub(crate) caller: Caller<'a>,
    pub(crate) method: &'a Method,
    pub(crate) version: Version,
    /// Below the path of `ui_url`.
    pub(crate) path: &'a str,
    /// As it came.
    whole_path: &'a str,
    /// Behind the question mark, as it came.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

enum Route<'a> {
    Page(ui::Route<'a>),
    Status,
    Metrics,
    Health,
    Ready,
    Api(api::Route<'a>),
}

/// An answer with the room that it takes.
type Placed = Response<Held<Turn, Reader>>;

/// The answer to any request whatever; it never fails. Its place among requests is given back when the server has all of it,
/// its memory when the kernel has.
pub(crate) async fn answer(window: &Window, door: Door, place: Option<&Arc<Place>>, request: Request<Incoming>) -> Placed {
    let (client, path) = (door.client(window, request.headers()), below(window, request.uri().path()));
    let (Some(place), Some(client)) = (place, client) else {
        return reply(window, door, None, request).await.map(|content| Held { content, _turn: None, unread: None });
    };
    let kind = match path {
        "/healthz" | "/readyz" => Kind::Health,
        "/metrics" | "/status" => Kind::Monitor,
        _ => Kind::Other,
    };
    match place.begin(kind, client) {
        Some(turn) => {
            let looks = matches!(*request.method(), Method::GET | Method::HEAD);
            let answer = reply(window, door, Some(place), request).await;
            // What was ordered or handed in is done: whoever heard 503 would do it again.
            let mut reader = turn.reader();
            if !reader.may_have(answer.body().octets()) && looks {
                return busy("503 too many answers wait for their readers; wait\n");
            }
            answer.map(|content| Held { content, _turn: Some(turn), unread: Some(reader) })
        }
        None => busy("503 too many requests are under way; wait\n"),
    }
}

/// There is no room.
fn busy(line: &'static str) -> Placed {
    let mut answer = answer::plain(StatusCode::SERVICE_UNAVAILABLE, line);
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    answer.map(|content| Held { content, _turn: None, unread: None })
}

async fn reply(window: &Window, door: Door, place: Option<&Arc<Place>>, request: Request<Incoming>) -> Answer {
    let (parts, content) = request.into_parts();
    let (whole_path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    let path = below(window, whole_path);
    let client = door.client(window, &parts.headers);
    let (method, version, headers) = (&parts.method, parts.version, &parts.headers);
    let mut visit = Visit { door, client, caller: Caller::Anybody, method, version, path, whole_path, query, headers };
    let answer = led(window, &mut visit, place, &parts.uri, content).await;
    ui::dressed(window, &visit, answer)
}

/// Where a visit leads, once it is known who comes.
async fn led<'a>(
    window: &'a Window,
    visit: &mut Visit<'a>,
    place: Option<&Arc<Place>>,
    uri: &Uri,
    content: Incoming,
) -> Answer {
    let (door, path, client) = (visit.door, visit.path, visit.client);
    let host = match hosts::authority(uri, visit.headers, visit.version) {
        Ok(host) => host,
        Err(words) if door != Door::Control => return visit.error(StatusCode::BAD_REQUEST, &words),
        Err(_) => None,
    };
    #[cfg(debug_assertions)]
    if let (Door::Control, Some(fault)) = (visit.door, path.strip_prefix("/api/v1/faults/")) {
        let status = if window.plant(fault) { StatusCode::OK } else { StatusCode::NOT_FOUND };
        return visit.error(status, fault);
    }
    let route = Route::find(visit);
    let need = route.as_ref().map_or(Need::Numbers, Route::need);
    if door != Door::Control
        && let Some(host) = host.as_ref().filter(|host| !window.access.hosts.knows(&host.host))
        && (visit.is_plain() || !matches!(route, Some(Route::Health | Route::Ready | Route::Status | Route::Metrics)))
        && need != Need::Health
    {
        window.counters.window_refused_total.with_label_values(&["host"]).inc();
        return visit.error(StatusCode::MISDIRECTED_REQUEST, &host.misdirected());
    }
    if visit.is_plain() && need != Need::Health {
        return visit.inside_tls_alone(host.as_ref());
    }
    match visit.identified(window, need).await {
        Ok(caller) => visit.caller = caller,
        Err(refusal) => return refusal,
    }
    if let (Caller::Anybody, Some(place), Some(client)) = (visit.caller, place, client)
        && need != Need::Health
        && let Err(wait) = place.pace(client.address)
    {
        return visit.later(StatusCode::TOO_MANY_REQUESTS, "too many requests from this address", wait.as_secs() + 1);
    }
    let Some(route) = route else {
        if path.is_empty() {
            return visit.with_slash();
        }
        return visit.error(StatusCode::NOT_FOUND, "there is nothing here");
    };
    let allowed = route.methods();
    if !allowed.contains(visit.method) {
        return visit.method_not_allowed(allowed);
    }
    if let Err(words) = visit.right(window, need) {
        return visit.error(StatusCode::FORBIDDEN, words);
    }
    if matches!(need, Need::Order | Need::Send) && visit.door != Door::Control {
        if let Some(words) = origin::foreign(visit.headers, host.as_ref(), window.access.outside.as_ref()) {
            window.counters.window_refused_total.with_label_values(&["origin"]).inc();
            return visit.error(StatusCode::FORBIDDEN, &words);
        }
        if let Err(words) = visit.shows_form_token(window, &route) {
            return visit.error(StatusCode::FORBIDDEN, words);
        }
    }
    match route {
        Route::Page(route) => route.answer(window, visit, content).await,
        Route::Status => status(window).await,
        Route::Metrics => match metrics::text(window).await {
            Ok(text) => answer::found(PROMETHEUS, text),
            Err(fault) => visit.error(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
        },
        Route::Health => health(window),
        Route::Ready => ready(window),
        Route::Api(route) => route.answer(window, visit, content).await,
    }
}

/// A path without that of `ui_url` before it, where a proxy does not cut it off.
fn below<'a>(window: &Window, path: &'a str) -> &'a str {
    let base = window.access.outside.as_ref().map_or("", |outside| outside.path.as_str());
    match path.strip_prefix(base) {
        Some(rest) if !base.is_empty() && (rest.is_empty() || rest.starts_with('/')) => rest,
        _ => path,
    }
}

impl Door {
    fn client(self, window: &Window, headers: &HeaderMap) -> Option<Client> {
        match self {
            Self::Public(peer) | Self::Plain(peer) => Some(Client::of(peer, headers, &window.access.proxies)),
            Self::Control => None,
        }
    }
}

impl<'a> Route<'a> {
    fn find(visit: &Visit<'a>) -> Option<Self> {
        Some(match visit.path {
            // Programs that speak HTTP/1.0 want numbers, not a page; browsers behind nginx, which speaks it too, say what they want.
            "/" if visit.version == Version::HTTP_10 && !visit.wants_html() => Self::Status,
            "/status" => Self::Status,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Ready,
            "/api/v1" => Self::Api(api::Route::Index),
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
            Self::Status | Self::Metrics => Need::Numbers,
        }
    }
}

impl<'a> Visit<'a> {
    /// Who asks, for audit lines.
    pub(crate) fn asker(&self) -> Asker {
        let user = match self.caller {
            Caller::Control => "operator",
            Caller::Login(name) => name,
            Caller::Token(token) => &token.name,
            Caller::Anybody => "",
        };
        Asker { user: user.to_owned(), address: self.client.map(|client| client.address) }
    }

    /// The right to search the queue or the history; each takes a processor for a while.
    ///
    /// # Errors
    /// The answer that whoever has searches under way gets.
    pub(crate) async fn search<'w>(&self, window: &'w Window) -> Result<Option<Search<'w>>, Answer> {
        let Some(client) = self.client else { return Ok(None) };
        let visitor = format!("{} {}", self.asker().user, network(client.address));
        match window.searches.begin(&visitor).await {
            Some(search) => Ok(Some(search)),
            None => {
                window.counters.window_refused_total.with_label_values(&["search"]).inc();
                Err(self.later(StatusCode::TOO_MANY_REQUESTS, "too many searches are under way; one at a time", 3))
            }
        }
    }

    /// What a request may not do that its route needs, in words.
    pub(crate) fn right(&self, window: &Window, need: Need) -> Result<(), &'static str> {
        match self.door {
            Door::Control => Ok(()),
            Door::Public(_) => window.access.rights(self.caller).may(need),
            Door::Plain(_) => Rights::Anybody.may(need),
        }
    }

    /// Whether names, addresses and subjects are shown.
    pub(crate) fn may_look(&self, window: &Window) -> bool {
        self.right(window, Need::Look).is_ok()
    }

    /// From this page's address to that of the first page, relative: right whether or not a proxy cuts a path off.
    pub(crate) fn root(&self) -> String {
        match self.path.matches('/').count() {
            0 | 1 => "./".to_owned(),
            steps => "../".repeat(steps - 1),
        }
    }

    /// Whether a person looks at it, with a browser.
    pub(crate) fn wants_html(&self) -> bool {
        let accept = self.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    }

    fn is_plain(&self) -> bool {
        matches!(self.door, Door::Plain(_))
    }

    /// Sends people to the same page inside TLS; a program hears what is wrong.
    fn inside_tls_alone(&self, host: Option<&Authority>) -> Answer {
        let mut answer = self.error(StatusCode::FORBIDDEN, "this window speaks TLS: ask for https://");
        let Some(host) = host.filter(|_| [Method::GET, Method::HEAD].contains(self.method)) else { return answer };
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        if let Ok(place) = HeaderValue::from_str(&format!("https://{}{}{query}", host.text(), self.whole_path)) {
            *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
            answer.headers_mut().insert(header::LOCATION, place);
        }
        answer
    }

    /// `/mta` is `/mta/`: links count from the last slash.
    fn with_slash(&self) -> Answer {
        let mut answer = self.error(StatusCode::PERMANENT_REDIRECT, "with a slash at the end");
        let last = self.whole_path.rsplit('/').next().unwrap_or_default();
        if let Ok(place) = HeaderValue::from_str(&format!("{last}/")) {
            answer.headers_mut().insert(header::LOCATION, place);
        }
        answer
    }

    /// Asks for the login where there is one, or for a token, and slows down whoever guesses.
    async fn identified<'w>(&self, window: &'w Window, need: Need) -> Result<Caller<'w>, Answer> {
        let (Door::Public(_), Some(client)) = (self.door, self.client) else {
            return Ok(if self.door == Door::Control { Caller::Control } else { Caller::Anybody });
        };
        if need == Need::Health {
            return Ok(Caller::Anybody);
        }
        let access = &window.access;
        let needed = access.login.is_some() || need == Need::Send;
        let authorization = self.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        match access.admit(&window.throttle, authorization, client, needed).await {
            Admission::In(caller) => Ok(caller),
            Admission::NotAsked => Err(self.unauthorized()),
            Admission::Wrong => {
                window.counters.window_logins_refused_total.inc();
                let (stranger, client) = (!access.is_near(client), client.address);
                let path = &self.path[..self.path.floor_char_boundary(LOGGED_PATH_MAX)];
                let words = "a wrong user name, password or token for the stats UI";
                tracing::warn!(target: "mta", stranger, %client, path, "{words}");
                Err(self.unauthorized())
            }
            Admission::Wait(pause) => {
                window.counters.window_refused_total.with_label_values(&["guess"]).inc();
                let seconds = pause.as_secs() + 1;
                let words = format!("too many wrong passwords for this account from this address; wait {seconds} s");
                Err(self.later(StatusCode::TOO_MANY_REQUESTS, &words, seconds))
            }
            Admission::Busy => {
                window.counters.window_refused_total.with_label_values(&["hash"]).inc();
                Err(self.later(StatusCode::SERVICE_UNAVAILABLE, "too many passwords wait to be checked; ask again", 2))
            }
        }
    }

    /// A browser that orders or sends through the API shows the token of our own pages; the form of a page carries it inside.
    fn shows_form_token(&self, window: &Window, route: &Route<'_>) -> Result<(), &'static str> {
        if !matches!(route, Route::Api(_)) || !origin::is_browser(self.headers) {
            return Ok(());
        }
        let token = self.headers.get(origin::FORM_TOKEN).and_then(|token| token.to_str().ok()).unwrap_or_default();
        if window.form_token.fits(token) {
            return Ok(());
        }
        Err("a browser must show the token of this page (X-Form-Token); programs send neither Origin nor Sec-Fetch-Site")
    }

    /// An error in the language of the path: JSON for programs, a line for people.
    pub(crate) fn error(&self, status: StatusCode, words: &str) -> Answer {
        if self.path.starts_with("/api/") {
            return api::error(status, words);
        }
        answer::answer(status, TEXT, Content::Whole(format!("{} {words}\n", status.as_u16()).into()))
    }

    fn unauthorized(&self) -> Answer {
        let mut answer = self.error(StatusCode::UNAUTHORIZED, "this asks for a user name and a password, or for a token");
        let challenge = HeaderValue::from_static("Basic realm=\"Postern\", charset=\"UTF-8\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        answer
    }

    /// A refusal that ends by itself.
    pub(crate) fn later(&self, status: StatusCode, words: &str, seconds: u64) -> Answer {
        let mut answer = self.error(status, words);
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

/// Whether anything hangs, for whoever would restart the container. A disk that does not answer is
/// none of that: the next core would wait for it, too.
fn health(window: &Window) -> Answer {
    match window.vitals.late() {
        None => answer::found(TEXT, "ok\n"),
        Some(what) => not_ready(&what),
    }
}

fn not_ready(reason: &str) -> Answer {
    answer::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
}

fn ready(window: &Window) -> Answer {
    if let Some(what) = window.vitals.late().or_else(|| window.vitals.slow()) {
        return not_ready(&what);
    }
    match &*window.ready.borrow() {
        Ok(()) => answer::found(TEXT, "ready\n"),
        Err(reason) => not_ready(reason),
    }
}
