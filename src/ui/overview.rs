//! The first page: alerts, and a summary of the relay.
//!
//! Limits: [`DESTINATIONS`] destinations.

use super::alert::{self, AlertRow};
use super::chart::{self, Chart, Label, TimeSeries};
use super::headline::{Headline, few_digits, headline, whole};
use super::text::{ShortText, encoded, text};
use super::{PageError, PageFrame, upstreams};
use crate::api::next_attempt::NextAttempt;
use crate::api::state::AppState;
use crate::api::{self, DestinationView, StatusView};
use crate::ground::clock;
use crate::ground::display_text::{count, fine_span, harmless, size, span};
use crate::http::request::RequestHead;
use crate::monitor::components::{ComponentView, Condition};
use crate::monitor::counters::Counters;
use crate::monitor::rates::{RatePoint, SPANS, Span};
use askama::Template;
use prometheus::Histogram;

/// Destinations on the page, at most; the page of the queue has the rest.
const DESTINATIONS: usize = 10;

/// Characters of a destination's name and of its last error.
const NAME_SHOWN: usize = 48;
const ERROR_SHOWN: usize = 110;

#[derive(Template)]
#[template(path = "overview.html", config = "src/ui/askama.toml")]
struct Page {
    frame: PageFrame,
    status: StatusView,
    alerts: Vec<AlertRow>,
    span: &'static str,
    spans: [&'static str; 3],
    charts: [(&'static str, Chart); 3],
    labels: Vec<Label>,
    headline: Headline,
    totals: Vec<Total>,
    refusals: Vec<(String, String)>,
    rows: Vec<Row>,
    more: u64,
    /// For users without the right to look: messages by age.
    ages: Vec<(String, String)>,
    upstreams: Vec<upstreams::Row>,
    more_upstreams: usize,
    disk: Option<Disk>,
    parts: Vec<(&'static str, Vec<Part>)>,
    /// Terminals and volumes that nothing is connected to.
    unused: Vec<String>,
    latency: Option<Latency>,
    sync: Option<Latency>,
    memory: String,
}

struct Total {
    /// The counted thing, with its unit.
    name: &'static str,
    class: &'static str,
    tip: &'static str,
    value: String,
}

struct Row {
    name: ShortText,
    /// The name in a query string.
    link: String,
    paused: bool,
    /// Since when it cannot be reached, RFC 3339.
    unreachable_since: Option<String>,
    messages: String,
    /// In percent of the longest bar.
    bar: u64,
    oldest: String,
    next: String,
    error: ShortText,
}

struct Disk {
    used_percent: i64,
    used: String,
    size: String,
    class: &'static str,
}

struct Part {
    name: String,
    state: String,
    /// Since when it fails.
    since: Option<String>,
    class: &'static str,
}

struct Latency {
    p50: String,
    p95: String,
    p99: String,
}

/// The page.
///
/// # Errors
/// An error of the template, which a test would have found.
pub(super) async fn page(app: &AppState, visit: &RequestHead<'_>) -> Result<String, PageError> {
    let look = visit.may_look();
    let status = api::status_view(app, look).await;
    let now = clock::now();
    // Recipients' domains are shown only to users with the right to look; others see the ages.
    let mut destinations =
        if look { app.views.admin.destinations(DESTINATIONS + 1) } else { Vec::new() };
    let ages = if look { Vec::new() } else { ages(&api::ages_view(app).await) };
    let more = u64::from(destinations.len() > DESTINATIONS);
    destinations.truncate(DESTINATIONS);
    let longest =
        destinations.iter().map(|destination| destination.messages).max().unwrap_or(0).max(1);
    let wanted = visit.query.strip_prefix("span=").unwrap_or(SPANS[0].name);
    let (span, points, end) = points(app, wanted);
    let (hour, of_hour, _) = points_of_hour(app);
    let (upstreams, more_upstreams) =
        if look { upstreams::rows(app, visit) } else { (Vec::new(), 0) };
    let counters = &app.monitor.counters;
    let (connected, unused) = parts(&status);
    Page {
        alerts: alert::alerts(&status.alerts, look),
        span: span.name,
        spans: SPANS.map(|span| span.name),
        charts: charts(&TimeSeries::of(&points, span)),
        labels: chart::labels(span, end),
        frame: PageFrame::of(app, visit, "overview"),
        headline: headline(&status, &of_hour, hour),
        totals: totals(&status),
        refusals: status
            .totals
            .refused
            .iter()
            .filter(|(_, number)| **number > 0)
            .map(|(reason, number)| (reason.replace('_', " "), count(*number)))
            .collect(),
        rows: destinations
            .into_iter()
            .map(|d| row(&api::destination_view(d, now), longest))
            .collect(),
        more,
        upstreams,
        more_upstreams,
        disk: disk(counters),
        parts: connected,
        unused,
        ages,
        latency: latency(&counters.outbound.delivery_latency_seconds),
        sync: latency(&counters.spool.sync_seconds),
        memory: size(u64::try_from(status.memory_resident_bytes).unwrap_or_default()),
        status,
    }
    .render()
    .map_err(PageError::Render)
}

/// The points of a span, and when the last one ended; of an hour if there is no such span.
fn points(app: &AppState, span: &str) -> (Span, Vec<RatePoint>, u32) {
    app.monitor.rate_history.points(span).unwrap_or_else(|| points_of_hour(app))
}

fn points_of_hour(app: &AppState) -> (Span, Vec<RatePoint>, u32) {
    let found = app.monitor.rate_history.points(SPANS[0].name);
    found.unwrap_or((SPANS[0], Vec::new(), 0))
}

/// The charts of a span: rates, queue length, delays.
fn charts(moments: &TimeSeries) -> [(&'static str, Chart); 3] {
    let per_minute = |number: fn(&RatePoint) -> f32| moments.series(|point| number(point) * 60.0);
    let flow = vec![
        ("messages accepted", "mark", per_minute(|point| point.accepted)),
        ("recipients delivered", "good", per_minute(|point| point.delivered)),
        ("attempts deferred", "warn", per_minute(|point| point.deferred)),
        ("recipients bounced", "bad", per_minute(|point| point.bounced)),
    ];
    let waiting = vec![("messages", "mark", moments.series(|point| point.messages))];
    let delay = vec![
        ("p50", "mark", moments.series(|point| point.latency_p50)),
        ("p99", "warn", moments.series(|point| point.latency_p99)),
    ];
    [
        ("Per minute", moments.chart(&flow, |rate| format!("{}/min", few_digits(rate)))),
        ("Queued messages", moments.chart(&waiting, whole)),
        ("Delivery latency", moments.chart(&delay, |seconds| fine_span(f64::from(seconds)))),
    ]
}

fn totals(status: &StatusView) -> Vec<Total> {
    let totals = &status.totals;
    let total = |name, class, tip, value: u64| Total { name, class, tip, value: count(value) };
    vec![
        total("Messages accepted", "plain", "Answered 250, and on stable storage", totals.accepted),
        total("Recipients delivered", "good", "A next hop accepted the message", totals.delivered),
        total("Attempts deferred", "warn", "Each is retried; one recipient each", totals.deferred),
        total("Recipients bounced", "bad", "Failed permanently", totals.bounced),
        total(
            "Commands rejected",
            "plain",
            "What clients were refused with 4xx or 5xx",
            totals.refused.values().sum(),
        ),
        total("SMTP sessions", "plain", "Connections of clients", totals.smtp_sessions),
    ]
}

fn row(destination: &DestinationView, longest: u64) -> Row {
    Row {
        name: text(&destination.name, NAME_SHOWN),
        link: encoded(&destination.name),
        paused: destination.paused,
        unreachable_since: destination.unreachable_since.clone(),
        messages: count(destination.messages),
        bar: (destination.messages * 100 / longest).max(1),
        oldest: destination.oldest_age_seconds.map(span).unwrap_or_default(),
        next: NextAttempt::of_destination(destination).to_string(),
        error: text(destination.reason(), ERROR_SHOWN),
    }
}

fn disk(counters: &Counters) -> Option<Disk> {
    let (free, whole) =
        (counters.spool.disk_free_bytes.get(), counters.spool.disk_size_bytes.get());
    if whole <= 0 {
        return None;
    }
    let free_percent =
        i64::try_from(i128::from(free) * 100 / i128::from(whole)).unwrap_or_default().clamp(0, 100);
    Some(Disk {
        used_percent: 100 - free_percent,
        used: size(u64::try_from(whole.saturating_sub(free)).unwrap_or_default()),
        size: size(u64::try_from(whole).unwrap_or_default()),
        class: match free_percent {
            0 => "bad",
            1..=4 => "warn",
            _ => "good",
        },
    })
}

fn ages(view: &api::AgesView) -> Vec<(String, String)> {
    let bounds =
        view.bounds_seconds.iter().map(|bound| format!("up to {}", span(u64::from(*bound))));
    bounds
        .chain(["older".to_owned()])
        .zip(view.messages.iter().map(|number| count(*number)))
        .collect()
}

/// Connected terminals and volumes, and the names of the others.
fn parts(status: &StatusView) -> (Vec<(&'static str, Vec<Part>)>, Vec<String>) {
    let class = |condition| match condition {
        Condition::Connected | Condition::Mounted => "good",
        Condition::NotConnected => "off",
        Condition::Failing => "bad",
    };
    let part = |view: &ComponentView| Part {
        state: harmless(&view.state),
        class: class(view.condition),
        name: view.name.clone(),
        since: view.since.clone(),
    };
    let is_used = |view: &&ComponentView| view.condition != Condition::NotConnected;
    let used = |views: &[ComponentView]| views.iter().filter(is_used).map(part).collect::<Vec<_>>();
    let all = || status.terminals.iter().chain(&status.volumes);
    let unused = all().filter(|view| !is_used(view)).map(|view| view.name.clone()).collect();
    (vec![("Terminals", used(&status.terminals)), ("Volumes", used(&status.volumes))], unused)
}

fn latency(histogram: &Histogram) -> Option<Latency> {
    let seen = api::latency(histogram)?;
    Some(Latency {
        p50: fine_span(seen.p50_seconds),
        p95: fine_span(seen.p95_seconds),
        p99: fine_span(seen.p99_seconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::HistogramOpts;

    #[test]
    fn latency_is_read_from_the_buckets() {
        let histogram =
            Histogram::with_opts(HistogramOpts::new("a", "b").buckets(vec![0.5, 2.0])).unwrap();
        assert!(latency(&histogram).is_none());
        for seconds in [0.1, 0.2, 0.3, 1.0, 9.0] {
            histogram.observe(seconds);
        }
        let latency = latency(&histogram).unwrap();
        assert_eq!(
            (latency.p50.as_str(), latency.p95.as_str()),
            ("0.4 s", "2 s"),
            "2 s is the last bound"
        );
    }

    #[test]
    fn the_disk_has_the_founding_alerts() {
        let counters = Counters::new().unwrap();
        assert!(disk(&counters).is_none());
        counters.spool.disk_size_bytes.set(1000);
        for (free, class) in
            [(1000, "good"), (50, "good"), (49, "warn"), (10, "warn"), (9, "bad"), (0, "bad")]
        {
            counters.spool.disk_free_bytes.set(free);
            assert_eq!(disk(&counters).unwrap().class, class, "{free}");
        }
    }
}
