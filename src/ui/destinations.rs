//! The page of destinations: the state of each next hop, its deliveries in the last day and their
//! duration, its connections, and the last error.
//!
//! Limits: [`SHOWN`] destinations with the most attempts, and [`SHOWN`] more that messages wait
//! for.

use super::headline::percent;
use super::text::{ShortText, encoded, text};
use super::{PageError, PageFrame};
use crate::api::state::AppState;
use crate::api::{self, DeliveryState, DeliveryView, DestinationView};
use crate::ground::clock;
use crate::ground::display_text::{count, fine_span};
use crate::http::request::RequestHead;
use askama::Template;
use std::collections::BTreeMap;

/// Destinations of either kind, at most.
const SHOWN: usize = 40;

/// Characters of a name, of a host with its TLS, and of an error.
const NAME_SHOWN: usize = 48;
const HOST_SHOWN: usize = 70;
const ERROR_SHOWN: usize = 110;

#[derive(Template)]
#[template(path = "destinations.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    rows: Vec<Row>,
}

#[derive(Default)]
struct Row {
    name: ShortText,
    link: String,
    /// A state and its CSS class.
    state: (&'static str, &'static str),
    /// Since when it cannot be reached, RFC 3339.
    since: Option<String>,
    queued: String,
    /// Shares of attempts in percent, empty if there were none.
    success: String,
    deferred: String,
    bounced: String,
    attempts: String,
    latency: Option<(String, String)>,
    connections: String,
    host: ShortText,
    tls: Option<ShortText>,
    error: ShortText,
    error_time: Option<String>,
}

/// The page.
pub(super) fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let now = clock::now();
    let queued = app.views.admin.destinations(SHOWN);
    let mut queued: BTreeMap<String, DestinationView> = queued
        .into_iter()
        .map(|found| (found.destination.to_string(), api::destination_view(found, now)))
        .collect();
    let tried = api::deliveries_view(app, SHOWN).destinations;
    let mut rows: Vec<Row> = tried
        .iter()
        .map(|one| row(&one.name, Some(one), queued.remove(&one.name).as_ref()))
        .collect();
    rows.extend(queued.into_iter().map(|(name, one)| row(&name, None, Some(&one))));
    // Destinations with problems come first.
    rows.sort_by_key(|row| match row.state.1 {
        "bad" => 0,
        "held" => 1,
        _ => 2,
    });
    Page { frame: PageFrame::of(app, visit, "destinations"), rows }
        .render()
        .map_err(PageError::Render)
}

fn row(name: &str, tried: Option<&DeliveryView>, queued: Option<&DestinationView>) -> Row {
    let mut row = Row { name: text(name, NAME_SHOWN), link: encoded(name), ..Row::default() };
    row.state = state(queued.map_or(DeliveryState::Idle, |queued| queued.state));
    if let Some(queued) = queued {
        row.since.clone_from(&queued.unreachable_since);
        row.queued = count(queued.messages);
        row.connections = format!("{} of {}", queued.couriers, queued.window);
        row.error = text(queued.reason(), ERROR_SHOWN);
    }
    let Some(tried) = tried else { return row };
    let all = tried.delivered + tried.deferred + tried.bounced;
    row.success = percent(tried.delivered, all);
    row.deferred = percent(tried.deferred, all);
    row.bounced = percent(tried.bounced, all);
    row.attempts = count(all);
    row.latency = tried.p50_seconds.map(fine_span).zip(tried.p99_seconds.map(fine_span));
    row.host = text(&tried.relay, HOST_SHOWN);
    row.tls = (!tried.relay.is_empty()).then(|| match tried.tls.as_str() {
        "" => text("without TLS", HOST_SHOWN),
        tls => text(tls, HOST_SHOWN),
    });
    let is_limited = queued.is_some_and(|queued| queued.state == DeliveryState::RateLimited);
    if !tried.last_error.is_empty() && !is_limited {
        row.error = text(&tried.last_error, ERROR_SHOWN);
        row.error_time.clone_from(&tried.last_error_time);
    }
    row
}

/// The state of a destination, and its CSS class.
pub(super) fn state(state: DeliveryState) -> (&'static str, &'static str) {
    let class = match state {
        DeliveryState::Paused => "held",
        DeliveryState::Unreachable => "bad",
        DeliveryState::Busy | DeliveryState::Delivering => "active",
        DeliveryState::Suspended | DeliveryState::RateLimited | DeliveryState::Deferred => {
            "deferred"
        }
        DeliveryState::Waiting | DeliveryState::Idle => "",
    };
    (state.as_str(), class)
}
