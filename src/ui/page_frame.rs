//! The common frame of every page, and error pages.

use super::assets::{SCRIPT, STYLE};
use crate::api::modes;
use crate::api::state::AppState;
use crate::ground::clock;
use crate::ground::display_text::span;
use crate::http::access::Caller;
use crate::http::request::{EntryPoint, RequestHead};
use crate::http::response::HttpResponse;
use crate::http::rights::{RequiredRight, Rights};
use hyper::StatusCode;

/// Why a page cannot be shown, or a form is rejected.
pub(super) enum PageError {
    /// The query or the form is not valid; the text says why.
    Query(String),
    /// It does not exist.
    Missing(&'static str),
    /// The form is not valid at all.
    Form(&'static str),
    /// The answer in the form for programs.
    Answer(Box<HttpResponse>),
    /// A defect of a template.
    Render(askama::Error),
}

impl PageError {
    pub(super) fn answer(self, visit: &RequestHead<'_>) -> HttpResponse {
        match self {
            Self::Query(words) => visit.error(StatusCode::BAD_REQUEST, &words),
            Self::Missing(words) => visit.error(StatusCode::NOT_FOUND, words),
            Self::Form(words) => visit.error(StatusCode::BAD_REQUEST, words),
            Self::Answer(answer) => *answer,
            Self::Render(fault) => {
                visit.error(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string())
            }
        }
    }
}

/// The common frame of every page.
pub(super) struct PageFrame {
    pub(super) page: &'static str,
    pub(super) hostname: String,
    pub(super) version: String,
    pub(super) uptime: String,
    pub(super) now: String,
    pub(super) ready: bool,
    /// The number of alerts, and whether one of them is critical.
    pub(super) alerts: usize,
    pub(super) grave: bool,
    /// Changes with the style sheet and the script, so that browsers may cache them.
    pub(super) assets: u32,
    pub(super) token: String,
    /// Why there are no buttons; `None` = there are.
    pub(super) actions: Option<&'static str>,
    pub(super) notice: Option<String>,
    /// Whether the browser has logged in, and so can log out.
    pub(super) logged_in: bool,
    /// The relative URL from this page to the first one: a proxy may serve the pages below a path.
    pub(super) root: String,
    /// Whether names and addresses are shown.
    pub(super) looks: bool,
    /// The pages that this user may see: path below the root, name and label.
    pub(super) pages: Vec<(&'static str, &'static str, &'static str)>,
    /// The modes for staging that are on, as text.
    pub(super) modes: Vec<String>,
    /// A warning about who can see this page.
    pub(super) openness: Option<&'static str>,
}

/// The warning on each page if no password is required.
const PUBLIC: &str = "ui_public=yes: everybody who can reach this page sees addresses, subjects, \
history, log and sessions. Set username and password, or ui_public=no.";
const NUMBERS: &str = "Numbers only, because no login is configured. Set username and password to \
see addresses and to manage the queue.";

impl PageFrame {
    pub(super) fn of(app: &AppState, visit: &RequestHead<'_>, page: &'static str) -> Self {
        let now = clock::now();
        let (alerts, grave) = app.monitor.rate_history.watch.last();
        Self {
            page,
            alerts,
            grave: grave > 0,
            hostname: app.facts.hostname.clone(),
            version: app.facts.version.clone(),
            uptime: span(u64::from(now.saturating_sub(app.facts.started))),
            now: clock::rfc3339(now),
            ready: app.monitor.ready.borrow().is_ok(),
            assets: crc32fast::hash(STYLE.as_bytes()) ^ crc32fast::hash(SCRIPT.as_bytes()),
            token: app.http.form_token.text().to_owned(),
            actions: visit.right(RequiredRight::Order).err(),
            notice: None,
            logged_in: matches!(
                (visit.entry, visit.caller),
                (EntryPoint::Public(_), Caller::Login(_))
            ),
            root: visit.root(),
            looks: visit.may_look(),
            pages: pages(|need| visit.right(need).is_ok()),
            modes: modes(app, visit.may_look()),
            openness: match app.http.access.rights(visit.caller) {
                Rights::Public => Some(PUBLIC),
                Rights::Anybody => Some(NUMBERS),
                _ => None,
            },
        }
    }

    pub(super) fn with_notice(self, notice: Option<String>) -> Self {
        Self { notice, ..self }
    }
}

/// Path below the root, name and label of each page whose required right `may` permits.
fn pages(may: impl Fn(RequiredRight) -> bool) -> Vec<(&'static str, &'static str, &'static str)> {
    const PAGES: [(&str, &str, &str, RequiredRight); 10] = [
        ("", "overview", "Overview", RequiredRight::Numbers),
        ("queue", "queue", "Queue", RequiredRight::Look),
        ("destinations", "destinations", "Destinations", RequiredRight::Look),
        ("history", "history", "History", RequiredRight::Look),
        ("sessions", "sessions", "Sessions", RequiredRight::Look),
        ("log", "log", "Log", RequiredRight::Look),
        ("route", "route", "Route", RequiredRight::Lookup),
        ("dkim", "dkim", "DKIM", RequiredRight::Lookup),
        ("upstreams", "upstreams", "Upstreams", RequiredRight::Look),
        ("settings", "settings", "Settings", RequiredRight::Settings),
    ];
    let shown = PAGES.into_iter().filter(|(.., need)| may(*need));
    shown.map(|(path, name, label, _)| (path, name, label)).collect()
}
