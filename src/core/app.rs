//! The relay, built step by step: its base, ports, queue, mail modules and HTTP server. Then it
//! starts.

use super::config::CoreConfig;
use super::exclusive_resources::Ports;
#[cfg(debug_assertions)]
use super::faults;
use super::process_resources::ProcessResources;
use super::relay::Relay;
use super::running::Running;
use super::server::Server;
use super::start_failures::internal;
use super::{background, configure, supervisor_commands, upstreams, users, watchdog};
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
    device: Vec<TcpListener>,
    submission: Vec<TcpListener>,
    server: Server,
    relay: Relay,
    /// The supervisor requests the stop.
    told_to_stop: Arc<Notify>,
    process: ProcessResources,
}

impl App {
    /// Builds it.
    ///
    /// # Errors
    /// The first step that failed, with the contract's line and a cause that says what to do.
    pub(super) async fn build(config: CoreConfig) -> Result<Self, Failure> {
        let (process, orders) = ProcessResources::take(config).await?;
        let ports = Ports::bind(&process.settings, &process.volume)?;
        let spool = configure::open_spool(&process)?;
        let users = users::list(&process.settings, process.disk.as_ref());
        let list = users.as_ref().map(|(list, _)| list.clone());
        let told_to_stop = supervisor_commands::follow(orders, &process, list)
            .map_err(|error| internal("the orders' thread", &error))?;
        let mut relay = Relay::open(&process, spool, &ports, users)?;
        let Ports { smtp, smtps, device, submission, http, control } = ports;
        let server = Server::open(&process, &mut relay, http, control)?;
        Ok(Self { smtp, smtps, device, submission, server, relay, told_to_stop, process })
    }

    /// Starts delivery, intake and the watchdog, and reports readiness.
    ///
    /// # Errors
    /// The watchdog's thread cannot be created.
    pub(super) fn start(self) -> Result<Running, Failure> {
        let Self { smtp, smtps, device, submission, server, relay, told_to_stop, process } = self;
        let Server { app, readiness, close, opened } = server;
        let agents = tokio::spawn(relay.outbound.clone().run());
        let background = background(&process, &relay);
        let (stop, stopping) = watch::channel(None);
        let plain = smtp.into_iter().chain(submission);
        let listeners = listeners(plain, smtps, &relay);
        let devices = device.into_iter().map(SmtpListener::plain).collect();
        let of_devices =
            relay.device.map(|intake| inbound::serve(intake, devices, stopping.clone()));
        let of_clients = inbound::serve(relay.intake, listeners, stopping);
        let sessions = tokio::spawn(async move {
            tokio::join!(of_clients, async {
                if let Some(serving) = of_devices {
                    serving.await;
                }
            });
        });
        drop(readiness.send_replace(Ok(())));
        let readiness = Arc::new(readiness);
        #[cfg(debug_assertions)]
        faults::allow(&app.http, relay.outbound.clone());
        let vitals = app.monitor.vitals();
        let storage =
            background::follow_storage(relay.spool.clone(), readiness.clone(), app.monitor.clone());
        let storage = tokio::spawn(storage);
        process.status.ready();
        let probes = watchdog::Probes {
            mail: tokio::runtime::Handle::current(),
            http: opened.runtime,
            outbound: relay.outbound.clone(),
            spool: relay.spool.clone(),
        };
        watchdog::watch(probes, opened.listeners, vitals, &process)
            .map_err(|error| internal("the watchdog's thread", &error))?;
        tracing::info!(target: "mta", hostname = process.settings.hostname, "ready");
        Ok(Running {
            sessions,
            agents,
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
            process,
        })
    }
}

/// The tasks that monitor the machine.
fn background(process: &ProcessResources, relay: &Relay) -> JoinSet<()> {
    // Until the last disk access; it ends with the runtime.
    drop(tokio::spawn(threads::keep_one_for_the_disk()));
    let mut tasks = JoinSet::new();
    tasks.spawn(background::release_memory_when_idle(process.counters.clone()));
    tasks.spawn(background::follow_clock(process.counters.monitor.clone()));
    tasks.spawn(background::follow_memory(process.ceiling.clone(), process.memory.clone()));
    let tell = background::report_to_supervisor(&process.status);
    tasks.spawn(disk_alerts::watch_over(process.counters.spool.clone(), tell));
    tasks.spawn(process.dkim.clone().follow());
    tasks.spawn(background::follow_gateways(relay.policy.clone()));
    let (admin, outbound) = (relay.admin.clone(), relay.outbound.clone());
    tasks.spawn(upstreams::offer_again(process.health.clone(), admin, outbound));
    tasks
}

/// The SMTP listeners (terminal `in`).
fn listeners(
    plain: impl Iterator<Item = TcpListener>,
    smtps: Vec<TcpListener>,
    relay: &Relay,
) -> Vec<SmtpListener> {
    let smtps = smtps
        .into_iter()
        .zip(relay.tls.iter().cycle())
        .map(|(socket, tls)| SmtpListener::inside_tls(socket, tls.clone()));
    plain.map(SmtpListener::plain).chain(smtps).collect()
}
