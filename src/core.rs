//! `postern core`, the composition root: properties in, a running relay out. The only file that may import all rooms.
//!
//! The order: confined before any thread exists; the data volume taken, which no two cores can have; listeners bound before
//! anything is served; the queue recovered and its mail on the schedule before the first session; then ready. At SIGTERM the
//! order is reversed: no new sessions, open ones finish their mail, what can be delivered is, everything is synced, the
//! monitor hears goodbye. `drain_time` bounds it all.
//!
//! Windows run on a thread and a runtime of their own, so that a busy relay cannot starve a health check.

mod facts;
mod hooks;
mod keys;

use crate::appliance::counter::Counters;
use crate::appliance::event::Severity;
use crate::appliance::failure::{Exit, Failure, exit_of};
use crate::appliance::lines;
use crate::appliance::property::{AddressMasking, LogFormat, Settings, webhook};
use crate::appliance::supervise::confine::confine;
use crate::appliance::supervise::orders::Listener;
use crate::appliance::supervise::status::StatusWriter;
use crate::ground::disk::{Disk, Volume};
use crate::ground::gateway::default_gateways;
use crate::ground::sys;
use crate::ground::tls::{Authorities, Presenter};
use crate::ground::{dns, log};
use crate::mail::accept::{self, Limits, Tls};
use crate::mail::admit::Policy;
use crate::mail::deliver::{self, Client};
use crate::mail::desk::Office;
use crate::mail::inbound::{self, Intake};
use crate::mail::journal::{self, Journal, Masking};
use crate::mail::model::{Desk, Refusal};
use crate::mail::outbound::{self, Outbound};
use crate::mail::parse::Rules;
use crate::mail::roll::Roll;
use crate::mail::route::{self, Router};
use crate::mail::schedule;
use crate::mail::spool::{self, SegmentLog};
use crate::window::Login;
use crate::window::maillog::MailLog;
use crate::window::pulse::{self, Pulse};
use crate::window::push;
use crate::window::server::{self, Readiness, Views, Window};
use crate::window::space::{self, Alert};
use nix::sys::signal::SigSet;
use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

/// The control socket in `run_dir`.
const CONTROL_SOCKET: &str = "control.sock";

/// How often the default routes are looked at.
const GATEWAYS_PACE: Duration = Duration::from_secs(5);

/// How often the data volume's health is shown to windows.
const STORAGE_PACE: Duration = Duration::from_secs(1);

/// Threads that wait for the disk, at most: more of them make no disk faster, and each costs memory.
const DISK_THREADS: usize = 64;

/// How long the windows may take to close.
const WINDOWS_PATIENCE: Duration = Duration::from_secs(5);

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
    let confined = confine(&settings.volume_data, &settings.run_dir);
    // Whether there is a file of that name decides; the share itself is the carrier's business.
    let maillog = (settings.logs_enabled && settings.maillog_filename.is_some())
        .then(|| MailLog::new(&settings.syslog_name, &settings.hostname));
    let ear = maillog.clone().map(|maillog| maillog as Arc<dyn log::Ear>);
    let log = log::start_with(settings.log_format == LogFormat::Json, ear);
    tracing::info!(target: "mta", "{confined}");
    let presenter = if settings.ssl_disabled { None } else { Some(keys::first(&mut orders).map_err(|failure| vec![failure])?) };
    sys::give_back_in_background();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers())
        .max_blocking_threads(DISK_THREADS)
        .enable_all()
        .build()
        .map_err(|error| vec![internal("the runtime", &error)])?;
    let keys = presenter.map(|presenter| (presenter, orders));
    let ended = runtime.block_on(serve(&settings, keys, authorities, status, maillog.as_deref(), log.tail()));
    let ended = ended.map_err(|failure| vec![failure]);
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// Threads for sessions and couriers: half of the processors. The committer, the log and the kernel's network need the other
/// half, and each thread more costs hand-overs between them.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |processors| processors.get().div_ceil(2))
}

