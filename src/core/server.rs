//! The HTTP server of the relay: what its handlers look at, and the thread that serves them.

use super::base::Base;
use super::exclusive::ControlSocket;
use super::http::{self, Opened};
use super::relay::Relay;
use super::trouble::internal;
use super::{facts, instance, rooms};
use crate::appliance::failure::Failure;
use crate::http::idempotency::IdempotencyKeys;
use crate::http::state::{AppState, Readiness, Views};
use crate::monitor::rates::RateHistory;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A server that answers already: that the relay is starting, until readiness says otherwise.
pub(super) struct Server {
    pub(super) app: Arc<AppState>,
    pub(super) readiness: watch::Sender<Readiness>,
    /// Closes it, once it says true.
    pub(super) close: watch::Sender<bool>,
    pub(super) opened: Opened,
}

impl Server {
    /// Opens it on the listeners of `ui_port` and on the control socket.
    ///
    /// # Errors
    /// Its runtime or its thread cannot be had, or `terminal_mon` is not an address.
    pub(super) fn open(
        base: &Base,
        relay: &mut Relay,
        windows: Vec<TcpListener>,
        control: ControlSocket,
    ) -> Result<Self, Failure> {
        let settings = &base.settings;
        let (readiness, ready) = watch::channel::<Readiness>(Err("starting".to_owned()));
        let (close, closing) = watch::channel(false);
        let app = AppState::open(
            views(base, relay),
            base.counters.clone(),
            rooms::access(settings, &relay.policy),
            facts::facts(settings, &base.volume, &base.resources),
            ready,
        )
        .map_err(|error| internal("counters", &error))?;
        let tls = base.presenter.clone().filter(|_| settings.ui_tls);
        let opened = http::open(
            settings,
            &instance::name(&settings.hostname, base.disk.as_ref()),
            app.clone(),
            relay.webhooks.take(),
            (windows, tls),
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
        sessions: relay.registry.clone(),
        history: relay.history.clone(),
        tail: base.tail.clone(),
        rate_history: RateHistory::open(Some(base.disk.clone())),
        idempotency_keys: IdempotencyKeys::open(Some(base.disk.as_ref())),
        memory: base.memory.clone(),
    }
}
