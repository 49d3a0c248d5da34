//! Directories in place of the log share, and appliances that log there.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::patience::until;
use crate::support::program::{find, need_root, open_directory, open_folder, run};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The property `maillog_filename` of most tests.
pub const FILE: &str = "/srv1/maillog";

/// A share on the same disk.
pub struct Share {
    directory: TempDir,
    /// Its mount point.
    pub path: PathBuf,
}

impl Share {
    pub fn new() -> Self {
        let directory = open_directory();
        let path = open_folder(&directory, "share");
        Self { directory, path }
    }

    /// A share that is a file system of its own, of so many octets.
    pub fn of_its_own(octets: u64) -> (Self, FileSystem) {
        let share = Self::new();
        let image = share.directory.path().join("image");
        let system = FileSystem::mount(&image, &share.path, octets);
        (share, system)
    }

    /// The mail log so far.
    pub fn log(&self) -> String {
        read(&self.path.join(FILE.trim_start_matches('/')))
    }
}

/// An appliance that logs to a share and gives all mail to `sink`.
pub fn appliance(share: &Share, sink: &Sink, properties: &[(&str, &str)]) -> Appliance {
    let (path, relay) = (share.path.display().to_string(), sink.relay());
    let usual = [
        ("MTA_LOGS_ENABLED", "yes"),
        ("MTA_TERMINAL_LOG", &path),
        ("MTA_MAILLOG_FILENAME", FILE),
        ("MTA_SMART_RELAY", &relay),
    ];
    Appliance::start(&[&usual[..], properties].concat())
}

/// Sends mails one after the other, each in a session of its own, and gives back their queue ids.
pub fn send(appliance: &Appliance, count: usize) -> Vec<String> {
    (0..count).map(|number| send_one(appliance, number)).collect()
}

fn send_one(appliance: &Appliance, number: usize) -> String {
    let mut client = Client::hello(appliance.smtp);
    let content =
        format!("Message-ID: <{number}@here.example>\r\nSubject: {number}\r\n\r\nwords\r\n");
    let reply = client.mail("sender@here.example", &["box@there.example"], content.as_bytes());
    client.ask("QUIT", "221 ");
    reply.rsplit(' ').next().unwrap().to_owned()
}

/// Waits until all lines are on the share, and the file ends with the end of a mail.
pub fn until_carried(appliance: &Appliance) {
    // Lines are in memory for a moment before they count as waiting.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    until("all lines are at the share", || match appliance.counter("mta_maillog_buffer_bytes") {
        0 => Ok(()),
        left => Err(format!("{left} octets wait")),
    });
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// ext4 in a file, mounted.
pub struct FileSystem {
    image: PathBuf,
    path: PathBuf,
}

impl FileSystem {
    fn mount(image: &Path, path: &Path, octets: u64) -> Self {
        need_root("only root can mount a file system");
        fs::File::create(image).unwrap().set_len(octets).unwrap();
        run(Command::new(find("mkfs.ext4")).args(["-q", "-m", "0"]).arg(image));
        let system = Self { image: image.to_owned(), path: path.to_owned() };
        system.come();
        system
    }

    /// Mounts it.
    pub fn come(&self) {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.path));
        fs::set_permissions(&self.path, Permissions::from_mode(0o777)).unwrap();
    }

    /// Unmounts it even while it is in use; the directory below becomes visible.
    pub fn go(&self) {
        run(Command::new("umount").arg("--lazy").arg(&self.path));
    }

    /// Every writer now hangs in the kernel, as on a dead file server, until [`FileSystem::thaw`].
    pub fn freeze(&self) {
        // A test that is killed must not leave processes that cannot be ended.
        let mut guard = Command::new("sh");
        guard
            .args([
                "-c",
                "(sleep 200; fsfreeze --unfreeze \"$1\") </dev/null >/dev/null 2>&1 &",
                "sh",
            ])
            .arg(&self.path);
        run(guard.process_group(0));
        run(Command::new(find("fsfreeze")).arg("--freeze").arg(&self.path));
    }

    pub fn thaw(&self) {
        run(Command::new(find("fsfreeze")).arg("--unfreeze").arg(&self.path));
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let _ = Command::new(find("fsfreeze")).arg("--unfreeze").arg(&self.path).output();
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).output();
    }
}
