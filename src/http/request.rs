//! One request without its content: its listener, its client, and its rights.

use crate::ground::net::client_prefix;
use crate::http::access::{Admission, Caller};
use crate::http::allowed_hosts::Authority;
use crate::http::forwarded::RequestClient;
use crate::http::origin;
use crate::http::response::{self, HttpResponse, ResponseBody, TEXT};
use crate::http::rights::{RequiredRight, Rights};
use crate::http::searches::{Search, Searches};
use crate::http::state::HttpState;
use crate::mail::model::Principal;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode, Version};
use std::net::IpAddr;

/// Octets of a path in the log line about a wrong login: it is untrusted text.
const LOGGED_PATH_MAX: usize = 80;

/// The listener of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryPoint {
    /// `ui_port`, and the client's address.
    Public(IpAddr),
    /// `ui_port` in plain text although TLS is required: only health is shown.
    Plain(IpAddr),
    /// The control socket: its clients may do everything.
    Control,
}

/// A request without its content.
pub(crate) struct RequestHead<'a> {
    pub(crate) http: &'a HttpState,
    pub(crate) entry: EntryPoint,
    /// The client, also behind a configured proxy; `None` at the control socket.
    pub(crate) client: Option<RequestClient>,
    /// The authenticated client, once that is known.
    pub(crate) caller: Caller<'a>,
    pub(crate) method: &'a Method,
    pub(crate) version: Version,
    /// Below the path of `ui_url`.
    pub(crate) path: &'a str,
    /// As received.
    pub(super) whole_path: &'a str,
    /// After the question mark, as received.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl EntryPoint {
    pub(super) fn client(self, http: &HttpState, headers: &HeaderMap) -> Option<RequestClient> {
        match self {
            Self::Public(peer) | Self::Plain(peer) => {
                Some(RequestClient::of(peer, headers, &http.access.proxies))
            }
            Self::Control => None,
        }
    }
}

impl<'a> RequestHead<'a> {
    /// The user, for the audit log.
    pub(crate) fn principal(&self) -> Principal {
        let user = match self.caller {
            Caller::Control => "operator",
            Caller::Login(name) => name,
            Caller::Token(token) => &token.name,
            Caller::Anybody => "",
        };
        Principal { user: user.to_owned(), address: self.client.map(|client| client.address) }
    }

