//! The windows on a thread and a runtime of their own, so that a busy relay cannot starve a health check.

use super::hooks::Hooked;
use super::joined;
use super::trouble::{internal, no_window};
use super::watchdog::Doors;
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::property::Settings;
use crate::ground::tls::Presenter;
use crate::window::pulse;
use crate::window::push;
use crate::window::server::{self, Window};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How long the windows may take to close.
const WINDOWS_PATIENCE: Duration = Duration::from_secs(5);

/// What serves them.
pub(super) struct Opened {
    /// Ends with them.
    pub(super) thread: JoinHandle<()>,
    /// Its runtime.
    pub(super) runtime: Handle,
    /// Where people and programs knock.
    pub(super) doors: Doors,
}

/// Opens them; `instance` is the appliance's name at terminal `mon`. The thread ends after `closing` says true.
pub(super) fn open(
    settings: &Settings,
    instance: &str,
    window: Arc<Window>,
    hooked: Option<Hooked>,
    (public, tls): (Vec<TcpListener>, Option<Arc<Presenter>>),
    control: UnixListener,
    closing: watch::Receiver<bool>,
) -> Result<Opened, Failure> {
    let push = settings.terminal_mon.as_ref().map(|url| push::Config::new(url, instance, settings.mon_interval));
    let push = push.transpose().map_err(|error| Failure::preconfigure(Exit::Property, error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| internal("the windows' runtime", &error))?;
    // The listeners were bound under the other runtime and must be watched by this one.
    let public = public.into_iter().map(TcpListener::into_std).collect::<io::Result<Vec<_>>>();
    let public = public.map_err(|error| no_window(settings.ui_port, &error))?;
    let control = control.into_std().map_err(|error| internal("the control socket", &error))?;
    let doors = Doors::of(&public, &control).map_err(|error| internal("the stats UI", &error))?;
    let handle = runtime.handle().clone();
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
        .map(|thread| Opened { thread, runtime: handle, doors })
        .map_err(|error| internal("the windows' thread", &error))
}
