//! The HTTP server of the relay: the state of its handlers, and its thread.

use super::base::Base;
use super::exclusive::ControlSocket;
use super::http::{self, HttpService};
use super::relay::Relay;
use super::trouble::internal;
use super::{facts, instance, rooms};
use crate::api::state::{AppState, Views};
use crate::appliance::failure::Failure;
use crate::http::idempotency::IdempotencyKeys;
use crate::http::places::ANSWERS_MAX;
use crate::http::state::HttpState;
use crate::mail::route_test::RouteTester;
use crate::monitor::rates::RateHistory;
use crate::monitor::state::{MonitorSources, MonitorState, Readiness};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A server that answers already: it reports that the relay is starting, until readiness changes.
pub(super) struct Server {
    pub(super) app: Arc<AppState>,
    pub(super) readiness: watch::Sender<Readiness>,
    /// Closes it, once it is true.
    pub(super) close: watch::Sender<bool>,
    pub(super) opened: HttpService,
}

impl Server {
    /// Opens it on the listeners of `ui_port` and on the control socket.
    ///
    /// # Errors
    /// Its runtime or its thread cannot be created, or `terminal_mon` is not a valid address.
    pub(super) fn open(
        base: &Base,
        relay: &mut Relay,
        listeners: Vec<TcpListener>,
        control: ControlSocket,
    ) -> Result<Self, Failure> {
        let settings = &base.settings;
        let (readiness, ready) = watch::channel::<Readiness>(Err("starting".to_owned()));
        let (close, closing) = watch::channel(false);
        let facts = facts::facts(settings, &base.resources);
        let monitor = MonitorState::open(sources(base, relay, ready, facts.started))
            .map_err(|error| internal("counters", &error))?;
        let access = rooms::access(settings, &relay.policy);
        let answers_max = base.resources.answers.min(ANSWERS_MAX);
        let server = HttpState::new(access, base.http_counters.clone(), answers_max);
        let app = AppState::new(views(base, relay), facts, monitor, server);
        let tls = base.presenter.clone().filter(|_| settings.ui_tls);
        let opened = http::open(
            settings,
            &instance::name(&settings.hostname, base.disk.as_ref()),
            app.clone(),
            relay.webhooks.take(),
            (listeners, tls),
            control,
            closing,
        )?;
        Ok(Self { app, readiness, close, opened })
    }
}

fn views(base: &Base, relay: &Relay) -> Views {
    Views {
        admin: relay.admin.clone(),
        submission: relay.intake.clone(),
        route_test: Arc::new(RouteTester::new(relay.intake.clone(), relay.outbound.clone())),
        sessions: relay.registry.clone(),
        history: relay.history.clone(),
        tail: base.tail.clone(),
        idempotency_keys: IdempotencyKeys::open(Some(base.disk.as_ref())),
    }
}

fn sources(
    base: &Base,
    relay: &Relay,
    ready: watch::Receiver<Readiness>,
    started: u32,
) -> MonitorSources {
    let settings = &base.settings;
    MonitorSources {
        counters: base.counters.clone(),
        admin: relay.admin.clone(),
        rate_history: RateHistory::open(Some(base.disk.clone())),
        memory: base.memory.clone(),
        ready,
        terminals: facts::terminals(settings),
        volumes: facts::volumes(settings),
        started,
        data_volume: base.volume.clone(),
        bounce_address: settings.bounce_address.is_some(),
        name_servers: facts::name_servers(settings),
    }
}
