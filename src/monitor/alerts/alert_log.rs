//! Alerts in the log, for operators who read nothing else.
//!
//! In: the alerts of each check. Out: a line when an alert begins, and one when it ends. Limits: an
//! alert that begins and ends again and again is logged once in [`AGAIN`].

use super::view::AlertView;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long an alert that comes back is not logged again.
const AGAIN: Duration = Duration::from_secs(600);

/// Alerts whose own code logs them.
const TOLD_ELSEWHERE: [&str; 4] = ["ready", "hangs", "slow disk", "disk"];

/// The alerts that were logged.
#[derive(Debug, Default)]
pub(super) struct NotifiedAlerts(HashMap<String, Line>);

#[derive(Debug)]
struct Line {
    at: Instant,
    /// Whether its end was logged.
    over: bool,
}

impl NotifiedAlerts {
    /// Logs the changes since the last check.
    pub(super) fn tell(&mut self, alerts: &[AlertView], now: Instant) {
        for alert in self.begun(alerts, now) {
            let cause = alert.text.as_str();
            match alert.grave {
                true => tracing::error!(target: "mta", cause, "alert"),
                false => tracing::warn!(target: "mta", cause, "alert"),
            }
        }
        for key in self.ended(alerts, now) {
            tracing::info!(target: "mta", cause = key, "alert is over");
        }
    }

    fn begun<'a>(&mut self, alerts: &'a [AlertView], now: Instant) -> Vec<&'a AlertView> {
        let mut begun = Vec::new();
        for alert in alerts.iter().filter(|alert| !TOLD_ELSEWHERE.contains(&alert.key.as_str())) {
            if !self.0.contains_key(&alert.key) {
                self.0.insert(alert.key.clone(), Line { at: now, over: false });
                begun.push(alert);
            }
        }
        begun
    }

    fn ended(&mut self, alerts: &[AlertView], now: Instant) -> Vec<String> {
        let mut ended = Vec::new();
        self.0.retain(|key, line| {
            if alerts.iter().any(|alert| alert.key == *key) {
                return true;
            }
            if !std::mem::replace(&mut line.over, true) {
                ended.push(key.clone());
            }
            now.duration_since(line.at) < AGAIN
        });
        ended.sort();
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(key: &str) -> AlertView {
        AlertView {
            grave: true,
            text: format!("{key} it is"),
            since: String::new(),
            key: key.to_owned(),
            nameless: None,
        }
    }

    #[test]
    fn beginning_and_end_are_told_once_however_often_it_comes_back() {
        let (mut told, begin) = (NotifiedAlerts::default(), Instant::now());
        let mut look = |alerts: &[&str], seconds: u64| {
            let now = begin + Duration::from_secs(seconds);
            let alerts: Vec<_> = alerts.iter().map(|key| alert(key)).collect();
            let begun =
                told.begun(&alerts, now).iter().map(|alert| alert.key.clone()).collect::<Vec<_>>();
            (begun.join(" "), told.ended(&alerts, now).join(" "))
        };
        let line = |begun: &str, ended: &str| (begun.to_owned(), ended.to_owned());
        assert_eq!(
            look(&["down a", "dns", "disk"], 0),
            line("down a dns", ""),
            "the data volume has lines of its own"
        );
        assert_eq!(look(&["down a", "dns"], 2), line("", ""));
        assert_eq!(look(&["dns"], 4), line("", "down a"));
        assert_eq!(look(&["dns", "down a"], 6), line("", ""), "it comes and goes");
        assert_eq!(look(&["dns"], 8), line("", ""));
        assert_eq!(look(&[], 601), line("", "dns"));
        assert_eq!(look(&["down a", "dns"], 602), line("down a dns", ""));
    }
}
