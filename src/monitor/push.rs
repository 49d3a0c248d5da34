//! Pushes of all counters to terminal `mon`, a Prometheus Pushgateway.
//!
//! In: the counters. Out: PUT of their text to `/metrics/job/mta/instance/<hostname>` at a fixed
//! interval, DELETE of that group at a clean stop, so that the gateway does not show the values of
//! a stopped appliance for ever. A group that another appliance of the same name pushed to since is
//! not deleted: `mta_start_time_seconds` and `mta_push_total` in it show which one it was. Limits:
//! one push at a time, 5 s each, 3 s for the DELETE; at most 4 KiB of an answer are read. A monitor
//! that is dead, slow, redirects or sends invalid answers costs a counter, one log line when that
//! begins and one when it ends. Source: the Pushgateway's README, "API", "URL" (`@base64` for
//! values that a path cannot hold).

use crate::ground::http;
use crate::ground::http::ReceivedResponse;
use crate::ground::stop::stopped;
use crate::monitor::gauges;
use crate::monitor::state::MonitorState;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::CONTENT_TYPE;
use hyper::http::uri::Scheme;
use hyper::{Method, Uri};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Time limit of one push, including DNS lookup.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Time limit of the DELETE at a stop.
pub const FAREWELL_PATIENCE: Duration = Duration::from_secs(3);

/// Octets of the gateway's list that are read: enough for some hundred appliances.
const SHOWN_MAX: usize = 4 << 20;

/// The gateway, the instance name, the interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    host: String,
    port: u16,
    /// `host:port` for the Host header.
    authority: String,
    path: String,
    /// The gateway's page of all groups, and this group's labels in its format.
    all: String,
    group: String,
    pace: Duration,
}

/// The value of property `terminal_mon` is not a valid address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a Pushgateway: write http://host:port or http://host:port/path")]
pub struct ConfigError(String);

/// Why a push failed; text for the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request could not be made: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("the counters could not be written: {0}")]
    Counters(#[from] prometheus::Error),
    #[error("internal error in this appliance; please report it")]
    Defect,
    #[error("it answered {status}{words}")]
    Answer { status: u16, words: String },
}

impl PushConfig {
    /// Reads the address `http://host[:port][/path]`; `instance` is the appliance's host name,
    /// `pace` the time between pushes.
    ///
    /// # Errors
    /// [`ConfigError`] when it is not plain HTTP to a host.
    pub fn new(url: &str, instance: &str, pace: Duration) -> Result<Self, ConfigError> {
        let fail = || ConfigError(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| fail())?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(fail)?;
        let named = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        if uri.scheme() != Some(&Scheme::HTTP) || uri.query().is_some() || named {
            return Err(fail());
        }
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self {
            authority: format!("{host}:{port}"),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            path: format!(
                "{}/metrics/job/mta/{}",
                uri.path().trim_end_matches('/'),
                label("instance", instance)
            ),
            all: format!("{}/metrics", uri.path().trim_end_matches('/')),
            group: format!(
                "{{instance=\"{}\",job=\"mta\"}}",
                instance.replace('\\', "\\\\").replace('"', "\\\"")
            ),
            pace: pace.max(Duration::from_millis(100)),
        })
    }
}

/// Pushes until `stop` is true, then deletes the group.
pub async fn push(config: PushConfig, monitor: Arc<MonitorState>, mut stop: watch::Receiver<bool>) {
    let config = Arc::new(config);
    let mut ticks = interval(config.pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Whether the last push succeeded; unknown at first.
    let mut well = None;
    let mut ever = false;
    loop {
        let result = tokio::select! {
            () = stopped(&mut stop) => break,
            result = async {
                ticks.tick().await;
                push_isolated(&config, &monitor).await
            } => result,
        };
        match &result {
            Ok(()) => monitor.counters.monitor.push_total.inc(),
            Err(_) => monitor.counters.monitor.push_failures_total.inc(),
        }
        monitor.components.note("mon", result.as_ref().err().map(ToString::to_string));
        ever |= result.is_ok();
        log_change(&config, &result, well.replace(result.is_ok()));
    }
    if !ever {
        return;
    }
    match within(FAREWELL_PATIENCE, send_last(&config, &monitor)).await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(
            monitor = config.authority,
            path = config.path,
            "another appliance pushes under the same name, so its counters are kept at terminal \
            mon: give each its own hostname"
        ),
        Err(failure) => {
            tracing::warn!(monitor = config.authority, %failure, "the last counters stay at \
            terminal mon")
        }
    }
}

/// Deletes the group, unless the last push to it came from another appliance; gives whether it did.
async fn send_last(config: &PushConfig, monitor: &MonitorState) -> Result<bool, Failure> {
    // A gateway that does not list its groups may still delete one.
    let shown =
        timeout(FAREWELL_PATIENCE / 2, shown(config)).await.ok().flatten().unwrap_or_default();
    let value = |name: &str| {
        let line = shown
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(config.group.as_str()))?;
        line.trim().parse::<f64>().ok()
    };
    let counters = &monitor.counters;
    let started = value("mta_start_time_seconds")
        .is_none_or(|value| value == counters.monitor.start_time_seconds.get() as f64);
    // The text of a push was made before that push was counted.
    let pushes = counters.monitor.push_total.get() as f64;
    let pushed =
        value("mta_push_total").is_none_or(|value| value == pushes || value + 1.0 == pushes);
    if !(started && pushed) {
        return Ok(false);
    }
    send(config, Method::DELETE, Bytes::new()).await.map(|()| true)
}

