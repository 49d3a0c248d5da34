//! Real mail servers as next hop: smtp-sink, Postfix, Exim. Each takes the same mails; what it
//! stored is compared octet by octet (line ends aside: all three store LF).

use crate::support::{
    Program, all_delivered, client, codes, free_port, message, patient, route, send,
};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use postern::mail::model::BodyType;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A directory that servers can access under their own users.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path().to_owned(), directory.path().join("mail")] {
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
    }
    directory
}

fn which(name: &str) -> String {
    let path = std::env::var("PATH").unwrap();
    let found =
        path.split(':').map(|directory| Path::new(directory).join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("this test needs the program {name}")).display().to_string()
}

fn certificate(directory: &Path) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["somebody.else".to_owned()]).unwrap();
    let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert.display().to_string(), key.display().to_string())
}

/// With every header field that a server might add, so that none does.
fn mails() -> Vec<String> {
    let long = format!("{}\r\n", "x".repeat(990));
    let large = ".a line of a large mail\r\n".repeat(200_000);
    let bodies = ["", ".\r\n..\r\n.leading\r\nmiddle . dot\r\n.\r\n", "grün\r\n", &long, &large];
    let headers =
        "From: s@here.example\r\nTo: r0@there.example\r\nDate: Sat, 22 Nov 2025 08:26:40 +0000\r\n";
    let mail = |(n, body)| {
        format!("{headers}Message-ID: <{n}@here.example>\r\nSubject: {n}\r\n\r\n{body}")
    };
    bodies.into_iter().enumerate().map(mail).collect()
}

/// Sends all mails on one connection, the last one to two recipients of which the server knows only
/// one.
async fn deliver(port: u16, tls: bool, knows_everybody: bool) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut connection = client(patient()).connect(&route(&[address])).await.unwrap();
    for content in mails() {
        let mut mail = message(1, &content);
        mail.envelope.body = BodyType::EightBitMime;
        let (back, report) = send(connection, &mail).await;
        connection = back;
        assert!(all_delivered(&report) && report.reusable, "{report:?}");
        assert_eq!(report.tls, tls);
    }
    if !knows_everybody {
        let (back, report) = send(connection, &message(2, "Subject: to whom\r\n\r\n")).await;
        connection = back;
        assert!(
            codes(&report)[0].starts_with("250") && codes(&report)[1].starts_with("550"),
            "{report:?}"
        );
    }
    connection.quit().await;
}

