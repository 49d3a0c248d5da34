//! Alerts: what an operator must know first.
//!
//! In: the counters, the queue by destination, terminals and volumes. Out: alerts, the critical
//! ones first, for the page, the API, `postern health --verbose` and webhooks.
//! `appliance/monitor/rules.yml` has the same alerts for Prometheus. Limits: [`DESTINATIONS`]
//! destinations are named.

mod recent;
mod told;
mod view;
pub(crate) mod watch;

use crate::ground::clock;
use crate::ground::memory::Pressure;
use crate::ground::words::{count, counted, harmless, shorten, size, span, were};
use crate::mail::model::{DESTINATIONS_MAX, QueueSummary};
use crate::monitor::components::Condition;
use crate::monitor::metrics;
use crate::monitor::state::MonitorState;
use recent::{Fact, Recent};
use std::time::Instant;
pub use view::AlertView;

/// A certificate that expires within so many seconds causes an alert: two weeks.
const CERTIFICATE_SOON: u64 = 14 * 86_400;

/// An unreachable destination whose oldest mail waits longer than this causes an alert: five
/// minutes. If at least half of the queue waits for it, it does so at once.
const DESTINATION_OLD: u32 = 300;

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

/// How long a change of the wall clock is shown, in seconds: an hour.
const CLOCK_NEWS: u32 = 3600;

/// No DNS answer for so long causes an alert: ten seconds.
const DNS_FAILING: u64 = 10;

/// Destinations that are named; the queue page has the others.
const DESTINATIONS: usize = 3;

/// The texts about undeliverable bounces, with and without a recipient of such reports.
const LOST_AND_SENT: &str = "A bounce could not be delivered: its report is in the history, and \
was sent to bounce_address where it could be; the last one";
const LOST: &str = "A bounce could not be delivered: its report is in the history; set \
bounce_address to receive such reports; the last one";

/// Mail that waits longer than this causes an alert whatever its destination: a day.
const OLD: u32 = 86_400;

/// Characters of a name or a cause.
const SHOWN: usize = 120;

struct Alert {
    grave: bool,
    /// Identifies the alert although its text changes.
    key: String,
    text: String,
    /// The text without names, if it differs.
    nameless: Option<String>,
    /// When it began, if that is known.
    began: Option<u32>,
}

impl Alert {
    fn new(grave: bool, key: &str, text: String) -> Self {
        Self { grave, key: key.to_owned(), text, nameless: None, began: None }
    }

    fn or_nameless(self, text: String) -> Self {
        Self { nameless: Some(text), ..self }
    }
}

/// The present alerts, with fresh numbers, the critical ones first.
pub(crate) async fn current(monitor: &MonitorState) -> Vec<AlertView> {
    let summary = metrics::refresh(monitor).await;
    look(monitor, &summary)
}

/// The present alerts, the critical ones first.
pub(crate) fn look(monitor: &MonitorState, summary: &QueueSummary) -> Vec<AlertView> {
    let watch = &monitor.rate_history.watch;
    let wall = clock::now();
    watch.note(&monitor.counters);
    let mut alerts = all(monitor, summary, wall);
    {
        let recent = watch.recent.lock();
        let now = watch.begun.elapsed().as_secs();
        let lately = Lately { recent: &recent, now, bounce_address: monitor.bounce_address };
        alerts.extend(lately.standstill(summary, wall));
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
        alerts.push(Alert::new(false, "mon", text).or_nameless("Terminal mon fails".to_owned()));
    }
    if let Some(cause) = monitor.vitals.control() {
        let what =
            "There is no control socket, so 'postern queue' and 'postern health' do not work";
        let text = format!("{what}: {}", shorten(&harmless(&cause), SHOWN));
        alerts.push(Alert::new(false, "control", text).or_nameless(what.to_owned()));
    }
    alerts.extend(of_destinations(monitor, summary, now));
    if let Some(waited) = summary
        .oldest_on_its_way
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

/// Destinations that accept no mail, and paused ones that mail waits for.
fn of_destinations(monitor: &MonitorState, summary: &QueueSummary, now: u32) -> Vec<Alert> {
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
        let alert = alert.or_nameless(format!("Cannot deliver to a next hop, {waiting}"));
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
            alert.or_nameless(format!("Delivery to a destination is paused, {waiting} for it")),
        );
    }
    alerts
}

/// `77 messages wait`, `1 message waits`.
fn messages(number: u64) -> String {
    format!("{} {}", counted(number, "message"), if number == 1 { "waits" } else { "wait" })
}

/// Alerts that depend on how the counters grew.
struct Lately<'a> {
    recent: &'a Recent,
    /// Seconds of the monotonic clock.
    now: u64,
    /// Whether reports on undeliverable bounces are sent to an address.
    bounce_address: bool,
}