async fn serve(
    settings: &Settings,
    keys: Option<(Arc<Presenter>, Listener)>,
    authorities: Authorities,
    status: &Arc<StatusWriter>,
    maillog: Option<&MailLog>,
    tail: Arc<log::Tail>,
) -> Result<(), Failure> {
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| internal("SIGTERM", &error))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| internal("SIGHUP", &error))?;
    // First of all: a core that was told to stop keeps its ports and its control socket as long as the volume, and the volume
    // is what its successor can wait for.
    let disk: Arc<dyn Disk> = Arc::new(open_volume(settings, &mut terminate).await?);
    let refusals = Refusal::ALL.map(Refusal::as_str);
    let counters = Arc::new(Counters::new(&refusals).map_err(|error| internal("counters", &error))?);
    // Ends before the volume is given up: a successor must find all lines there.
    let _maillog = maillog.map(|maillog| maillog.open(&settings.volume_data, settings.maillog_buffer_limit, counters.clone()));
    let smtp = bind_all(settings, settings.smtp_port).map_err(|error| not_started("smtp_port", settings.smtp_port, &error))?;
    let smtps = if settings.ssl_disabled {
        Vec::new()
    } else {
        bind_all(settings, settings.smtps_port).map_err(|error| not_started("smtps_port", settings.smtps_port, &error))?
    };
    let windows = bind_all(settings, settings.ui_port).map_err(|error| no_window(settings.ui_port, &error))?;
    let control = bind_control(&settings.run_dir).map_err(|error| internal("the control socket", &error))?;
    for listener in smtp.iter().chain(&smtps).chain(&windows) {
        tracing::info!(target: "mta", address = %listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string()), "listening");
    }
    let spool = open_spool(disk.clone(), &counters)?;
    let window_tls = keys.as_ref().filter(|_| settings.ui_tls).map(|(presenter, _)| presenter.clone());
    let tls = match keys {
        Some((presenter, orders)) => {
            keys::follow(orders, presenter.clone(), counters.clone(), status.clone())
                .map_err(|error| internal("the keys' thread", &error))?;
            Some(Tls::new(presenter, counters.clone()))
        }
        None => None,
    };
    let router = router(settings, smtp.iter().chain(&smtps))?;
    let copy = router.copy_destination().is_some();
    let client = Client::new(deliver_config(settings), counters.clone()).map_err(|error| internal("TLS", &error))?;
    let config = outbound::Config { hostname: settings.hostname.clone(), schedule: schedule_config(settings) };
    let journal = Journal::open(disk.clone(), journal_config(settings), counters.clone());
    let hooked = hooks::open(settings, masking(settings), authorities, disk.as_ref(), &counters)?;
    let herald = hooked.as_ref().map(|hooked| hooked.herald.clone());
    let outbound = Outbound::new(spool.clone(), router, client, counters.clone(), journal.clone(), herald, config);
    let tell = |progress: String| tracing::info!(target: "mta", "{progress}");
    // Beside the sessions: new mail does not wait until old mail is planned.
    let planning = tokio::spawn(outbound.clone().resume(tell));

    let (readiness, ready) = watch::channel::<Readiness>(Err("starting".to_owned()));
    let (close, closing) = watch::channel(false);
    let desk: Arc<dyn Desk> = Arc::new(Office::new(outbound.clone(), disk.clone()));
    let roll = Arc::new(Roll::default());
    let intake = Arc::new(Intake { tls: tls.clone(), ..intake(settings, &spool, &outbound, &counters, copy, &roll) });
    let pulse = Pulse::open(Some(disk.clone()));
    let views = Views { desk, submission: intake.clone(), doorway: roll.clone(), history: journal, tail, pulse };
    let window = Window::open(views, counters.clone(), login(settings), facts::facts(settings), ready)
        .map_err(|error| internal("counters", &error))?;
    let windows = open_windows(settings, window.clone(), hooked, (windows, window_tls), control, closing)?;

    let mut couriers = tokio::spawn(outbound.clone().run());
    let space = tokio::spawn(space::watch_over(counters.clone(), tell_supervisor(status)));
    let (stop, stopping) = watch::channel(None);
    let listeners = doors(smtp, smtps, tls.as_ref());
    let gateways = tokio::spawn(follow_gateways(intake.clone()));
    let sessions = tokio::spawn(inbound::serve(intake, listeners, stopping));
    drop(readiness.send_replace(Ok(())));
    let readiness = Arc::new(readiness);
    let storage = tokio::spawn(follow_storage(spool.clone(), readiness.clone(), window));
    status.ready();
    tracing::info!(target: "mta", hostname = settings.hostname, "ready");

    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = hangup.recv() => tracing::info!(target: "mta", "SIGHUP: nothing to reload; properties are read at start"),
        }
    }
    let deadline = Instant::now() + settings.drain_time;
    tracing::info!(target: "mta", seconds = settings.drain_time.as_secs(), "stopping: no new sessions, open ones may finish");
    storage.abort();
    let _ = storage.await;
    drop(readiness.send_replace(Err("stopping".to_owned())));
    stop.send_replace(Some(Instant::now() + settings.drain_time.mul_f64(SESSIONS_SHARE)));
    joined(sessions.await, "sessions");
    outbound.flush(deadline).await;
    outbound.stop();
    joined(planning.await, "planning");
    match tokio::time::timeout_at(deadline.max(Instant::now() + Duration::from_secs(1)), &mut couriers).await {
        Ok(ended) => joined(ended, "couriers"),
        Err(_) => {
            tracing::warn!(target: "mta", "deliveries were cut off at the end of drain_time; they are tried again at the next start");
            // Before the queue closes: what they would still deliver could not be recorded.
            couriers.abort();
            let _ = couriers.await;
        }
    }
    space.abort();
    gateways.abort();
    close.send_replace(true);
    if tokio::task::spawn_blocking(move || windows.join()).await.is_err() {
        tracing::warn!(target: "mta", "the windows did not close in order");
    }
    let left = spool::Spool::totals(spool.as_ref()).0;
    match tokio::task::spawn_blocking(move || spool.close()).await {
        Ok(true) => tracing::info!(target: "mta", messages = left, "stopped; the queue is synced"),
        Ok(false) | Err(_) => tracing::warn!(target: "mta", "the queue did not close in order; a restart recovers it"),
    }
    Ok(())
}

