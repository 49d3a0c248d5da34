//! One request without its content: where it came in, who asks, and what may be said to them.

use crate::ground::net::client_prefix;
use crate::http::access::{Admission, Caller};
use crate::http::answer::{self, Answer, Content, TEXT};
use crate::http::forwarded::Client;
use crate::http::hosts::Authority;
use crate::http::origin;
use crate::http::rights::{Need, Rights};
use crate::http::searches::Search;
use crate::http::state::HttpState;
use crate::mail::model::Asker;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode, Version};
use std::net::IpAddr;

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
    pub(crate) http: &'a HttpState,
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
    pub(super) whole_path: &'a str,
    /// Behind the question mark, as it came.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

impl Door {
    pub(super) fn client(self, http: &HttpState, headers: &HeaderMap) -> Option<Client> {
        match self {
            Self::Public(peer) | Self::Plain(peer) => {
                Some(Client::of(peer, headers, &http.access.proxies))
            }
            Self::Control => None,
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
    pub(crate) async fn search(&self) -> Result<Option<Search<'a>>, Answer> {
        let Some(client) = self.client else { return Ok(None) };
        let visitor = format!("{} {}", self.asker().user, client_prefix(client.address));
        match self.http.searches.begin(&visitor).await {
            Some(search) => Ok(Some(search)),
            None => {
                self.http.refused("search");
                Err(self.later(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many searches in progress; one at a time",
                    3,
                ))
            }
        }
    }

    /// What a request may not do that its route needs, in words.
    pub(crate) fn right(&self, need: Need) -> Result<(), &'static str> {
        match self.door {
            Door::Control => Ok(()),
            Door::Public(_) => self.http.access.rights(self.caller).may(need),
            Door::Plain(_) => Rights::Anybody.may(need),
        }
    }

    /// Whether names, addresses and subjects are shown.
    pub(crate) fn may_look(&self) -> bool {
        self.right(Need::Look).is_ok()
    }

    /// From this page's address to that of the first page, relative: right whether or not a proxy
    /// cuts a path off.
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

    /// The path that is looked for in the table: programs that speak HTTP/1.0 want numbers, not a
    /// page; browsers behind nginx, which speaks it too, say what they want.
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
        matches!(self.door, Door::Plain(_))
    }

    /// Sends people to the same page inside TLS; a program hears what is wrong.
    pub(super) fn inside_tls_alone(&self, host: Option<&Authority>) -> Answer {
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

    /// `/mta` is `/mta/`: links count from the last slash.
    pub(super) fn with_slash(&self) -> Answer {
        let mut answer = self.error(StatusCode::PERMANENT_REDIRECT, "add a slash at the end");
        let last = self.whole_path.rsplit('/').next().unwrap_or_default();
        if let Ok(place) = HeaderValue::from_str(&format!("{last}/")) {
            answer.headers_mut().insert(header::LOCATION, place);
        }
        answer
    }

    /// Asks for the login where there is one, or for a token, and slows down whoever guesses.
    pub(super) async fn identified(&self, need: Need) -> Result<Caller<'a>, Answer> {
        let (Door::Public(_), Some(client)) = (self.door, self.client) else {
            return Ok(if self.door == Door::Control { Caller::Control } else { Caller::Anybody });
        };
        if need == Need::Health {
            return Ok(Caller::Anybody);
        }
        let (access, throttle) = (&self.http.access, &self.http.throttle);
        let needed = access.login.is_some() || need == Need::Send;
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

    /// A browser that orders or sends through the API shows the token of our own pages; the form of
    /// a page carries it inside.
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

    /// An error in the language of the path: JSON for programs, a line for people.
    pub(crate) fn error(&self, status: StatusCode, words: &str) -> Answer {
        if self.path.starts_with("/api/") {
            return answer::error(status, words);
        }
        answer::answer(
            status,
            TEXT,
            Content::Whole(format!("{} {words}\n", status.as_u16()).into()),
        )
    }

    pub(crate) fn unauthorized(&self) -> Answer {
        let mut answer = self
            .error(StatusCode::UNAUTHORIZED, "a user name and password, or a token, is required");
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

    pub(super) fn method_not_allowed(&self, allowed: &[&Method]) -> Answer {
        let mut answer = self.error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        let names: Vec<&str> = allowed.iter().map(|method| method.as_str()).collect();
        if let Ok(names) = HeaderValue::from_str(&names.join(", ")) {
            answer.headers_mut().insert(header::ALLOW, names);
        }
        answer
    }
}
