//! The pages of the web UI.
//!
//! Server-rendered HTML with one layout, one style sheet and one script that updates the pages;
//! everything works without the script. No external resources are loaded. A file for each page:
//! [`overview`], [`queue`], [`message`], [`destinations`], [`history`], [`sessions`], [`log`],
//! [`route`], [`dkim`], [`upstreams`], [`settings`]; [`actions`] handles their forms,
//! [`refusal`] makes error pages.
//! Limits: each page has its own; none is over 100 kB.
//! Security: names, subjects, errors and reasons are untrusted; askama escapes every value, and the
//! policy of `answer` permits no inline script and sends forms only to this server.

mod actions;
mod alert;
mod assets;
mod chart;
mod destinations;
mod dkim;
mod headline;
mod history;
mod log;
mod log_line;
mod message;
mod notice;
mod overview;
mod page_frame;
mod queue;
mod refusal;
mod route;
mod sessions;
mod settings;
pub(crate) mod status;
mod text;
mod upstreams;

use crate::api;
use crate::api::state::AppState;
use crate::http::request::RequestHead;
use crate::http::response::{self, HTML, HttpResponse};
use crate::http::rights::RequiredRight;
use crate::http::route::{HttpRoute, LOOK, POST, RequestContext, at_once};
use assets::asset;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use page_frame::{PageError, PageFrame};

pub(crate) use refusal::dressed;

/// Where a browser is made to forget the login.
pub(super) const LOGOUT: &str = "/logout";

const NO_ID: &str = "not a queue id";

/// The rows of this module in the table of routes.
pub(crate) const ROUTES: &[HttpRoute<AppState>] = &[
    HttpRoute {
        path: "/",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| {
            Box::pin(async move { shown(overview::page(call.app, call.visit).await, call.visit) })
        },
    },
    HttpRoute {
        path: "/status",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| Box::pin(status::status(call.app)),
    },
    HttpRoute {
        path: "/queue",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| {
            Box::pin(async move { shown(queue::page(call.app, call.visit).await, call.visit) })
        },
    },
    HttpRoute {
        path: "/queue/{id}",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| Box::pin(message(call)),
    },
    HttpRoute {
        path: "/queue/{id}/html",
        methods: LOOK,
        need: RequiredRight::Read,
        handler: |call| Box::pin(part(call, Part::Html)),
    },
    HttpRoute {
        path: "/queue/{id}/attachment",
        methods: LOOK,
        need: RequiredRight::Read,
        handler: |call| Box::pin(part(call, Part::Attachment)),
    },
    HttpRoute {
        path: LOGOUT,
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| at_once(logout(call.visit)),
    },
    HttpRoute {
        path: "/destinations",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(shown(destinations::page(call.app, call.visit), call.visit)),
    },
    HttpRoute {
        path: "/history",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| {
            Box::pin(async move { shown(history::page(call.app, call.visit).await, call.visit) })
        },
    },
    HttpRoute {
        path: "/history/{id}",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| Box::pin(finished(call)),
    },
    HttpRoute {
        path: "/history/{id}/resend",
        methods: POST,
        need: RequiredRight::Order,
        handler: |call| Box::pin(resend(call)),
    },
    HttpRoute {
        path: "/sessions",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(shown(sessions::page(call.app, call.visit), call.visit)),
    },
    HttpRoute {
        path: "/log",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(shown(log::page(call.app, call.visit), call.visit)),
    },
    HttpRoute {
        path: "/route",
        methods: LOOK,
        need: RequiredRight::Lookup,
        handler: |call| {
            Box::pin(async move { shown(route::page(call.app, call.visit).await, call.visit) })
        },
    },
    HttpRoute {
        path: "/dkim",
        methods: LOOK,
        need: RequiredRight::Lookup,
        handler: |call| {
            Box::pin(async move { shown(dkim::page(call.app, call.visit).await, call.visit) })
        },
    },
    HttpRoute {
        path: "/upstreams",
        methods: LOOK,
        need: RequiredRight::Look,
        handler: |call| at_once(shown(upstreams::page(call.app, call.visit), call.visit)),
    },
    HttpRoute {
        path: "/upstreams/{id}/test",
        methods: POST,
        need: RequiredRight::Order,
        handler: |call| Box::pin(upstream_test(call)),
    },
    HttpRoute {
        path: "/settings",
        methods: LOOK,
        need: RequiredRight::Settings,
        handler: |call| at_once(shown(settings::page(call.app, call.visit), call.visit)),
    },
    HttpRoute {
        path: "/act",
        methods: POST,
        need: RequiredRight::Order,
        handler: |call| Box::pin(act(call)),
    },
    HttpRoute {
        path: "/favicon.ico",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| at_once(file(call.visit, "icon.svg")),
    },
    HttpRoute {
        path: "/assets/{id}",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| at_once(file(call.visit, call.id)),
    },
];

