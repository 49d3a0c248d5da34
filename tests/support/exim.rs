//! An Exim instance of the test in its own directory: next hop, or sender.

use super::postfix::feed;
use super::program::{Program, find, free_port, need_root, open_directory, open_folder};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use tempfile::TempDir;

/// A running Exim.
pub struct Exim {
    _program: Program,
    directory: TempDir,
    /// Its SMTP address.
    pub address: SocketAddr,
}

impl Exim {
    /// One that is the mail server of `there.example` and `here.example`, with the mailboxes `box`
    /// and `sender` in both, and offers STARTTLS.
    pub fn next_hop() -> Self {
        let mailboxes = ["box", "sender"];
        let router = |name| {
            format!("{name}:\n  driver = accept\n  local_parts = {name}\n  transport = {name}\n")
        };
        // Exim does not accept an address part as a directory name; so each mailbox has its own
        // transport.
        let transport = |name| {
            format!(
                "{name}:\n  driver = appendfile\n  directory = \
                PATH/mail/{name}\n  maildir_format\n  user = nobody\n  \
                 group = nogroup\n  mode = 0644\n  message_prefix =\n  message_suffix =\n"
            )
        };
        Self::start(&mailboxes.map(router).concat(), &mailboxes.map(transport).concat())
    }

    /// One that gives all mail to a relay.
    pub fn sender(relay: SocketAddr) -> Self {
        Self::sender_with(relay, "")
    }

    /// The same with more lines for its transport.
    pub fn sender_with(relay: SocketAddr, lines: &str) -> Self {
        Self::start(
            &format!(
                "relay:\n  driver = manualroute\n  route_list = * {}\n  transport = smtp\n  self \
                = send\n",
                relay.ip()
            ),
            &format!(
                "smtp:\n  driver = smtp\n  port = {}\n  allow_localhost\n{lines}",
                relay.port()
            ),
        )
    }

    fn start(router: &str, transport: &str) -> Self {
        need_root("Exim reads a configuration of one's own only then");
        let directory = open_directory();
        for name in ["mail", "spool", "log"] {
            open_folder(&directory, name);
        }
        let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
        fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let (exim, port) = (find("exim4"), free_port());
        // Exim runs itself again for each delivery and must be told where it is.
        let text = format!(
            "spool_directory = PATH/spool\nlog_file_path = PATH/log/%slog\nkeep_environment \
            =\nexim_path = {}\nexim_user = nobody\n\
             exim_group = nogroup\nprimary_hostname = mx.example\nqualify_domain = \
             here.example\ndaemon_smtp_ports = {port}\n\
             local_interfaces = 127.0.0.1\nprocess_log_path = PATH/spool/process\npid_file_path = \
             PATH/spool/pid\n\
             tls_advertise_hosts = *\ntls_certificate = PATH/cert.pem\ntls_privatekey = \
             PATH/key.pem\n\
             trusted_users = root\nacl_smtp_rcpt = recipients\nmessage_size_limit = \
             50M\nqueue_only = false\nsmtp_enforce_sync = true\n\
             begin acl\nrecipients:\n  accept local_parts = box : sender\n  deny message = unknown \
             here\n\
             begin routers\n{router}begin transports\n{transport}\
             begin retry\n* * F,1h,1m\n",
            exim.display()
        );
        fs::write(
            directory.path().join("exim.conf"),
            text.replace("PATH", &directory.path().display().to_string()),
        )
        .unwrap();
        let mut command = Command::new(&exim);
        command.arg("-C").arg(directory.path().join("exim.conf")).arg("-bdf");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = Program::start(directory.path(), "exim4", command).listening(address);
        Self { _program: program, directory, address }
    }

    /// The maildir of a mailbox.
    pub fn mailbox(&self, name: &str) -> PathBuf {
        self.directory.path().join("mail").join(name).join("new")
    }

    /// Submits a mail as a local program would.
    pub fn sendmail(&self, from: &str, to: &str, content: &[u8]) {
        let mut command = Command::new(find("exim4"));
        command.arg("-C").arg(self.directory.path().join("exim.conf")).args(["-i", "-f", from, to]);
        feed(command, content);
    }

    /// How many mails wait in its queue; each has an envelope file there.
    pub fn queued(&self) -> usize {
        let files = fs::read_dir(self.directory.path().join("spool/input")).unwrap();
        files
            .filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with("-H"))
            .count()
    }

    /// What it logged.
    fn log(&self) -> String {
        ["main", "reject", "panic"]
            .map(|name| {
                fs::read_to_string(self.directory.path().join(format!("log/{name}log")))
                    .unwrap_or_default()
            })
            .concat()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Exim logged:\n{}", self.log());
        }
    }
}
