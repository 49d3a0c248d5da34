//! `postern core`, the composition root: properties in, a running relay out. The only file that may
//! import all rooms.
//!
//! The order: confined before any thread exists; the data volume taken, which no two cores can
//! have; listeners bound before anything is served; the queue recovered and its mail on the
//! schedule before the first session; then ready. At SIGTERM the order is reversed: no new
//! sessions, open ones finish their mail, what can be delivered is, everything is synced, the
//! monitor hears goodbye. `drain_time` bounds it all.
//!
//! Windows run on a thread and a runtime of their own, so that a busy relay cannot starve a health
//! check.

mod background;
mod exclusive;
mod facts;
#[cfg(debug_assertions)]
mod faults;
pub mod http;
mod instance;
mod keys;
mod obey;
mod rooms;
mod sampling;
mod trouble;
mod watchdog;
mod webhooks;

use crate::appliance::counter::Counters;
use crate::appliance::failure::{Exit, Failure, exit_of};
use crate::appliance::property::{LogFormat, Settings, webhook};
use crate::appliance::resources::{self, OPEN_FILES, Resources};
use crate::appliance::supervise::confine::confine;
use crate::appliance::supervise::orders::Listener;
use crate::appliance::supervise::status::{Health, StatusWriter};
use crate::ground::disk::{Disk, Watched};
use crate::ground::memory::{Ceiling, Gauge};
use crate::ground::tls::{Authorities, Presenter};
use crate::ground::{log, sys, threads};
use crate::http::idempotency::IdempotencyKeys;
use crate::http::state::{AppState, Readiness, Views};
use crate::mail::accept::{self, Tls};
use crate::mail::admin::Admin;
use crate::mail::deliver::Client;
use crate::mail::history::HistoryLog;
use crate::mail::inbound;
use crate::mail::intake::Intake;
use crate::mail::model::{QueueAdmin, Refusal};
use crate::mail::outbound::Outbound;
use crate::mail::sessions::SessionRegistry;
use crate::mail::spool;
use crate::maillog::MailLog;
use crate::monitor::disk_alerts;
use crate::monitor::rates::RateHistory;
use exclusive::Ports;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::SigSet;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;
use trouble::internal;

/// How long deliveries that are cut off may take to record what they have brought. The supervisor
/// waits longer than this beyond the drain time, also for the queue to close.
const LAST_RECORDS: Duration = Duration::from_secs(3);

/// The part of the drain time that open sessions get; the rest is for what they left in the queue.
const SESSIONS_SHARE: f64 = 0.8;

/// Runs the core until SIGTERM.
pub fn run() -> ExitCode {
    let Ok(status) = StatusWriter::from_fd3().map(Arc::new) else {
        eprintln!("postern core is started by `postern init`, not by people");
        return ExitCode::from(Exit::Property.code());
    };
    let status = Arc::new(status);
    match live(&status) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            for failure in &failures {
                status.error(&failure.line, &failure.cause);
            }
            ExitCode::from(exit_of(&failures).code())
        }
    }
}

fn live(status: &Arc<StatusWriter>) -> Result<(), Vec<Failure>> {
    // The supervisor reads its signals from a descriptor and blocks them; here they must arrive.
    SigSet::all().thread_unblock().map_err(|error| vec![internal("signals", &error)])?;
    let mut orders = Listener::stdin();
    let json = orders.properties().map_err(|error| vec![internal("properties", &error)])?;
    let settings = Settings::from_json(&json)?;
    // Before its file is out of reach.
    let authorities = webhook::authorities(&settings).map_err(|failure| vec![failure])?;
    // Before the first thread, because the kernel confines a thread and those that it starts.
    let volume = exclusive::volume(&settings);
    // The run directory may be made anew while we run; it is another one then.
    let confined = confine(&volume, &settings.run_dir, settings.run_dir.parent());
    // Whether there is a file of that name decides; the share itself is the carrier's business.
    let maillog = (settings.logs_enabled && settings.maillog_filename.is_some())
        .then(|| MailLog::new(&settings.syslog_name, &settings.hostname));
    let ear = maillog.clone().map(|maillog| maillog as Arc<dyn log::Ear>);
    let log = log::start_with(settings.log_format == LogFormat::Json, ear);
    tracing::info!(target: "mta", "{confined}");
    let presenter = if settings.ssl_disabled {
        None
    } else {
        Some(keys::first(&mut orders).map_err(|failure| vec![failure])?)
    };
    sys::give_back_in_background();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.worker_threads)
        .max_blocking_threads(resources::disk_threads(&settings, threads::limit()))
        .thread_name_fn(thread_names(settings.worker_threads))
        .enable_all()
        .build()
        .map_err(|error| vec![internal("the runtime", &error)])?;
    let told = Told { presenter, orders };
    let ended = runtime.block_on(serve(
        &settings,
        &volume,
        told,
        authorities,
        status,
        maillog.as_deref(),
        log.tail(),
    ));
    let ended = ended.map_err(|failure| vec![failure]);
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Names for the threads of the mail runtime, for stacks and `ps`: it starts those that carry mail
/// first, and then, one by one, those that wait for the disk.
fn thread_names(for_mail: usize) -> impl Fn() -> String + Send + Sync {
    let started = AtomicUsize::new(0);
    move || {
        let number = started.fetch_add(1, Ordering::Relaxed);
        if number < for_mail { "mail" } else { "disk" }.to_owned()
    }
}

