//! Events: the supervisor's log lines.
//!
//! Out: standard error (all of it), and the appliance log (failures and events worth keeping). The
//! appliance log is `/var/log/appliance/log` when root can write it, else `log/appliance/log` below
//! the run directory. Limits: it is moved to `log.1` when it passes [`LOG_LIMIT`], so both together
//! stay under twice that size. Security: the file must be a regular file in directories of this
//! user, not a link or a pipe; if the reader of standard error is blocked, lines are lost, and
//! nothing waits.

use super::failure::Failure;
use super::property::LogFormat;
use super::start_errors;
use crate::ground::clock;
use nix::poll::{PollFd, PollFlags, poll};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Octets of the appliance log before it is renamed.
pub const LOG_LIMIT: u64 = 1 << 20;

/// The severity of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Information.
    Info,
    /// Should be checked some time.
    Warning,
    /// Something does not work; act now.
    Error,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Info => "INFO",
            Self::Warning => "WARN",
            Self::Error => "ERROR",
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApplianceEvent {
    /// Its severity.
    pub severity: Severity,
    /// What happened; line breaks become blanks when it is written.
    pub text: String,
}

impl ApplianceEvent {
    /// The line without its end, in the given format.
    pub fn line(&self, format: LogFormat, seconds: u32) -> String {
        let text = self.text.replace(|c: char| c.is_control(), " ");
        match format {
            LogFormat::Plain => {
                format!("{} {} init: {text}", clock::rfc3339(seconds), self.severity.as_str())
            }
            LogFormat::Json => serde_json::json!({
                "time": clock::rfc3339(seconds),
                "level": self.severity.as_str(),
                "target": "init",
                "message": text,
            })
            .to_string(),
        }
    }
}

/// The destinations of events.
pub struct EventLog {
    format: LogFormat,
    path: Option<PathBuf>,
}

/// How long a line waits for the reader of standard error, in milliseconds.
const READER_PATIENCE: u16 = 200;

/// Octets that a pipe that is ready accepts without blocking (pipe(7), PIPE_BUF).
const PIECE_MAX: usize = 4096;

const SYSTEM_LOG: &str = "/var/log/appliance/log";

impl EventLog {
    /// Finds a place for the appliance log; without one, only standard error is used. `run_dir` has
    /// been checked before.
    pub fn open(format: LogFormat, run_dir: Option<&Path>) -> Self {
        let system = nix::unistd::geteuid().is_root().then(|| PathBuf::from(SYSTEM_LOG));
        let places = system.into_iter().chain(run_dir.map(|dir| dir.join("log/appliance/log")));
        let path =
            places.into_iter().find(|path| make_parent(path).and_then(|()| open(path)).is_ok());
        Self { format, path }
    }

    /// The path of the appliance log.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Writes a line to standard error only.
    pub fn note(&self, severity: Severity, text: impl Into<String>) {
        let line =
            ApplianceEvent { severity, text: text.into() }.line(self.format, clock::now()) + "\n";
        tell(&line);
    }

    /// Writes a line to standard error and to the appliance log.
    pub fn record(&self, severity: Severity, text: impl Into<String>) {
        let text = text.into();
        self.keep(severity, &text);
        self.note(severity, text);
    }

    /// Writes a failure: literally to standard error, and to the appliance log with line and cause
    /// as one event each.
    pub fn fail(&self, failure: &Failure) {
        let failure = self.with_log_path(failure);
        tell(&format!("{failure}\n"));
        self.keep(Severity::Error, &failure.line);
        if !failure.cause.is_empty() {
            self.keep(Severity::Error, &failure.cause);
        }
    }

    /// The line of a core that did not start contains the standard path of the appliance log, as
    /// the contract requires; if the log is somewhere else, the cause gives that path.
    fn with_log_path(&self, failure: &Failure) -> Failure {
        let place = match &self.path {
            _ if failure.line != start_errors::START => String::new(),
            Some(path) if path == Path::new(SYSTEM_LOG) => String::new(),
            Some(path) => format!("the appliance log is {} here", path.display()),
            None => {
                "there is no appliance log here: nothing could be written below run_dir".to_owned()
            }
        };
        let cause = [failure.cause.as_str(), &place]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("; ");
        Failure { cause, ..failure.clone() }
    }

