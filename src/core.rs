//! `postern core`, the SMTP core: properties in, a running relay out.

use crate::appliance::failure::{Exit, Failure, exit_of};
use crate::appliance::property::Settings;
use crate::appliance::supervise::confine::confine;
use crate::appliance::supervise::signals::Signals;
use crate::appliance::supervise::status::StatusWriter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::io::Read;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::ExitCode;

/// Octets of the properties on standard input.
const INPUT_LIMIT: u64 = 2 << 20;

/// Runs the core until SIGTERM.
pub fn run() -> ExitCode {
    let Ok(status) = StatusWriter::from_fd3() else {
        eprintln!("postern core is started by `postern init`, not by people");
        return ExitCode::from(Exit::Property.code());
    };
    match serve(&status) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failures) => {
            for failure in &failures {
                status.error(&failure.line, &failure.cause);
            }
            ExitCode::from(exit_of(&failures).code())
        }
    }
}

fn serve(status: &StatusWriter) -> Result<(), Vec<Failure>> {
    let internal =
        |what: &str, error: &dyn std::fmt::Display| vec![Failure::preconfigure(Exit::Internal, format!("{what}: {error}"))];
    let signals = Signals::block().map_err(|error| internal("signals", &error))?;
    let mut json = String::new();
    std::io::stdin().take(INPUT_LIMIT).read_to_string(&mut json).map_err(|error| internal("properties", &error))?;
    let settings = Settings::from_json(&json)?;
    let _listeners = listen(&settings)?;
    eprintln!("{}", confine(&settings.volume_data, &settings.run_dir));
    status.ready();
    loop {
        let _ = poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE);
        while let Some(signal) = signals.next() {
            if signal == Signal::SIGTERM {
                return Ok(());
            }
        }
    }
}

const START_LINE: &str = "Error: failed to start the MTA server. Please see the /var/log/appliance/log log file in MTA for more details on the failure";
const UI_LINE: &str = "Error: failed to initialize the UI backend";

fn listen(settings: &Settings) -> Result<Vec<TcpListener>, Vec<Failure>> {
    let bind = |port: u16, name: &str, line: &str| {
        let one = |address: &std::net::IpAddr| {
            TcpListener::bind((*address, port))
                .map_err(|error| vec![Failure::new(Exit::Unavailable, line, format!("{name} {port}: {error}"))])
        };
        settings.listen.iter().map(one).collect::<Result<Vec<_>, _>>()
    };
    let mut listeners = bind(settings.smtp_port, "smtp_port", START_LINE)?;
    listeners.extend(bind(settings.ui_port, "ui_port", UI_LINE)?);
    Ok(listeners)
}
