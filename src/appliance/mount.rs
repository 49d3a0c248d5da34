//! Mounting: requests to the kernel, mount points, and unmounting at the end.
//!
//! Purpose: shares, exports and block devices become directories. Every access to a server or a
//! disk that may be dead is made by a worker process, so that the supervisor can handle signals
//! meanwhile. Out: a directory; at the end (the [`Mounter`] is dropped) everything it mounted is
//! detached, so that a start on a laptop leaves nothing behind. Limits: mounting needs
//! CAP_SYS_ADMIN. Helper programs (mount.cifs, mount.nfs) are not used, so names are resolved here.
//! Security: everything is mounted nosuid, nodev and noexec. Source: mount(2), umount2(2).

use super::mounts::mounted_at;
use super::supervise::identity::Identity;
use super::supervise::signals::SupervisorSignals;
use super::supervise::worker_process::{self, WorkerError, WorkerProcess};
use caps::{CapSet, Capability};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long unmounting may take before it is left to the kernel.
const DETACH_PATIENCE: Duration = Duration::from_secs(3);

/// Flags of every mount.
pub const HARMLESS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// One mount request to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRequest {
    /// Device, share or export, as in /proc/mounts.
    pub source: String,
    /// Type of the file system.
    pub kind: &'static str,
    /// In addition to [`HARMLESS`].
    pub flags: MsFlags,
    /// Options for the file system itself, comma separated.
    pub options: String,
}

impl MountRequest {
    /// Mounts at `point`. A mount of the same source that a killed process left there is detached
    /// first.
    ///
    /// # Errors
    /// The kernel's.
    pub fn mount(&self, point: &Path) -> Result<(), Errno> {
        while mounted_at(point).is_some_and(|source| source == self.source) {
            umount2(point, MntFlags::MNT_DETACH)?;
        }
        let options = Some(self.options.as_str()).filter(|options| !options.is_empty());
        mount(Some(self.source.as_str()), point, Some(self.kind), HARMLESS | self.flags, options)
    }
}

/// Mounts, and records what it mounted.
pub struct Mounter<'a> {
    signals: &'a SupervisorSignals,
    identity: Identity,
    run_dir: PathBuf,
    points: Vec<Point>,
    is_read_only: bool,
    /// Mount points that would have been used.
    would_mount: Vec<String>,
}

/// A directory where something was mounted by this process, or may have been.
struct Point {
    path: PathBuf,
    /// What was mounted there before.
    before: Option<String>,
    /// Whether it is certain.
    sure: bool,
}

impl<'a> Mounter<'a> {
    /// `identity` is the core's; mount points are below `run_dir` if they cannot be created in `/`.
    pub fn new(signals: &'a SupervisorSignals, identity: Identity, run_dir: &Path) -> Self {
        Self {
            signals,
            identity,
            run_dir: run_dir.to_owned(),
            points: Vec::new(),
            is_read_only: false,
            would_mount: Vec::new(),
        }
    }

    /// A mounter that changes nothing: it does not mount and does not write.
    pub fn read_only(mut self) -> Self {
        self.is_read_only = true;
        self
    }

    /// Whether nothing may be changed.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Mount points that would have been used.
    pub fn would_mount(&self) -> &[String] {
        &self.would_mount
    }

    /// The user for whom file systems are mounted.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Does `work` in a child process, which may hang. `None` = a signal ended the start meanwhile.
    ///
    /// # Errors
    /// The error of `work`, or that it did not answer, as text for people.
    pub fn look<T>(
        &self,
        patience: Duration,
        work: impl FnOnce() -> Result<T, String>,
    ) -> Result<Option<T>, String>
    where
        T: Serialize + DeserializeOwned,
    {
        match worker_process::run(patience, self.signals, work) {
            Ok(outcome) => outcome.map(Some),
            Err(WorkerError::Stopped) => Ok(None),
            Err(lost) => Err(lost.to_string()),
        }
    }

    /// Lets `work` mount something at a directory created for it: `at`, an absolute path, if this
    /// process is root and the root file system is writable, else the same path below the run
    /// directory. `None` = a signal ended the start meanwhile, or this mounter changes nothing.
    ///
    /// # Errors
    /// The error of `work`, that it did not answer, or that there is no mount point; as text for
    /// people.
    pub fn mount(
        &mut self,
        at: &str,
        patience: Duration,
        work: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<Option<PathBuf>, String> {
        may_mount()?;
        if self.is_read_only {
            self.would_mount.push(at.to_owned());
            return Ok(None);
        }
        let root = nix::unistd::geteuid().is_root().then(|| PathBuf::from(at));
        let points: Vec<_> =
            root.into_iter().chain([self.run_dir.join(at.trim_start_matches('/'))]).collect();
        let run_dir = self.run_dir.clone();
        let before: Vec<_> = points.iter().map(|point| mounted_at(point)).collect();
        let outcome = self.look(patience, || {
            let point = first_directory(&points, &run_dir)?;
            work(&point).map(|()| point)
        });
        let found = outcome.as_ref().ok().and_then(Option::as_ref);
        // If there was no answer, the kernel may still complete the mount later.
        let ours = points
            .iter()
            .zip(before)
            .filter(|(point, _)| found.is_none_or(|found| found == *point));
        let sure = found.is_some();
        self.points.extend(ours.map(|(path, before)| Point { path: path.clone(), before, sure }));
        outcome
    }
}

impl Drop for Mounter<'_> {
    fn drop(&mut self) {
        for point in self.points.iter().rev() {
            // A mount that somebody else made is not touched.
            if point.sure || mounted_at(&point.path) != point.before {
                detach(&point.path);
            }
        }
    }
}

