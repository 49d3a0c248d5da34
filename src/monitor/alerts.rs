//! Alerts: what an operator must know first.
//!
//! In: the counters, the queue by destination, terminals and volumes. Out: alerts, the critical
//! ones first, for the page, the API, `postern health --verbose` and webhooks.
//! `appliance/monitor/rules.yml` has the same alerts for Prometheus. Limits:
//! [`destinations::DESTINATIONS`] destinations are named.

mod alert;
mod alert_log;
pub(crate) mod alert_state;
mod counter_growth;
mod destinations;
mod dkim;
mod growth_alerts;
mod upstreams;
mod view;

use crate::ground::clock;
use crate::ground::display_text::{harmless, shorten, size, span};
use crate::ground::memory::Pressure;
use crate::mail::model::QueueSummary;
use crate::monitor::components::Condition;
use crate::monitor::counters::Counters;
use crate::monitor::gauges;
use crate::monitor::state::MonitorState;
use alert::{Alert, SHOWN};
use destinations::of_destinations;
use growth_alerts::GrowthAlerts;
use std::time::Instant;
use upstreams::of_upstreams;
pub use view::AlertView;

/// A certificate that expires within so many seconds causes an alert: two weeks.
const CERTIFICATE_SOON: u64 = 14 * 86_400;

/// How long a change of the wall clock is shown, in seconds: an hour.
const CLOCK_NEWS: u32 = 3600;

/// No DNS answer for so long causes an alert: ten seconds.
const DNS_FAILING: u64 = 10;

/// Mail that waits longer than this causes an alert whatever its destination: a day.
const OLD: u32 = 86_400;

/// The present alerts, with fresh numbers, the critical ones first.
pub(crate) async fn current(monitor: &MonitorState) -> Vec<AlertView> {
    let summary = gauges::refresh(monitor).await;
    look(monitor, &summary)
}

/// The present alerts, the critical ones first.
pub(crate) fn look(monitor: &MonitorState, summary: &QueueSummary) -> Vec<AlertView> {
    let watch = &monitor.rate_history.watch;
    let wall = clock::now();
    watch.note(&monitor.counters);
    let mut alerts = all(monitor, summary, wall);
    alerts.extend(dkim::of_domains(&*monitor.dkim));
    alerts.extend(dkim::of_records(&*monitor.dkim));
    alerts.extend(of_users(&monitor.counters));
    {
        let recent = watch.recent.lock();
        let now = watch.begun.elapsed().as_secs();
        let lately = GrowthAlerts { recent: &recent, now, bounce_address: monitor.bounce_address };
        alerts.extend(lately.nothing_leaves(summary, wall));
        alerts.extend(lately.bounces());
        alerts.extend(lately.events());
    }
    let mut since = watch.since.lock();
    since.retain(|key, _| alerts.iter().any(|alert| alert.key == *key));
    let mut views: Vec<AlertView> = alerts
        .into_iter()
        .map(|alert| AlertView {
            grave: alert.grave,
            text: alert.text,
            since: clock::rfc3339(
                alert.began.unwrap_or(*since.entry(alert.key.clone()).or_insert(wall)),
            ),
            key: alert.key,
            nameless: alert.nameless,
        })
        .collect();
    drop(since);
    views.sort_by_key(|view| !view.grave);
    watch.told.lock().tell(&views, Instant::now());
    *watch.last.lock() = (views.len(), views.iter().filter(|view| view.grave).count());
    views
}

/// A wrong file of users: who was taken out of it can still log in.
fn of_users(counters: &Counters) -> Option<Alert> {
    let text = "The new file of smtp_users cannot be used, the former users stay: see the log";
    let is_failing = counters.accept.users_file_failing.get() > 0;
    is_failing.then(|| Alert::new(false, "users file", text.to_owned()))
}

