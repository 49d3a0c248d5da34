//! `postern core`, the SMTP core: properties in, a running relay out.

use crate::appliance::failure::{Exit, Failure, exit_of};
use crate::appliance::property::Settings;
use crate::appliance::supervise::confine::confine;
use crate::appliance::supervise::signals::Signals;
use crate::appliance::supervise::status::StatusWriter;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::io::Read;
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
