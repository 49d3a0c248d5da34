//! Alerts about recent events, from the growth of counters.

use super::alert::{Alert, messages};
use super::recent::{self, Fact, Recent};
use crate::ground::words::{count, counted, span, were};
use crate::mail::model::QueueSummary;

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
pub(super) struct Lately<'a> {
    pub(super) recent: &'a Recent,
    /// Seconds of the monotonic clock.
    pub(super) now: u64,
    /// Whether reports on undeliverable bounces are sent to an address.
    pub(super) bounce_address: bool,
}

impl Lately<'_> {
    /// Nothing is delivered though mail waits.
    pub(super) fn standstill(&self, summary: &QueueSummary, now: u32) -> Option<Alert> {
        let waiting = summary.messages.saturating_sub(summary.held);
        let waited =
            u64::from(summary.oldest_on_its_way.map_or(0, |oldest| now.saturating_sub(oldest)));
        let delivered = self.recent.last(Fact::Delivered, self.now);
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
        let (bounced, delivered) =
            (self.recent.growth(Fact::Bounced), self.recent.growth(Fact::Delivered));
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
            span(recent::SPAN)
        );
        Some(Alert::new(grave, "bounces", text))
    }

    /// Events that are over but that an operator should know.
    pub(super) fn events(&self) -> Vec<Alert> {
        let grew = |fact| Some(self.recent.growth(fact)).filter(|growth| *growth > 0);
        let happened = |fact| self.recent.last(fact, self.now).filter(|ago| *ago < EVENT);
        let lately = span(recent::SPAN);
        let of = |key: &str, text: String| Alert::new(false, key, text);
        let ago = |what: &str, ago: u64| format!("{what} {} ago", span(ago));
        [
            happened(Fact::BouncesLost).map(|n| {
                of("lost bounces", ago(if self.bounce_address { LOST_AND_SENT } else { LOST }, n))
            }),
            grew(Fact::SessionsRefused).map(|n| {
                of(
                    "sessions",
                    format!(
                        "{} {} refused for lack of space within {lately}",
                        counted(n, "session"),
                        were(n)
                    ),
                )
            }),
            Some(self.recent.growth(Fact::ClientsSlowed)).filter(|slowed| *slowed >= SLOWED).map(
                |n| {
                    of(
                        "strangers",
                        format!(
                            "{} sessions of unknown clients were slowed for their errors within \
                    {lately}",
                            count(n)
                        ),
                    )
                },
            ),
            grew(Fact::HistoryDropped).map(|n| {
                of(
                    "history",
                    format!(
                        "{} of the history {} dropped within \
                {lately}",
                        counted(n, "entry"),
                        were(n)
                    ),
                )
            }),
            grew(Fact::LogDropped).map(|n| {
                of(
                    "maillog",
                    format!(
                        "{} of the mail log {} dropped within \
                {lately}",
                        counted(n, "line"),
                        were(n)
                    ),
                )
            }),
            grew(Fact::WebhooksFailed).map(|n| {
                of(
                    "webhooks",
                    format!(
                        "{} for webhook_url {} given up within \
                {lately}",
                        counted(n, "event"),
                        were(n)
                    ),
                )
            }),
            happened(Fact::SyncFailures).map(|n| {
                of(
                    "sync",
                    ago(
                        "A sync of the data volume failed, and what it held was \
                written again,",
                        n,
                    ),
                )
            }),
            happened(Fact::CorruptRecords).map(|n| {
                of(
                    "corrupt",
                    ago(
                        "Damaged records were quarantined in corrupt/ on the data volume, the last",
                        n,
                    ),
                )
            }),
            // As long as this process runs: mail accepted since then would be lost by restoring a
            // backup, so the time matters.
            self.recent.last(Fact::ShortenedSegments, self.now).map(|n| {
                let found = "Mail is missing: segments of the queue were missing, or shorter than \
                before, at the start";
                of(
                    "segments",
                    format!(
                        "{found} {} ago; the log names the files: restore them from a backup, or \
                        continue without them",
                        span(n)
                    ),
                )
            }),
            happened(Fact::Panics).map(|n| {
                of("panics", ago("A component of the relay panicked and was contained", n))
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests;
