//! Resources that only one core can have: the data volume, the ports, the control socket.

use super::start_failures::{data_volume, internal};
use crate::appliance::failure::Failure;
use crate::appliance::property::Settings;
use crate::appliance::supervise::rundir::SOCKET;
use crate::appliance::terminal::port_check::not_opened;
use crate::appliance::volume::AS_WORKING_DIRECTORY;
use crate::ground::disk::DirectoryDisk;
use crate::ground::net;
use std::fs::{File, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::Signal;
use tokio::time::Instant;

/// All listening sockets, bound before anything is served.
pub(super) struct Ports {
    pub(super) smtp: Vec<TcpListener>,
    /// Empty without TLS.
    pub(super) smtps: Vec<TcpListener>,
    /// For devices; empty without `device_port`.
    pub(super) device: Vec<TcpListener>,
    /// Empty without users.
    pub(super) submission: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
    pub(super) control: ControlSocket,
}

/// The control socket.
pub(super) struct ControlSocket {
    pub(super) listener: UnixListener,
    /// Device and inode of its file; `None`: it has no name in the run directory, whatever is
    /// there.
    pub(super) file: Option<(u64, u64)>,
}

impl Ports {
    /// The listeners of SMTP.
    pub(super) fn of_mail(&self) -> impl Iterator<Item = &TcpListener> {
        let others = self.smtps.iter().chain(&self.submission).chain(&self.device);
        self.smtp.iter().chain(others)
    }

    /// # Errors
    /// A port is in use or not permitted; the line names its property.
    pub(super) fn bind(settings: &Settings, volume: &Path) -> Result<Self, Failure> {
        let all = |port| {
            settings
                .listen
                .iter()
                .map(|address| net::bind(SocketAddr::new(*address, port)))
                .collect::<io::Result<Vec<_>>>()
        };
        let all = |property, port| all(port).map_err(|error| not_opened(property, port, &error));
        let ports = Self {
            smtp: all("smtp_port", settings.smtp_port)?,
            smtps: if settings.ssl_disabled {
                Vec::new()
            } else {
                all("smtps_port", settings.smtps_port)?
            },
            device: match settings.device_port {
                0 => Vec::new(),
                port => all("device_port", port)?,
            },
            submission: if settings.smtp_users.is_empty() {
                Vec::new()
            } else {
                all("submission_port", settings.submission_port)?
            },
            http: all("ui_port", settings.ui_port)?,
            control: bind_control(&settings.run_dir).or_else(|cause| {
                bind_nameless(volume).map_err(|error| {
                    let place = settings.run_dir.display();
                    let causes = format!(
                        "run_dir {place}: {cause}; without a name, on the data volume: {error}"
                    );
                    internal("the control socket", &causes)
                })
            })?,
        };
        for listener in ports.of_mail().chain(&ports.http) {
            let address = listener.local_addr();
            let address = address.map_or_else(|error| error.to_string(), |own| own.to_string());
            tracing::info!(target: "mta", %address, "listening");
        }
        Ok(ports)
    }
}

/// An existing socket of that name belongs to a dead core: the lock on the data volume prevents a
/// second live core with the same queue. The socket's mode is the access control for operator
/// actions.
pub(super) fn bind_control(run_dir: &Path) -> io::Result<ControlSocket> {
    let path = run_dir.join(SOCKET);
    // A link could redirect the socket to another place.
    if !run_dir.symlink_metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"));
    }
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    let file = std::fs::set_permissions(&path, Permissions::from_mode(0o600))
        .and_then(|()| path.symlink_metadata());
    match file {
        Ok(meta) => Ok(ControlSocket { listener, file: Some((meta.dev(), meta.ino())) }),
        Err(error) => {
            // It has no listener any more.
            let _ = std::fs::remove_file(&path);
            Err(error)
        }
    }
}

/// A socket without a visible name, used while the control socket cannot be created in the run
/// directory: mail does not wait for it.
fn bind_nameless(volume: &Path) -> io::Result<ControlSocket> {
    let directory = File::open(volume)?;
    // The path of a socket must be short; that of a volume may be long.
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
    // Left by a core that was killed in between.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    std::fs::remove_file(&path)?;
    Ok(ControlSocket { listener, file: None })
}

/// Device and inode of the file at the control socket's path; `None`: there is none.
pub(super) fn control_socket(run_dir: &Path) -> Option<(u64, u64)> {
    let meta = run_dir.join(SOCKET).symlink_metadata().ok()?;
    Some((meta.dev(), meta.ino()))
}

/// The path of the data volume in this process: the supervisor has made it the working directory if
/// its path is not accessible.
pub(super) fn volume(settings: &Settings) -> PathBuf {
    match std::env::current_dir() {
        Ok(directory) if directory != Path::new("/") => PathBuf::from(AS_WORKING_DIRECTORY),
        _ => settings.volume_data.clone(),
    }
}

/// A core that is stopping may still lock the volume; the next one waits for it, and logs that.
pub(super) async fn open_volume(
    settings: &Settings,
    volume: &Path,
    terminate: &mut Signal,
) -> Result<DirectoryDisk, Failure> {
    let patience = Instant::now() + settings.drain_time + Duration::from_secs(15);
    let mut told = false;
    loop {
        match DirectoryDisk::open(volume) {
            Ok(volume) => return Ok(volume),
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < patience =>
            {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(target: "mta", "another process has the data volume (one that \
                    is stopping?); waiting for it");
                }
                tokio::select! {
                    // The release of the lock causes no event, and a blocking wait in the kernel
                    // would ignore signals.
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    _ = terminate.recv() => return Err(data_volume("stopped while waiting for the \
                    data volume".to_owned())),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(data_volume(format!(
                    "another Postern uses {}: stop it, or give this one a volume of its own",
                    settings.volume_data.display()
                )));
            }
            Err(error) => {
                return Err(data_volume(format!("{}: {error}", settings.volume_data.display())));
            }
        }
    }
}