/// What the supervisor has told, and has still to tell.
struct Told {
    presenter: Option<Arc<Presenter>>,
    orders: Listener,
}

async fn serve(
    settings: &Settings,
    volume: &Path,
    told: Told,
    authorities: Authorities,
    status: &Arc<StatusWriter>,
    maillog: Option<&MailLog>,
    tail: Arc<log::Tail>,
) -> Result<(), Failure> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| internal("SIGTERM", &error))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| internal("SIGHUP", &error))?;
    // First of all: a core that was told to stop keeps its ports and its control socket as long as
    // the volume, and the volume is what its successor can wait for.
    let disk = Watched::new(exclusive::open_volume(settings, volume, &mut terminate).await?);
    status.health(&Health::Alive);
    let calls = disk.calls();
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let refusals = Refusal::ALL.map(Refusal::as_str);
    let counters =
        Arc::new(Counters::new(&refusals).map_err(|error| internal("counters", &error))?);
    // Ends before the volume is given up: a successor must find all lines there.
    let _maillog = maillog
        .map(|maillog| maillog.open(volume, settings.maillog_buffer_limit, counters.clone()));
    let ceiling = Ceiling::find();
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(OPEN_FILES, |(soft, _)| soft);
    let resources = Resources::of(settings, ceiling.as_ref(), files);
    let memory = Gauge::shared();
    let Ports { smtp, smtps, windows, control } = Ports::bind(settings, volume)?;
    let spool = rooms::open_spool(disk.clone(), &counters, &resources, status)?;
    let Told { presenter, orders } = told;
    let window_tls = presenter.clone().filter(|_| settings.ui_tls);
    let told_to_stop = obey::follow(
        orders,
        presenter.clone(),
        counters.clone(),
        status.clone(),
        settings.drain_time,
    )
    .map_err(|error| internal("the orders' thread", &error))?;
    let tls = presenter.map(|presenter| Tls::new(presenter, counters.clone()));
    let router = rooms::router(settings, smtp.iter().chain(&smtps), &counters)?;
    let copy = router.copy_destination().is_some();
    let client = Client::new(rooms::deliver_config(settings), counters.clone())
        .map_err(|error| internal("TLS", &error))?;
    let config = rooms::outbound_config(settings, &resources);
    let history = HistoryLog::open(disk.clone(), rooms::history_config(settings), counters.clone());
    let webhooks =
        webhooks::open(settings, rooms::masking(settings), authorities, disk.as_ref(), &counters)?;
    let event_sink = webhooks.as_ref().map(|webhooks| webhooks.event_sink.clone());
    let outbound = Outbound::new(
        spool.clone(),
        router,
        client,
        counters.clone(),
        history.clone(),
        event_sink,
        config,
    );
    let tell = |progress: String| tracing::info!(target: "mta", "{progress}");
    // Beside the sessions: new mail does not wait until old mail is planned.
    let planning = tokio::spawn(outbound.clone().resume(tell));

    let (readiness, ready) = watch::channel::<Readiness>(Err("starting".to_owned()));
    let (close, closing) = watch::channel(false);
    let admin: Arc<dyn QueueAdmin> =
        Arc::new(Admin::new(outbound.clone(), disk.clone(), memory.clone()));
    let registry = Arc::new(SessionRegistry::default());
    let policy = rooms::policy(settings);
    let intake = rooms::intake(
        (settings, &policy),
        &spool,
        &outbound,
        &counters,
        copy,
        &registry,
        (&resources, &memory),
    );
    let intake = Arc::new(Intake { tls: tls.clone(), ..intake });
    let rate_history = RateHistory::open(Some(disk.clone()));
    let idempotency_keys = IdempotencyKeys::open(Some(disk.as_ref()));
    let views = Views {
        admin,
        submission: intake.clone(),
        sessions: registry.clone(),
        history,
        tail,
        rate_history,
        idempotency_keys,
        memory: memory.clone(),
    };
    let app = AppState::open(
        views,
        counters.clone(),
        rooms::access(settings, &policy),
        facts::facts(settings, volume, &resources),
        ready,
    )
    .map_err(|error| internal("counters", &error))?;
    let instance = instance::name(&settings.hostname, disk.as_ref());
    let vitals = app.vitals();
    let http::Opened { thread: windows, runtime: http_runtime, doors } = http::open(
        settings,
        &instance,
        app.clone(),
        webhooks,
        (windows, window_tls),
        control,
        closing,
    )?;

    let mut couriers = tokio::spawn(outbound.clone().run());
    let rest = tokio::spawn(background::rest_when_idle(counters.clone()));
    let clocks = tokio::spawn(background::follow_clock(counters.clone()));
    // Up to the last call of the disk; it ends with the runtime.
    drop(tokio::spawn(threads::keep_one_for_the_disk()));
    let gauging = tokio::spawn(background::follow_memory(ceiling, memory));
    let space = tokio::spawn(disk_alerts::watch_over(
        counters.clone(),
        background::tell_supervisor(status),
    ));
    let (stop, stopping) = watch::channel(None);
    let smtps = smtps
        .into_iter()
        .zip(tls.iter().cycle())
        .map(|(socket, tls)| accept::Listener::inside_tls(socket, tls.clone()));
    let listeners = smtp.into_iter().map(accept::Listener::plain).chain(smtps).collect();
    let gateways = tokio::spawn(background::follow_gateways(policy));
    let sessions = tokio::spawn(inbound::serve(intake, listeners, stopping));
    drop(readiness.send_replace(Ok(())));
    let readiness = Arc::new(readiness);
    #[cfg(debug_assertions)]
    faults::allow(&app, outbound.clone());
    let storage = tokio::spawn(background::follow_storage(spool.clone(), readiness.clone(), app));
    status.ready();
    let probes = watchdog::Probes {
        mail: tokio::runtime::Handle::current(),
        windows: http_runtime,
        outbound: outbound.clone(),
        spool: spool.clone(),
    };
    watchdog::watch(probes, calls, doors, vitals, counters.clone(), status.clone())
        .map_err(|error| internal("the watchdog's thread", &error))?;
    tracing::info!(target: "mta", hostname = settings.hostname, "ready");

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            () = told_to_stop.notified() => break,
            _ = hangup.recv() => tracing::info!(target: "mta", "SIGHUP: nothing to reload; \
            properties are read at start"),
        }
    }
    let deadline = Instant::now() + settings.drain_time;
    tracing::info!(target: "mta", seconds = settings.drain_time.as_secs(), "stopping: no new \
    sessions, open ones may finish");
    storage.abort();
    let _ = storage.await;
    drop(readiness.send_replace(Err("stopping".to_owned())));
    stop.send_replace(Some(Instant::now() + settings.drain_time.mul_f64(SESSIONS_SHARE)));
    joined(sessions.await, "sessions");
    outbound.flush(deadline).await;
    outbound.stop();
    joined(planning.await, "planning");
    match tokio::time::timeout_at(
        deadline.max(Instant::now() + Duration::from_secs(1)),
        &mut couriers,
    )
    .await
    {
        Ok(ended) => joined(ended, "couriers"),
        Err(_) => {
            tracing::warn!(target: "mta", "deliveries were cut off at the end of drain_time; they \
            are tried again at the next start");
            // Before the queue closes: what they would still deliver could not be recorded.
            outbound.cut_off();
            match tokio::time::timeout(LAST_RECORDS, &mut couriers).await {
                Ok(ended) => joined(ended, "couriers"),
                Err(_) => {
                    couriers.abort();
                    let _ = couriers.await;
                }
            }
        }
    }
    rest.abort();
    clocks.abort();
    gauging.abort();
    space.abort();
    gateways.abort();
    close.send_replace(true);
    if tokio::task::spawn_blocking(move || windows.join()).await.is_err() {
        tracing::warn!(target: "mta", "the windows did not close in order");
    }
    let left = spool::Spool::totals(spool.as_ref()).0;
    match tokio::task::spawn_blocking(move || spool.close()).await {
        Ok(true) => tracing::info!(target: "mta", messages = left, "stopped; the queue is synced"),
        Ok(false) | Err(_) => {
            tracing::warn!(target: "mta", "the queue did not close in order; a restart recovers it")
        }
    }
    Ok(())
}

fn joined(ended: Result<(), tokio::task::JoinError>, who: &str) {
    if let Err(error) = ended {
        tracing::error!(target: "mta", who, cause = %error, "a part of the relay ended badly");
    }
}
