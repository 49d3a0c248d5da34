//! Results of deliveries in the last day, by destination.
//!
//! Limits: [`DESTINATIONS_SHOWN`] destinations.

use super::HttpResponse;
use crate::api::state::AppState;
use crate::ground::clock;
use crate::http::response;
use crate::mail::model::Deliveries;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// Destinations in an answer, at most.
pub const DESTINATIONS_SHOWN: usize = 500;

/// The destinations with the most delivery attempts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveriesView {
    /// Hours that are counted, or fewer if Postern was started since.
    pub hours: u32,
    /// Those with the most attempts first.
    pub destinations: Vec<DeliveryView>,
}

/// The delivery attempts to one destination.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeliveryView {
    /// A domain, an address literal, or the smart relay.
    pub name: String,
    /// Attempts that ended in delivery; each counts one recipient, here and below.
    pub delivered: u64,
    /// Attempts that failed temporarily.
    pub deferred: u64,
    /// Attempts that failed permanently.
    pub bounced: u64,
    /// Median of the seconds of attempts that delivered; `null` where none did.
    pub p50_seconds: Option<f64>,
    /// The 99th percentile of the same.
    pub p99_seconds: Option<f64>,
    /// The host of the last attempt that reached one; empty when none did.
    pub relay: String,
    /// Protocol version and cipher suite of that attempt; empty without TLS.
    pub tls: String,
    /// The error of the last failed attempt; empty when none failed.
    pub last_error: String,
    /// When that was, RFC 3339; `null` when none failed.
    pub last_error_time: Option<String>,
    /// When the last attempt ended, RFC 3339.
    pub last_attempt: String,
}

/// `GET /api/v1/deliveries`
pub(super) fn deliveries(app: &AppState) -> HttpResponse {
    response::json(StatusCode::OK, &deliveries_view(app, DESTINATIONS_SHOWN))
}

/// For programs and for the page.
pub(crate) fn deliveries_view(app: &AppState, limit: usize) -> DeliveriesView {
    let view = |found: Deliveries| DeliveryView {
        name: found.destination.to_string(),
        delivered: found.delivered,
        deferred: found.deferred,
        bounced: found.bounced,
        p50_seconds: found.p50_seconds,
        p99_seconds: found.p99_seconds,
        relay: found.relay,
        tls: found.tls,
        last_error: found.last_error,
        last_error_time: (found.failed_at > 0).then(|| clock::rfc3339(found.failed_at)),
        last_attempt: clock::rfc3339(found.last),
    };
    let destinations = app.views.admin.deliveries(limit).into_iter().map(view).collect();
    DeliveriesView { hours: Deliveries::HOURS, destinations }
}
