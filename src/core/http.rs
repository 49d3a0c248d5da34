//! The HTTP server on its own thread and runtime, so that a busy relay cannot delay a health check.

use super::exclusive_resources::{self, ControlSocket};
use super::sampling;
use super::start_failures::{internal, joined};
use super::watchdog::{Control, FallbackListeners};
use super::webhooks::WebhookService;
use crate::api;
use crate::api::health;
use crate::api::state::AppState;
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::Settings;
use crate::appliance::resources;
use crate::appliance::terminal::port_check::not_opened;
use crate::ground::threads;
use crate::ground::tls::CertificatePresenter;
use crate::http::route::HttpRoutes;
use crate::http::server;
use crate::monitor::push;
use crate::ui;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How long the HTTP server may take to close.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

/// How often the control socket's path is checked.
const CONTROL_PACE: Duration = Duration::from_secs(2);

/// All routes.
pub fn routes() -> HttpRoutes<AppState> {
    HttpRoutes::new(vec![health::ROUTES, api::ROUTES, ui::ROUTES], ui::dressed)
}

/// The running HTTP server.
pub(super) struct HttpService {
    /// Ends with the server.
    pub(super) thread: JoinHandle<()>,
    /// Its runtime.
    pub(super) runtime: Handle,
    /// The listeners.
    pub(super) listeners: FallbackListeners,
}

/// Starts the server; `instance` is the appliance's name at terminal `mon`. The thread ends after
/// `closing` is true.
pub(super) fn open(
    settings: &Settings,
    instance: &str,
    app: Arc<AppState>,
    webhooks: Option<WebhookService>,
    (public, tls): (Vec<TcpListener>, Option<Arc<CertificatePresenter>>),
    control: ControlSocket,
    closing: watch::Receiver<bool>,
) -> Result<HttpService, Failure> {
    let push = push_config(settings, instance)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(resources::http_threads(settings, threads::limit()))
        .thread_name("http disk")
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| internal("the HTTP server's runtime", &error))?;
    // The listeners were bound under the other runtime and must be registered with this one.
    let public = public.into_iter().map(TcpListener::into_std).collect::<io::Result<Vec<_>>>();
    let public = public.map_err(|error| not_opened("ui_port", settings.ui_port, &error))?;
    let ControlSocket { listener, file } = control;
    let control = listener.into_std().map_err(|error| internal("the control socket", &error))?;
    let listeners = FallbackListeners::of(&public, &control)
        .map_err(|error| internal("the stats UI", &error))?;
    let (run_dir, control_listener) = (settings.run_dir.clone(), listeners.control());
    let handle = runtime.handle().clone();
    let port = settings.ui_port;
    let serve = async move {
        let public = public.into_iter().map(TcpListener::from_std).collect::<io::Result<Vec<_>>>();
        match (public, UnixListener::from_std(control)) {
            (Ok(public), Ok(listener)) => {
                let control = (ControlSocket { listener, file }, run_dir, control_listener);
                serve(app, (public, tls), control, webhooks, push, closing).await;
            }
            (Err(error), _) | (_, Err(error)) => tracing::error!(
                target: "mta",
                port,
                cause = %error,
                "the HTTP server cannot be started"
            ),
        }
    };
    std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || {
            runtime.block_on(serve);
            runtime.shutdown_timeout(CLOSE_PATIENCE);
        })
        .map(|thread| HttpService { thread, runtime: handle, listeners })
        .map_err(|error| internal("the HTTP server's thread", &error))
}

fn push_config(settings: &Settings, instance: &str) -> Result<Option<push::PushConfig>, Failure> {
    let push = settings
        .terminal_mon
        .as_ref()
        .map(|url| push::PushConfig::new(url, instance, settings.mon_interval));
    push.transpose().map_err(|error| Failure::preconfigure(Exit::Property, error.to_string()))
}