/// Alerts of the data volume go to the supervisor, which keeps them in the appliance log.
fn tell_supervisor(status: &Arc<StatusWriter>) -> impl Fn(Alert) + use<> {
    let status = status.clone();
    move |alert| {
        let severity = match alert {
            Alert::Below1 => Severity::Error,
            Alert::Below5 => Severity::Warning,
            Alert::RoomAgain => Severity::Info,
        };
        status.report(severity, alert.text());
    }
}

fn bind_all(settings: &Settings, port: u16) -> io::Result<Vec<TcpListener>> {
    settings.listen.iter().map(|address| accept::bind(SocketAddr::new(*address, port))).collect()
}

fn doors(smtp: Vec<TcpListener>, smtps: Vec<TcpListener>, tls: Option<&Arc<Tls>>) -> Vec<accept::Listener> {
    let inside_tls = smtps.into_iter().zip(std::iter::repeat(tls).flatten());
    let inside_tls = inside_tls.map(|(socket, tls)| accept::Listener::inside_tls(socket, tls.clone()));
    smtp.into_iter().map(accept::Listener::plain).chain(inside_tls).collect()
}

/// Another socket of that name is a dead core's: the lock on the data volume keeps a living one from getting this far with
/// the same queue. Its mode is the lock on the operator's orders.
fn bind_control(run_dir: &Path) -> io::Result<UnixListener> {
    let path = run_dir.join(CONTROL_SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A core that was told to stop may still hold the volume; its successor waits for it, and says so.
async fn open_volume(settings: &Settings, terminate: &mut tokio::signal::unix::Signal) -> Result<Volume, Failure> {
    let patience = Instant::now() + settings.drain_time + Duration::from_secs(15);
    let mut told = false;
    loop {
        match Volume::open(&settings.volume_data) {
            Ok(volume) => return Ok(volume),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < patience => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(target: "mta", "another process has the data volume (one that is stopping?); waiting for it");
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    _ = terminate.recv() => return Err(data_volume("stopped while waiting for the data volume".to_owned())),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(data_volume(format!(
                    "another Postern uses {}: stop it, or give this one a volume of its own",
                    settings.volume_data.display()
                )));
            }
            Err(error) => return Err(data_volume(format!("{}: {error}", settings.volume_data.display()))),
        }
    }
}

fn open_spool(disk: Arc<dyn Disk>, counters: &Arc<Counters>) -> Result<Arc<SegmentLog>, Failure> {
    let tell = |progress: String| tracing::info!(target: "mta", "{progress}");
    SegmentLog::open(disk, spool::Config::default(), counters.clone(), &tell)
        .map(Arc::new)
        .map_err(|error| data_volume(error.to_string()))
}

fn router<'a>(settings: &Settings, listeners: impl Iterator<Item = &'a TcpListener>) -> Result<Router, Failure> {
    let resolver = dns::system(&settings.dns_servers).map_err(|error| internal("DNS", &error))?;
    let config = route::Config {
        smart_relay: settings.smart_relay.clone(),
        cc_mta: settings.cc_mta.clone(),
        hostname: settings.hostname.clone(),
        own_addresses: listeners.filter_map(|listener| listener.local_addr().ok()).collect(),
        port: 25,
    };
    Ok(Router::new(config, resolver))
}

