//! The alerts of the running appliance, for `postern health --verbose`: read over the control
//! socket, because they contain hosts and addresses.
//!
//! Limits: [`ANSWER_LIMIT`] octets of the answer, [`TIMEOUT`] for all of it.

use serde::Deserialize;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_LIMIT: u64 = 1 << 20;

#[derive(Deserialize)]
struct Status {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    grave: bool,
    text: String,
    since: String,
}

/// The alerts, one line each, the critical ones first; empty if there are none.
///
/// # Errors
/// No core answers there, or this user may not connect.
pub fn alerts(run_dir: &Path) -> io::Result<Vec<String>> {
    let mut stream = UnixStream::connect(run_dir.join("control.sock"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream
        .write_all(b"GET /api/v1/status HTTP/1.0\r\nHost: postern\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let status: Status = serde_json::from_str(body).map_err(io::Error::other)?;
    let line = |alert: Alert| {
        let weight = if alert.grave { "CRITICAL" } else { "WARNING" };
        let text: String =
            alert.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        format!("{weight} {text} (since {})", alert.since)
    };
    Ok(status.alerts.into_iter().map(line).collect())
}
