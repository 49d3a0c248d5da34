//! The stats page: one glance at the queue, for a tired person.
//!
//! Server-rendered HTML, one style sheet, one small script that renews the page's middle every five seconds; without the script
//! the page reloads itself. Nothing is loaded from elsewhere.
//! Limits: [`DESTINATIONS`] destinations, each text of theirs shortened, so that the page stays under 40 kB.
//! Security: names, errors and reasons are hostile; askama escapes every value, and the policy of `answer` runs no inline
//! script.

pub(super) mod status;

use super::api::{self, DestinationView, StatusView};
use super::server::Window;
use super::words::{count, fine_span, harmless, shorten, size, span, states};
use crate::appliance::counter::Counters;
use crate::ground::clock;
use askama::Template;
use prometheus::Histogram;
use prometheus::core::Metric;

pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("live.js");
pub(super) const ICON: &str = include_str!("icon.svg");

/// The most destinations on the page; `/api/v1/destinations` has the rest.
const DESTINATIONS: usize = 20;

/// Characters of a destination's name and of its last error that stand in the table, and in the tip above it.
const NAME_SHOWN: usize = 48;
const ERROR_SHOWN: usize = 110;
const TIP_SHOWN: usize = 400;

#[derive(Template)]
#[template(path = "page.html", config = "src/window/ui/askama.toml")]
struct Page {
    status: StatusView,
    alerts: Vec<Alert>,
    version_of_assets: u32,
    uptime: String,
    big: Big,
    totals: Vec<Total>,
    refusals: Vec<(String, String)>,
    rows: Vec<Row>,
    more: u64,
    disk: Option<Disk>,
    parts: Vec<(&'static str, Vec<Part>)>,
    latency: Option<Latency>,
    sync: Option<Latency>,
    memory: String,
    now: String,
}

struct Alert {
    grave: bool,
    text: String,
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

/// A text as it stands on the page, and all of it where that is more.
struct Text {
    shown: String,
    tip: Option<String>,
}

struct Row {
    name: Text,
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
    class: &'static str,
}

struct Latency {
    half: String,
    most: String,
}

/// The page as it stands now.
///
/// # Errors
/// None that a test would not have found.
pub(super) async fn page(window: &Window) -> askama::Result<String> {
    let status = api::status_view(window).await;
    let now = clock::now();
    let mut destinations = window.desk.destinations(DESTINATIONS + 1);
    let more = u64::from(destinations.len() > DESTINATIONS);
    destinations.truncate(DESTINATIONS);
    let longest = destinations.iter().map(|destination| destination.messages).max().unwrap_or(0).max(1);
    let counters = &window.counters;
    let disk = disk(counters);
    Page {
        alerts: alerts(&status, disk.as_ref()),
        version_of_assets: crc32fast::hash(STYLE.as_bytes()) ^ crc32fast::hash(SCRIPT.as_bytes()),
        uptime: span(status.uptime_seconds),
        big: big(&status),
        totals: totals(&status),
        refusals: status
            .totals
            .refused
            .iter()
            .filter(|(_, number)| **number > 0)
            .map(|(reason, number)| (reason.replace('_', " "), count(*number)))
            .collect(),
        rows: destinations.into_iter().map(|d| row(&api::destination_view(d, now), longest)).collect(),
        more,
        disk,
        parts: vec![("Terminals", parts(&window.terminals())), ("Volumes", parts(&window.facts.volumes))],
        latency: latency(&counters.delivery_latency_seconds),
        sync: latency(&counters.sync_seconds),
        memory: size(u64::try_from(status.memory_resident_bytes).unwrap_or_default()),
        now: clock::rfc3339(now),
        status,
    }
    .render()
}

/// The founding document's two alerts, and what else a person must know first.
fn alerts(status: &StatusView, disk: Option<&Disk>) -> Vec<Alert> {
    let mut alerts = Vec::new();
    if !status.ready {
        alerts.push(Alert { grave: true, text: format!("No mail is taken: {}", harmless(&status.not_ready_reason)) });
    }
    match disk.map(|disk| disk.class) {
        Some("bad") => alerts.push(Alert { grave: true, text: "Data volume has less than 1% of free disk space".to_owned() }),
        Some("warn") => alerts.push(Alert { grave: false, text: "Data volume has less than 5% of free disk space".to_owned() }),
        _ => {}
    }
    alerts
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
        messages: count(destination.messages),
        bar: (destination.messages * 100 / longest).max(1),
        oldest: destination.oldest_age_seconds.map(span).unwrap_or_default(),
        next: match (destination.active, destination.next_try_seconds) {
            (0, Some(0)) => "now".to_owned(),
            (0, Some(seconds)) => format!("in {}", span(seconds)),
            (0, None) => "held".to_owned(),
            (active, _) if active == destination.messages => "being tried".to_owned(),
            (active, _) => format!("{} being tried", count(active)),
        },
        error: text(&destination.last_error, ERROR_SHOWN),
    }
}

fn text(hostile: &str, limit: usize) -> Text {
    let whole = harmless(hostile);
    let shown = shorten(&whole, limit);
    let tip = (shown != whole).then(|| shorten(&whole, TIP_SHOWN));
    Text { shown, tip }
}

fn disk(counters: &Counters) -> Option<Disk> {
    let (free, whole) = (counters.disk_free_bytes.get(), counters.disk_size_bytes.get());
    if whole <= 0 {
        return None;
    }
    let free_percent = i64::try_from(i128::from(free) * 100 / i128::from(whole)).unwrap_or_default().clamp(0, 100);
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

fn parts(rows: &[(String, String)]) -> Vec<Part> {
    let class = |state: &str| match state {
        state if state == "none" || state.starts_with("not connected") || state.starts_with("not used") => "off",
        state if state.contains("fail") => "bad",
        _ => "good",
    };
    rows.iter().map(|(name, state)| Part { name: name.clone(), state: harmless(state), class: class(state) }).collect()
}

/// The bounds under which half and 95 % of all observations lie; `None` before the first one.
fn latency(histogram: &Histogram) -> Option<Latency> {
    let metric = histogram.metric();
    let histogram = metric.get_histogram();
    let all = histogram.get_sample_count();
    if all == 0 {
        return None;
    }
    let buckets = histogram.get_bucket();
    let within = |percent: u64| {
        let wanted = (all * percent).div_ceil(100);
        match buckets.iter().find(|bucket| bucket.cumulative_count() >= wanted) {
            Some(bucket) => format!("≤ {}", fine_span(bucket.upper_bound())),
            None => format!("> {}", fine_span(buckets.last().map_or(0.0, prometheus::proto::Bucket::upper_bound))),
        }
    };
    Some(Latency { half: within(50), most: within(95) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::HistogramOpts;

    #[test]
    fn latency_is_read_from_the_buckets() {
        let histogram = Histogram::with_opts(HistogramOpts::new("a", "b").buckets(vec![0.5, 2.0])).unwrap();
        assert!(latency(&histogram).is_none());
        for seconds in [0.1, 0.2, 0.3, 1.0, 9.0] {
            histogram.observe(seconds);
        }
        let latency = latency(&histogram).unwrap();
        assert_eq!((latency.half.as_str(), latency.most.as_str()), ("≤ 0.5 s", "> 2 s"));
    }

    #[test]
    fn the_disk_has_the_founding_alerts() {
        let counters = Counters::new(&[]).unwrap();
        assert!(disk(&counters).is_none());
        counters.disk_size_bytes.set(1000);
        for (free, class) in [(1000, "good"), (50, "good"), (49, "warn"), (10, "warn"), (9, "bad"), (0, "bad")] {
            counters.disk_free_bytes.set(free);
            assert_eq!(disk(&counters).unwrap().class, class, "{free}");
        }
    }

    #[test]
    fn hostile_text_is_short_and_cannot_turn_the_page_around() {
        let text = text(&format!("<b>\u{202e}{}", "x".repeat(500)), 10);
        assert_eq!(text.shown, "<b>\u{fffd}xxxxx…");
        assert_eq!(text.tip.unwrap().chars().count(), TIP_SHOWN);
    }
}
