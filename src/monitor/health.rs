//! The pages of orchestrators and monitors: `/healthz`, `/readyz`, `/metrics`.

use super::metrics;
use crate::http::answer::{self, Answer, PROMETHEUS, TEXT};
use crate::http::rights::Need;
use crate::http::route::{LOOK, Route, at_once};
use crate::http::state::AppState;
use crate::http::visit::Visit;
use hyper::StatusCode;

/// The rows of this room in the table of routes.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        path: "/healthz",
        methods: LOOK,
        need: Need::Health,
        handler: |call| at_once(health(call.app)),
    },
    Route {
        path: "/readyz",
        methods: LOOK,
        need: Need::Health,
        handler: |call| at_once(ready(call.app)),
    },
    Route {
        path: "/metrics",
        methods: LOOK,
        need: Need::Numbers,
        handler: |call| Box::pin(all(call.app, call.visit)),
    },
];

/// Whether anything hangs, for whoever would restart the container. A disk that does not answer is
/// none of that: the next core would wait for it, too.
fn health(app: &AppState) -> Answer {
    match app.vitals.late() {
        None => answer::found(TEXT, "ok\n"),
        Some(what) => not_ready(&what),
    }
}

fn ready(app: &AppState) -> Answer {
    if let Some(what) = app.vitals.late().or_else(|| app.vitals.slow()) {
        return not_ready(&what);
    }
    match &*app.ready.borrow() {
        Ok(()) => answer::found(TEXT, "ready\n"),
        Err(reason) => not_ready(reason),
    }
}

fn not_ready(reason: &str) -> Answer {
    answer::plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n"))
}

async fn all(app: &AppState, visit: &Visit<'_>) -> Answer {
    match metrics::text(app).await {
        Ok(text) => answer::found(PROMETHEUS, text),
        Err(fault) => visit.error(StatusCode::INTERNAL_SERVER_ERROR, &fault.to_string()),
    }
}
