//! The run directory while the appliance runs: it may be removed, or something put in its place or
//! where the control socket belongs, and a core that is not root could not mend that. Mail does not
//! wait for it: a core starts and serves without.
//!
//! Limits: the same trouble is told again after [`TELL_AGAIN`], and at each start of a core.

use super::super::rundir;
use super::super::watchdog::Watchdog;
use super::CoreSupervisor;
use crate::appliance::event::Severity;
use nix::fcntl::Flock;
use std::fs::File;
use std::time::{Duration, Instant};

/// How often it is looked whether the run directory is there.
const PACE: Duration = Duration::from_secs(3);

/// When the same trouble is told once more.
const TELL_AGAIN: Duration = Duration::from_secs(300);

/// What is known of the run directory.
pub(super) struct Room {
    /// When it is looked at again.
    look_at: Instant,
    /// Keeps other supervisors out of one that was made anew.
    claim: Option<Flock<File>>,
    /// What is wrong with it, and when that was told.
    trouble: Option<(String, Instant)>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { look_at: Instant::now(), claim: None, trouble: None }
    }
}

impl CoreSupervisor<'_> {
    /// Makes the run directory anew where it is gone, and room for the control socket, before a
    /// core starts.
    pub(super) fn look_after_run_dir(&mut self) {
        self.room.trouble = None;
        self.mend_run_dir();
    }

    /// The same while a core serves, which makes its socket anew by itself; its readiness must be
    /// seen there as well.
    pub(super) fn watch_run_dir(&mut self) {
        let now = Instant::now();
        let is_well = self
            .core
            .as_ref()
            .and_then(|core| core.watchdog.as_ref())
            .is_some_and(Watchdog::is_well);
        if now < self.room.look_at || self.stop.is_some() || !is_well {
            return;
        }
        self.room.look_at = now + PACE;
        if self.mend_run_dir() && !self.readiness.is_set() {
            self.tell_ready();
        }
    }

    /// Whether it is well now.
    fn mend_run_dir(&mut self) -> bool {
        let trouble = self.try_to_mend().err();
        match (&trouble, &self.room.trouble) {
            (None, None) => {}
            // A core begins without a socket that people find, and makes one within seconds when
            // there is room again.
            (None, Some(_)) if rundir::is_deserted(&self.settings.run_dir) => {}
            (None, Some(_)) => {
                let text = format!("run_dir {} is well again", self.settings.run_dir.display());
                self.event_log.record(Severity::Info, text);
                self.room.trouble = None;
            }
            (Some(now), Some((told, at))) if now == told && at.elapsed() < TELL_AGAIN => {}
            (Some(cause), _) => {
                let text = format!(
                    "{cause}. Mail flows without it, but 'postern queue' and 'postern health' do \
                    not reach the SMTP core: move away \
                     what stands there, or give it back to its owner, and it is made anew within \
                     seconds"
                );
                self.event_log.record(Severity::Error, text);
                self.room.trouble = Some((cause.clone(), Instant::now()));
            }
        }
        trouble.is_none()
    }

    fn try_to_mend(&mut self) -> Result<(), String> {
        let run_dir = &self.settings.run_dir;
        let is_link = run_dir.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        // The directory alone says nothing: a line for the appliance log may have made it again.
        if is_link || !run_dir.join(rundir::LOCK).exists() {
            rundir::make(run_dir, &self.identity)
                .map_err(|cause| format!("run_dir {}: {cause}", run_dir.display()))?;
            // One whose mode was changed and changed back is still ours.
            if !run_dir.join(rundir::LOCK).exists() {
                self.room.claim = Some(rundir::claim(run_dir).map_err(|failure| failure.cause)?);
                self.event_log.record(
                    Severity::Warning,
                    format!("{} was gone and was made anew", run_dir.display()),
                );
            }
        }
        match rundir::make_room_for_socket(run_dir, self.core.is_some()) {
            Ok(None) => Ok(()),
            Ok(Some(aside)) => {
                let text = format!(
                    "something else stood where the control socket belongs; it is now {}",
                    aside.display()
                );
                self.event_log.record(Severity::Warning, text);
                Ok(())
            }
            Err(error) => Err(format!(
                "run_dir {} has no room for the control socket: {error}",
                run_dir.display()
            )),
        }
    }

    pub(super) fn tell_ready(&mut self) {
        if let Err(error) = self.readiness.set() {
            let place = self.settings.run_dir.display();
            self.event_log.record(
                Severity::Error,
                format!("the readiness file cannot be written in run_dir {place}: {error}"),
            );
        }
    }
}
