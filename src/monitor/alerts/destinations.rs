//! Alerts of destinations.
//!
//! Limits: [`DESTINATIONS`] destinations are named.

use super::alert::{Alert, SHOWN, messages};
use crate::ground::display_text::{count, counted, harmless, shorten, span};
use crate::mail::model::{DESTINATIONS_MAX, QueueSummary};
use crate::monitor::state::MonitorState;

/// An unreachable destination whose oldest mail waits longer than this causes an alert: five
/// minutes. If at least half of the queue waits for it, it does so at once.
const DESTINATION_OLD: u32 = 300;

/// Destinations that are named; the queue page has the others.
pub(super) const DESTINATIONS: usize = 3;

/// Destinations that accept no mail, and paused ones that mail waits for.
pub(super) fn of_destinations(
    monitor: &MonitorState,
    summary: &QueueSummary,
    now: u32,
) -> Vec<Alert> {
    let mut alerts = Vec::new();
    let destinations = monitor.admin.destinations(DESTINATIONS_MAX);
    let age = |oldest: Option<u32>| oldest.map_or(0, |oldest| now.saturating_sub(oldest));
    let most = |messages: u64| messages * 2 >= summary.messages.saturating_sub(summary.held);
    let down = destinations.iter().filter(|d| d.unreachable_since.is_some() && d.messages > 0);
    let down: Vec<_> =
        down.filter(|d| most(d.messages) || age(d.oldest) > DESTINATION_OLD).collect();
    for destination in down.iter().take(DESTINATIONS) {
        let (name, error) = (
            shorten(&harmless(&destination.destination.name()), SHOWN),
            shorten(&harmless(&destination.last_error), SHOWN),
        );
        let waiting = format!(
            "{} waiting, the oldest for {}",
            counted(destination.messages, "message"),
            span(u64::from(age(destination.oldest)))
        );
        let alert = Alert::new(
            most(destination.messages),
            &format!("down {name}"),
            format!("Cannot deliver to {name}, {waiting}: {error}"),
        );
        let alert = alert.with_nameless(format!("Cannot deliver to a next hop, {waiting}"));
        alerts.push(Alert { began: destination.unreachable_since, ..alert });
    }
    let way_out = down
        .iter()
        .find(|d| most(d.messages))
        .map(|d| format!("cannot deliver to {}", shorten(&harmless(&d.destination.name()), SHOWN)));
    monitor.components.note("net", way_out);
    if let Some(others) = down.len().checked_sub(DESTINATIONS).filter(|others| *others > 0) {
        alerts.push(Alert::new(
            false,
            "down",
            match others {
                1 => "Cannot deliver to 1 more destination".to_owned(),
                others => format!("Cannot deliver to {} more destinations", count(others as u64)),
            },
        ));
    }
    for destination in destinations.iter().filter(|d| d.paused && d.messages > 0).take(DESTINATIONS)
    {
        let (name, waiting) = (
            shorten(&harmless(&destination.destination.name()), SHOWN),
            messages(destination.messages),
        );
        let alert = Alert::new(
            false,
            &format!("paused {name}"),
            format!("Delivery to {name} is paused, {waiting} for it"),
        );
        alerts.push(
            alert.with_nameless(format!("Delivery to a destination is paused, {waiting} for it")),
        );
    }
    alerts
}