fn deliver_config(settings: &Settings) -> deliver::Config {
    deliver::Config { hostname: settings.hostname.clone(), timeouts: deliver::Timeouts::default(), bind: None }
}

fn journal_config(settings: &Settings) -> journal::Config {
    journal::Config {
        enabled: settings.history_enabled,
        size: settings.history_size,
        time: settings.history_time,
        masking: masking(settings),
    }
}

fn masking(settings: &Settings) -> Masking {
    match settings.address_masking {
        AddressMasking::None => Masking::None,
        AddressMasking::Smart => Masking::Smart,
        AddressMasking::Hash => Masking::Hash,
    }
}

fn schedule_config(settings: &Settings) -> schedule::Config {
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    schedule::Config {
        concurrency: settings.destination_concurrency_limit,
        couriers_max: outbound::COURIERS_MAX,
        minimal_backoff: seconds(settings.minimal_backoff_time).max(1),
        maximal_backoff: seconds(settings.maximal_backoff_time).max(1),
        lifetime: seconds(settings.queue_lifetime),
        delay_warning: seconds(settings.delay_warning_time),
    }
}

fn intake(
    settings: &Settings,
    spool: &Arc<SegmentLog>,
    outbound: &Arc<Outbound<SegmentLog>>,
    counters: &Arc<Counters>,
    copy: bool,
    roll: &Arc<Roll>,
) -> Intake<SegmentLog> {
    let onward = outbound.clone();
    Intake {
        spool: spool.clone(),
        onward: Box::new(move |message| onward.enqueue(&message)),
        policy: Policy::new(settings.smtpd_trusted_networks.clone(), default_gateways()),
        rules: Rules::new(settings.hostname.clone(), settings.message_size_limit),
        copy,
        tls: None,
        counters: counters.clone(),
        roll: roll.clone(),
        limits: Limits {
            sessions: settings.session_limit as usize,
            sessions_per_address: settings.session_limit_per_address as usize,
            ..Limits::default()
        },
    }
}

/// An appliance whose volume is full or failing answers 452, and does not call itself ready.
async fn follow_storage(spool: Arc<SegmentLog>, readiness: Arc<watch::Sender<Readiness>>, window: Arc<Window>) {
    let mut pace = tokio::time::interval(STORAGE_PACE);
    loop {
        pace.tick().await;
        let now = spool::Spool::ready(spool.as_ref()).map_err(|error| format!("{error}; new mail is answered 452"));
        window.note_data_volume(now.clone().err());
        readiness.send_if_modified(|known| {
            let changed = *known != now;
            if changed {
                *known = now;
            }
            changed
        });
    }
}

