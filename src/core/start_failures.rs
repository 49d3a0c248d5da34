//! Why a core cannot start: the lines that scripts search for, and texts about what to do; and the
//! log line of a task that failed.

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::start_errors;

pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::preconfigure(Exit::Internal, format!("{what}: {error}"))
}

pub(super) fn data_volume(cause: String) -> Failure {
    Failure::new(Exit::Create, start_errors::DATA_VOLUME, cause)
}

/// Logs a task that panicked or was aborted.
pub(super) fn joined(ended: Result<(), tokio::task::JoinError>, who: &str) {
    if let Err(error) = ended {
        tracing::error!(target: "mta", who, cause = %error, "a component of the relay failed");
    }
}
