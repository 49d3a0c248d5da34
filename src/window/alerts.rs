//! What a person must know first, in words: few, and none that is not true.

use super::server::Window;
use super::words::{harmless, shorten, size, span};
use crate::ground::clock;
use crate::mail::model::QueueSummary;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A certificate that ends within so many seconds is worth a word: two weeks.
const CERTIFICATE_SOON: u64 = 14 * 86_400;

/// A destination that has been left alone and whose oldest mail waits longer than this is worth a word: an hour.
const DESTINATION_OLD: u32 = 3600;

/// Destinations that are named; the page of the queue has the others.
const DESTINATIONS: usize = 3;

/// Mail that waits longer than this is worth a word wherever it waits: a day.
const OLD: u32 = 86_400;

/// Characters of a name or a cause.
const SHOWN: usize = 120;

/// Something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertView {
    /// Whether mail is not taken, or will not be soon.
    pub grave: bool,
    /// What it is.
    pub text: String,
    /// When it was first seen, RFC 3339.
    pub since: String,
    /// What makes it the same alert although its words change.
    #[serde(skip)]
    pub key: String,
}

/// Since when each thing is wrong.
#[derive(Default)]
pub struct Watch {
    since: Mutex<HashMap<String, u32>>,
}

struct Alert {
    grave: bool,
    /// What makes it the same alert although its words change.
    key: String,
    text: String,
}

impl Watch {
    /// What is wrong now, the grave first.
    pub(super) fn look(&self, window: &Window, summary: &QueueSummary) -> Vec<AlertView> {
        let now = clock::now();
        let alerts = all(window, summary, now);
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|key, _| alerts.iter().any(|alert| alert.key == *key));
        let mut views: Vec<AlertView> = alerts
            .into_iter()
            .map(|alert| AlertView {
                grave: alert.grave,
                text: alert.text,
                since: clock::rfc3339(*since.entry(alert.key.clone()).or_insert(now)),
                key: alert.key,
            })
            .collect();
        views.sort_by_key(|view| !view.grave);
        views
    }
}

fn all(window: &Window, summary: &QueueSummary, now: u32) -> Vec<Alert> {
    let counters = &window.counters;
    let mut alerts = Vec::new();
    let mut alert = |grave: bool, key: &str, text: String| alerts.push(Alert { grave, key: key.to_owned(), text });
    if let Err(reason) = &*window.ready.borrow() {
        alert(true, "ready", format!("No mail is taken: {}", shorten(&harmless(reason), SHOWN)));
    }
    let (free, whole) = (i128::from(counters.disk_free_bytes.get()), i128::from(counters.disk_size_bytes.get()));
    match free * 100 {
        _ if whole <= 0 => {}
        share if share < whole => alert(true, "disk", "Data volume has less than 1% of free disk space".to_owned()),
        share if share < whole * 5 => alert(false, "disk", "Data volume has less than 5% of free disk space".to_owned()),
        _ => {}
    }
    if let Some(end) = counters.certificate_expiry() {
        match end.saturating_sub(u64::from(now)) {
            0 => alert(true, "certificate", "The certificate of terminal in has expired".to_owned()),
            left if left < CERTIFICATE_SOON => {
                alert(false, "certificate", format!("The certificate of terminal in expires in {}", span(left)));
            }
            _ => {}
        }
    }
    if counters.maillog_failing.get() > 0 {
        let waiting = size(u64::try_from(counters.maillog_buffer_bytes.get()).unwrap_or_default());
        alert(false, "log", format!("Terminal log takes no lines; {waiting} of the mail log wait"));
    }
    let destinations = window.views.desk.destinations(super::api::DESTINATIONS_MAX);
    let age = |oldest: Option<u32>| oldest.map_or(0, |oldest| now.saturating_sub(oldest));
    let down = destinations.iter().filter(|d| d.suspended_until.is_some() && age(d.oldest) > DESTINATION_OLD);
    for destination in down.take(DESTINATIONS) {
        let (name, error) = (shorten(&harmless(&destination.name), SHOWN), shorten(&harmless(&destination.last_error), SHOWN));
        let waited = span(u64::from(age(destination.oldest)));
        alert(false, &format!("down {name}"), format!("{name} cannot be reached; mail for it waits {waited}: {error}"));
    }
    for destination in destinations.iter().filter(|d| d.paused && d.messages > 0).take(DESTINATIONS) {
        let name = shorten(&harmless(&destination.name), SHOWN);
        alert(false, &format!("paused {name}"), format!("{name} is paused; {} messages wait for it", destination.messages));
    }
    if age(summary.oldest) > OLD {
        let waited = span(u64::from(age(summary.oldest)));
        alert(false, "old", format!("The oldest mail waits {waited}"));
    }
    alerts
}