/// The server may be dead; the kernel detaches it lazily.
fn detach(point: &Path) {
    let Ok(mut worker) =
        WorkerProcess::begin(DETACH_PATIENCE, || umount2(point, MntFlags::MNT_DETACH).is_ok())
    else {
        return;
    };
    while worker.look().is_none() {
        let timeout = PollTimeout::try_from(DETACH_PATIENCE).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(worker.as_fd(), PollFlags::POLLIN)], timeout);
    }
}

fn may_mount() -> Result<(), String> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false) {
        return Ok(());
    }
    Err("mounting needs the capability SYS_ADMIN: run the container as root with cap_add: \
    [SYS_ADMIN], or let the engine mount it \
         and give its path (docs/terminals.md)"
        .to_owned())
}

fn first_directory(points: &[PathBuf], run_dir: &Path) -> Result<PathBuf, String> {
    let mut why = Vec::new();
    for point in points {
        let made = match point.strip_prefix(run_dir) {
            Ok(below) => own_directory(run_dir, below),
            Err(_) => DirBuilder::new().recursive(true).mode(0o755).create(point),
        };
        match made {
            Ok(()) => return Ok(point.clone()),
            Err(error) => why.push(format!("{}: {error}", point.display())),
        }
    }
    Err(format!("there is no directory to mount it at: {}", why.join("; ")))
}

/// Creates a directory below the run directory, in which the core may create entries too: a part
/// that is a link, or belongs to another user, would redirect a mount.
fn own_directory(run_dir: &Path, below: &Path) -> io::Result<()> {
    let own = nix::unistd::geteuid().as_raw();
    let mut directory = run_dir.to_owned();
    for part in below.components() {
        directory.push(part);
        match DirBuilder::new().mode(0o755).create(&directory) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = directory.symlink_metadata()?;
                // A mount that was there before may belong to any user.
                if !found.is_dir() || (found.uid() != own && mounted_at(&directory).is_none()) {
                    return Err(io::Error::other(format!(
                        "{} is not a directory of this user",
                        directory.display()
                    )));
                }
            }
            other => other?,
        }
    }
    Ok(())
}

/// An error of mount(2) as text, with its meaning here if that does not depend on what is mounted.
pub fn in_words(errno: Errno, kind: &str) -> String {
    let said = io::Error::from(errno);
    match errno {
        Errno::ENODEV => format!(
            "{said}: this kernel has no file system '{kind}'; load it on the host: modprobe {kind}"
        ),
        Errno::EPERM | Errno::EACCES if confined_by().is_some() => {
            let profile = confined_by().unwrap_or_default();
            format!(
                "{said}: perhaps the AppArmor profile {profile} forbids mounting; use \
                security_opt: [apparmor=unconfined]"
            )
        }
        Errno::EPERM => {
            format!("{said}: the kernel does not let this container mount it (user namespace?)")
        }
        Errno::ECONNREFUSED => {
            format!("{said}: nothing listens there; is the file server started?")
        }
        Errno::ETIMEDOUT | Errno::EHOSTDOWN | Errno::EHOSTUNREACH => {
            format!(
                "{said}: the server does not answer; is it started, and does the network let us \
                reach it?"
            )
        }
        Errno::EBUSY => format!("{said}: it is in use, by another mount or by another program"),
        _ => said.to_string(),
    }
}

/// The name of the AppArmor profile that confines this process, if any.
fn confined_by() -> Option<String> {
    let label = std::fs::read_to_string("/proc/self/attr/current").ok()?;
    let profile = label.trim_end().strip_suffix(" (enforce)")?;
    Some(profile.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_the_run_directory_no_link_leads_a_mount_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (run, elsewhere) = (dir.path().join("run"), dir.path().join("elsewhere"));
        std::fs::create_dir_all(run.join("terminals")).unwrap();
        std::fs::create_dir(&elsewhere).unwrap();
        own_directory(&run, Path::new("terminals/fs")).unwrap();
        own_directory(&run, Path::new("terminals/fs")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, run.join("terminals/log")).unwrap();
        std::os::unix::fs::symlink(&elsewhere, run.join("data")).unwrap();
        assert!(own_directory(&run, Path::new("terminals/log")).is_err());
        assert!(own_directory(&run, Path::new("data/below")).is_err());
        assert!(elsewhere.read_dir().unwrap().next().is_none());
    }

    #[test]
    fn a_mount_without_the_right_to_it_says_what_to_do() {
        let signals = SupervisorSignals::block().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut mounter = Mounter::new(&signals, Identity::same(), dir.path());
        let denied = std::thread::scope(|scope| {
            let denied = scope.spawn(|| {
                // Capabilities are an attribute of the thread.
                caps::drop(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap();
                may_mount()
            });
            denied.join().unwrap()
        });
        assert!(denied.unwrap_err().contains("cap_add: [SYS_ADMIN]"));
        if may_mount().is_ok() {
            let told = mounter
                .mount("/proc/nowhere", DETACH_PATIENCE, |_| Err("refused".to_owned()))
                .unwrap_err();
            assert_eq!(told, "refused", "the run directory takes what / does not");
            assert!(dir.path().join("proc/nowhere").is_dir());
        }
    }

    #[test]
    fn the_words_say_what_to_load() {
        assert!(in_words(Errno::ENODEV, "cifs").contains("modprobe cifs"));
    }
}
