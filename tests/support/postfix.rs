//! A Postfix instance of the test in its own directory: next hop, or sender.

use super::program::{Program, find, free_port, need_root, open_directory, open_folder, run};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A running Postfix.
pub struct Postfix {
    _program: Program,
    directory: TempDir,
    /// Its SMTP address.
    pub address: SocketAddr,
}

impl Postfix {
    /// One that is the mail server of `there.example` and `here.example`, with the mailboxes
    /// `box@there.example` and `sender@here.example`, and offers STARTTLS.
    pub fn next_hop() -> Self {
        Self::start(
            "virtual_mailbox_domains = there.example, here.example\n\
             virtual_mailbox_maps = inline:{ box@there.example=box/, \
             sender@here.example=sender/ }\n",
        )
    }

    /// As [`Postfix::next_hop`], for clients that log in over TLS only: it asks Dovecot at this
    /// socket, and shows this certificate.
    pub fn submission(socket: &Path, chain: &Path, key: &Path) -> Self {
        let lines = format!("smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n", socket.display());
        Self::submission_with(chain, key, &lines)
    }

    /// As [`Postfix::submission`], with TLS from the first octet.
    pub fn submissions(socket: &Path, chain: &Path, key: &Path) -> Self {
        let lines = format!("smtpd_sasl_type = dovecot\nsmtpd_sasl_path = {}\n", socket.display());
        let role = Self::submission_role(chain, key, &lines);
        Self::start_as(&role, " -o smtpd_tls_wrappermode=yes")
    }

    /// The same with these lines for its main.cf, which say whom it asks.
    pub fn submission_with(chain: &Path, key: &Path, lines: &str) -> Self {
        Self::start(&Self::submission_role(chain, key, lines))
    }

    fn submission_role(chain: &Path, key: &Path, lines: &str) -> String {
        format!(
            "virtual_mailbox_domains = there.example\n\
             virtual_mailbox_maps = inline:{{ box@there.example=box/ }}\n\
             smtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n\
             smtpd_sasl_auth_enable = yes\nsmtpd_tls_auth_only = yes\n\
             smtpd_sasl_security_options = noanonymous\n\
             smtpd_sasl_tls_security_options = noanonymous\nbroken_sasl_auth_clients = yes\n\
             smtpd_client_restrictions = permit_sasl_authenticated, reject\n\
             smtpd_relay_restrictions = permit_sasl_authenticated, reject\n{lines}",
            chain.display(),
            key.display()
        )
    }

    /// One that gives all mail to a relay.
    pub fn sender(relay: SocketAddr) -> Self {
        Self::sender_with(relay, "")
    }

    /// The same with more lines for its main.cf.
    pub fn sender_with(relay: SocketAddr, lines: &str) -> Self {
        Self::start(&format!("relayhost = [{}]:{}\n{lines}", relay.ip(), relay.port()))
    }

    fn start(role: &str) -> Self {
        Self::start_as(role, "")
    }