/// Serves all listeners, and runs sampling, pushes and webhooks, until `closing` is true.
async fn serve(
    app: Arc<AppState>,
    (public, tls): (Vec<TcpListener>, Option<Arc<CertificatePresenter>>),
    (control, run_dir, control_listener): (ControlSocket, PathBuf, Control),
    webhooks: Option<WebhookService>,
    push: Option<push::PushConfig>,
    closing: watch::Receiver<bool>,
) {
    // It ends with the runtime.
    drop(tokio::spawn(threads::keep_one_for_the_disk()));
    let (mut served, routes) = (JoinSet::new(), Arc::new(routes()));
    served.spawn(server::serve_public(app.clone(), routes.clone(), public, tls, closing.clone()));
    served.spawn(serve_control(
        app.clone(),
        routes,
        control,
        run_dir,
        control_listener,
        closing.clone(),
    ));
    served.spawn(sampling::run(app.clone(), closing.clone()));
    if let Some(webhooks) = webhooks {
        webhooks.run(&mut served, app.monitor.clone(), &closing);
    }
    if let Some(config) = push {
        served.spawn(push::push(config, app.monitor.clone(), closing.clone()));
    }
    while let Some(ended) = served.join_next().await {
        joined(ended, "the HTTP server");
    }
}

/// Serves the control socket until `closing` is true. If its file was removed, alone or with its
/// directory, it is created again, because clients find it by its name.
async fn serve_control(
    app: Arc<AppState>,
    routes: Arc<HttpRoutes<AppState>>,
    first: ControlSocket,
    run_dir: PathBuf,
    control_listener: Control,
    mut closing: watch::Receiver<bool>,
) {
    let mut served = JoinSet::new();
    let begin = |served: &mut JoinSet<()>, ControlSocket { listener, file }| {
        let (stop, stopping) = watch::channel(false);
        served.spawn(server::serve_control(app.clone(), routes.clone(), listener, stopping));
        (stop, file)
    };
    let (mut stop, mut ours) = begin(&mut served, first);
    let (mut trouble, vitals) = (None, app.monitor.vitals());
    let mut pace = tokio::time::interval(CONTROL_PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = closing.wait_for(|closing| *closing) => break,
            Some(ended) = served.join_next(), if served.len() > 1 => {
                joined(ended, "a control socket");
            }
            _ = pace.tick() => {}
        }
        let place = run_dir.display();
        if ours.is_some() && exclusive_resources::control_socket(&run_dir) == ours {
            // The run directory was not accessible for a while.
            if trouble.take().is_some() {
                vitals.note_control(None);
                tracing::info!(target: "mta", run_dir = %place, "the control socket is \
                available again");
            }
            continue;
        }
        match exclusive_resources::bind_control(&run_dir)
            .and_then(|control| rebound(control, &control_listener))
        {
            Ok(control) => {
                let what =
                    if ours.is_some() { "was missing and was recreated" } else { "could be made" };
                // Requests through the former socket are completed.
                stop.send_replace(true);
                (stop, ours) = begin(&mut served, control);
                trouble = None;
                vitals.note_control(None);
                tracing::warn!(target: "mta", run_dir = %place, "the control socket {what}");
            }
            Err(error) => {
                let now = Some(format!("run_dir {place}: {error}"));
                if trouble != now {
                    vitals.note_control(now.clone());
                    trouble = now;
                    tracing::error!(
                        target: "mta", run_dir = %place, cause = %error,
                        "there is no control socket"
                    );
                }
            }
        }
    }
    stop.send_replace(true);
    while let Some(ended) = served.join_next().await {
        joined(ended, "a control socket");
    }
}

/// The watchdog listens at the new one, too.
fn rebound(control: ControlSocket, control_listener: &Control) -> io::Result<ControlSocket> {
    let listener = control.listener.into_std()?;
    *control_listener.lock() = Arc::new(listener.try_clone()?);
    Ok(ControlSocket { listener: UnixListener::from_std(listener)?, ..control })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request_limits::{CONNECTIONS_MAX, OWN_CONNECTIONS_MAX};

    #[test]
    fn the_descriptors_of_all_connections_are_counted() {
        let connections =
            CONNECTIONS_MAX + OWN_CONNECTIONS_MAX + 2 * server::CONTROL_CONNECTIONS_MAX;
        assert!(resources::FILES >= connections as u64 + 120, "{connections}");
    }
}