    fn keep(&self, severity: Severity, text: &str) {
        let Some(path) = &self.path else { return };
        let line = ApplianceEvent { severity, text: text.to_owned() }
            .line(self.format, clock::now())
            + "\n";
        // Its directory may have been removed meanwhile.
        let kept =
            append(path, &line).or_else(|_| make_parent(path).and_then(|()| append(path, &line)));
        if let Err(error) = kept {
            self.note(
                Severity::Warning,
                format!("the appliance log {} cannot be written: {error}", path.display()),
            );
        }
    }
}

/// Writes to standard error in one piece: the core writes to the same stream, and its lines must
/// not come between. If the reader is gone or blocked, the line is lost; the supervisor never
/// waits, because it must handle signals and children.
fn tell(line: &str) {
    let stderr = std::io::stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    let writable = poll(&mut ready, READER_PATIENCE).is_ok_and(|count| count > 0);
    if writable {
        let end = line.floor_char_boundary(PIECE_MAX);
        let _ = (&stderr).write_all(&line.as_bytes()[..end]);
        if end < line.len() {
            tell(&line[end..]);
        }
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = open(path)?;
    if file.metadata()?.len() + line.len() as u64 > LOG_LIMIT {
        std::fs::rename(path, path.with_extension("1"))?;
        file = open(path)?;
    }
    file.write_all(line.as_bytes())
}

/// Opens the log, which must be a regular file with a single name: the core may write in its
/// directory, and root must not be redirected by a link, or blocked by a pipe without a reader.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file =
        OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let plain = found.is_file() && found.nlink() == 1;
    if plain { Ok(file) } else { Err(std::io::Error::other("it is not a plain file")) }
}

/// Creates the log's directories where they are missing; existing ones must belong to this user and
/// must not be links.
fn make_parent(path: &Path) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let own = nix::unistd::geteuid().as_raw();
    for directory in parent.ancestors().take(OWN_DIRECTORIES) {
        let found = std::fs::symlink_metadata(directory)?;
        if !found.is_dir() || found.uid() != own {
            return Err(std::io::Error::other(format!(
                "{} is not a directory of this user",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// `log/appliance`, below `/var` or `run_dir`.
const OWN_DIRECTORIES: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::appliance::failure::Exit;

    #[test]
    fn an_event_is_one_line_in_both_forms() {
        let event = ApplianceEvent { severity: Severity::Warning, text: "the core\nended".into() };
        assert!(event.line(LogFormat::Plain, 0).ends_with(" WARN init: the core ended"));
        let json: serde_json::Value =
            serde_json::from_str(&event.line(LogFormat::Json, 0)).unwrap();
        assert_eq!(json["message"], "the core ended");
        assert_eq!(json["level"], "WARN");
        // The name that the core's lines use too, in the same stream.
        assert!(json["time"].is_string());
    }

    #[test]
    fn a_core_that_did_not_start_is_told_with_the_place_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let event_log =
            EventLog { format: LogFormat::Plain, path: Some(dir.path().join("log/appliance/log")) };
        let started = |cause: &str| Failure::new(Exit::Create, start_errors::START, cause);
        let told = event_log.with_log_path(&started("the port is taken"));
        let place = dir.path().join("log/appliance/log");
        assert_eq!(
            told,
            started(&format!("the port is taken; the appliance log is {} here", place.display()))
        );
        assert!(event_log.with_log_path(&started("")).cause.starts_with("the appliance log is "));
        let other = Failure::preconfigure(Exit::Create, "x");
        assert_eq!(event_log.with_log_path(&other), other);
        let system = EventLog { path: Some(SYSTEM_LOG.into()), ..event_log };
        assert_eq!(system.with_log_path(&started("x")), started("x"));
    }

    #[test]
    fn the_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let line = "x".repeat(100_000);
        for _ in 0..25 {
            append(&path, &line).unwrap();
        }
        let size = |path: &Path| path.metadata().unwrap().len();
        assert!(size(&path) <= LOG_LIMIT && size(&path.with_extension("1")) <= LOG_LIMIT);
    }

    #[test]
    fn a_link_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(append(&path, "x").is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }
}
