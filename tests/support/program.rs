//! Real programs as peers: a missing one fails the test; started in a process group of their own,
//! and ended with the test.

use super::patience::until;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, geteuid};
use std::fs::{self, File, Permissions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// The programs that tests call, with Debian's packages; Exim is unpacked into a directory of its
/// own, because Debian does not permit to install it together with Postfix.
const PACKAGES: [(&str, &str); 26] = [
    ("bash", "bash"),
    ("curl", "curl"),
    ("django-admin", "python3-django"),
    ("dnsmasq", "dnsmasq-base"),
    ("dovecot", "dovecot-core"),
    ("exim4", "exim4-daemon-light, unpacked by scripts/install-peers.sh"),
    ("fsfreeze", "util-linux"),
    ("groff", "groff-base"),
    ("gsasl", "gsasl"),
    ("java", "default-jre-headless"),
    ("mkfs.ext4", "e2fsprogs"),
    ("msmtp", "msmtp"),
    ("nginx", "nginx-light"),
    ("node", "nodejs"),
    ("opendkim", "opendkim"),
    ("openssl", "openssl"),
    ("pflogsumm", "pflogsumm"),
    ("php", "php-cli"),
    ("postfix", "postfix"),
    ("sendmail", "postfix"),
    ("smtp-sink", "postfix"),
    ("smtp-source", "postfix"),
    ("swaks", "swaks"),
    ("python3", "python3"),
    ("unbound", "unbound"),
    ("unshare", "util-linux"),
];

/// The path of a program.
///
/// # Panics
/// It is missing: a test without its peer is a failed test, never a skipped one.
pub fn find(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/sbin"]);
    let found = places.map(|place| Path::new(place).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        let package = PACKAGES
            .iter()
            .find(|(program, _)| *program == name)
            .map_or("?", |(_, package)| package);
        panic!(
            "the program {name} is missing (package {package}): run scripts/install-peers.sh \
        as root"
        )
    })
}

/// # Panics
/// The test does not run as root.
pub fn need_root(why: &str) {
    assert!(geteuid().is_root(), "this test needs root: {why}");
}

/// A directory that peers can access under their own users.
pub fn open_directory() -> TempDir {
    let directory = tempfile::Builder::new().prefix("postern-walk-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// A directory in it that every user may fill.
pub fn open_folder(directory: &TempDir, name: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    path
}

/// A free port of the loopback. It is below the ports that the kernel gives to outgoing
/// connections, and each test process begins at another number, so that it is still free when it is
/// used.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(41) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + number % 20_000).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// An address of the loopback network that no other test uses, for servers on port 25.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let process = std::process::id();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let octet = |number: u32| u8::try_from(number).unwrap();
    Ipv4Addr::new(127, octet(2 + process / 250 % 250), octet(process % 250), octet(number))
}

/// As many descriptors as this process may have at all.
pub fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

/// A program that runs until the end of the test. Its output goes to a file, and to the screen when
/// the test fails.
pub struct Program {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Program {
    /// Starts it.
    pub fn start(directory: &Path, name: &str, mut command: Command) -> Self {
        let output = directory.join(format!("{name}.output"));
        let file = File::create(&output).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        let child =
            command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Self { name: name.to_owned(), child, output }
    }

    /// Waits until it accepts connections.
    pub fn listening(mut self, address: SocketAddr) -> Self {
        let (name, output) = (self.name.clone(), self.output.clone());
        until(&format!("{name} listens on {address}"), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "{name} ended ({status}): {}",
                    fs::read_to_string(&output).unwrap_or_default()
                );
            }
            TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
        });
        self
    }

    /// Its output so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Ends it regularly.
    pub fn stop(&mut self) {
        let _ = killpg(self.group(), Signal::SIGTERM);
        let name = self.name.clone();
        until(&format!("{name} ends"), || match self.child.try_wait().unwrap() {
            Some(_) => Ok(()),
            None => Err("it still runs".to_owned()),
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.said());
        }
    }
}

/// Runs a program that ends by itself.
///
/// # Panics
/// It did not succeed.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
