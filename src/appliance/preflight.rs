//! The checks of `postern check`: what would stop `postern init`, without changing anything.
//!
//! In: settings. Out: what is not connected, what would be mounted, and each [`Failure`] that can
//! be seen from here.
//! Limits: what a server or a device answers is known only after asking it to be mounted, which
//! this does not do; ports are tried only where no appliance has the run directory, because one
//! that runs has them. Names are looked up for [`LOOKUP_PATIENCE`] in all, which is less than a
//! start takes: one without an answer stops nothing here.

use super::failure::{Exit, Failure};
use super::mount::Mounter;
use super::property::{Settings, webhook};
use super::resources::{self, OPEN_FILES, Resources};
use super::start_errors;
use super::supervise::file_watch::WatchedFiles;
use super::supervise::identity::Identity;
use super::supervise::rundir;
use super::supervise::signals::SupervisorSignals;
use super::supervise::upstream_files::UpstreamFiles;
use super::terminal::host_lookup::ResolvedHosts;
use super::volume::keys::KeyFiles;
use super::{terminal, volume};
use crate::ground::memory::MemoryLimit;
use crate::ground::threads;
use nix::sys::resource::{Resource, getrlimit};
use std::io;
use std::net::{IpAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time limit to look up all names: a user waits for it.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(2);

/// The results of the checks.
#[derive(Debug, Default)]
pub struct Preflight {
    /// Remarks that do not stop the start.
    pub notes: Vec<String>,
    /// Warnings that do not stop the start.
    pub warnings: Vec<String>,
    /// SMTP sessions that untrusted clients may have.
    pub places_of_strangers: u32,
    /// Failures that would stop the start.
    pub failures: Vec<Failure>,
}

/// Checks terminals, volumes and keys as the supervisor will.
pub fn preflight(settings: &Settings) -> Preflight {
    // The supervisor raises the limit as far as it may.
    let files = getrlimit(Resource::RLIMIT_NOFILE)
        .map_or(OPEN_FILES, |(soft, hard)| soft.max(OPEN_FILES.min(hard)));
    let ceiling = MemoryLimit::find();
    let resources = Resources::of(settings, ceiling.as_ref(), files);
    let mut outlook =
        Preflight { places_of_strangers: resources.for_strangers(), ..Preflight::default() };
    // Without signals nothing is checked; the supervisor would fail in the same way, and report it.
    let Ok(signals) = SupervisorSignals::without_blocking() else { return outlook };
    let identity = match Identity::of_the_core() {
        Ok((identity, _)) => identity,
        Err(failure) => {
            outlook.failures.push(failure);
            Identity::same()
        }
    };
    let mut mounter = Mounter::new(&signals, identity, &settings.run_dir).read_only();
    let mut settings = settings.clone();
    outlook.failures.extend(rundir::preflight(&settings.run_dir, &identity));
    outlook.failures.extend(taken_twice(&settings.listen));
    outlook.failures.extend(settings.listen.iter().find_map(|address| foreign(*address)));
    outlook.look_at_ports(&settings);
    let names = ResolvedHosts::look_up_briefly(hosts(&settings), LOOKUP_PATIENCE, &mounter);
    match terminal::gateway::preflight(&settings, &names) {
        Ok(failure) => outlook.failures.extend(failure),
        Err(unconnected) => outlook.notes.push(unconnected),
    }
    outlook.notes.extend(terminal::next_hop_check::preflight(&settings, &names));
    outlook.notes.extend(terminal::preflight(&settings, &names));
    outlook.look_at_authorities(&settings, &identity);
    outlook.look_at_upstreams(&settings, &identity);
    outlook.failures.extend(resources::too_little(&settings, ceiling.as_ref()));
    outlook.failures.extend(resources::too_few_threads(&settings, threads::limit()));
    outlook.notes.extend([resources.words()].into_iter().chain(resources.warning(&settings)));
    match terminal::connect_known(&mut settings, &names) {
        Ok(notes) => outlook.notes.extend(notes),
        Err(failure) => outlook.failures.push(failure),
    }
    outlook.take(terminal::log(&settings, &mut mounter));
    let export = outlook.take(terminal::fs(&settings, &mut mounter));
    let keys = match &settings.volume_key {
        Some(volume) => outlook.take(volume::mounted_key(volume, &mut mounter)),
        None => export,
    };
    outlook.look_at_keys(&settings, keys.as_deref(), &mounter);
    if let Some(directory) = outlook.take(volume::mounted_data(&settings.volume_data, &mut mounter))
    {
        match volume::preflight_data_in_child(&directory, &mounter, volume::in_container()) {
            Ok(notes) => outlook.notes.extend(notes.into_iter().flatten()),
            Err(failure) => outlook.failures.push(failure),
        }
    }
    outlook.notes.extend(
        mounter
            .would_mount()
            .iter()
            .map(|what| format!("{what} would be mounted; that was not tried")),
    );
    outlook
}

/// All hosts that are looked up.
fn hosts(settings: &Settings) -> Vec<String> {
    let terminals = terminal::hosts(settings).into_iter().chain(terminal::gateway::host(settings));
    terminals.chain(terminal::next_hop_check::hosts(settings)).collect()
}

impl Preflight {
    /// With the rights of the core, which reads them.
    fn look_at_authorities(&mut self, settings: &Settings, identity: &Identity) {
        let file = settings.webhook_ca.as_deref();
        let failure = identity.within(|| Ok(webhook::authorities(file).err()));
        self.failures.extend(failure.ok().flatten());
    }

    fn look_at_upstreams(&mut self, settings: &Settings, identity: &Identity) {
        let Some(files) = UpstreamFiles::of(settings) else { return };
        self.failures.extend(files.read(identity).err().map(UpstreamFiles::failure));
    }

    fn look_at_ports(&mut self, settings: &Settings) {
        if rundir::is_in_use(&settings.run_dir) {
            let run_dir = settings.run_dir.display();
            self.notes.push(format!(
                "run_dir {run_dir} is in use by a running Postern: free ports were not checked"
            ));
        } else {
            self.failures.extend(terminal::port_check::preflight(settings));
        }
    }

    /// Checks the key volume, and the keys if they are in a directory already.
    fn look_at_keys(
        &mut self,
        settings: &Settings,
        directory: Option<&Path>,
        mounter: &Mounter<'_>,
    ) {
        if let Err(failure) = volume::check_keys(settings, mounter) {
            self.failures.push(failure);
            return;
        }
        if directory.is_none() && (settings.volume_key.is_some() || settings.terminal_fs.is_some())
        {
            return;
        }
        match KeyFiles::of(settings, directory) {
            Ok(Some(files)) => {
                self.failures.extend(files.read(&mounter.identity()).err().map(KeyFiles::failure));
                self.warnings.extend(files.exposed(&mounter.identity()));
            }
            Ok(None) => {}
            Err(failure) => self.failures.push(failure),
        }
    }

    /// The found directory; `None` if it would have to be mounted first.
    fn take(&mut self, found: Result<Option<PathBuf>, Failure>) -> Option<PathBuf> {
        found.unwrap_or_else(|failure| {
            self.failures.push(failure);
            None
        })
    }
}

/// Addresses that would use the same ports as another of them.
fn taken_twice(listen: &[IpAddr]) -> Option<Failure> {
    let takes = |one: &IpAddr, other: &IpAddr| match (one, other) {
        (IpAddr::V6(one), _) if one.is_unspecified() => true,
        (IpAddr::V4(one), IpAddr::V4(_)) if one.is_unspecified() => true,
        _ => one == other,
    };
    let pairs = listen.iter().enumerate().flat_map(|(place, one)| {
        listen
            .iter()
            .enumerate()
            .filter(move |(other, _)| *other != place)
            .map(move |(_, other)| (one, other))
    });
    let (one, other) = pairs.into_iter().find(|(one, other)| takes(one, other))?;
    let cause =
        format!("listen names {one}, which includes the ports of {other}; leave out {other}");
    Some(Failure::new(Exit::Unavailable, start_errors::START, cause))
}

/// An address that this machine does not have.
fn foreign(address: IpAddr) -> Option<Failure> {
    // Port 0 is any free one, so there is no conflict.
    let error = TcpListener::bind((address, 0)).err()?;
    let cause = match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            format!("listen names {address}, which is not an address of this machine")
        }
        _ => format!("listen names {address}, which cannot be listened on: {error}"),
    };
    Some(Failure::new(Exit::Unavailable, start_errors::START, cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_other_machines_are_foreseen() {
        for (address, words) in [
            ("203.0.113.9", "not an address of this machine"),
            ("fe80::1", "cannot be listened on"),
        ] {
            let failure = foreign(address.parse().unwrap()).unwrap();
            assert!(
                failure.cause.contains(address) && failure.cause.contains(words),
                "{}",
                failure.cause
            );
        }
        for own in ["127.0.0.1", "0.0.0.0"] {
            assert_eq!(foreign(own.parse().unwrap()), None);
        }
    }

    #[test]
    fn addresses_that_take_each_other_are_foreseen() {
        let list = |text: &str| {
            text.split(' ').map(|address| address.parse().unwrap()).collect::<Vec<IpAddr>>()
        };
        for taken in ["0.0.0.0 ::", ":: 127.0.0.1", ":: ::1", "127.0.0.1 0.0.0.0", "::1 ::1"] {
            assert!(taken_twice(&list(taken)).is_some(), "{taken}");
        }
        for free in ["::", "0.0.0.0", "127.0.0.1 ::1", "0.0.0.0 ::1"] {
            assert_eq!(taken_twice(&list(free)), None, "{free}");
        }
    }
}
