//! The alerts on top of a page, with links to the pages where the user can act.

use super::text::encoded;
use crate::monitor::alerts::AlertView;

/// An alert on the page.
pub(super) struct AlertRow {
    pub(super) grave: bool,
    pub(super) text: String,
    /// RFC 3339.
    pub(super) since: String,
    /// The page where the user can act, below the root, and the link's text.
    pub(super) link: Option<(String, &'static str)>,
}

/// Alerts for users with the right to look; without it there are no links to pages that are not
/// shown.
pub(super) fn alerts(views: &[AlertView], looks: bool) -> Vec<AlertRow> {
    let alert = |view: &AlertView| AlertRow {
        grave: view.grave,
        text: view.text.clone(),
        since: view.since.clone(),
        link: if looks { link(&view.key) } else { None },
    };
    views.iter().map(alert).collect()
}

/// The page where the user can act on an alert of this key.
fn link(key: &str) -> Option<(String, &'static str)> {
    let to = |path: &str, label| Some((path.to_owned(), label));
    if let Some(name) = key.strip_prefix("down ").or_else(|| key.strip_prefix("paused ")) {
        return Some((format!("queue?destination={}", encoded(name)), "Show these messages"));
    }
    if ["upstream ", "tls ", "senders "].iter().any(|kind| key.starts_with(kind)) {
        return to("upstreams", "Show and test upstreams");
    }
    match key {
        "down" | "standstill" | "dns" => to("queue", "Show the queue"),
        "old" => to("queue?older=1d", "Show these messages"),
        "bounces" | "lost bounces" => to("history?status=bounced", "Show bounced messages"),
        "sessions" | "strangers" => to("sessions", "Show sessions"),
        "dkim" | "dkim_record" => to("dkim", "Show keys and records"),
        "disk" => to("#disk", "Show the data volume"),
        "certificate" | "mon" | "log" | "maillog" => to("#relay", "Show terminals"),
        "hangs" | "slow disk" | "ready" | "memory" | "clock" | "control" | "history" | "sync"
        | "corrupt" | "segments" | "panics" | "webhooks" | "users file" => {
            to("log?level=warn", "Show the log")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_leads_to_where_one_can_act() {
        let view = |key: &str| AlertView {
            grave: true,
            text: "x".into(),
            since: "t".into(),
            key: key.into(),
            nameless: None,
        };
        let link = |key: &str, looks| alerts(&[view(key)], looks).remove(0).link;
        let path = |key: &str| link(key, true).unwrap().0;
        assert_eq!(path("down [mx]:25"), "queue?destination=%5Bmx%5D%3A25");
        assert_eq!(path("paused a.example"), "queue?destination=a.example");
        assert_eq!((path("down"), path("disk")), ("queue".into(), "#disk".into()));
        for key in ["upstream default", "tls default", "senders default"] {
            assert_eq!(path(key), "upstreams");
        }
        assert_eq!(link("down a.example", false), None, "these pages are not for everybody");
        assert_eq!(link("something new", true), None);
    }
}