/// A part of a message.
enum Part {
    Html,
    Attachment,
}

async fn part(call: RequestContext<'_, AppState>, part: Part) -> HttpResponse {
    let RequestContext { app, visit, id, .. } = call;
    let Ok(id) = id.parse() else {
        return visit.error(StatusCode::NOT_FOUND, NO_ID);
    };
    match part {
        Part::Html => message::html(app, visit, id).await,
        Part::Attachment => message::attachment(app, visit, id).await,
    }
}

/// Makes a browser forget the login, by a 401 answer (RFC 9110 §11.4), and data of the origin by
/// `Clear-Site-Data`, which has an effect only over TLS.
fn logout(visit: &RequestHead<'_>) -> HttpResponse {
    let mut answer = visit.unauthorized();
    answer
        .headers_mut()
        .insert("clear-site-data", HeaderValue::from_static("\"cookies\", \"cache\""));
    answer
}

async fn message(call: RequestContext<'_, AppState>) -> HttpResponse {
    let RequestContext { app, visit, id, .. } = call;
    let Ok(id) = id.parse() else {
        return visit.error(StatusCode::NOT_FOUND, NO_ID);
    };
    match message::page(app, visit, id).await {
        Err(PageError::Answer(answer)) if answer.status() == StatusCode::NOT_FOUND => {
            message::left(app, visit, id).await
        }
        Ok(page) => response::found_with_frame(page),
        Err(refused) => refused.answer(visit),
    }
}

async fn finished(call: RequestContext<'_, AppState>) -> HttpResponse {
    match call.id.parse() {
        Ok(id) => shown(history::one(call.app, call.visit, id).await, call.visit),
        Err(()) => call.visit.error(StatusCode::NOT_FOUND, NO_ID),
    }
}

async fn resend(call: RequestContext<'_, AppState>) -> HttpResponse {
    let Ok(id) = call.id.parse() else {
        return call.visit.error(StatusCode::NOT_FOUND, NO_ID);
    };
    let done = history::send_again(call.app, call.visit, id, call.content).await;
    done.unwrap_or_else(|refused| refused.answer(call.visit))
}

async fn upstream_test(call: RequestContext<'_, AppState>) -> HttpResponse {
    let page = upstreams::test(call.app, call.visit, call.id, call.content).await;
    shown(page, call.visit)
}

async fn act(call: RequestContext<'_, AppState>) -> HttpResponse {
    let done = actions::act(call.app, call.visit, call.content).await;
    done.unwrap_or_else(|refused| refused.answer(call.visit))
}

fn file(visit: &RequestHead<'_>, name: &str) -> HttpResponse {
    match asset(name) {
        Some((kind, text)) => response::asset(kind, text),
        None => visit.error(StatusCode::NOT_FOUND, "not found"),
    }
}

fn shown(page: Result<String, PageError>, visit: &RequestHead<'_>) -> HttpResponse {
    match page {
        Ok(page) => response::found(HTML, page),
        Err(refused) => refused.answer(visit),
    }
}
