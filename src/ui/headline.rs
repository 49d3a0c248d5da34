//! The most important numbers: how much waits and since when, whether mail is delivered, and how
//! much is accepted; and the three founding counters.

use crate::api::StatusView;
use crate::ground::display_text::{count, counted, size, span, states};
use crate::monitor::rates::{RatePoint, Span};

/// Seconds of the present rate.
const LATELY: u32 = 300;

/// Seconds of an hour.
const HOUR: u64 = 3600;

/// The headline of the first page.
pub(super) struct Headline {
    pub(super) messages: String,
    pub(super) states: String,
    /// Age of the oldest message; empty when the queue is.
    pub(super) oldest: String,
    pub(super) size: String,
    /// In percent; empty if nothing was attempted.
    pub(super) success: String,
    pub(super) attempts: String,
    /// Messages accepted a minute; empty if not known.
    pub(super) accepted: String,
    pub(super) delivered: String,
    /// The founding counters, by their names.
    pub(super) counters: [(&'static str, String); 3],
}

/// From the status and the points of the last hour.
pub(super) fn headline(status: &StatusView, points: &[RatePoint], hour: Span) -> Headline {
    let queue = &status.queue;
    let (success, attempts) = success(points, hour, status);
    let lately = &points[points.len().saturating_sub((LATELY / hour.step) as usize)..];
    Headline {
        messages: count(queue.messages),
        states: states(queue.messages, queue.active, queue.deferred, queue.held),
        oldest: queue.oldest_age_seconds.map(span).unwrap_or_default(),
        size: size(queue.bytes),
        success,
        attempts,
        accepted: a_minute(lately, |point| point.accepted),
        delivered: a_minute(lately, |point| point.delivered),
        counters: [
            ("Mqueue Messages", count(queue.messages)),
            ("Mqueue Kbytes", count(queue.bytes.div_ceil(1024))),
            ("SMTP Active Sessions", count(status.smtp_active_sessions)),
        ],
    }
}

/// The share of attempts (one for each recipient) that delivered, and how the others ended. The
/// points do not cover the time before the first whole step after a start: if the start was less
/// than an hour ago, the totals are used.
fn success(points: &[RatePoint], hour: Span, status: &StatusView) -> (String, String) {
    let totals = &status.totals;
    let is_fresh = status.uptime_seconds <= HOUR;
    #[allow(clippy::cast_possible_truncation, reason = "rounded, and not below nought")]
    let sum = |number: fn(&RatePoint) -> f32, total: u64| {
        let known = points.iter().map(number).filter(|rate| rate.is_finite());
        let sum =
            (known.map(f64::from).sum::<f64>() * f64::from(hour.step)).round().max(0.0) as u64;
        if is_fresh { sum.max(total) } else { sum }
    };
    let delivered = sum(|p| p.delivered, totals.delivered);
    let deferred = sum(|p| p.deferred, totals.deferred);
    let bounced = sum(|p| p.bounced, totals.bounced);
    let all = delivered + deferred + bounced;
    if all == 0 {
        return (String::new(), "no delivery attempts".to_owned());
    }
    let mut parts = vec![format!("of {}", counted(all, "attempt"))];
    let others = [(deferred, "deferred"), (bounced, "bounced")];
    parts.extend(
        others.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", count(*n))),
    );
    (percent(delivered, all), parts.join(" · "))
}

/// A share in percent: 100 % only if it is complete, 0 % only if it is nothing.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match (part, whole) {
        (_, 0) => String::new(),
        (0, _) => "0 %".to_owned(),
        (part, whole) if part >= whole => "100 %".to_owned(),
        (part, whole) => {
            let share = part as f64 * 100.0 / whole as f64;
            format!("{:.1} %", share.clamp(0.1, 99.9))
        }
    }
}

/// The mean of a rate, by the minute; empty if not known.
fn a_minute(points: &[RatePoint], number: fn(&RatePoint) -> f32) -> String {
    let known: Vec<f32> = points.iter().map(number).filter(|rate| rate.is_finite()).collect();
    if known.is_empty() {
        return String::new();
    }
    few_digits(known.iter().sum::<f32>() / known.len() as f32 * 60.0)
}

/// `0.25`, `4.5`, `1,204`.
pub(super) fn few_digits(number: f32) -> String {
    match number {
        number if number >= 10.0 => whole(number),
        number if number >= 1.0 => trimmed(format!("{number:.1}")),
        number if number >= 0.005 => format!("{number:.2}"),
        _ => "0".to_owned(),
    }
}

fn trimmed(number: String) -> String {
    number.strip_suffix(".0").map(str::to_owned).unwrap_or(number)
}

/// A large number, without its fraction.
#[allow(clippy::cast_possible_truncation, reason = "rounded, and not below nought")]
pub(super) fn whole(number: f32) -> String {
    count(number.max(0.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::rates::SPANS;

    fn point(accepted: f32, delivered: f32, deferred: f32) -> RatePoint {
        RatePoint {
            accepted,
            delivered,
            deferred,
            bounced: 0.0,
            refused: 0.0,
            messages: 1.0,
            latency_p50: f32::NAN,
            latency_p99: f32::NAN,
        }
    }

    /// The status after so many seconds, in which 300 recipients each were delivered and deferred.
    fn status(uptime: u64) -> StatusView {
        let none = || serde_json::json!(null);
        let text = "";
        serde_json::from_value(serde_json::json!({
            "hostname": text, "version": text, "started": text, "uptime_seconds": uptime,
            "ready": true, "not_ready_reason": text, "smtp_active_sessions": 0,
            "queue": {"messages": 0, "bytes": 0, "active": 0, "deferred": 0, "held": 0},
            "totals": {"smtp_sessions": 0, "accepted": 0, "accepted_bytes": 0, "delivered": 300,
                "deferred": 303, "bounced": 0, "refused": {}},
            "disk": {"free_bytes": 0, "size_bytes": 0}, "memory_resident_bytes": 0,
            "latency": none(), "alerts": [], "certificate_expires": none(),
            "orders_refused": none(), "who_may_relay": text, "terminals": [], "volumes": [],
        }))
        .unwrap()
    }

    #[test]
    fn success_is_the_share_of_attempts_of_the_hour() {
        let gap = point(f32::NAN, f32::NAN, f32::NAN);
        let points = [point(0.1, 29.7, 0.3), gap, point(0.1, 0.0, 0.0)];
        let told = success(&points, SPANS[0], &status(7200));
        assert_eq!(told, ("99.0 %".into(), "of 300 attempts · 3 deferred".into()));
        assert_eq!(
            success(&[gap], SPANS[0], &status(7200)),
            (String::new(), "no delivery attempts".into())
        );
        let fresh = success(&points, SPANS[0], &status(60));
        assert_eq!(fresh.1, "of 603 attempts · 303 deferred", "what no point has seen yet counts");
        assert_eq!(a_minute(&points, |point| point.accepted), "6");
        assert_eq!(a_minute(&[gap], |point| point.accepted), "");
    }

    #[test]
    fn nothing_that_happened_is_rounded_away() {
        assert_eq!((percent(0, 9), percent(9, 9)), ("0 %".into(), "100 %".into()));
        assert_eq!(
            (percent(1, 99_999), percent(99_998, 99_999)),
            ("0.1 %".into(), "99.9 %".into())
        );
        for (rate, words) in [(0.0, "0"), (1.0 / 600.0, "0.10"), (0.075, "4.5"), (20.07, "1,204")] {
            assert_eq!(few_digits(rate * 60.0), words);
        }
    }
}