/// Default routes come and go with networks; none of them is ever trusted by accident.
async fn follow_gateways(intake: Arc<Intake<SegmentLog>>) {
    let mut pace = tokio::time::interval(GATEWAYS_PACE);
    loop {
        pace.tick().await;
        intake.policy.set_gateways(default_gateways());
    }
}

fn login(settings: &Settings) -> Option<Login> {
    let username = settings.username.as_ref()?;
    Some(Login::new(username, settings.password.as_ref().map(|password| password.expose()).unwrap_or_default()))
}

/// The windows on their own thread; it ends after `closing` says true.
fn open_windows(
    settings: &Settings,
    window: Arc<Window>,
    hooked: Option<hooks::Hooked>,
    (public, tls): (Vec<TcpListener>, Option<Arc<Presenter>>),
    control: UnixListener,
    closing: watch::Receiver<bool>,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    let push = settings.terminal_mon.as_ref().map(|url| push::Config::new(url, &settings.hostname, settings.mon_interval));
    let push = push.transpose().map_err(|error| Failure::preconfigure(Exit::Property, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| internal("the windows' runtime", &error))?;
    // The listeners were bound under the other runtime and must be watched by this one.
    let public = public.into_iter().map(TcpListener::into_std).collect::<io::Result<Vec<_>>>();
    let public = public.map_err(|error| no_window(settings.ui_port, &error))?;
    let control = control.into_std().map_err(|error| internal("the control socket", &error))?;
    let port = settings.ui_port;
    let serve = async move {
        let public = public.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>();
        let (public, control) = match (public, UnixListener::from_std(control)) {
            (Ok(public), Ok(control)) => (public, control),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(target: "mta", port, cause = %error, "the windows cannot be opened");
                return;
            }
        };
        let mut served = tokio::task::JoinSet::new();
        served.spawn(server::serve_public(window.clone(), public, tls, closing.clone()));
        served.spawn(server::serve_control(window.clone(), control, closing.clone()));
        served.spawn(pulse::run(window.clone(), closing.clone()));
        if let Some(hooked) = hooked {
            hooked.run(&mut served, window.clone(), &closing);
        }
        if let Some(config) = push {
            served.spawn(push::push(config, window, closing.clone()));
        }
        while let Some(ended) = served.join_next().await {
            joined(ended, "a window");
        }
    };
    std::thread::Builder::new()
        .name("windows".to_owned())
        .spawn(move || {
            runtime.block_on(serve);
            runtime.shutdown_timeout(WINDOWS_PATIENCE);
        })
        .map_err(|error| internal("the windows' thread", &error))
}

fn joined(ended: Result<(), tokio::task::JoinError>, who: &str) {
    if let Err(error) = ended {
        tracing::error!(target: "mta", who, cause = %error, "a part of the relay ended badly");
    }
}

fn internal(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::preconfigure(Exit::Internal, format!("{what}: {error}"))
}

fn data_volume(cause: String) -> Failure {
    Failure::new(Exit::Create, lines::DATA_VOLUME, cause)
}

fn not_started(property: &str, port: u16, error: &io::Error) -> Failure {
    let line = "Error: failed to start the MTA server. Please see the /var/log/appliance/log log file in MTA for more details on \
                the failure";
    Failure::new(exit_for(error), line, port_trouble(property, port, error))
}

fn no_window(port: u16, error: &io::Error) -> Failure {
    Failure::new(exit_for(error), lines::WINDOWS, port_trouble("ui_port", port, error))
}

fn exit_for(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::PermissionDenied { Exit::Permission } else { Exit::Unavailable }
}

fn port_trouble(property: &str, port: u16, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "take a port above 1023, or grant CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrInUse => "another program listens there; stop it or take another port",
        _ => "see property listen",
    };
    format!("{property}={port} cannot be opened: {error}; {advice}")
}
