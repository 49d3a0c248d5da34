//! The state shared by all handlers: the relay through its traits, the state of the server, and
//! that of `monitor`. It knows no handler.

use super::setting::Setting;
use crate::ground::log::Tail;
use crate::http::idempotency::IdempotencyKeys;
use crate::http::searches::{ROUTE_TEST_REST, Searches};
use crate::http::state::{Application, HttpState};
use crate::mail::model::{History, QueueAdmin, RouteTest, SessionList, Submission, UpstreamTest};
use crate::monitor::state::MonitorState;
use std::sync::Arc;

/// Facts for pages and answers that do not change while the appliance runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Property `hostname`.
    pub hostname: String,
    /// The program's version.
    pub version: String,
    /// Which clients may relay, in one or two sentences.
    pub who_may_relay: String,
    /// Modes for staging that are on: what they do, with addresses, and without.
    pub modes: Vec<(String, String)>,
    /// When the core started, seconds since 1970.
    pub started: u32,
    /// Whether property `address_masking` masks addresses, and so subjects.
    pub masks_subjects: bool,
    /// The effective properties, secrets masked, in the order of the class.
    pub settings: Vec<Setting>,
    /// The upstreams, in the order of the properties.
    pub upstreams: Vec<UpstreamFacts>,
}

/// What the properties say of one upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpstreamFacts {
    /// Its name.
    pub name: String,
    /// How the names of its properties begin.
    pub prefix: String,
    /// Its host, as in the property.
    pub host: String,
    /// The property that has the host.
    pub host_property: String,
    /// Which mail goes there, in words.
    pub rules: String,
    /// How TLS is used with it, as in the property.
    pub tls: String,
    /// The user name of its login.
    pub username: Option<String>,
    /// Connections at the same time, by its own limit.
    pub connections_max: Option<u32>,
}

/// The parts of the relay that handlers use, each through a trait.
pub struct Views {
    /// The queue.
    pub admin: Arc<dyn QueueAdmin>,
    /// Submission of mail by programs.
    pub submission: Arc<dyn Submission>,
    /// Route tests: where mail would go.
    pub route_test: Arc<dyn RouteTest>,
    /// Tests of upstreams.
    pub upstream_test: Arc<dyn UpstreamTest>,
    /// The SMTP sessions.
    pub sessions: Arc<dyn SessionList>,
    /// The history of mail.
    pub history: Arc<dyn History>,
    /// The last lines of the log.
    pub tail: Arc<Tail>,
    /// The idempotency keys of submitted mail.
    pub idempotency_keys: IdempotencyKeys,
}

/// What handlers share.
pub struct AppState {
    pub(crate) views: Views,
    pub(crate) facts: Facts,
    /// Route tests in progress: they wait for name servers, and no search waits for them.
    pub(crate) route_tests: Searches,
    /// The state of monitoring.
    pub monitor: Arc<MonitorState>,
    /// The server's state.
    pub http: HttpState,
}

impl AppState {
    /// Combines the queue and the monitoring for display.
    pub fn new(
        views: Views,
        facts: Facts,
        monitor: Arc<MonitorState>,
        http: HttpState,
    ) -> Arc<Self> {
        let route_tests = Searches::with_rest(ROUTE_TEST_REST);
        Arc::new(Self { views, facts, route_tests, monitor, http })
    }
}

impl Application for AppState {
    fn http(&self) -> &HttpState {
        &self.http
    }
}
