//! The endpoints for orchestrators and monitors: `/healthz`, `/readyz`, `/metrics`.

use crate::api::state::AppState;
use crate::http::request::RequestHead;
use crate::http::response::{self, HttpResponse, PROMETHEUS, TEXT};
use crate::http::rights::RequiredRight;
use crate::http::route::{HttpRoute, LOOK, at_once};
use crate::monitor::gauges;
use hyper::StatusCode;

/// The rows of this module in the table of routes.
pub(crate) const ROUTES: &[HttpRoute<AppState>] = &[
    HttpRoute {
        path: "/healthz",
        methods: LOOK,
        need: RequiredRight::Health,
        handler: |call| at_once(health(call.app)),
    },
    HttpRoute {
        path: "/readyz",
        methods: LOOK,
        need: RequiredRight::Health,
        handler: |call| at_once(ready(call.app)),
    },
    HttpRoute {
        path: "/metrics",
        methods: LOOK,
        need: RequiredRight::Numbers,
        handler: |call| Box::pin(all(call.app, call.visit)),
    },
];

/// Whether anything hangs, for an orchestrator that would restart the container. A disk that does
/// not answer does not count: the next core would wait for it, too.
fn health(app: &AppState) -> HttpResponse {
    match app.monitor.vitals.late() {
        None => response::found(TEXT, "ok\n"),
        Some(what) => not_ready(&what),
    }
}

fn ready(app: &AppState) -> HttpResponse {
    if let Some(what) = app.monitor.vitals.late().or_else(|| app.monitor.vitals.slow()) {
        return not_ready(&what);
    }
    match &*app.monitor.ready.borrow() {
        Ok(()) => response::found(TEXT, "ready\n"),
        Err(reason) => not_ready(reason),
    }
}

fn not_ready(reason: &str) -> HttpResponse {
    response::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
}

async fn all(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    match gauges::text(&app.monitor).await {
        Ok(text) => response::found(PROMETHEUS, text),
        Err(fault) => visit.error(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
    }
}
