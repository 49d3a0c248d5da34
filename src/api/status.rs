//! A summary of the appliance, for programs; the page shows the same.

use super::{HttpResponse, since};
use crate::api::redact;
use crate::api::state::AppState;
use crate::ground::clock;
use crate::http::request::RequestHead;
use crate::http::response;
use crate::http::rights::RequiredRight;
use crate::mail::model::{Refusal, SESSION_REFUSALS};
use crate::monitor::alerts::{self, AlertView};
use crate::monitor::components::ComponentView;
use crate::monitor::counters::Counters;
use crate::monitor::gauges;
use crate::monitor::rates::Buckets;
use hyper::StatusCode;
use prometheus::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A summary of the appliance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StatusView {
    /// Property `hostname`.
    pub hostname: String,
    /// The program's version.
    pub version: String,
    /// When the core started, RFC 3339.
    pub started: String,
    /// Since then.
    pub uptime_seconds: u64,
    /// Whether mail is accepted.
    pub ready: bool,
    /// Why not; empty when ready.
    pub not_ready_reason: String,
    /// The queue in numbers.
    pub queue: QueueView,
    /// SMTP sessions open now.
    pub smtp_active_sessions: i64,
    /// Totals since the start.
    pub totals: TotalsView,
    /// The data volume.
    pub disk: DiskView,
    /// Resident memory of the core.
    pub memory_resident_bytes: i64,
    /// From acceptance to delivery, since the start; `null` before the first delivery.
    pub latency: Option<LatencyView>,
    /// The alerts, the critical ones first.
    pub alerts: Vec<AlertView>,
    /// When the certificate of SMTP expires, RFC 3339; `null` without one.
    pub certificate_expires: Option<String>,
    /// `null`, or why this server accepts no orders from this client at `ui_port`.
    pub orders_refused: Option<String>,
    /// Which clients may relay, as text; empty without the right to look.
    pub who_may_relay: String,
    /// The modes for staging that are on, as text.
    #[serde(default)]
    pub modes: Vec<String>,
    /// Terminals and their states.
    pub terminals: Vec<ComponentView>,
    /// Volumes and their states.
    pub volumes: Vec<ComponentView>,
}

/// The queue in numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct QueueView {
    /// Messages in the queue.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// Of these messages: in an attempt now.
    pub active: u64,
    /// Waiting for another attempt.
    pub deferred: u64,
    /// Held by an operator.
    pub held: u64,
    /// Age of the oldest; `null` when the queue is empty.
    pub oldest_age_seconds: Option<u64>,
}

/// Totals since the start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TotalsView {
    /// SMTP sessions.
    pub smtp_sessions: u64,
    /// Messages answered 250.
    pub accepted: u64,
    /// Octets of those.
    pub accepted_bytes: u64,
    /// Recipients that a next hop accepted.
    pub delivered: u64,
    /// Attempts that failed temporarily.
    pub deferred: u64,
    /// Recipients that failed permanently.
    pub bounced: u64,
    /// Rejections by reason.
    pub refused: BTreeMap<String, u64>,
    /// Clients that got no session, by the reasons of `mta_sessions_refused_total`.
    #[serde(default)]
    pub sessions_refused: BTreeMap<String, u64>,
}

/// How long mail takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LatencyView {
    /// Half of the recipients got their mail within so many seconds.
    pub p50_seconds: f64,
    /// 95 % of them.
    pub p95_seconds: f64,
    /// 99 % of them.
    pub p99_seconds: f64,
}

/// The data volume's space.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskView {
    /// Free octets.
    pub free_bytes: i64,
    /// Total octets; 0 if not known yet.
    pub size_bytes: i64,
}

/// `GET /api/v1/status`
pub(super) async fn status(app: &AppState, visit: &RequestHead<'_>) -> HttpResponse {
    response::json(StatusCode::OK, &status_view(app, visit.may_look()).await)
}

