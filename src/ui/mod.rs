//! The pages of the stats UI.
//!
//! Server-rendered HTML with one layout, one style sheet and one script that keeps the pages fresh;
//! all of it can be read without the script. Nothing is loaded from elsewhere. A file for each
//! page: [`overview`], [`queue`], [`message`], [`destinations`], [`history`], [`sessions`], [`log`]; [`act`] is what
//! their forms do, [`refusal`] what is shown instead of a page.
//! Limits: each page names its own; none is over 100 kB.
//! Security: names, subjects, errors and reasons are hostile; askama escapes every value, and the
//! policy of `answer` runs no inline script and sends forms nowhere else.

mod act;
mod alert;
mod chart;
mod destinations;
mod headline;
mod history;
mod log;
mod log_line;
mod message;
mod notice;
mod overview;
mod queue;
mod refusal;
mod sessions;
pub(crate) mod status;
mod text;

use crate::api;
use crate::ground::clock;
use crate::ground::words::span;
use crate::http::access::Caller;
use crate::http::answer::{self, Answer, HTML};
use crate::http::rights::{Need, Rights};
use crate::http::route::{Call, LOOK, POST, Route, at_once};
use crate::http::state::AppState;
use crate::http::visit::{Door, Visit};
use hyper::StatusCode;
use hyper::header::HeaderValue;

pub(crate) use refusal::dressed;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");
/// Where a browser forgets the login.
pub(super) const LOGOUT: &str = "/logout";

const NO_ID: &str = "not a queue id";

const ICON: &str = include_str!("icon.svg");

/// The rows of this room in the table of routes.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        path: "/",
        methods: LOOK,
        need: Need::Numbers,
        handler: |call| {
            Box::pin(async move { shown(overview::page(call.app, call.visit).await, call.visit) })
        },
    },
    Route {
        path: "/status",
        methods: LOOK,
        need: Need::Numbers,
        handler: |call| Box::pin(status::status(call.app)),
    },
    Route {
        path: "/queue",
        methods: LOOK,
        need: Need::Look,
        handler: |call| {
            Box::pin(async move { shown(queue::page(call.app, call.visit).await, call.visit) })
        },
    },
    Route {
        path: "/queue/{id}",
        methods: LOOK,
        need: Need::Look,
        handler: |call| Box::pin(message(call)),
    },
    Route {
        path: "/queue/{id}/html",
        methods: LOOK,
        need: Need::Read,
        handler: |call| Box::pin(part(call, Part::Html)),
    },
    Route {
        path: "/queue/{id}/attachment",
        methods: LOOK,
        need: Need::Read,
        handler: |call| Box::pin(part(call, Part::Attachment)),
    },
    Route {
        path: LOGOUT,
        methods: LOOK,
        need: Need::Numbers,
        handler: |call| at_once(logout(call.visit)),
    },
    Route {
        path: "/destinations",
        methods: LOOK,
        need: Need::Look,
        handler: |call| at_once(shown(destinations::page(call.app, call.visit), call.visit)),
    },
    Route {
        path: "/history",
        methods: LOOK,
        need: Need::Look,
        handler: |call| {
            Box::pin(async move { shown(history::page(call.app, call.visit).await, call.visit) })
        },
    },
    Route {
        path: "/history/{id}",
        methods: LOOK,
        need: Need::Look,
        handler: |call| Box::pin(finished(call)),
    },
    Route {
        path: "/sessions",
        methods: LOOK,
        need: Need::Look,
        handler: |call| at_once(shown(sessions::page(call.app, call.visit), call.visit)),
    },
    Route {
        path: "/log",
        methods: LOOK,
        need: Need::Look,
        handler: |call| at_once(shown(log::page(call.app, call.visit), call.visit)),
    },
    Route { path: "/act", methods: POST, need: Need::Order, handler: |call| Box::pin(act(call)) },
    Route {
        path: "/favicon.ico",
        methods: LOOK,
        need: Need::Numbers,
        handler: |call| at_once(file(call.visit, "icon.svg")),
    },
    Route {
        path: "/assets/{id}",
        methods: LOOK,
        need: Need::Numbers,
        handler: |call| at_once(file(call.visit, call.id)),
    },
];

/// A part of a message.
enum Part {
    Html,
    Attachment,
}

async fn part(call: Call<'_>, part: Part) -> Answer {
    let Call { app, visit, id, .. } = call;
    let Ok(id) = id.parse() else {
        return visit.error(StatusCode::NOT_FOUND, NO_ID);
    };
    match part {
        Part::Html => message::html(app, visit, id).await,
        Part::Attachment => message::attachment(app, visit, id).await,
    }
}

/// Makes a browser forget the login: it does so with what a 401 answers (RFC 9110 §11.4), and what
/// it keeps of an origin with `Clear-Site-Data`, which counts inside TLS alone.
fn logout(visit: &Visit<'_>) -> Answer {
    let mut answer = visit.unauthorized();
    answer
        .headers_mut()
        .insert("clear-site-data", HeaderValue::from_static("\"cookies\", \"cache\""));
    answer
}

