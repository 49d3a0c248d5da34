//! Terminals `log` and `fs` as directories: mounted by Postern, or by the container engine.
//!
//! In: the properties. Out: a directory, or the failure that stops the start. Limits: a server gets
//! [`MOUNT_PATIENCE`] in total, and at most [`ADDRESSES_MAX`] of its addresses are tried.

use super::export::ExportLocation;
use super::remote_directory::RemoteDirectory;
use super::share::ShareLocation;
use crate::appliance::failure::{Exit, Failure};
use crate::appliance::mount::Mounter;
use crate::appliance::property::Settings;
use crate::appliance::start_errors;
use crate::appliance::supervise::identity::Identity;
use crate::appliance::volume::{how_to_write, may_write, try_file};
use crate::ground::host::{Host, HostSpec};
use nix::errno::Errno;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time limit to look a server up, try every kind of request, and test the mount.
pub const MOUNT_PATIENCE: Duration = Duration::from_secs(90);
/// Time limit for a check of an existing directory.
pub const LOOK_PATIENCE: Duration = Duration::from_secs(30);
/// Addresses of one server that are tried.
pub const ADDRESSES_MAX: usize = 4;

const LOG_LINE: &str = start_errors::LOG_SHARE;
const FS_LINE: &str = start_errors::EXPORT;

/// The directory of the log share, writable for the core; `None` when logs are off, or a signal
/// ended the start.
///
/// # Errors
/// The contract's line, with the cause.
pub fn log(settings: &Settings, mounter: &mut Mounter<'_>) -> Result<Option<PathBuf>, Failure> {
    let Some(text) = settings.terminal_log.as_deref().filter(|_| settings.logs_enabled) else {
        return Ok(None);
    };
    let (identity, only_looks) = (mounter.identity(), mounter.is_read_only());
    let trial = |path: &Path, hint: &dyn Fn(&io::Error) -> String| {
        identity.within(|| if only_looks { may_write(path) } else { try_file(path) }).map_err(
            |error| {
                let hint = hint(&error);
                format!(
                    "{} is not writable for uid {} (the SMTP core): {error}; {hint}",
                    path.display(),
                    identity.uid
                )
            },
        )
    };
    let outcome = ShareLocation::parse(text).and_then(|share| match share {
        // For a directory of this machine, or a share mounted by the engine, the permissions are
        // not decided by the server alone.
        ShareLocation::Path(path) => found(path, mounter, |path: &Path| {
            let hint = |error: &io::Error| match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => how_to_write(path, &identity, error),
                _ => format!(
                    "{}, or, where it is a mounted share, mount it with uid={},gid={}",
                    how_to_write(path, &identity, error),
                    identity.uid,
                    identity.gid
                ),
            };
            trial(path, &hint)
        }),
        ShareLocation::Remote(remote) => {
            brought(&remote, "/terminals/log", mounter, |path: &Path| {
                trial(path, &|_| {
                    "allow guests to write to the share (Samba: read only = no, and rights on the \
                directory)"
                        .to_owned()
                })
            })
        }
    });
    outcome.map_err(|cause| {
        Failure::new(Exit::Unavailable, LOG_LINE, format!("terminal_log is {text}: {cause}"))
    })
}

/// The directory of the export with the keys; `None` when the terminal is not connected, or a
/// signal ended the start.
///
/// # Errors
/// The contract's line, with the cause.
pub fn fs(settings: &Settings, mounter: &mut Mounter<'_>) -> Result<Option<PathBuf>, Failure> {
    let Some(text) = settings.terminal_fs.as_deref() else { return Ok(None) };
    // What can be read there is decided by the export, and noticed by the reader of the keys.
    let trial = |_: &Path| Ok(());
    let outcome = ExportLocation::parse(text).and_then(|export| match export {
        ExportLocation::Path(path) => found(path, mounter, trial),
        ExportLocation::Remote(remote) => brought(&remote, "/terminals/fs", mounter, trial),
    });
    outcome.map_err(|cause| {
        Failure::new(Exit::Unavailable, FS_LINE, format!("terminal_fs is {text}: {cause}"))
    })
}

fn found(
    path: PathBuf,
    mounter: &Mounter<'_>,
    trial: impl Fn(&Path) -> Result<(), String>,
) -> Result<Option<PathBuf>, String> {
    mounter.look(LOOK_PATIENCE, || match path.metadata() {
        Ok(meta) if meta.is_dir() => trial(&path).map(|()| path),
        Ok(_) => Err("it is not a directory".to_owned()),
        Err(error) => Err(format!("{error}; let the engine mount it there, or name the server")),
    })
}

fn brought<R: RemoteDirectory>(
    remote: &R,
    at: &str,
    mounter: &mut Mounter<'_>,
    trial: impl Fn(&Path) -> Result<(), String>,
) -> Result<Option<PathBuf>, String> {
    let identity = mounter.identity();
    mounter.mount(at, MOUNT_PATIENCE, |point| {
        mount_any_way(remote, &identity, point)?;
        // The mount is removed by the Mounter, which has the point in its list in any case.
        trial(point)
    })
}

/// Tries each address of the server with every request until one mounts. The first answer that says
/// more than "not this way" is reported.
fn mount_any_way<R: RemoteDirectory>(
    remote: &R,
    identity: &Identity,
    point: &Path,
) -> Result<(), String> {
    let mut told: Option<(IpAddr, Errno)> = None;
    for address in addresses(remote.server())? {
        for request in remote.requests(address, identity) {
            let Err(errno) = request.mount(point) else { return Ok(()) };
            if told.is_none_or(|(_, told)| is_vague(told) && !is_vague(errno)) {
                told = Some((address, errno));
            }
            if !R::is_worth_another(errno) {
                break;
            }
        }
    }
    Err(told.map_or_else(
        || "the server has no address".to_owned(),
        |(at, errno)| format!("{at}: {}", remote.meaning(errno)),
    ))
}

fn is_vague(errno: Errno) -> bool {
    matches!(errno, Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EIO)
}

fn addresses(server: &HostSpec) -> Result<Vec<IpAddr>, String> {
    let name = match &server.host {
        Host::Address(address) => return Ok(vec![*address]),
        Host::Name(name) => name,
    };
    let found = (name.as_str(), 0)
        .to_socket_addrs()
        .map_err(|error| format!("{name} does not resolve ({error})"))?;
    let mut addresses: Vec<_> = found.map(|address| address.ip()).collect();
    addresses.dedup();
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}
