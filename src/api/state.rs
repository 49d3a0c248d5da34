//! What every handler has: the relay through the traits that it shows itself by, the state of the
//! server, and what monitors remember. It knows no handler.

use super::setting::Setting;
use crate::ground::log::Tail;
use crate::http::idempotency::IdempotencyKeys;
use crate::http::state::{Application, HttpState};
use crate::mail::model::{History, QueueAdmin, SessionList, Submission};
use crate::monitor::state::MonitorState;
use std::sync::Arc;

/// What pages and answers show that does not change while the appliance runs.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Property `hostname`.
    pub hostname: String,
    /// The program's version.
    pub version: String,
    /// Who may relay, in one or two sentences.
    pub who_may_relay: String,
    /// When the core started, seconds since 1970.
    pub started: u32,
    /// Whether property `address_masking` masks addresses, and so subjects.
    pub masks_subjects: bool,
    /// The properties in force, secrets masked, in the order of the class.
    pub settings: Vec<Setting>,
}

/// What handlers look at: the parts of the relay, each by the trait that it shows itself with.
pub struct Views {
    /// The queue.
    pub admin: Arc<dyn QueueAdmin>,
    /// The way into it for programs.
    pub submission: Arc<dyn Submission>,
    /// Terminal `in`.
    pub sessions: Arc<dyn SessionList>,
    /// What became of mail.
    pub history: Arc<dyn History>,
    /// The last lines of the log.
    pub tail: Arc<Tail>,
    /// The keys of mail that programs handed in.
    pub idempotency_keys: IdempotencyKeys,
}

/// What handlers share.
pub struct AppState {
    pub(crate) views: Views,
    pub(crate) facts: Facts,
    /// What monitors are told.
    pub monitor: Arc<MonitorState>,
    /// Of the server.
    pub http: HttpState,
}

impl AppState {
    /// Joins the queue and what monitors are told to what people see.
    pub fn new(
        views: Views,
        facts: Facts,
        monitor: Arc<MonitorState>,
        http: HttpState,
    ) -> Arc<Self> {
        Arc::new(Self { views, facts, monitor, http })
    }
}

impl Application for AppState {
    fn http(&self) -> &HttpState {
        &self.http
    }
}