impl Lately<'_> {
    /// Nothing is delivered though mail waits.
    fn standstill(&self, summary: &QueueSummary, now: u32) -> Option<Alert> {
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
    fn bounces(&self) -> Option<Alert> {
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
    fn events(&self) -> Vec<Alert> {
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
mod tests {
    use super::*;
    use crate::monitor::counters::Counters;

    /// The texts of alerts for counters that grew so within ten minutes, with this queue after it.
    fn said(grow: impl Fn(&Counters), summary: &QueueSummary) -> Vec<(String, bool)> {
        let counters = Counters::new().unwrap();
        let mut recent = Recent::default();
        recent.note(&counters, 0);
        grow(&counters);
        recent.note(&counters, 100);
        recent.note(&counters, 650);
        let lately = Lately { recent: &recent, now: 650, bounce_address: false };
        let alerts = lately
            .standstill(summary, 10_000)
            .into_iter()
            .chain(lately.bounces())
            .chain(lately.events());
        alerts.map(|alert| (alert.text, alert.grave)).collect()
    }

    fn waits(messages: u64, held: u64, age: u32) -> QueueSummary {
        QueueSummary {
            messages,
            held,
            oldest: Some(10_000 - age),
            oldest_on_its_way: (messages > held).then(|| 10_000 - age),
            ..QueueSummary::default()
        }
    }

    #[test]
    fn a_relay_that_is_well_says_nothing() {
        let well = |counters: &Counters| {
            counters.outbound.delivered_total.inc_by(1000);
            counters.outbound.bounced_total.inc_by(20);
        };
        assert_eq!(said(well, &QueueSummary::default()), []);
        assert_eq!(said(well, &waits(5, 0, 60)), []);
        assert_eq!(said(|_| (), &waits(5, 5, 9000)), [], "all of it is held");
        assert_eq!(
            said(|counters| counters.outbound.bounced_total.inc_by(2), &QueueSummary::default()),
            [],
            "two typos"
        );
    }

    #[test]
    fn mail_that_does_not_leave_is_grave() {
        let text =
            "Nothing was delivered since the start 10 min ago, though 77 messages wait".to_owned();
        assert_eq!(said(|_| (), &waits(77, 0, 700)), [(text, true)]);
        assert_eq!(said(|_| (), &waits(77, 0, 300)), [], "it has not waited for long");
        assert_eq!(
            said(|counters| counters.outbound.delivered_total.inc(), &waits(77, 0, 700)),
            [],
            "one left nine minutes ago"
        );
    }

    #[test]
    fn held_mail_and_a_start_are_no_standstill() {
        let look = |grow: &dyn Fn(&Counters), looks: [u64; 3], summary: &QueueSummary| {
            let counters = Counters::new().unwrap();
            let mut recent = Recent::default();
            recent.note(&counters, looks[0]);
            grow(&counters);
            looks.into_iter().for_each(|at| recent.note(&counters, at));
            Lately { recent: &recent, now: looks[2], bounce_address: false }
                .standstill(summary, 10_000)
                .map(|alert| alert.text)
        };
        let delivered = |counters: &Counters| counters.outbound.delivered_total.inc();
        // Held since yesterday, and one that came a second ago.
        let held = QueueSummary { oldest: Some(0), ..waits(2, 1, 1) };
        assert_eq!(look(&delivered, [0, 10, 9000], &held), None, "what is held does not wait");
        let text = "Nothing was delivered for 15 min, though 1 message waits".to_owned();
        assert_eq!(
            look(&delivered, [0, 10, 9000], &waits(2, 1, 900)),
            Some(text),
            "as long as there was something to deliver"
        );
        assert_eq!(
            look(&|_| (), [0, 60, 130], &waits(1, 0, 900)),
            None,
            "greylisted before the start"
        );
        assert!(
            look(&|_| (), [0, 60, 610], &waits(1, 0, 900))
                .is_some_and(|text| text.contains("since the start 10 min ago"))
        );
    }

    #[test]
    fn the_share_of_bounces_is_watched() {
        let bounce = |bounced, delivered| {
            let grow = move |counters: &Counters| {
                counters.outbound.bounced_total.inc_by(bounced);
                counters.outbound.delivered_total.inc_by(delivered);
            };
            said(grow, &QueueSummary::default()).pop()
        };
        assert_eq!(
            bounce(3, 0),
            Some(("3 of 3 recipients bounced within 10 min".to_owned(), true))
        );
        assert_eq!(
            bounce(10, 40),
            Some(("10 of 50 recipients bounced within 10 min".to_owned(), false))
        );
        assert_eq!(bounce(10, 41), None);
        assert_eq!(bounce(9, 1), None, "too few to speak of a share");
    }

    #[test]
    fn one_thing_is_told_in_the_singular() {
        let grow = |counters: &Counters| {
            counters.history.history_dropped_total.inc();
            counters.maillog.maillog_dropped_lines_total.inc();
        };
        let texts: Vec<_> =
            said(grow, &QueueSummary::default()).into_iter().map(|(text, _)| text).collect();
        let wanted = [
            "1 entry of the history was dropped within 10 min",
            "1 line of the mail log was dropped within 10 min",
        ];
        assert_eq!(texts, wanted);
    }

    #[test]
    fn a_bounce_that_reached_nobody_advises_only_what_is_not_set() {
        let lost = |set| {
            let counters = Counters::new().unwrap();
            let mut recent = Recent::default();
            recent.note(&counters, 0);
            counters.outbound.undeliverable_bounces_total.inc();
            recent.note(&counters, 100);
            let lately = Lately { recent: &recent, now: 160, bounce_address: set };
            lately.events().remove(0).text
        };
        assert!(lost(false).contains("set bounce_address"), "{}", lost(false));
        assert!(
            !lost(true).contains("set bounce_address")
                && lost(true).contains("sent to bounce_address"),
            "{}",
            lost(true)
        );
    }

    #[test]
    fn what_was_dropped_is_told() {
        let grow = |counters: &Counters| {
            counters.history.history_dropped_total.inc_by(1200);
            counters.maillog.maillog_dropped_lines_total.inc_by(3);
            counters.spool.shortened_segments_total.inc();
            counters.monitor.panics_total.inc();
        };
        let texts: Vec<_> =
            said(grow, &QueueSummary::default()).into_iter().map(|(text, _)| text).collect();
        assert_eq!(
            texts,
            [
                "1,200 entries of the history were dropped within 10 min",
                "3 lines of the mail log were dropped within 10 min",
                "Mail is missing: segments of the queue were missing, or shorter than before, at \
                the start 9 min ago; the log names the \
                 files: restore them from a backup, or continue without them",
                "A component of the relay panicked and was contained 9 min ago",
            ]
        );
    }
}
