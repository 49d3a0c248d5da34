//! `postern queue`: connects the tool with data volumes that no relay uses.
//!
//! The tool itself knows neither properties nor the queue's files.

use crate::appliance::property;
use crate::cli::{self, QueueArgs, Volumes};
use crate::ground::disk::Snapshot;
use crate::mail::model::{OfflineError, OfflineQueue};
use crate::mail::spool::OfflineSpool;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Executes `postern queue`.
pub fn run(args: QueueArgs) -> ExitCode {
    cli::run(args, &Directories)
}

/// Data volumes are directories of this machine.
pub struct Directories;

impl Volumes for Directories {
    fn usual(&self) -> Result<PathBuf, String> {
        match property::load() {
            Ok(loaded) => Ok(loaded.settings.volume_data),
            Err(refused) => Err(refused
                .problems
                .first()
                .map(|problem| problem.line.clone())
                .unwrap_or_default()),
        }
    }

    fn open(&self, path: &Path) -> Result<Box<dyn OfflineQueue>, OfflineError> {
        match Snapshot::open(path) {
            Ok(snapshot) => Ok(Box::new(OfflineSpool::new(Arc::new(snapshot)))),
            Err(error) => Err(explain(path, &error)),
        }
    }
}

fn explain(path: &Path, error: &io::Error) -> OfflineError {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::WouldBlock => OfflineError::InUse(format!(
            "{path} is in use by a running Postern: stop it first, or make a copy or a snapshot of \
            the volume and pass that with --volume"
        )),
        io::ErrorKind::NotFound => OfflineError::Missing(format!(
            "there is no {path}: is the volume mounted? --volume DIR names another"
        )),
        io::ErrorKind::NotADirectory => OfflineError::Missing(format!(
            "{path} is not a directory; mount the volume read-only and pass its path with --volume"
        )),
        io::ErrorKind::PermissionDenied => OfflineError::Forbidden(format!(
            "{path} cannot be read: {error}; run this as the appliance's user or as root"
        )),
        _ => OfflineError::Storage(format!("{path} cannot be read: {error}")),
    }
}
