//! The relay, built step by step: its base, ports, queue, mail modules and HTTP server. Then it
//! starts.

use super::base::Base;
use super::config::CoreConfig;
use super::exclusive::Ports;
#[cfg(debug_assertions)]
use super::faults;
use super::relay::Relay;
use super::running::Running;
use super::server::Server;
use super::trouble::internal;
use super::{background, obey, rooms, watchdog};
use crate::appliance::failure::Failure;
use crate::ground::threads;
use crate::mail::accept::SmtpListener;
use crate::mail::inbound;
use crate::monitor::disk_alerts;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

/// A relay that is ready to serve. Its fields are dropped in their order.
pub(super) struct App {
    smtp: Vec<TcpListener>,
    smtps: Vec<TcpListener>,
    server: Server,
    relay: Relay,
    /// The supervisor requests the stop.
    told_to_stop: Arc<Notify>,
    base: Base,
}

impl App {
    /// Builds it.
    ///
    /// # Errors
    /// The first step that failed, with the contract's line and a cause that says what to do.
    pub(super) async fn build(config: CoreConfig) -> Result<Self, Failure> {
        let (base, orders) = Base::take(config).await?;
        let ports = Ports::bind(&base.settings, &base.volume)?;
        let spool = rooms::open_spool(&base)?;
        let told_to_stop =
            obey::follow(orders, &base).map_err(|error| internal("the orders' thread", &error))?;
        let mut relay = Relay::open(&base, spool, &ports)?;
        let Ports { smtp, smtps, http, control } = ports;
        let server = Server::open(&base, &mut relay, http, control)?;
        Ok(Self { smtp, smtps, server, relay, told_to_stop, base })
    }

    /// Starts delivery, intake and the watchdog, and reports readiness.
    ///
    /// # Errors
    /// The watchdog's thread cannot be created.
    pub(super) fn start(self) -> Result<Running, Failure> {
        let Self { smtp, smtps, server, relay, told_to_stop, base } = self;
        let Server { app, readiness, close, opened } = server;
        let couriers = tokio::spawn(relay.outbound.clone().run());
        let background = background(&base, &relay);
        let (stop, stopping) = watch::channel(None);
        let listeners = listeners(smtp, smtps, &relay);
        let sessions = tokio::spawn(inbound::serve(relay.intake, listeners, stopping));
        drop(readiness.send_replace(Ok(())));
        let readiness = Arc::new(readiness);
        #[cfg(debug_assertions)]
        faults::allow(&app.http, relay.outbound.clone());
        let vitals = app.monitor.vitals();
        let storage =
            background::follow_storage(relay.spool.clone(), readiness.clone(), app.monitor.clone());
        let storage = tokio::spawn(storage);
        base.status.ready();
        let probes = watchdog::Probes {
            mail: tokio::runtime::Handle::current(),
            http: opened.runtime,
            outbound: relay.outbound.clone(),
            spool: relay.spool.clone(),
        };
        watchdog::watch(probes, opened.doors, vitals, &base)
            .map_err(|error| internal("the watchdog's thread", &error))?;
        tracing::info!(target: "mta", hostname = base.settings.hostname, "ready");
        Ok(Running {
            sessions,
            couriers,
            planning: relay.planning,
            storage,
            background,
            http: opened.thread,
            readiness,
            stop,
            close,
            outbound: relay.outbound,
            spool: relay.spool,
            told_to_stop,
            base,
        })
    }
}

/// The tasks that monitor the machine.
fn background(base: &Base, relay: &Relay) -> JoinSet<()> {
    // Until the last disk access; it ends with the runtime.
    drop(tokio::spawn(threads::keep_one_for_the_disk()));
    let mut tasks = JoinSet::new();
    tasks.spawn(background::rest_when_idle(base.counters.clone()));
    tasks.spawn(background::follow_clock(base.counters.monitor.clone()));
    tasks.spawn(background::follow_memory(base.ceiling.clone(), base.memory.clone()));
    let tell = background::tell_supervisor(&base.status);
    tasks.spawn(disk_alerts::watch_over(base.counters.spool.clone(), tell));
    tasks.spawn(background::follow_gateways(relay.policy.clone()));
    tasks
}

/// The SMTP listeners (terminal `in`).
fn listeners(smtp: Vec<TcpListener>, smtps: Vec<TcpListener>, relay: &Relay) -> Vec<SmtpListener> {
    let smtps = smtps
        .into_iter()
        .zip(relay.tls.iter().cycle())
        .map(|(socket, tls)| SmtpListener::inside_tls(socket, tls.clone()));
    smtp.into_iter().map(SmtpListener::plain).chain(smtps).collect()
}
