//! `postern demo`: a relay with some undelivered mail, to try it out.
//!
//! In: a directory; without one it creates a temporary one. Out: a sink, the relay (`postern init`,
//! as an ordinary user) and a few mails: delivered, deferred, held, bounced; on standard output the
//! addresses of the page and of the SMTP port, and what to try. It ends with SIGINT, SIGTERM or
//! SIGHUP: the processes first, then the temporary directory. Limits: waits at most [`READY_MAX`]
//! for the relay, and [`SETTLED_MAX`] for the mails to reach their final state. Security:
//! everything listens on 127.0.0.1. There the page shows all mail without a login, and any process
//! of this machine may send. Nothing leaves the machine: all mail goes to the sink. Exit codes: 0
//! it was ended by a signal, 69 the relay does not start or has ended by itself, 70 a defect, 73
//! the directory cannot be created.

mod demo_error;
mod directory;
mod processes;
mod samples;
mod signals;

use crate::appliance::failure::Exit;
use crate::appliance::supervise::identity::Identity;
use demo_error::DemoError;
use directory::DemoDirectory;
use processes::{DemoProcesses, DemoSettings};
use signals::DemoSignals;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Time limit of a start.
const READY_MAX: Duration = Duration::from_secs(60);
/// How long the samples may take to be delivered, deferred or bounced.
const SETTLED_MAX: Duration = Duration::from_secs(10);
/// How often the processes are checked.
const LOOK: Duration = Duration::from_millis(500);

/// The arguments of `postern demo`.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Keep everything in this directory and do not remove it; the next demo continues with it
    /// [default: a temporary directory that is removed]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Port of the web UI; another free port if it is in use
    #[arg(long, value_name = "PORT", default_value_t = 8025)]
    ui_port: u16,
    /// Port for SMTP; another free port if it is in use
    #[arg(long, value_name = "PORT", default_value_t = 2525)]
    smtp_port: u16,
}

/// Runs until a signal comes.
pub fn run(args: DemoArgs) -> ExitCode {
    match live(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            eprintln!("Error: {}", trouble.words);
            ExitCode::from(trouble.exit.code())
        }
    }
}

fn live(args: DemoArgs) -> Result<(), DemoError> {
    let signals = DemoSignals::catch()
        .map_err(|error| DemoError::new(Exit::Internal, format!("no signals: {error}")))?;
    let (identity, _) = Identity::of_the_core()
        .map_err(|failure| DemoError::new(Exit::Permission, failure.to_string()))?;
    let place = DemoDirectory::make(args.directory, &identity).map_err(|error| {
        DemoError::new(Exit::Create, format!("cannot make the directory of the demo: {error}"))
    })?;
    let setting = DemoSettings {
        smtp: free(args.smtp_port)?,
        ui: free(args.ui_port)?,
        directory: place.path.clone(),
        identity,
    };
    println!("postern demo: starting in {}", place.path.display());
    let mut parts = DemoProcesses::start(setting, READY_MAX)?;
    if parts.wait_ready(READY_MAX, &signals)? && (place.is_old || send_samples(&parts, &signals)?) {
        // Without a reader of the output the demo still runs.
        let _ = io::stdout().write_all(words(&parts.setting, &place).as_bytes());
        while !signals.came_within(LOOK) {
            parts.look()?;
        }
    }
    println!("\npostern demo: ending");
    parts.stop();
    Ok(())
}

/// Sends the samples, holds one, and waits until each is in its final state; `false` = a signal
/// came first.
fn send_samples(parts: &DemoProcesses, signals: &DemoSignals) -> Result<bool, DemoError> {
    let held = samples::send(parts.setting.smtp).map_err(|error| {
        DemoError::new(
            Exit::Unavailable,
            format!("the relay does not accept the messages: {error}"),
        )
    })?;
    parts.ask(&["queue", "hold", &held]);
    Ok(parts.wait_settled(SETTLED_MAX, signals))
}

/// The port, or a free one if it is in use.
fn free(wanted: u16) -> Result<SocketAddr, DemoError> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    bind(wanted)
        .or_else(|_| bind(0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| DemoError::new(Exit::Unavailable, format!("no port is free: {error}")))
}

/// The text about what to see and what to try.
fn words(setting: &DemoSettings, place: &DemoDirectory) -> String {
    let DemoSettings { smtp, ui, .. } = setting;
    let directory = place.path.display();
    let end = if place.is_temporary { "removes this directory" } else { "keeps this directory" };
    format!(
        "  Web UI    http://{ui}/
  SMTP      {smtp}
  Files     {directory}   (log: relay.log, delivered mail: sink/new)

The relay sends all mail to a sink on this machine, which answers mail for {busy} with a
temporary error (450), refuses mail for {gone} (550, so the sender gets a bounce) and keeps
all other mail. One message is held, and two wait for their next attempt.

Send a mail, here with a recipient whose mail will wait:
  swaks --server {smtp} --from you@shop.example --to friend@{busy}
  printf 'Subject: Hello\\r\\n\\r\\nHello.\\r\\n' | curl smtp://{smtp} --upload-file - \\
    --mail-from you@shop.example --mail-rcpt friend@{busy}

List the queue, and release the held message:
  postern queue list --socket {directory}/run/control.sock
  postern queue release --all --socket {directory}/run/control.sock

Ctrl-C ends the demo and {end}.
",
        busy = samples::BUSY,
        gone = samples::GONE,
    )
}