/// Waits until `count` files are in `directory`, and reads them.
async fn stored(directory: PathBuf, count: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for _ in 0..1500 {
        if let Ok(entries) = fs::read_dir(&directory) {
            found = entries.filter_map(|entry| fs::read(entry.unwrap().path()).ok()).collect();
        }
        if found.len() >= count && all_there(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {count} mails in {}", found.len(), directory.display());
}

fn all_there(found: &[Vec<u8>]) -> bool {
    mails().iter().all(|mail| {
        let mail = mail.replace("\r\n", "\n");
        found.iter().any(|stored| {
            stored.ends_with(mail.as_bytes()) || stored.ends_with((mail.clone() + "\n").as_bytes())
        })
    })
}

#[tokio::test(crate = "crate::with_threads")]
async fn smtp_sink_takes_everything() {
    // With PIPELINING and without.
    for option in ["-c", "-p"] {
        let (directory, port) = (open_directory(), free_port());
        let dump = directory.path().join("mail");
        let (listen, root) = (format!("127.0.0.1:{port}"), dump.display().to_string());
        let program = ["-u", "nobody", option, "-R", &root, "-d", "mail.", &listen, "100"];
        let _sink = Program::start("smtp-sink", &program, port).await;
        deliver(port, false, true).await;
        stored(dump, mails().len()).await;
    }
}

#[tokio::test(crate = "crate::with_threads")]
async fn exim_takes_everything_over_tls() {
    let (directory, port) = (open_directory(), free_port());
    let path = directory.path().display();
    let (cert, key) = certificate(directory.path());
    // Exim runs itself again for each delivery and must be told where it is.
    let exim = which("exim4");
    let file = directory.path().join("exim.conf");
    let text = format!(
        "spool_directory = {path}/spool\nlog_file_path = {path}/log-%slog\nkeep_environment \
        =\nexim_path = {exim}\nexim_user = nobody\nexim_group = nogroup\nprimary_hostname = \
        mx.example\n\
         daemon_smtp_ports = {port}\nlocal_interfaces = 127.0.0.1\nprocess_log_path = \
         {path}/process\npid_file_path = {path}/pid\n\
         domainlist local_domains = there.example\ntls_advertise_hosts = *\ntls_certificate = \
         {cert}\ntls_privatekey = {key}\n\
         acl_smtp_rcpt = recipients\nmessage_size_limit = 50M\nqueue_only = \
         false\nsmtp_enforce_sync = true\n\
         begin acl\nrecipients:\n  accept local_parts = r0\n  deny message = unknown here\n\
         begin routers\nhere:\n  driver = accept\n  transport = box\n\
         begin transports\nbox:\n  driver = appendfile\n  directory = \
         {path}/mail\n  maildir_format\n  user = nobody\n  group = nogroup\n  \
         mode = 0644\n  message_prefix =\n  message_suffix =\n"
    );
    fs::write(&file, text).unwrap();
    let _exim = Program::start(&exim, &["-C", file.to_str().unwrap(), "-bdf"], port).await;
    deliver(port, true, false).await;
    stored(directory.path().join("mail/new"), mails().len() + 1).await;
}

#[tokio::test(crate = "crate::with_threads")]
async fn postfix_takes_everything_over_tls() {
    let (directory, port) = (open_directory(), free_port());
    let path = directory.path().display();
    let (cert, key) = certificate(directory.path());
    for name in ["conf", "queue", "data"] {
        fs::create_dir(directory.path().join(name)).unwrap();
    }
    let owned =
        Command::new("chown").arg("postfix").arg(directory.path().join("data")).status().unwrap();
    assert!(owned.success(), "this test needs the user postfix, and root to give it a directory");
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {path}/queue\ndata_directory = {path}/data\n\
         daemon_directory = /usr/lib/postfix/sbin\nshlib_directory = \
         /usr/lib/postfix\nmeta_directory = /etc/postfix\n\
         myhostname = mx.example\nmydestination =\nalias_maps =\ninet_interfaces = \
         127.0.0.1\ninet_protocols = ipv4\n\
         mynetworks = 127.0.0.0/8\nvirtual_mailbox_domains = there.example\nvirtual_mailbox_base = \
         {path}/mail\n\
         virtual_mailbox_maps = inline:{{ r0@there.example=box/ }}\nvirtual_minimum_uid = \
         1\nvirtual_uid_maps = static:65534\n\
         virtual_gid_maps = static:65534\nmessage_size_limit = \
         50000000\nvirtual_mailbox_limit = 0\n\
         smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {cert}\nsmtpd_tls_key_file = {key}\n\
         maillog_file = {path}/log\nmaillog_file_prefixes = /var, /dev/stdout, {path}\n"
    );
    let master = format!(
        "127.0.0.1:{port} inet n - n - - smtpd\npickup unix n - n 60 1 pickup\ncleanup unix n - n \
        - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\nbounce unix - - n - 0 \
         bounce\n\
         defer unix - - n - 0 bounce\ntrace unix - - n - 0 bounce\nproxymap unix - - n - - \
         proxymap\nerror unix - - n - - error\n\
         retry unix - - n - - error\nvirtual unix - n n - - virtual\nanvil unix - - n - 1 anvil\n\
         tlsmgr unix - - n 1000? 1 tlsmgr\npostlog unix-dgram n - n - 1 postlogd\n"
    );
    let conf = directory.path().join("conf");
    fs::write(conf.join("main.cf"), main).unwrap();
    fs::write(conf.join("master.cf"), master).unwrap();
    let _postfix =
        Program::start("postfix", &["-c", conf.to_str().unwrap(), "start-fg"], port).await;
    let _master = Master(directory.path().join("queue/pid/master.pid"));
    deliver(port, true, false).await;
    stored(directory.path().join("mail/box/new"), mails().len() + 1).await;
}

/// Postfix's master, by the file with its process id; it has a process group of its own, with all
/// parts of Postfix in it.
struct Master(PathBuf);

impl Drop for Master {
    fn drop(&mut self) {
        if let Ok(id) = fs::read_to_string(&self.0).unwrap_or_default().trim().parse() {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}