fn all(monitor: &MonitorState, summary: &QueueSummary, now: u32) -> Vec<Alert> {
    let counters = &monitor.counters;
    let mut alerts = Vec::new();
    let mut alert =
        |grave: bool, key: &str, text: String| alerts.push(Alert::new(grave, key, text));
    if let Some(what) = monitor.vitals.late() {
        alert(true, "hangs", format!("The SMTP core hangs: {}", shorten(&harmless(&what), SHOWN)));
    }
    if let Some(what) = monitor.vitals.slow() {
        let what = shorten(&harmless(&what), SHOWN);
        alert(
            true,
            "slow disk",
            format!("The data volume does not answer, so no mail is accepted: {what}"),
        );
    }
    if let Err(reason) = &*monitor.ready.borrow() {
        alert(true, "ready", format!("Not accepting mail: {}", shorten(&harmless(reason), SHOWN)));
    }
    if monitor.memory.pressure() == Pressure::Critical {
        let what =
            "Memory is nearly used up: unknown clients get no session, new mail is deferred (452)";
        alert(
            true,
            "memory",
            format!("{what}, that of trusted clients last; give the container more"),
        );
    }
    let (free, whole) = counters.spool.disk();
    match free * 100 {
        _ if whole <= 0 => {}
        share if share < whole => {
            alert(true, "disk", "Data volume has less than 1% of free disk space".to_owned())
        }
        share if share < whole * 5 => {
            alert(false, "disk", "Data volume has less than 5% of free disk space".to_owned())
        }
        _ => {}
    }
    if let Some(end) = counters.accept.certificate_expiry() {
        match end.saturating_sub(u64::from(now)) {
            0 => {
                alert(true, "certificate", "The certificate of terminal in has expired".to_owned())
            }
            left if left < CERTIFICATE_SOON => {
                alert(
                    false,
                    "certificate",
                    format!("The certificate of terminal in expires in {}", span(left)),
                );
            }
            _ => {}
        }
    }
    if counters.maillog.maillog_failing.get() > 0 {
        let waiting = size(counters.maillog.waiting());
        alert(false, "log", format!("Terminal log cannot be written; {waiting} of lines wait"));
    }
    if let Some((by, ago)) = clock::last_jump()
        && ago < CLOCK_NEWS
    {
        let (direction, by) = (if by > 0 { "forward" } else { "back" }, span(by.unsigned_abs()));
        alert(
            false,
            "clock",
            format!("The wall clock was set {direction} by {by}; displayed times may be wrong"),
        );
    }
    match u64::try_from(counters.route.dns_failing_since_seconds.get()) {
        Ok(since) if since > 0 && u64::from(now).saturating_sub(since) >= DNS_FAILING => {
            let failing = span(u64::from(now).saturating_sub(since));
            alert(
                false,
                "dns",
                format!(
                    "No DNS look-up of a next hop has been answered for {failing}; are the servers \
                    of {} up?",
                    monitor.name_servers
                ),
            );
        }
        _ => {}
    }
    for part in monitor
        .terminals()
        .iter()
        .filter(|part| part.condition == Condition::Failing && part.name == "mon")
    {
        let text = format!("Terminal mon fails: {}", shorten(&part.state, SHOWN));
        alerts.push(Alert::new(false, "mon", text).with_nameless("Terminal mon fails".to_owned()));
    }
    if let Some(cause) = monitor.vitals.control() {
        let what =
            "There is no control socket, so 'postern queue' and 'postern health' do not work";
        let text = format!("{what}: {}", shorten(&harmless(&cause), SHOWN));
        alerts.push(Alert::new(false, "control", text).with_nameless(what.to_owned()));
    }
    alerts.extend(of_upstreams(monitor));
    alerts.extend(of_destinations(monitor, summary, now));
    if let Some(waited) = summary
        .oldest_in_transit
        .map(|oldest| now.saturating_sub(oldest))
        .filter(|waited| *waited > OLD)
    {
        alerts.push(Alert::new(
            false,
            "old",
            format!("The oldest message has waited {}", span(u64::from(waited))),
        ));
    }
    alerts
}
