//! The HTTP server of the relay: the state of its handlers, and its thread.

use super::exclusive_resources::ControlSocket;
use super::http::{self, HttpService};
use super::process_resources::ProcessResources;
use super::relay::Relay;
use super::start_failures::internal;
use super::{appliance_facts, configure, instance, upstreams};
use crate::api::state::{AppState, Views};
use crate::appliance::failure::Failure;
use crate::http::idempotency::IdempotencyKeys;
use crate::http::request_limits::ANSWERS_MAX;
use crate::http::state::HttpState;
use crate::mail::route_test::RouteTester;
use crate::mail::upstream_test::UpstreamTester;
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
        process: &ProcessResources,
        relay: &mut Relay,
        listeners: Vec<TcpListener>,
        control: ControlSocket,
    ) -> Result<Self, Failure> {
        let settings = &process.settings;
        let (readiness, ready) = watch::channel::<Readiness>(Err("starting".to_owned()));
        let (close, closing) = watch::channel(false);
        let facts = appliance_facts::facts(settings, &process.resources);
        let monitor = MonitorState::open(sources(process, relay, ready, facts.started))
            .map_err(|error| internal("counters", &error))?;
        let access = configure::access(settings, &relay.policy, &relay.verifier);
        let answers_max = process.resources.answers.min(ANSWERS_MAX);
        let server = HttpState::new(access, process.http_counters.clone(), answers_max);
        let app = AppState::new(views(process, relay), facts, monitor, server);
        let tls = process.presenter.clone().filter(|_| settings.ui_tls);
        let opened = http::open(
            settings,
            &instance::name(&settings.hostname, process.disk.as_ref()),
            app.clone(),
            relay.webhooks.take(),
            (listeners, tls),
            control,
            closing,
        )?;
        Ok(Self { app, readiness, close, opened })
    }
}

fn views(process: &ProcessResources, relay: &Relay) -> Views {
    Views {
        admin: relay.admin.clone(),
        submission: relay.intake.clone(),
        route_test: Arc::new(RouteTester::new(relay.intake.clone(), relay.outbound.clone())),
        upstream_test: Arc::new(UpstreamTester::new(
            relay.outbound.clone(),
            relay.client.clone(),
            upstreams::tested(&process.settings, &process.upstreams),
            process.health.clone(),
        )),
        sessions: relay.registry.clone(),
        history: relay.history.clone(),
        tail: process.tail.clone(),
        idempotency_keys: IdempotencyKeys::open(Some(process.disk.as_ref())),
    }
}

fn sources(
    process: &ProcessResources,
    relay: &Relay,
    ready: watch::Receiver<Readiness>,
    started: u32,
) -> MonitorSources {
    let settings = &process.settings;
    MonitorSources {
        counters: process.counters.clone(),
        admin: relay.admin.clone(),
        rate_history: RateHistory::open(Some(process.disk.clone())),
        memory: process.memory.clone(),
        ready,
        terminals: appliance_facts::terminals(settings),
        volumes: appliance_facts::volumes(settings),
        started,
        data_volume: process.volume.clone(),
        bounce_address: settings.bounce_address.is_some(),
        name_servers: appliance_facts::name_servers(settings),
        dkim: Arc::new(process.dkim.clone()),
        upstreams: process.health.clone(),
    }
}
