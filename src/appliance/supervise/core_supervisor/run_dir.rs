//! Watches the run directory while the appliance runs: it or the control socket may be removed or
//! replaced, and a core that is not root cannot repair that. Mail does not depend on it: a core
//! starts and serves without.
//!
//! Limits: the same problem is logged again after [`TELL_AGAIN`], and at each start of a core.

use super::super::identity::Identity;
use super::super::rundir;
use crate::appliance::event::{EventLog, Severity};
use crate::appliance::property::Settings;
use nix::fcntl::Flock;
use std::fs::File;
use std::time::{Duration, Instant};

/// How often the run directory is checked.
const PACE: Duration = Duration::from_secs(3);

/// When the same problem is logged again.
const TELL_AGAIN: Duration = Duration::from_secs(300);

/// The run directory of the supervised core.
pub(super) struct RunDirWatch<'a> {
    settings: &'a Settings,
    event_log: &'a EventLog,
    identity: Identity,
    /// When it is checked again.
    look_at: Instant,
    /// Locks a directory that was created again against other supervisors.
    claim: Option<Flock<File>>,
    /// The problem, and when it was logged.
    trouble: Option<(String, Instant)>,
}

impl<'a> RunDirWatch<'a> {
    /// Nothing is known yet.
    pub(super) fn new(settings: &'a Settings, event_log: &'a EventLog, identity: Identity) -> Self {
        Self { settings, event_log, identity, look_at: Instant::now(), claim: None, trouble: None }
    }

    /// Before a core starts: creates the run directory again if it is missing, and removes what is
    /// in the way of the control socket.
    pub(super) fn repair_before_start(&mut self) {
        self.trouble = None;
        self.repair(false);
    }

    /// The same while a core serves, which creates its socket again by itself. Gives whether it was
    /// checked now, and is good.
    pub(super) fn repair_while_serving(&mut self) -> bool {
        let now = Instant::now();
        if now < self.look_at {
            return false;
        }
        self.look_at = now + PACE;
        self.repair(true)
    }

    /// Whether it is good now.
    fn repair(&mut self, has_core: bool) -> bool {
        let trouble = self.try_repair(has_core).err();
        match (&trouble, &self.trouble) {
            (None, None) => {}
            // A core starts without a visible socket, and creates one within seconds when the path
            // is free again.
            (None, Some(_)) if rundir::is_stale_socket(&self.settings.run_dir) => {}
            (None, Some(_)) => {
                let text = format!("run_dir {} is usable again", self.settings.run_dir.display());
                self.event_log.record(Severity::Info, text);
                self.trouble = None;
            }
            (Some(now), Some((told, at))) if now == told && at.elapsed() < TELL_AGAIN => {}
            (Some(cause), _) => {
                let text = format!(
                    "{cause}. Mail flows without it, but 'postern queue' and 'postern health' do \
                    not reach the SMTP core: remove what is there, or restore its owner, and the \
                    socket is recreated within seconds"
                );
                self.event_log.record(Severity::Error, text);
                self.trouble = Some((cause.clone(), Instant::now()));
            }
        }
        trouble.is_none()
    }

    fn try_repair(&mut self, has_core: bool) -> Result<(), String> {
        let run_dir = &self.settings.run_dir;
        let is_link = run_dir.symlink_metadata().is_ok_and(|meta| meta.is_symlink());
        // The existing directory proves nothing: a line for the appliance log may have created it
        // again.
        if is_link || !run_dir.join(rundir::LOCK).exists() {
            rundir::make(run_dir, &self.identity)
                .map_err(|cause| format!("run_dir {}: {cause}", run_dir.display()))?;
            // If its mode was changed and changed back, it is still the same directory.
            if !run_dir.join(rundir::LOCK).exists() {
                self.claim = Some(rundir::claim(run_dir).map_err(|failure| failure.cause)?);
                self.event_log.record(
                    Severity::Warning,
                    format!("{} was missing and was recreated", run_dir.display()),
                );
            }
        }
        match rundir::make_room_for_socket(run_dir, has_core) {
            Ok(None) => Ok(()),
            Ok(Some(aside)) => {
                let text = format!(
                    "something else was at the path of the control socket; it was moved to {}",
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
}