    /// With these options of its listener.
    fn start_as(role: &str, options: &str) -> Self {
        need_root("Postfix starts its parts under users of their own");
        let directory = open_directory();
        for name in ["conf", "queue"] {
            fs::create_dir(directory.path().join(name)).unwrap();
        }
        for name in ["data", "mail"] {
            open_folder(&directory, name);
        }
        run(Command::new("chown").arg("postfix").arg(directory.path().join("data")));
        let made = rcgen::generate_simple_self_signed(["mx.example".to_owned()]).unwrap();
        fs::write(directory.path().join("cert.pem"), made.cert.pem()).unwrap();
        fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let (path, port) = (directory.path().display(), free_port());
        let main = format!(
            "compatibility_level = 3.6\nqueue_directory = {path}/queue\ndata_directory = \
            {path}/data\n\
             daemon_directory = /usr/lib/postfix/sbin\nshlib_directory = \
             /usr/lib/postfix\nmeta_directory = /etc/postfix\n\
             myhostname = mx.example\nmyorigin = here.example\nmydestination \
             =\nlocal_recipient_maps =\nalias_maps =\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks = 127.0.0.0/8\n\
             virtual_mailbox_base = {path}/mail\nvirtual_minimum_uid = 1\nvirtual_uid_maps = \
             static:65534\n\
             virtual_gid_maps = static:65534\nmessage_size_limit = \
             50000000\nvirtual_mailbox_limit = 0\n\
             smtpd_tls_security_level = may\nsmtpd_tls_cert_file = \
             {path}/cert.pem\nsmtpd_tls_key_file = {path}/key.pem\n\
             maillog_file = {path}/log\nmaillog_file_prefixes = /var, /dev/stdout, {path}\n"
        );
        let master = format!(
            "127.0.0.1:{port} inet n - n - - smtpd{options}\npickup unix n - n 60 1 pickup\n\
             cleanup unix n \
            - n - 0 cleanup\n\
             qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\nbounce unix - - n \
             - 0 bounce\n\
             defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nproxymap unix - - n - - \
             proxymap\n\
             error unix - - n - - error\nretry unix - - n - - error\nsmtp unix - - n - - \
             smtp\nvirtual unix - n n - - virtual\n\
             anvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\ntlsmgr unix - - n 1000? 1 \
             tlsmgr\n\
             postlog unix-dgram n - n - 1 postlogd\n"
        );
        let conf = directory.path().join("conf");
        fs::write(conf.join("main.cf"), with_settings(&main, role)).unwrap();
        fs::write(conf.join("master.cf"), master).unwrap();
        let mut command = Command::new(find("postfix"));
        command.arg("-c").arg(&conf).arg("start-fg");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let program = Program::start(directory.path(), "postfix", command).listening(address);
        Self { _program: program, directory, address }
    }

    /// The maildir of a mailbox.
    pub fn mailbox(&self, name: &str) -> PathBuf {
        self.directory.path().join("mail").join(name).join("new")
    }

    /// Submits a mail to its `sendmail`, as a local program would.
    pub fn sendmail(&self, from: &str, to: &str, content: &[u8]) {
        let mut command = Command::new(find("sendmail"));
        command.arg("-C").arg(self.directory.path().join("conf")).args(["-i", "-f", from, to]);
        feed(command, content);
    }

    /// Its version, as it logged it when it started.
    pub fn version(&self) -> String {
        let log = self.log();
        let version = log
            .split_once("daemon started -- version ")
            .and_then(|(_, rest)| rest.split(',').next());
        version.unwrap_or("unknown").to_owned()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

/// Settings, of which later ones replace earlier ones. Postfix would otherwise warn about them at
/// each start of each part, and its log server deadlocks when that happens to many parts at once.
fn with_settings(main: &str, further: &str) -> String {
    let name = |line: &str| {
        line.split_once('=').map(|(name, _)| name.trim().to_owned()).unwrap_or_default()
    };
    let lines: Vec<&str> = main.lines().chain(further.lines()).collect();
    let is_last = |place: usize| {
        name(lines[place]).is_empty()
            || lines[place + 1..].iter().all(|later| name(later) != name(lines[place]))
    };
    let kept = (0..lines.len()).filter(|place| is_last(*place));
    kept.map(|place| format!("{}\n", lines[place])).collect()
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // Its master has a process group of its own, with all parts in it.
        let master = fs::read_to_string(self.directory.path().join("queue/pid/master.pid"))
            .unwrap_or_default();
        if let Ok(master) = master.trim().parse() {
            let _ = killpg(Pid::from_raw(master), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("--- Postfix logged:\n{}", self.log());
        }
    }
}

/// Runs a local mail program with a mail on its standard input, with LF line ends.
pub(super) fn feed(mut command: Command, content: &[u8]) {
    let text = String::from_utf8(content.to_vec()).unwrap().replace("\r\n", "\n");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