async fn message(call: Call<'_>) -> Answer {
    let Call { app, visit, id, .. } = call;
    let Ok(id) = id.parse() else {
        return visit.error(StatusCode::NOT_FOUND, NO_ID);
    };
    match message::page(app, visit, id).await {
        Err(Refused::Answer(answer)) if answer.status() == StatusCode::NOT_FOUND => {
            message::left(app, visit, id).await
        }
        Ok(page) => answer::found_with_frame(page),
        Err(refused) => refused.answer(visit),
    }
}

async fn finished(call: Call<'_>) -> Answer {
    match call.id.parse() {
        Ok(id) => shown(history::one(call.app, call.visit, id).await, call.visit),
        Err(()) => call.visit.error(StatusCode::NOT_FOUND, NO_ID),
    }
}

async fn act(call: Call<'_>) -> Answer {
    let done = act::act(call.app, call.visit, call.content).await;
    done.unwrap_or_else(|refused| refused.answer(call.visit))
}

fn file(visit: &Visit<'_>, name: &str) -> Answer {
    match asset(name) {
        Some((kind, text)) => answer::asset(kind, text),
        None => visit.error(StatusCode::NOT_FOUND, "not found"),
    }
}

fn shown(page: Result<String, Refused>, visit: &Visit<'_>) -> Answer {
    match page {
        Ok(page) => answer::found(HTML, page),
        Err(refused) => refused.answer(visit),
    }
}

/// Why a page cannot be shown, or a form not obeyed.
enum Refused {
    /// The query or the form makes no sense; the words say why.
    Query(String),
    /// There is no such thing.
    Missing(&'static str),
    /// The form was not understood at all.
    Form(&'static str),
    /// The answer that a program would get.
    Answer(Box<Answer>),
    /// A defect of a template.
    Render(askama::Error),
}

impl Refused {
    fn answer(self, visit: &Visit<'_>) -> Answer {
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

/// What stands around every page.
struct Frame {
    page: &'static str,
    hostname: String,
    version: String,
    uptime: String,
    now: String,
    ready: bool,
    /// Alerts, and whether one of them is grave.
    alerts: usize,
    grave: bool,
    /// Changes with the style sheet and the script, so that browsers may keep them.
    assets: u32,
    token: String,
    /// Why there is nothing to press; `None` = there is.
    actions: Option<&'static str>,
    notice: Option<String>,
    /// Whether a browser has logged in, and so can log out.
    logged_in: bool,
    /// From the address of this page to that of the first one, relative: a proxy may show the pages
    /// below a path.
    root: String,
    /// Whether names and addresses are shown.
    looks: bool,
    /// What a person should know of who sees this page.
    openness: Option<&'static str>,
}

/// What the first line of each page says where nobody is asked for a password.
const PUBLIC: &str = "ui_public=yes: everybody who can reach this page sees addresses, subjects, \
history, log and sessions. Set username and password, or ui_public=no.";
const NUMBERS: &str = "Numbers only, because no login is configured. Set username and password to \
see addresses and to manage the queue.";

impl Frame {
    fn of(app: &AppState, visit: &Visit<'_>, page: &'static str) -> Self {
        let now = clock::now();
        let (alerts, grave) = app.views.rate_history.watch.last();
        Self {
            page,
            alerts,
            grave: grave > 0,
            hostname: app.facts.hostname.clone(),
            version: app.facts.version.clone(),
            uptime: span(u64::from(now.saturating_sub(app.facts.started))),
            now: clock::rfc3339(now),
            ready: app.ready.borrow().is_ok(),
            assets: crc32fast::hash(STYLE.as_bytes()) ^ crc32fast::hash(SCRIPT.as_bytes()),
            token: app.form_token.text().to_owned(),
            actions: visit.right(app, Need::Order).err(),
            notice: None,
            logged_in: matches!((visit.door, visit.caller), (Door::Public(_), Caller::Login(_))),
            root: visit.root(),
            looks: visit.may_look(app),
            openness: match app.access.rights(visit.caller) {
                Rights::Public => Some(PUBLIC),
                Rights::Anybody => Some(NUMBERS),
                _ => None,
            },
        }
    }

    fn with_notice(self, notice: Option<String>) -> Self {
        Self { notice, ..self }
    }

    /// Path below the root, name and label of each page that is shown.
    fn pages(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        const PAGES: [(&str, &str, &str); 6] = [
            ("", "overview", "Overview"),
            ("queue", "queue", "Queue"),
            ("destinations", "destinations", "Destinations"),
            ("history", "history", "History"),
            ("sessions", "sessions", "Sessions"),
            ("log", "log", "Log"),
        ];
        PAGES.into_iter().filter(|(_, name, _)| self.looks || *name == "overview").collect()
    }
}

fn asset(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "live.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return None,
    })
}