    /// The permission to search the queue or the history; each search occupies a processor for a
    /// while.
    ///
    /// # Errors
    /// The answer for a client that has too many searches in progress.
    pub(crate) async fn search(&self) -> Result<Option<Search<'a>>, HttpResponse> {
        self.turn(&self.http.searches, "search", "searches").await
    }

    /// The same for another set of long requests. `reason` is the label of a rejected one in
    /// `mta_http_refused_total`, `plural` their name.
    ///
    /// # Errors
    /// As [`RequestHead::search`].
    pub(crate) async fn turn<'s>(
        &self,
        searches: &'s Searches,
        reason: &str,
        plural: &str,
    ) -> Result<Option<Search<'s>>, HttpResponse> {
        let Some(client) = self.client else { return Ok(None) };
        let visitor = format!("{} {}", self.principal().user, client_prefix(client.address));
        match searches.begin(&visitor).await {
            Some(search) => Ok(Some(search)),
            None => {
                self.http.refused(reason);
                let words = format!("too many {plural} in progress; one at a time");
                Err(self.later(StatusCode::TOO_MANY_REQUESTS, &words, 3))
            }
        }
    }

    /// Why a request does not have the right that its route requires, as text.
    pub(crate) fn right(&self, need: RequiredRight) -> Result<(), &'static str> {
        match self.entry {
            EntryPoint::Control => Ok(()),
            EntryPoint::Public(_) => self.http.access.rights(self.caller).may(need),
            EntryPoint::Plain(_) => Rights::Anybody.may(need),
        }
    }

    /// Whether names, addresses and subjects are shown.
    pub(crate) fn may_look(&self) -> bool {
        self.right(RequiredRight::Look).is_ok()
    }

    /// The relative URL from this page to the first page: correct whether or not a proxy removes a
    /// part of the path.
    pub(crate) fn root(&self) -> String {
        match self.path.matches('/').count() {
            0 | 1 => "./".to_owned(),
            steps => "../".repeat(steps - 1),
        }
    }

    /// Whether the client is a person with a browser.
    pub(crate) fn wants_html(&self) -> bool {
        let accept = self.headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
        accept.is_some_and(|accept| accept.contains("text/html"))
    }

    /// The path for the table: programs with HTTP/1.0 get numbers instead of a page; browsers
    /// behind nginx, which uses it too, send an Accept header.
    pub(super) fn asked_path(&self) -> &'a str {
        if self.path == "/" && self.version == Version::HTTP_10 && !self.wants_html() {
            "/status"
        } else {
            self.path
        }
    }

    pub(super) fn is_of_api(&self) -> bool {
        self.path == "/api/v1" || self.path.starts_with("/api/v1/")
    }

    pub(super) fn is_plain(&self) -> bool {
        matches!(self.entry, EntryPoint::Plain(_))
    }

    /// Redirects people to the same page over TLS; a program gets an error.
    pub(super) fn inside_tls_alone(&self, host: Option<&Authority>) -> HttpResponse {
        let mut answer =
            self.error(StatusCode::FORBIDDEN, "this server speaks TLS: ask for https://");
        let Some(host) = host.filter(|_| [Method::GET, Method::HEAD].contains(self.method)) else {
            return answer;
        };
        let query = if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        if let Ok(place) =
            HeaderValue::from_str(&format!("https://{}{}{query}", host.text(), self.whole_path))
        {
            *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
            answer.headers_mut().insert(header::LOCATION, place);
        }
        answer
    }

    /// Redirects `/mta` to `/mta/`, because relative links need the slash.
    pub(super) fn with_slash(&self) -> HttpResponse {
        let mut answer = self.error(StatusCode::PERMANENT_REDIRECT, "add a slash at the end");
        let last = self.whole_path.rsplit('/').next().unwrap_or_default();
        if let Ok(place) = HeaderValue::from_str(&format!("{last}/")) {
            answer.headers_mut().insert(header::LOCATION, place);
        }
        answer
    }

    /// Requires the login if there is one, or a token, and slows down password guessing.
    pub(super) async fn identified(&self, need: RequiredRight) -> Result<Caller<'a>, HttpResponse> {
        let (EntryPoint::Public(_), Some(client)) = (self.entry, self.client) else {
            return Ok(if self.entry == EntryPoint::Control {
                Caller::Control
            } else {
                Caller::Anybody
            });
        };
        if need == RequiredRight::Health {
            return Ok(Caller::Anybody);
        }
        let (access, throttle) = (&self.http.access, &self.http.throttle);
        let needed = access.login.is_some() || need == RequiredRight::Send;
        let authorization = self.headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
        match access.admit(throttle, authorization, client, needed).await {
            Admission::In(caller) => Ok(caller),
            Admission::NotAsked => Err(self.unauthorized()),
            Admission::Wrong => {
                self.http.counters.http_logins_refused_total.inc();
                let (stranger, client) = (!access.is_near(client), client.address);
                let path = &self.path[..self.path.floor_char_boundary(LOGGED_PATH_MAX)];
                let words = "a wrong user name, password or token for the stats UI";
                tracing::warn!(target: "mta", stranger, %client, path, "{words}");
                Err(self.unauthorized())
            }
            Admission::Wait(pause) => {
                self.http.refused("guess");
                let seconds = pause.as_secs() + 1;
                let words = format!(
                    "too many wrong passwords for this account from this address; wait {seconds} s"
                );
                Err(self.later(StatusCode::TOO_MANY_REQUESTS, &words, seconds))
            }
            Admission::Busy => {
                self.http.refused("hash");
                Err(self.later(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too many passwords wait to be checked; try again",
                    2,
                ))
            }
        }
    }

    /// A browser that sends orders or mail through the API must have the token of this server's
    /// pages; a page's form contains it.
    pub(super) fn shows_form_token(&self) -> Result<(), &'static str> {
        if !self.is_of_api() || !origin::is_browser(self.headers) {
            return Ok(());
        }
        let token = self
            .headers
            .get(origin::FORM_TOKEN)
            .and_then(|token| token.to_str().ok())
            .unwrap_or_default();
        if self.http.form_token.fits(token) {
            return Ok(());
        }
        Err("a browser must show the token of this page (X-Form-Token); programs send neither \
            Origin nor Sec-Fetch-Site")
    }

    /// An error in the format of the path: JSON for programs, a line for people.
    pub(crate) fn error(&self, status: StatusCode, words: &str) -> HttpResponse {
        if self.path.starts_with("/api/") {
            return response::error(status, words);
        }
        response::answer(
            status,
            TEXT,
            ResponseBody::Whole(format!("{} {words}\n", status.as_u16()).into()),
        )
    }

    pub(crate) fn unauthorized(&self) -> HttpResponse {
        let mut answer = self
            .error(StatusCode::UNAUTHORIZED, "a user name and password, or a token, is required");
        let challenge = HeaderValue::from_static("Basic realm=\"Postern\", charset=\"UTF-8\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        answer
    }

    /// An error that ends by itself, with the time to wait.
    pub(crate) fn later(&self, status: StatusCode, words: &str, seconds: u64) -> HttpResponse {
        let mut answer = self.error(status, words);
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        answer
    }

    pub(super) fn method_not_allowed(&self, allowed: &[&Method]) -> HttpResponse {
        let mut answer = self.error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        let names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
        if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
            answer.headers_mut().insert(header::ALLOW, names);
        }
        answer
    }
}
