//! What keeps a core from starting, in the lines that scripts look for and words that say what to do.

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::lines;
use std::io;

pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::preconfigure(Exit::Internal, format!("{what}: {error}"))
}

pub(super) fn data_volume(cause: String) -> Failure {
    Failure::new(Exit::Create, lines::DATA_VOLUME, cause)
}

pub(super) fn not_started(property: &str, port: u16, error: &io::Error) -> Failure {
    let line = "Error: failed to start the MTA server. Please see the /var/log/appliance/log log file in MTA for more details on \
                the failure";
    Failure::new(exit_for(error), line, port_trouble(property, port, error))
}

pub(super) fn no_window(port: u16, error: &io::Error) -> Failure {
    Failure::new(exit_for(error), lines::WINDOWS, port_trouble("ui_port", port, error))
}

fn exit_for(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::PermissionDenied { Exit::Permission } else { Exit::Unavailable }
}

fn port_trouble(property: &str, port: u16, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => "take a port above 1023, or grant CAP_NET_BIND_SERVICE",
        io::ErrorKind::AddrInUse => "another program listens there; stop it or take another port",
        io::ErrorKind::AddrNotAvailable => "an address of property listen is not this machine's",
        _ => "see property listen",
    };
    format!("{property}={port} cannot be opened: {error}; {advice}")
}
