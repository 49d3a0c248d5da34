//! Volumes: the disks of the appliance, checked before the core starts.
//!
//! Purpose: a relay that guarantees to keep mail must not start on a disk that cannot. The data
//! volume must exist, the core's user must be able to write and sync a file there, it must not be
//! on a file server, and should outlive the container. The key volume must exist if it is
//! configured. Block devices are mounted first ([`mounted`]); a directory is used as it is. Limits:
//! a device gets [`DEVICE_PATIENCE`] to be mounted; the journal of the file system may have to be
//! replayed. Security: ownership of the data volume is changed only at its top directory and only
//! when that is safe.

mod device;
pub mod dkim_files;
mod file_system;
pub mod keys;

pub use super::mounts::in_container;

use super::failure::{Exit, Failure};
use super::mount::Mounter;
use super::property::Settings;
use super::start_errors;
use super::supervise::identity::Identity;
use file_system::Medium;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::unistd::{AccessFlags, faccessat};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{DirBuilder, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DATA_LINE: &str = start_errors::DATA_VOLUME;
const KEY_LINE: &str = start_errors::KEY_VOLUME;

/// Time limit for a check of an existing directory.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);

/// Time limit for mounting a device.
pub const DEVICE_PATIENCE: Duration = Duration::from_secs(300);

/// The directory of the data volume: the given one, or the one where the given block device has
/// been mounted. `None` = a signal ended the start.
///
/// # Errors
/// The device cannot be mounted.
pub fn mounted_data(path: &Path, mounter: &mut Mounter<'_>) -> Result<Option<PathBuf>, Failure> {
    mounted("volume_data", path, ("/data", false), mounter)
        .map_err(|cause| Failure::new(Exit::Unavailable, DATA_LINE, cause))
}

/// The same for the key volume, which is mounted read only.
///
/// # Errors
/// The device cannot be mounted.
pub fn mounted_key(path: &Path, mounter: &mut Mounter<'_>) -> Result<Option<PathBuf>, Failure> {
    mounted("volume_key", path, ("/key", true), mounter)
        .map_err(|cause| Failure::new(Exit::Unavailable, KEY_LINE, cause))
}

fn mounted(
    name: &str,
    path: &Path,
    (at, read_only): (&str, bool),
    mounter: &mut Mounter<'_>,
) -> Result<Option<PathBuf>, String> {
    let is_device = mounter.look(DEVICE_PATIENCE, || {
        Ok(path.metadata().is_ok_and(|meta| meta.file_type().is_block_device()))
    });
    let cause = |cause: String| format!("{name} is {}: {cause}", path.display());
    match is_device.map_err(cause)? {
        None => Ok(None),
        // If it is missing, the code that needs it reports that.
        Some(false) => Ok(Some(path.to_owned())),
        Some(true) => mounter
            .mount(at, DEVICE_PATIENCE, |point| device::mount(path, point, read_only))
            .map_err(cause),
    }
}

/// Does `look` in a child process, because a volume mounted by the engine may be on a dead file
/// server. `None` = a signal ended the start meanwhile.
///
/// # Errors
/// There was no answer; it is reported with `line`.
pub fn in_child<T>(
    line: &str,
    path: &Path,
    mounter: &Mounter<'_>,
    look: impl FnOnce() -> T,
) -> Result<Option<T>, Failure>
where
    T: Serialize + DeserializeOwned,
{
    let lost =
        |why: String| Failure::new(Exit::Unavailable, line, format!("{}: {why}", path.display()));
    mounter.look(LOOK_PATIENCE, || Ok(look())).map_err(lost)
}

/// [`prepare_data`] in a child; `None` = a signal ended the start meanwhile.
///
/// # Errors
/// Its own, or there was no answer.
pub fn prepared_data(
    path: &Path,
    mounter: &Mounter<'_>,
    contained: bool,
) -> Result<Option<Vec<String>>, Failure> {
    let identity = mounter.identity();
    in_child(DATA_LINE, path, mounter, || prepare_data(path, &identity, contained))?.transpose()
}

/// Checks that the data volume can store the queue; returns warnings.
///
/// `contained` = this is a container, where a missing directory means a forgotten volume. Elsewhere
/// it is created.
///
/// # Errors
/// It is missing, not a directory, on a file server, or cannot be written.
pub fn prepare_data(
    path: &Path,
    identity: &Identity,
    contained: bool,
) -> Result<Vec<String>, Failure> {
    let meta = match look_at_data(path, contained)? {
        Some(meta) => meta,
        None => create(path)?,
    };
    give_to_core(path, &meta, identity);
    within_reach(path, identity, try_file).map_err(|error| not_writable(path, identity, &error))?;
    Ok(file_system::warnings(path, contained))
}

/// The path of the working directory, usable also by a process that has no access to the
/// directories above it.
pub const AS_WORKING_DIRECTORY: &str = "/proc/self/cwd";

/// Whether the core cannot access the volume by its path, because of a directory above it (`/root`,
/// a home): then the volume must be its working directory. Checked in a child process; `None` = a
/// signal ended the start meanwhile.
///
/// # Errors
/// There was no answer.
pub fn is_out_of_reach(path: &Path, mounter: &Mounter<'_>) -> Result<Option<bool>, Failure> {
    let identity = mounter.identity();
    in_child(DATA_LINE, path, mounter, || is_closed(path, &identity))
}

fn is_closed(path: &Path, identity: &Identity) -> bool {
    identity
        .within(|| path.metadata())
        .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

/// Accesses a directory as the core will: through an open descriptor if its path is not accessible.
fn within_reach<T>(
    path: &Path,
    identity: &Identity,
    work: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    if !is_closed(path, identity) {
        return identity.within(|| work(path));
    }
    let directory =
        OpenOptions::new().read(true).custom_flags(OFlag::O_DIRECTORY.bits()).open(path)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
    identity.within(|| work(&path))
}

/// The warnings or the failure of [`prepare_data`], as far as they can be determined without
/// writing. `None` = a signal ended the check.
///
/// # Errors
/// Its own, or there was no answer.
pub fn preflight_data_in_child(
    path: &Path,
    mounter: &Mounter<'_>,
    contained: bool,
) -> Result<Option<Vec<String>>, Failure> {
    let identity = mounter.identity();
    in_child(DATA_LINE, path, mounter, || preflight_data(path, &identity, contained))?.transpose()
}

fn preflight_data(
    path: &Path,
    identity: &Identity,
    contained: bool,
) -> Result<Vec<String>, Failure> {
    let Some(meta) = look_at_data(path, contained)? else {
        may_write(path.parent().unwrap_or(path)).map_err(|error| not_created(path, &error))?;
        return Ok(file_system::warnings(path, contained));
    };
    let may = if meta.uid() != identity.uid.as_raw() && will_be_given(path, &meta, identity) {
        // The owner can be changed, a read-only mount cannot.
        may_write(path).or_else(|error| {
            if error.raw_os_error() == Some(Errno::EACCES as i32) { Ok(()) } else { Err(error) }
        })
    } else {
        within_reach(path, identity, may_write)
    };
    may.map_err(|error| not_writable(path, identity, &error))?;
    Ok(file_system::warnings(path, contained))
}

/// The directory, or `None` if it is to be created.
fn look_at_data(path: &Path, contained: bool) -> Result<Option<Metadata>, Failure> {
    // A new directory will be on the same storage as its parent.
    let place = if path.exists() { path } else { path.parent().unwrap_or(path) };
    if let Some(cause) = Medium::of(place).refusal(path) {
        return Err(Failure::new(Exit::Unavailable, DATA_LINE, cause));
    }
    match path.metadata() {
        Ok(meta) if meta.is_dir() => Ok(Some(meta)),
        Ok(_) => Err(Failure::new(
            Exit::Create,
            DATA_LINE,
            format!("{} is not a directory", path.display()),
        )),
        Err(error)
            if error.kind() == ErrorKind::NotFound
                && !contained
                && missing_device(path).is_none() =>
        {
            Ok(None)
        }
        Err(error) => {
            let hint = missing_device(path).unwrap_or_else(|| match contained {
                true => {
                    "mount a volume there, for example -v mta-data:/data, or create the directory"
                        .to_owned()
                }
                false => "create it".to_owned(),
            });
            Err(data_failure(&error, format!("{}: {}; {hint}", path.display(), words(&error))))
        }
    }
}

/// What to do about a missing path below /dev: no directory belongs there.
fn missing_device(path: &Path) -> Option<String> {
    path.starts_with("/dev").then(|| {
        format!(
            "there is no such block device here; `lsblk` shows those of a host, and a container \
            gets one by --device, in compose \
             devices: [\"{}\"]",
            path.display()
        )
    })
}

fn not_writable(path: &Path, identity: &Identity, error: &io::Error) -> Failure {
    let who = format!("uid {} (the SMTP core)", identity.uid);
    let hint = how_to_write(path, identity, error);
    data_failure(
        error,
        format!("{} is not writable for {who}: {}; {hint}", path.display(), words(error)),
    )
}

/// What to do about a directory that the core cannot write.
pub fn how_to_write(path: &Path, identity: &Identity, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => format!(
            "it is mounted read-only: remove ':ro' where it is mounted, or remount it: mount -o \
            remount,rw {}; a kernel that \
             found errors on a disk makes it read-only, too (dmesg)",
            path.display()
        ),
        _ => format!(
            "let it be writable for that user: chown {}:{} {}",
            identity.uid,
            identity.gid,
            path.display()
        ),
    }
}

/// Checks, in a child process, that the key volume exists if it is configured.
///
/// # Errors
/// It is missing, is not a directory, or does not answer.
pub fn check_keys(settings: &Settings, mounter: &Mounter<'_>) -> Result<(), Failure> {
    let Some(volume) = &settings.volume_key else { return Ok(()) };
    let look = || match volume.metadata() {
        Err(error) => {
            let hint = missing_device(volume)
                .unwrap_or_else(|| "mount the volume there, or unset MTA_VOLUME_KEY".to_owned());
            Err(format!("volume_key is {}: {}; {hint}", volume.display(), words(&error)))
        }
        Ok(meta) if !meta.is_dir() => Err(format!("{} is not a directory", volume.display())),
        Ok(_) => Ok(()),
    };
    match in_child(KEY_LINE, volume, mounter, look)? {
        Some(Err(cause)) => Err(Failure::new(Exit::Input, KEY_LINE, cause)),
        _ => Ok(()),
    }
}

/// Outside of containers. Its parent must exist: two missing directories are probably a typing
/// error.
fn create(path: &Path) -> Result<Metadata, Failure> {
    let made = DirBuilder::new().mode(0o700).create(path).and_then(|()| path.metadata());
    made.map_err(|error| not_created(path, &error))
}

fn not_created(path: &Path, error: &io::Error) -> Failure {
    data_failure(
        error,
        format!("{} does not exist and cannot be created: {}", path.display(), words(error)),
    )
}

/// A new volume belongs to root, and the core has another user. Best effort: what counts is whether
/// the core can write.
fn give_to_core(path: &Path, meta: &Metadata, identity: &Identity) {
    if meta.uid() != identity.uid.as_raw() && will_be_given(path, meta, identity) {
        let _ = std::os::unix::fs::chown(
            path,
            Some(identity.uid.as_raw()),
            Some(identity.gid.as_raw()),
        );
    }
}

/// Whether the owner of a directory may be changed: it is empty, or it is root's and contains only
/// what comes with a volume and what is the core's already. So a typing error such as `/etc` does
/// no harm.
fn will_be_given(path: &Path, meta: &Metadata, identity: &Identity) -> bool {
    // Otherwise the owner is not changed.
    identity.changes
        && (meta.uid() == identity.uid.as_raw()
            || matches!(Medium::of(path), Medium::Local | Medium::Memory)
                && is_free(path, meta.uid() == 0, identity))
}

fn is_free(path: &Path, is_roots: bool, identity: &Identity) -> bool {
    let comes_along =
        |name: &str| name == "lost+found" || name.starts_with('.') || name.starts_with("README");
    let Ok(mut entries) = path.read_dir() else { return false };
    entries.all(|entry| {
        let Ok(entry) = entry else { return false };
        let is_cores = entry.metadata().is_ok_and(|meta| meta.uid() == identity.uid.as_raw());
        is_roots && (is_cores || comes_along(&entry.file_name().to_string_lossy()))
    })
}

/// Whether the effective user may create files in a directory, as far as that can be determined
/// without creating one.
pub fn may_write(dir: &Path) -> io::Result<()> {
    Ok(faccessat(AT_FDCWD, dir, AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::AT_EACCESS)?)
}

/// Creates, syncs and removes a file: the minimum that a writer needs. A full volume passes.
///
/// # Errors
/// The operating system's.
pub fn try_file(dir: &Path) -> io::Result<()> {
    let path = dir.join(format!(".postern-trial-{}", std::process::id()));
    let outcome = (|| {
        // From a test that was killed, or created by another program; a new file is neither a link
        // nor a pipe.
        let _ = std::fs::remove_file(&path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(b"postern\n")?;
        file.sync_all()
    })();
    match (outcome, std::fs::remove_file(&path)) {
        (Ok(()), removed) => removed,
        // On a full volume there is still mail to deliver: the core handles it, with 452 for new
        // mail.
        (Err(error), _)
            if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
        {
            Ok(())
        }
        (Err(error), _) => Err(error),
    }
}

fn data_failure(error: &io::Error, cause: String) -> Failure {
    let exit = match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Exit::Permission,
        _ => Exit::Create,
    };
    Failure::new(exit, DATA_LINE, cause)
}

/// An error of the operating system as text with its number.
fn words(error: &io::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::property::{Machine, read};
    use crate::appliance::supervise::signals::SupervisorSignals;
    use std::ffi::OsString;

    #[test]
    fn a_missing_directory_is_created_on_a_laptop_only() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let failure = prepare_data(&data, &Identity::same(), true).unwrap_err();
        assert_eq!((failure.line.as_str(), failure.exit), (DATA_LINE, Exit::Create));
        assert!(failure.cause.contains("-v mta-data:/data"), "{failure}");
        prepare_data(&data, &Identity::same(), false).unwrap();
        assert_eq!(data.metadata().unwrap().mode() & 0o777, 0o700);
        assert!(data.read_dir().unwrap().next().is_none(), "the trial file is gone");
        let far = dir.path().join("a/b");
        assert!(
            prepare_data(&far, &Identity::same(), false)
                .unwrap_err()
                .cause
                .contains("cannot be created")
        );
    }

    #[test]
    fn what_cannot_be_made_or_written_is_foreseen() {
        let dir = tempfile::tempdir().unwrap();
        let same = Identity::same();
        assert!(preflight_data(&dir.path().join("data"), &same, false).is_ok());
        let failure = preflight_data(&dir.path().join("a/b"), &same, false).unwrap_err();
        assert!(failure.cause.contains("a/b does not exist and cannot be created"), "{failure}");
        assert!(!dir.path().join("data").exists());
    }

    #[test]
    fn a_device_that_is_not_there_is_no_directory_to_be_made() {
        for contained in [false, true] {
            let failure =
                prepare_data(Path::new("/dev/postern-nosuch"), &Identity::same(), contained)
                    .unwrap_err();
            assert!(failure.cause.contains("devices: [\"/dev/postern-nosuch\"]"), "{failure}");
            assert!(!failure.cause.contains("mta-data"), "{failure}");
        }
        assert!(!Path::new("/dev/postern-nosuch").exists());
    }

    #[test]
    fn a_mount_that_is_read_only_is_not_helped_by_an_owner() {
        let read_only = io::Error::from(Errno::EROFS);
        let hint = how_to_write(Path::new("/data"), &Identity::same(), &read_only);
        assert!(
            hint.contains("remove ':ro'")
                && hint.contains("remount,rw /data")
                && !hint.contains("chown"),
            "{hint}"
        );
        assert!(
            how_to_write(Path::new("/data"), &Identity::same(), &Errno::EACCES.into())
                .contains("chown")
        );
    }

    #[test]
    fn a_trial_waits_for_no_pipe_and_follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        let trial = dir.path().join(format!(".postern-trial-{}", std::process::id()));
        nix::unistd::mkfifo(&trial, nix::sys::stat::Mode::S_IRWXU).unwrap();
        try_file(dir.path()).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &trial).unwrap();
        try_file(dir.path()).unwrap();
        assert!(!elsewhere.exists() && dir.path().read_dir().unwrap().next().is_none());
    }

    #[test]
    fn a_container_without_a_mount_is_warned() {
        let dir = tempfile::tempdir().unwrap();
        let told = prepare_data(dir.path(), &Identity::same(), true).unwrap();
        assert!(told[0].contains("queued mail is lost with it"), "{told:?}");
    }

    #[test]
    fn a_file_is_no_volume() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(
            prepare_data(file.path(), &Identity::same(), false)
                .unwrap_err()
                .cause
                .contains("not a directory")
        );
    }

    #[test]
    fn a_key_volume_that_is_set_must_be_there() {
        let settings = |path: &str| {
            let vars = [(OsString::from("MTA_VOLUME_KEY"), OsString::from(path))];
            read(
                vars.into_iter(),
                &Machine { uid: 1, key_volume: false, writable_run: true, runtime_dir: None },
            )
            .unwrap()
            .settings
        };
        let signals = SupervisorSignals::block().unwrap();
        let mounter = Mounter::new(&signals, Identity::same(), Path::new("/nowhere"));
        assert_eq!(check_keys(&settings("/"), &mounter), Ok(()));
        let failure = check_keys(&settings("/nowhere/keys"), &mounter).unwrap_err();
        assert_eq!((failure.line.as_str(), failure.exit), (KEY_LINE, Exit::Input));
    }
}
