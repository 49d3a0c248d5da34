use super::*;
use crate::monitor::counters::Counters;

/// The texts of alerts for counters that grew so within ten minutes, with this queue after it.
fn said(grow: impl Fn(&Counters), summary: &QueueSummary) -> Vec<(String, bool)> {
    let counters = Counters::new().unwrap();
    let mut recent = RecentSamples::default();
    recent.note(&counters, 0);
    grow(&counters);
    recent.note(&counters, 100);
    recent.note(&counters, 650);
    let lately = GrowthAlerts { recent: &recent, now: 650, bounce_address: false };
    let alerts = lately
        .nothing_leaves(summary, 10_000)
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
        oldest_in_transit: (messages > held).then(|| 10_000 - age),
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
        let mut recent = RecentSamples::default();
        recent.note(&counters, looks[0]);
        grow(&counters);
        looks.into_iter().for_each(|at| recent.note(&counters, at));
        GrowthAlerts { recent: &recent, now: looks[2], bounce_address: false }
            .nothing_leaves(summary, 10_000)
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
    assert_eq!(look(&|_| (), [0, 60, 130], &waits(1, 0, 900)), None, "greylisted before the start");
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
    assert_eq!(bounce(3, 0), Some(("3 of 3 recipients bounced within 10 min".to_owned(), true)));
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
        let mut recent = RecentSamples::default();
        recent.note(&counters, 0);
        counters.outbound.undeliverable_bounces_total.inc();
        recent.note(&counters, 100);
        let lately = GrowthAlerts { recent: &recent, now: 160, bounce_address: set };
        lately.events().remove(0).text
    };
    assert!(lost(false).contains("set bounce_address"), "{}", lost(false));
    assert!(
        !lost(true).contains("set bounce_address") && lost(true).contains("sent to bounce_address"),
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
