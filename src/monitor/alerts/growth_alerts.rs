//! Alerts about recent events, from the growth of counters.

use super::alert::{Alert, messages};
use super::counter_growth::{self, RecentSamples, WatchedCounter};
use crate::ground::display_text::{count, counted, span, were};
use crate::mail::model::QueueSummary;

/// The text of an alert about so many events.
type GrowthText = fn(u64) -> String;

/// Nothing delivered for so long, though mail waits as long, causes an alert: ten minutes.
const STANDSTILL: u64 = 600;

/// Recently bounced recipients from which on their share is checked; and so many if nothing was
/// delivered.
const BOUNCES: u64 = 10;
const BOUNCES_ALONE: u64 = 3;

/// The share of bounced recipients, in percent, that causes an alert; and a critical one.
const BOUNCE_SHARE: u64 = 20;
const BOUNCE_SHARE_GRAVE: u64 = 50;

/// Recently slowed sessions that cause an alert.
const SLOWED: u64 = 20;

/// How long an alert about an event is shown: an hour.
const EVENT: u64 = 3600;

/// The texts about undeliverable bounces, with and without a recipient of such reports.
const LOST_AND_SENT: &str = "A bounce could not be delivered: its report is in the history, and \
was sent to bounce_address where it could be; the last one";
const LOST: &str = "A bounce could not be delivered: its report is in the history; set \
bounce_address to receive such reports; the last one";

/// Alerts that depend on how the counters grew.
pub(super) struct GrowthAlerts<'a> {
    pub(super) recent: &'a RecentSamples,
    /// Seconds of the monotonic clock.
    pub(super) now: u64,
    /// Whether reports on undeliverable bounces are sent to an address.
    pub(super) bounce_address: bool,
}

impl GrowthAlerts<'_> {
    /// Nothing is delivered though mail waits.
    pub(super) fn nothing_leaves(&self, summary: &QueueSummary, now: u32) -> Option<Alert> {
        let waiting = summary.messages.saturating_sub(summary.held);
        let waited =
            u64::from(summary.oldest_in_transit.map_or(0, |oldest| now.saturating_sub(oldest)));
        let delivered = self.recent.last(WatchedCounter::Delivered, self.now);
        // After a restart there was no delivery yet: one deferred mail is no standstill after two
        // minutes.
        let quiet = delivered.unwrap_or_else(|| self.recent.age(self.now));
        if waiting == 0 || waited.min(quiet) < STANDSTILL {
            return None;
        }
        let since = match delivered {
            None => format!("since the start {} ago", span(quiet)),
            // Before that there was nothing to deliver.
            Some(_) => format!("for {}", span(quiet.min(waited))),
        };
        Some(Alert::new(
            true,
            "standstill",
            format!("Nothing was delivered {since}, though {}", messages(waiting)),
        ))
    }

    /// Many attempts fail permanently.
    pub(super) fn bounces(&self) -> Option<Alert> {
        let (bounced, delivered) = (
            self.recent.growth(WatchedCounter::Bounced),
            self.recent.growth(WatchedCounter::Delivered),
        );
        let ended = bounced + delivered;
        let many = bounced >= BOUNCES || (delivered == 0 && bounced >= BOUNCES_ALONE);
        if !many || bounced * 100 < ended * BOUNCE_SHARE {
            return None;
        }
        let grave = bounced * 100 >= ended * BOUNCE_SHARE_GRAVE;
        let text = format!(
            "{} of {} recipients bounced within {}",
            count(bounced),
            count(ended),
            span(counter_growth::SPAN)
        );
        Some(Alert::new(grave, "bounces", text))
    }

    /// Events that are over but that an operator should know.
    pub(super) fn events(&self) -> Vec<Alert> {
        let lost = if self.bounce_address { LOST_AND_SENT } else { LOST };
        let lost = self.incident(WatchedCounter::BouncesLost, "lost bounces", lost);
        lost.into_iter().chain(self.growths()).chain(self.incidents()).collect()
    }

    /// What happened often enough within [`counter_growth::SPAN`].
    fn growths(&self) -> impl Iterator<Item = Alert> {
        let rows: [(WatchedCounter, u64, &str, GrowthText); 5] = [
            (WatchedCounter::SessionsRefused, 1, "sessions", |n| {
                format!("{} {} refused for lack of space", counted(n, "session"), were(n))
            }),
            (WatchedCounter::ClientsSlowed, SLOWED, "strangers", |n| {
                format!("{} sessions of unknown clients were slowed for their errors", count(n))
            }),
            (WatchedCounter::HistoryDropped, 1, "history", |n| {
                format!("{} of the history {} dropped", counted(n, "entry"), were(n))
            }),
            (WatchedCounter::LogDropped, 1, "maillog", |n| {
                format!("{} of the mail log {} dropped", counted(n, "line"), were(n))
            }),
            (WatchedCounter::WebhooksFailed, 1, "webhooks", |n| {
                format!("{} for webhook_url {} given up", counted(n, "event"), were(n))
            }),
        ];
        rows.into_iter().filter_map(|(fact, least, key, text)| {
            let growth = self.recent.growth(fact);
            let text = || format!("{} within {}", text(growth), span(counter_growth::SPAN));
            (growth >= least).then(|| Alert::new(false, key, text()))
        })
    }

    /// What happened within [`EVENT`], and missing mail.
    fn incidents(&self) -> impl Iterator<Item = Alert> {
        let sync = "A sync of the data volume failed, and what it held was written again,";
        let corrupt = "Damaged records were quarantined in corrupt/ on the data volume, the last";
        let panics = "A component of the relay panicked and was contained";
        [
            self.incident(WatchedCounter::SyncFailures, "sync", sync),
            self.incident(WatchedCounter::CorruptRecords, "corrupt", corrupt),
            // As long as this process runs: mail accepted since then would be lost by restoring a
            // backup, so the time matters.
            self.recent.last(WatchedCounter::ShortenedSegments, self.now).map(|n| {
                let found = "Mail is missing: segments of the queue were missing, or shorter than \
                before, at the start";
                Alert::new(
                    false,
                    "segments",
                    format!(
                        "{found} {} ago; the log names the files: restore them from a backup, or \
                        continue without them",
                        span(n)
                    ),
                )
            }),
            self.incident(WatchedCounter::Panics, "panics", panics),
        ]
        .into_iter()
        .flatten()
    }

    /// An event within [`EVENT`], and how long ago the last one was.
    fn incident(&self, fact: WatchedCounter, key: &str, what: &str) -> Option<Alert> {
        let ago = self.recent.last(fact, self.now).filter(|ago| *ago < EVENT)?;
        Some(Alert::new(false, key, format!("{what} {} ago", span(ago))))
    }
}

#[cfg(test)]
mod tests;