/// The gateway's list of all groups, at most [`SHOWN_MAX`] octets.
async fn shown(config: &PushConfig) -> Option<String> {
    let mut reply = request(config, Method::GET, &config.all, Bytes::new()).await.ok()?;
    let mut octets = Vec::new();
    while let Some(Ok(frame)) = reply.response.body_mut().frame().await
        && octets.len() < SHOWN_MAX
    {
        octets.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
    }
    Some(String::from_utf8_lossy(&octets).into_owned())
}

/// One line for each change of state.
fn log_change(config: &PushConfig, result: &Result<(), Failure>, before: Option<bool>) {
    match (result, before) {
        (Ok(()), Some(false)) => {
            tracing::info!(monitor = config.authority, "pushes to terminal mon succeed again")
        }
        (Ok(()), None) => tracing::info!(
            monitor = config.authority,
            path = config.path,
            "pushing counters to terminal mon"
        ),
        (Err(failure), Some(true) | None) => {
            let monitor = &config.authority;
            tracing::warn!(monitor, %failure, "pushes to terminal mon fail; mail is not affected. \
            Will keep retrying; further failures are not logged");
        }
        _ => {}
    }
}

/// One push in a task of its own: a panic there ends only that push.
async fn push_isolated(
    config: &Arc<PushConfig>,
    monitor: &Arc<MonitorState>,
) -> Result<(), Failure> {
    let (config, counters) = (Arc::clone(config), Arc::clone(&monitor.counters));
    let monitor = Arc::clone(monitor);
    let mut push = JoinSet::new();
    push.spawn(async move { once(&config, &monitor).await });
    push.join_next().await.and_then(Result::ok).unwrap_or_else(|| {
        counters.monitor.panics_total.inc();
        Err(Failure::Defect)
    })
}

async fn once(config: &PushConfig, monitor: &MonitorState) -> Result<(), Failure> {
    let text = gauges::text(monitor).await?;
    within(PATIENCE, send(config, Method::PUT, text.into())).await
}

async fn within<T>(
    patience: Duration,
    sending: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(patience, sending).await.unwrap_or(Err(Failure::Slow(patience)))
}

async fn send(config: &PushConfig, method: Method, content: Bytes) -> Result<(), Failure> {
    let mut reply = request(config, method, &config.path, content).await?;
    let status = reply.response.status();
    if status.is_success() {
        return Ok(());
    }
    let words = http::words(&mut reply).await;
    Err(Failure::Answer { status: status.as_u16(), words })
}

async fn request(
    config: &PushConfig,
    method: Method,
    path: &str,
    content: Bytes,
) -> Result<ReceivedResponse, Failure> {
    let request = http::request(method, &config.authority, path)
        .header(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")
        .body(Full::new(content))?;
    let stream = TcpStream::connect((config.host.as_str(), config.port)).await?;
    Ok(http::send(stream, request).await?)
}

/// One label of a group in the form for a path: percent-encoded, or base64 if a path segment cannot
/// contain the value.
fn label(name: &str, value: &str) -> String {
    if value.is_empty() {
        return format!("{name}@base64/=");
    }
    if value.contains('/') || value == "." || value == ".." {
        return format!("{name}@base64/{}", BASE64_URL_SAFE_NO_PAD.encode(value.as_bytes()));
    }
    let mut text = format!("{name}/");
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                text.push(char::from(byte))
            }
            // Writing to a string does not fail.
            _ => drop(write!(text, "%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_monitors_address() {
        let path = |url| {
            PushConfig::new(url, "mta.example", Duration::from_secs(10))
                .map(|c| (c.host, c.port, c.path))
        };
        let group = "/metrics/job/mta/instance/mta.example";
        assert_eq!(path("http://mon:9091"), Ok(("mon".into(), 9091, group.into())));
        assert_eq!(path("http://mon"), Ok(("mon".into(), 80, group.into())));
        assert_eq!(
            path("http://[2001:db8::1]:9091/"),
            Ok(("2001:db8::1".into(), 9091, group.into()))
        );
        assert_eq!(
            path("http://mon:9091/push/"),
            Ok(("mon".into(), 9091, format!("/push{group}")))
        );
        for bad in [
            "",
            "mon",
            "mon:9091",
            "https://mon:9091",
            "http://",
            "http://mon:9091/?x",
            "http://a b/",
            "http://u:p@mon/",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_survive_the_path() {
        assert_eq!(label("instance", "mta.example"), "instance/mta.example");
        assert_eq!(label("instance", "a b%é"), "instance/a%20b%25%C3%A9");
        assert_eq!(label("instance", "a/b"), "instance@base64/YS9i");
        assert_eq!(label("instance", ".."), "instance@base64/Li4");
        assert_eq!(label("instance", ""), "instance@base64/=");
    }
}
