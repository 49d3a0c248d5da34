//! Rejections of the HTTP server.

use crate::appliance::counter::{Counter, CounterVec, Labels, SharedCounter};

crate::counters! {
    /// Rejections of the HTTP server.
    pub struct HttpCounters {
        http_refused_total was "mta_window_refused_total": CounterVec =
            "Requests at ui_port that were refused to protect others, by reason",
            Labels::new("reason", HTTP_REFUSALS);
        http_logins_refused_total was "mta_window_logins_refused_total": Counter =
            "Wrong user names and passwords at the stats UI";
        panics_total: SharedCounter = "Tasks that panicked and were contained";
    }
}

/// Why the HTTP server rejects a request to protect others, as labels of `mta_http_refused_total`:
/// an unknown host name, a page of another site, a login attempt that must wait, too many waiting
/// hashes, a token's rate, too many connections, requests, searches or route tests, answers that
/// slow clients have not read.
const HTTP_REFUSALS: [&str; 10] = [
    "host",
    "origin",
    "guess",
    "hash",
    "token_rate",
    "connection",
    "request",
    "search",
    "route_test",
    "memory",
];
