//! What keeps a core from starting, in the lines that scripts look for and words that say what to
//! do.

use crate::appliance::failure::{Exit, Failure};
use crate::appliance::lines;

pub(super) fn internal(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::preconfigure(Exit::Internal, format!("{what}: {error}"))
}

pub(super) fn data_volume(cause: String) -> Failure {
    Failure::new(Exit::Create, lines::DATA_VOLUME, cause)
}