/// For the page and for programs; without `look` there are no names.
pub(crate) async fn status_view(app: &AppState, look: bool) -> StatusView {
    let summary = gauges::refresh(&app.monitor).await;
    let (now, facts, counters) = (clock::now(), &app.facts, &app.monitor.counters);
    let ready = app.monitor.ready.borrow().clone();
    let view = StatusView {
        hostname: facts.hostname.clone(),
        version: facts.version.clone(),
        started: clock::rfc3339(facts.started),
        uptime_seconds: since(facts.started, now),
        ready: ready.is_ok(),
        not_ready_reason: ready.err().unwrap_or_default(),
        queue: QueueView {
            messages: summary.messages,
            bytes: summary.bytes,
            active: summary.active,
            deferred: summary.deferred,
            held: summary.held,
            oldest_age_seconds: summary.oldest.map(|oldest| since(oldest, now)),
        },
        smtp_active_sessions: counters.accept.smtp_active_sessions.get(),
        totals: totals(counters),
        disk: DiskView {
            free_bytes: counters.spool.disk_free_bytes.get(),
            size_bytes: counters.spool.disk_size_bytes.get(),
        },
        memory_resident_bytes: counters.monitor.memory_resident_bytes.get(),
        latency: latency(&counters.outbound.delivery_latency_seconds),
        alerts: alerts::look(&app.monitor, &summary),
        certificate_expires: counters
            .accept
            .certificate_expiry()
            .map(|end| clock::rfc3339(u32::try_from(end).unwrap_or(u32::MAX))),
        orders_refused: app
            .http
            .access
            .port_rights()
            .may(RequiredRight::Order)
            .err()
            .map(str::to_owned),
        who_may_relay: facts.who_may_relay.clone(),
        modes: modes(app, look),
        terminals: app.monitor.terminals(),
        volumes: app.monitor.volumes(),
    };
    if look { view } else { without_names(view) }
}

/// The quantiles of a histogram; `None` before the first observation.
pub(crate) fn latency(histogram: &Histogram) -> Option<LatencyView> {
    let buckets = Buckets::of(histogram);
    Some(LatencyView {
        p50_seconds: buckets.quantile(0.5)?,
        p95_seconds: buckets.quantile(0.95)?,
        p99_seconds: buckets.quantile(0.99)?,
    })
}

fn totals(counters: &Counters) -> TotalsView {
    let refused =
        |reason: Refusal| counters.accept.refused_total.with_label_values(&[reason.as_str()]).get();
    let no_place =
        |label: &str| counters.accept.sessions_refused_total.with_label_values(&[label]).get();
    TotalsView {
        smtp_sessions: counters.accept.smtp_sessions_total.get(),
        accepted: counters.accept.accepted_total.get(),
        accepted_bytes: counters.accept.accepted_bytes_total.get(),
        delivered: counters.outbound.delivered_total.get(),
        deferred: counters.outbound.deferred_total.get(),
        bounced: counters.outbound.bounced_total.get(),
        refused: Refusal::ALL
            .iter()
            .map(|reason| (reason.as_str().to_owned(), refused(*reason)))
            .collect(),
        sessions_refused: SESSION_REFUSALS
            .iter()
            .map(|label| ((*label).to_owned(), no_place(label)))
            .collect(),
    }
}

/// What is said about the modes for staging that are on; without `look` there are no addresses.
pub(crate) fn modes(app: &AppState, look: bool) -> Vec<String> {
    let words = |(words, public): &(String, String)| if look { words } else { public }.clone();
    app.facts.modes.iter().map(words).collect()
}

/// The summary without names.
pub(crate) fn without_names(view: StatusView) -> StatusView {
    StatusView {
        alerts: redact::alerts(view.alerts),
        who_may_relay: String::new(),
        terminals: view.terminals.into_iter().map(redact::part).collect(),
        volumes: view.volumes.into_iter().map(redact::part).collect(),
        ..view
    }
}
