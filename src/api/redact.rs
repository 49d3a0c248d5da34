//! Views for clients without a login: numbers and states, without any host, address or mail.

use crate::monitor::alerts::AlertView;
use crate::monitor::components::{ComponentView, Condition};

/// Alerts whose texts contain only parts of this appliance. Every other alert is redacted.
const NAMELESS: [&str; 23] = [
    "ready",
    "hangs",
    "slow disk",
    "disk",
    "memory",
    "certificate",
    "log",
    "old",
    "down",
    "standstill",
    "bounces",
    "dns",
    "lost bounces",
    "sessions",
    "strangers",
    "clock",
    "history",
    "maillog",
    "sync",
    "corrupt",
    "segments",
    "panics",
    "webhooks",
];

/// Who may know the name; a login may not be set.
const NAMED: &str = "shown after login, and by `postern health --verbose`";

/// Alerts without names: with the text made for that, and without one only the fact that there is
/// an alert.
pub(super) fn alerts(alerts: Vec<AlertView>) -> Vec<AlertView> {
    let veiled = |mut alert: AlertView| {
        if let Some(text) = alert.nameless.take() {
            alert.text = format!("{text} ({NAMED})");
        } else if !NAMELESS.contains(&alert.key.as_str()) {
            alert.text = format!("Something is wrong ({NAMED})");
        }
        alert
    };
    let mut seen: Vec<AlertView> = Vec::new();
    for alert in alerts.into_iter().map(veiled) {
        if !seen.iter().any(|one| one.text == alert.text && one.grave == alert.grave) {
            seen.push(alert);
        }
    }
    seen
}

/// Only the condition of a terminal or a volume: its text may contain hosts.
pub(super) fn part(part: ComponentView) -> ComponentView {
    let state = match part.condition {
        Condition::Connected => "connected",
        Condition::Mounted => "mounted",
        Condition::NotConnected => "not connected",
        Condition::Failing => "failing",
    };
    ComponentView { state: state.to_owned(), ..part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_names_somebody_is_told_without_the_name() {
        let alert = |grave, key: &str, text: &str| AlertView {
            grave,
            text: text.into(),
            since: "t".into(),
            key: key.into(),
            nameless: key.starts_with("down ").then(|| "Cannot deliver to a next hop".to_owned()),
        };
        let told = alerts(vec![
            alert(true, "disk", "Data volume has less than 1% of free disk space"),
            alert(false, "down a.example", "Cannot deliver to a.example"),
            alert(false, "down b.example", "Cannot deliver to b.example"),
            alert(false, "new", "c.example is new here"),
            alert(false, "segments", "Mail is missing: segments of the queue were gone"),
        ]);
        assert_eq!(told.len(), 4);
        assert_eq!(told[3].text, "Mail is missing: segments of the queue were gone");
        assert!(told[0].grave && told[0].text.starts_with("Data volume"));
        assert!(
            told[1].text.starts_with("Cannot deliver to a next hop (")
                && told[1].nameless.is_none()
        );
        assert!(
            told[2].text.starts_with("Something is wrong (")
                && told[2].text.contains("health --verbose")
        );
        assert!(!told.iter().any(|alert| alert.text.contains("example")));
    }
}
