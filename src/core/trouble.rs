//! What keeps a core from starting, in the lines that scripts look for and words that say what to
//! do; and what is told of a task that did not end well.

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::lines;

pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::preconfigure(Exit::Internal, format!("{what}: {error}"))
}

pub(super) fn data_volume(cause: String) -> Failure {
    Failure::new(Exit::Create, lines::DATA_VOLUME, cause)
}

/// Tells of a task that panicked or was aborted.
pub(super) fn joined(ended: Result<(), tokio::task::JoinError>, who: &str) {
    if let Err(error) = ended {
        tracing::error!(target: "mta", who, cause = %error, "a component of the relay failed");
    }
}
