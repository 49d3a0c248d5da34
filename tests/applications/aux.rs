//! The environment of an application: a directory, a relay with the name `aux`, and the customer's
//! mailbox behind it.

use crate::page;
use crate::support::appliance::{Appliance, ORDINARY, Sink};
use crate::support::letter::Letter;
use crate::support::program::{Program, find, need_root, open_directory, own_address, run};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The directory of a shop, and its connections.
pub struct Shop {
    directory: TempDir,
    customer: Sink,
    _relay: Appliance,
}

impl Shop {
    /// Starts the relay, and makes it reachable as `aux`.
    pub fn open() -> Self {
        Self::open_with(open_directory(), &[])
    }

    /// The same, with a relay that announces TLS and has an untrusted certificate.
    pub fn open_with_tls() -> Self {
        let directory = open_directory();
        let mut openssl = Command::new(find("openssl"));
        openssl.args([
            "req", "-new", "-x509", "-nodes", "-days", "9", "-newkey", "rsa:2048", "-subj",
            "/CN=aux",
        ]);
        openssl.args([
            "-addext",
            "subjectAltName=DNS:aux",
            "-keyout",
            "server.key",
            "-out",
            "server.pem",
        ]);
        run(openssl.current_dir(directory.path()));
        chown(directory.path().join("server.key"), Some(ORDINARY), Some(ORDINARY)).unwrap();
        let volume = directory.path().display().to_string();
        Self::open_with(directory, &[("MTA_SSL_DISABLED", "no"), ("MTA_VOLUME_KEY", &volume)])
    }

    fn open_with(directory: TempDir, properties: &[(&str, &str)]) -> Self {
        need_root("the application finds the relay at aux, port 25");
        let customer = Sink::start("");
        let next_hop = customer.relay();
        let relay =
            Appliance::start(&[&[("MTA_SMART_RELAY", next_hop.as_str())], properties].concat());
        let aux = own_address();
        lead(SocketAddr::from((aux, 25)), relay.smtp);
        let shop = Self { directory, customer, _relay: relay };
        shop.write("hosts", &format!("{} localhost\n{aux} aux\n", Ipv4Addr::LOCALHOST));
        shop
    }

    /// Where the application's files are.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a block of the page to the file that it names.
    pub fn place(&self, name: &str) -> PathBuf {
        self.write(name, &page::block(name))
    }

    /// Writes a file below the directory.
    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs a program of the application to its end.
    ///
    /// # Panics
    /// It did not succeed.
    pub fn run(&self, command: &Command) {
        run(&mut self.inside(command));
    }

    /// Runs a program of the application that must fail, and sends no mail.
    pub fn run_in_vain(&self, command: &Command) {
        let output = self.inside(command).output().unwrap();
        assert!(!output.status.success(), "{command:?} should fail: {output:?}");
        assert_eq!(self.customer.count(), 0, "{command:?} sends mail");
    }

    /// Starts a program of the application that stays.
    pub fn start(&self, name: &str, command: &Command) -> Program {
        Program::start(self.directory(), name, self.inside(command))
    }

    /// The same command with the address of `aux`: in a mount namespace with a hosts file of its
    /// own.
    fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new(find("unshare"));
        inside.args(["--mount", "sh", "-euc", "mount --bind hosts /etc/hosts; exec \"$@\"", "sh"]);
        inside.arg(command.get_program()).args(command.get_args());
        let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
        inside.envs(variables).current_dir(self.directory());
        inside
    }

    /// The one mail that arrives for the customer.
    pub fn mail(&self) -> Letter {
        self.customer.mails(1).remove(0)
    }

    /// It is the one that the blocks of the page send.
    pub fn expect_order(&self) {
        let mail = self.mail();
        assert_eq!(
            (mail.from.as_str(), mail.to.as_slice()),
            ("shop@example.com", &["customer@example.org".to_owned()][..])
        );
        let text = mail.text();
        assert!(
            text.contains("Subject: Your order\r\n") && text.contains("\r\n\r\nThank you."),
            "{text}"
        );
        assert!(text.to_lowercase().contains("shop@example.com"), "{text}");
    }
}

/// Forwards connections; the relay sees a client of the loopback.
fn lead(here: SocketAddr, there: SocketAddr) {
    let listener = TcpListener::bind(here).unwrap();
    // The threads end with the test's process.
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(there).unwrap());
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || copy(near, far));
            std::thread::spawn(move || copy(far_too, near_too));
        }
    });
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}
