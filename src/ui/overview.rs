//! The first page: the appliance at one glance.
//!
//! Limits: [`DESTINATIONS`] destinations.

use super::chart::{self, Chart};
use super::text::{Text, encoded, text};
use super::{Frame, Refused};
use crate::api::next_attempt::NextTry;
use crate::api::{self, DestinationView, StatusView};
use crate::ground::clock;
use crate::ground::words::{count, fine_span, harmless, size, span, states};
use crate::http::state::AppState;
use crate::http::visit::Visit;
use crate::monitor::components::{Condition, PartView};
use crate::monitor::counters::Counters;
use crate::monitor::rates::{Point, SPANS};
use askama::Template;
use prometheus::Histogram;

/// The most destinations on the page; the page of the queue has the rest.
const DESTINATIONS: usize = 10;

/// Characters of a destination's name and of its last error.
const NAME_SHOWN: usize = 48;
const ERROR_SHOWN: usize = 110;

#[derive(Template)]
#[template(path = "overview.html", config = "src/ui/askama.toml")]
struct Page {
    frame: Frame,
    status: StatusView,
    alerts: Vec<Alert>,
    span: &'static str,
    spans: [&'static str; 3],
    charts: [(&'static str, Chart); 3],
    big: Big,
    totals: Vec<Total>,
    refusals: Vec<(String, String)>,
    rows: Vec<Row>,
    more: u64,
    /// For those who may not look: up to which age, and how many messages.
    ages: Vec<(String, String)>,
    disk: Option<Disk>,
    parts: Vec<(&'static str, Vec<Part>)>,
    latency: Option<Latency>,
    sync: Option<Latency>,
    memory: String,
}

struct Alert {
    grave: bool,
    text: String,
    since: String,
}

/// The three founding counters, and what stands below each.
struct Big {
    messages: String,
    states: String,
    kbytes: String,
    size: String,
    /// Empty when the queue is.
    oldest: String,
    sessions: String,
    sessions_total: String,
}

struct Total {
    name: &'static str,
    class: &'static str,
    tip: &'static str,
    value: String,
}

struct Row {
    name: Text,
    /// The name in a query string.
    link: String,
    paused: bool,
    messages: String,
    /// Of the longest bar, in percent.
    bar: u64,
    oldest: String,
    next: String,
    error: Text,
}

struct Disk {
    used_percent: i64,
    free_percent: i64,
    free: String,
    size: String,
    class: &'static str,
}

struct Part {
    name: String,
    state: String,
    /// When it fails.
    since: Option<String>,
    class: &'static str,
}

struct Latency {
    half: String,
    most: String,
    nearly_all: String,
}

/// The page as it stands now.
///
/// # Errors
/// None that a test would not have found.
pub(super) async fn page(app: &AppState, visit: &Visit<'_>) -> Result<String, Refused> {
    let look = visit.may_look(app);
    let status = api::status_view(app, look).await;
    let now = clock::now();
    // Whom the mail is for is shown to those who may look; others see how long it waits.
    let mut destinations =
        if look { app.views.admin.destinations(DESTINATIONS + 1) } else { Vec::new() };
    let ages = if look { Vec::new() } else { ages(&api::ages_view(app).await) };
    let more = u64::from(destinations.len() > DESTINATIONS);
    destinations.truncate(DESTINATIONS);
    let longest =
        destinations.iter().map(|destination| destination.messages).max().unwrap_or(0).max(1);
    let wanted = visit.query.strip_prefix("span=").unwrap_or(SPANS[0].name);
    let (span, charts) = charts(app, wanted);
    let counters = &app.counters;
    let disk = disk(counters);
    Page {
        alerts: status
            .alerts
            .iter()
            .map(|alert| Alert {
                grave: alert.grave,
                text: alert.text.clone(),
                since: alert.since.clone(),
            })
            .collect(),
        span,
        spans: SPANS.map(|span| span.name),
        charts,
        frame: Frame::of(app, visit, "overview"),
        big: big(&status),
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
        disk,
        parts: vec![("Terminals", parts(&status.terminals)), ("Volumes", parts(&status.volumes))],
        ages,
        latency: latency(&counters.outbound.delivery_latency_seconds),
        sync: latency(&counters.spool.sync_seconds),
        memory: size(u64::try_from(status.memory_resident_bytes).unwrap_or_default()),
        status,
    }
    .render()
    .map_err(Refused::Render)
}

/// The charts of a span: what flows, what waits, how long it takes.
fn charts(app: &AppState, span: &str) -> (&'static str, [(&'static str, Chart); 3]) {
    let found = app
        .views
        .rate_history
        .points(span)
        .or_else(|| app.views.rate_history.points(SPANS[0].name));
    let (span, points, _) = found.unwrap_or((SPANS[0], Vec::new(), 0));
    let of = |number: fn(&Point) -> f32| points.iter().map(number).collect::<Vec<f32>>();
    let flow = vec![
        ("accepted", "mark", of(|point| point.accepted)),
        ("delivered", "good", of(|point| point.delivered)),
        ("deferred", "warn", of(|point| point.deferred)),
        ("bounced", "bad", of(|point| point.bounced)),
    ];
    let waiting = vec![("messages", "mark", of(|point| point.messages))];
    let delay = vec![
        ("half", "mark", of(|point| point.latency_p50)),
        ("99 %", "warn", of(|point| point.latency_p99)),
    ];
    let flow = chart::chart(&flow, |rate| format!("{}/s", few_digits(rate)));
    let waiting = chart::chart(&waiting, whole);
    let delay = chart::chart(&delay, |seconds| fine_span(f64::from(seconds)));
    let titled = [
        ("Messages and recipients a second", flow),
        ("Messages in the queue", waiting),
        ("From accepted to delivered", delay),
    ];
    (span.name, titled)
}

/// A number that is not small, without its fraction.
#[allow(clippy::cast_possible_truncation, reason = "rounded, and not below nought")]
fn whole(number: f32) -> String {
    count(number.max(0.0).round() as u64)
}

fn few_digits(rate: f32) -> String {
    match rate {
        rate if rate >= 10.0 => whole(rate),
        rate if rate >= 1.0 => format!("{rate:.1}"),
        0.0 => "0".to_owned(),
        rate => format!("{rate:.2}"),
    }
}

fn big(status: &StatusView) -> Big {
    let queue = &status.queue;
    Big {
        messages: count(queue.messages),
        states: states(queue.messages, queue.active, queue.deferred, queue.held),
        kbytes: count(queue.bytes.div_ceil(1024)),
        size: size(queue.bytes),
        oldest: queue.oldest_age_seconds.map(span).unwrap_or_default(),
        sessions: count(status.smtp_active_sessions),
        sessions_total: count(status.totals.smtp_sessions),
    }
}

fn totals(status: &StatusView) -> Vec<Total> {
    let totals = &status.totals;
    let total = |name, class, tip, value: u64| Total { name, class, tip, value: count(value) };
    vec![
        total("Accepted", "plain", "Messages made durable and answered 250", totals.accepted),
        total("Delivered", "good", "Recipients that a next hop took", totals.delivered),
        total("Deferred", "warn", "Tries of a recipient that failed for now", totals.deferred),
        total("Bounced", "bad", "Recipients that failed for good", totals.bounced),
        total("Refused", "plain", "What clients were told no to", totals.refused.values().sum()),
    ]
}

fn row(destination: &DestinationView, longest: u64) -> Row {
    Row {
        name: text(&destination.name, NAME_SHOWN),
        link: encoded(&destination.name),
        paused: destination.paused,
        messages: count(destination.messages),
        bar: (destination.messages * 100 / longest).max(1),
        oldest: destination.oldest_age_seconds.map(span).unwrap_or_default(),
        next: NextTry::of_destination(destination).to_string(),
        error: text(&destination.last_error, ERROR_SHOWN),
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
        free_percent,
        free: size(u64::try_from(free).unwrap_or_default()),
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

fn parts(views: &[PartView]) -> Vec<Part> {
    let class = |condition| match condition {
        Condition::Connected | Condition::Mounted => "good",
        Condition::NotConnected => "off",
        Condition::Failing => "bad",
    };
    let part = |view: &PartView| Part {
        state: harmless(&view.state),
        class: class(view.condition),
        name: view.name.clone(),
        since: view.since.clone(),
    };
    views.iter().map(part).collect()
}

fn latency(histogram: &Histogram) -> Option<Latency> {
    let seen = api::latency(histogram)?;
    Some(Latency {
        half: fine_span(seen.p50_seconds),
        most: fine_span(seen.p95_seconds),
        nearly_all: fine_span(seen.p99_seconds),
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
            (latency.half.as_str(), latency.most.as_str()),
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
