//! `postern core`, the composition root: properties in, a running relay out. The only module that
//! may import all others.
//!
//! Its steps: [`config::CoreConfig`] is the supervisor's input, [`app::App`] is built from it step
//! by step, [`running::Running`] is the relay that serves until it is requested to stop.
//!
//! The order: confined before any thread exists; the data volume locked, which only one core can
//! have; listeners bound before anything is served; the queue recovered and its mail on the
//! schedule before the first session; then ready. At SIGTERM the order is reversed: no new
//! sessions, open ones finish their mail, deliveries continue as far as possible, everything is
//! synced, the group at the monitor is deleted. `drain_time` limits all of it.
//!
//! The HTTP server runs on its own thread and runtime, so that a busy relay cannot delay a health
//! check.

mod app;
mod appliance_facts;
mod background;
mod config;
mod configure;
pub mod counters;
mod dkim_keys;
mod exclusive_resources;
#[cfg(debug_assertions)]
mod faults;
pub mod http;
mod instance;
mod keys;
mod process_resources;
mod relay;
mod running;
mod sampling;
mod server;
mod start_failures;
mod supervisor_commands;
mod unlisted_proxies;
mod upstreams;
mod users;
mod watchdog;
mod webhooks;

use crate::appliance::failure::{Exit, Failure, exit_of};
use crate::appliance::supervise::status::StatusWriter;
use crate::ground::sys;
use app::App;
use config::CoreConfig;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Runs the core until SIGTERM.
pub fn run() -> ExitCode {
    let Ok(status) = StatusWriter::from_fd3().map(Arc::new) else {
        eprintln!("postern core is started by `postern init`, not by people");
        return ExitCode::from(Exit::Property.code());
    };
    match run_core(&status) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            for failure in &failures {
                status.error(&failure.line, &failure.cause);
            }
            ExitCode::from(exit_of(&failures).code())
        }
    }
}

fn run_core(status: &Arc<StatusWriter>) -> Result<(), Vec<Failure>> {
    let (config, _log) = CoreConfig::from_supervisor(status)?;
    sys::give_back_in_background();
    let runtime = config.runtime()?;
    let ended = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended.map_err(|failure| vec![failure])
}

async fn serve(config: CoreConfig) -> Result<(), Failure> {
    let mut running = App::build(config).await?.start()?;
    running.run_until_stop().await;
    running.stop().await;
    Ok(())
}
