//! Rates over time: for the charts, and for users without a monitoring system.

use super::{HttpResponse, error};
use crate::api::state::AppState;
use crate::ground::clock;
use crate::http::response;
use crate::monitor::rates::RatePoint;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// Rates of a span; `null` where there is no value.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RatesView {
    /// `1h`, `24h` or `7d`.
    pub span: String,
    /// Seconds from point to point.
    pub step_seconds: u32,
    /// When the last one ended, RFC 3339.
    pub end: String,
    /// Messages a second.
    pub accepted: Vec<Option<f32>>,
    /// Recipients a second.
    pub delivered: Vec<Option<f32>>,
    /// Attempts a second that failed temporarily.
    pub deferred: Vec<Option<f32>>,
    /// Recipients a second that failed permanently.
    pub bounced: Vec<Option<f32>>,
    /// Rejected commands a second.
    pub refused: Vec<Option<f32>>,
    /// Messages in the queue.
    pub messages: Vec<Option<f32>>,
    /// Median of the seconds from acceptance to delivery.
    pub latency_p50_seconds: Vec<Option<f32>>,
    /// The 99th percentile of the same.
    pub latency_p99_seconds: Vec<Option<f32>>,
}

/// `GET /api/v1/rates?span=1h`
pub(super) fn rates(app: &AppState, query: &str) -> HttpResponse {
    let span =
        if query.is_empty() { "1h" } else { query.strip_prefix("span=").unwrap_or_default() };
    let Some((span, points, end)) = app.monitor.rate_history.points(span) else {
        return error(StatusCode::BAD_REQUEST, "span=1h, 24h or 7d is expected");
    };
    let of = |number: fn(&RatePoint) -> f32| {
        points.iter().map(|point| Some(number(point)).filter(|n| n.is_finite())).collect()
    };
    response::json(
        StatusCode::OK,
        &RatesView {
            span: span.name.to_owned(),
            step_seconds: span.step,
            end: clock::rfc3339(end),
            accepted: of(|point| point.accepted),
            delivered: of(|point| point.delivered),
            deferred: of(|point| point.deferred),
            bounced: of(|point| point.bounced),
            refused: of(|point| point.refused),
            messages: of(|point| point.messages),
            latency_p50_seconds: of(|point| point.latency_p50),
            latency_p99_seconds: of(|point| point.latency_p99),
        },
    )
}
