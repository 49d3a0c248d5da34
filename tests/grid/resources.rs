//! The minimum resources in the founding document: 96 MB of memory without swap, and a twentieth of
//! a processor.
//!
//! The kernel's limits (cgroups, either version) enforce it. Everything is slow then, so the time
//! limits of this test are generous; what must not happen is a kill by the kernel, a restart, a
//! lost mail, or a health check that fails.

use crate::engine::{self, Container, Engine, Undo};
use crate::{http, wait_for};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whether clients use TLS.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    /// Implicit, on port 465.
    Tls,
}

const LIMITS: [&str; 6] = ["--memory", "96m", "--memory-swap", "96m", "--cpus", "0.05"];
const MEMORY: u64 = 96 << 20;
/// As many as one address may have.
const SESSIONS: usize = 200;
/// A little under `message_size_limit` (25M), as the bytes of the trace come on top.
const LARGE: usize = 25 << 20;

/// From the start of the container to its first successful health check.
const UNTIL_READY: Duration = Duration::from_secs(60);
/// For one answer of the relay, with all sessions open.
const ANSWER: Duration = Duration::from_secs(120);
/// For the queue to run empty.
const UNTIL_EMPTY: Duration = Duration::from_secs(240);

#[test]
fn the_least_of_the_founding_document_is_enough() {
    enough_for(Mode::Plain);
}

#[test]
fn the_least_is_enough_for_sessions_in_tls() {
    enough_for(Mode::Tls);
}

fn enough_for(mode: Mode) {
    let engine = Engine::find();
    let name = engine::unique("least");
    let undo = Undo::new(&engine);
    let image = undo.image(&name, "Dockerfile");
    let subnet = engine.free_subnet();
    let network = undo.network(&name, &subnet);
    let volume = undo.volume(&name);
    let host = |last: u8| subnet.replace(".0/24", &format!(".{last}")).parse::<Ipv4Addr>().unwrap();
    let (us, sink_address, mta_address) = (host(1), host(25).to_string(), host(26));
    let sink = [
        "--network",
        &network,
        "--ip",
        &sink_address,
        "--entrypoint",
        "/usr/bin/postern",
        &image,
        "sink",
    ];
    let sink =
        undo.run("sink", &[&sink[..], &["--listen", "0.0.0.0:25", "--maildir", "/data"]].concat());

    let address = mta_address.to_string();
    let data = format!("{volume}:/data");
    let relay = format!("MTA_SMART_RELAY=[{sink_address}]:25");
    // This machine is the gateway of the network; it is trusted because it is named.
    let trusted = format!("MTA_SMTPD_TRUSTED_NETWORKS={us}");
    let mut args = LIMITS.to_vec();
    args.extend([
        "--network",
        &network,
        "--ip",
        &address,
        "--volume",
        &data,
        "--env",
        &relay,
        "--env",
        &trusted,
    ]);
    let pair = Pair::new();
    let keys = format!("{}:/key:ro", pair.directory.path().display());
    if mode == Mode::Tls {
        args.extend(["--volume", &keys, "--env", "MTA_SSL_DISABLED=no"]);
    }
    args.push(&image);
    let began = Instant::now();
    let mta = undo.run("mta", &args);
    let ui = SocketAddr::from((mta_address, 80));
    wait_for("the relay to be ready", UNTIL_READY, || http::get_text_at(ui, "/readyz"));
    let mut report = format!("ready after {:.1} s", began.elapsed().as_secs_f64());
    mta.wait_healthy();
    let _ = write!(report, ", healthy after {:.1} s", began.elapsed().as_secs_f64());
    let _ = write!(report, "; at rest {}", mta.memory());

    let door = match mode {
        Mode::Plain => Door { address: SocketAddr::from((mta_address, 25)), tls: None },
        Mode::Tls => {
            Door { address: SocketAddr::from((mta_address, 465)), tls: Some(pair.client()) }
        }
    };
    let since = Instant::now();
    let mut sessions: Vec<_> = (0..SESSIONS).map(|_| Session::open(&door)).collect();
    sessions.iter_mut().for_each(Session::greet);
    let active = http::counter_at(ui, "mta_smtp_active_sessions").unwrap();
    assert!((active - SESSIONS as f64).abs() < 0.5, "{active} sessions are open");
    let _ = write!(
        report,
        "\n{SESSIONS} sessions open after {:.1} s, {}",
        since.elapsed().as_secs_f64(),
        mta.memory()
    );
    sessions.iter_mut().for_each(|session| session.send_mail(1000));
    sessions.iter_mut().for_each(Session::is_accepted);
    let _ = write!(
        report,
        "; a mail of each after {:.1} s, {}",
        since.elapsed().as_secs_f64(),
        mta.memory()
    );
    drop(sessions);
    wait_for("all sessions to be closed", ANSWER, || {
        match http::counter_at(ui, "mta_smtp_active_sessions")? {
            0.0 => Ok(()),
            open => Err(format!("{open} are open")),
        }
    });

    let since = Instant::now();
    let mut session = Session::open(&door);
    session.greet();
    session.send_mail(LARGE - 2000);
    session.is_accepted();
    let _ = write!(report, "\n25 MB accepted after {:.1} s", since.elapsed().as_secs_f64());
    let all = SESSIONS as f64 + 1.0;
    wait_for("every mail to be delivered", UNTIL_EMPTY, || {
        match http::counter_at(ui, "mta_delivered_total")? {
            count if (count - all).abs() < 0.5 => Ok(()),
            count => Err(format!("{count} of {all}")),
        }
    });
    let _ = write!(
        report,
        " and delivered after {:.1} s, {}",
        since.elapsed().as_secs_f64(),
        mta.memory()
    );
    let large = sink.exec(&["find", "/data/new", "-size", "+24M"]);
    assert_eq!(large.lines().count(), 1, "{large}");

    let _ = write!(report, "\n{}", mta.kernels_word());
    if mode == Mode::Tls {
        let in_tls = http::sum_at(ui, "mta_tls_sessions_total").unwrap();
        assert!(in_tls >= all, "{in_tls} sessions in TLS");
    }
    eprintln!("grid: with {LIMITS:?}:\n{report}");
    let state = engine.docker(&[
        "inspect",
        "--format",
        "{{.State.OOMKilled}} {{.RestartCount}} {{.State.Health.Status}}",
        &mta.id,
    ]);
    assert_eq!(state, "false 0 healthy");
    let checks = engine.docker(&[
        "inspect",
        "--format",
        "{{range .State.Health.Log}}{{.ExitCode}} {{end}}",
        &mta.id,
    ]);
    assert!(checks.split(' ').all(|code| code == "0"), "health checks answered {checks}");
    let log = mta.exec(&["cat", "/run/postern/log/appliance/log"]);
    assert_eq!(log.matches("the SMTP core is ready").count(), 1, "{log}");
    assert!(mta.peaks().iter().sum::<u64>() < MEMORY, "{report}");
    let end = Instant::now();
    engine.docker(&["stop", "--time", "60", &mta.id]);
    assert_eq!(engine.docker(&["inspect", "--format", "{{.State.ExitCode}}", &mta.id]), "143");
    eprintln!("grid: stopped in {:.1} s", end.elapsed().as_secs_f64());
}

impl Container<'_> {
    /// The most private memory of each process of the relay, in octets: init and core. A child of
    /// init that reads the keys exists for a moment and may be gone before it is examined.
    fn peaks(&self) -> Vec<u64> {
        let children = self.exec(&["cat", "/proc/1/task/1/children"]);
        let peak = |pid: &str| {
            let status = self.exec(&["sh", "-c", &format!("cat /proc/{pid}/status || true")]);
            let line =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned))?;
            Some(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
        };
        let peaks: Vec<u64> =
            std::iter::once("1").chain(children.split_whitespace()).filter_map(peak).collect();
        assert!(peaks.len() >= 2, "init and core: {peaks:?}");
        peaks
    }

    fn memory(&self) -> String {
        let megabytes: Vec<_> = self
            .peaks()
            .iter()
            .map(|octets| format!("{:.1}", *octets as f64 / f64::from(1 << 20)))
            .collect();
        format!("peak of init and core {} MB", megabytes.join(" + "))
    }

    /// The kernel's numbers for the whole container: the peak includes page cache.
    fn kernels_word(&self) -> String {
        // Version 1 has a directory for each resource, version 2 one for all.
        let script = "cd /sys/fs/cgroup; for file in memory/memory.max_usage_in_bytes \
        memory/memory.failcnt memory/memory.oom_control \
                      cpu/cpu.stat cpuacct/cpuacct.usage memory.peak memory.events cpu.stat; do \
                      [ ! -r $file ] || { echo $file; cat $file; }; done";
        let told = self.exec(&["sh", "-c", script]);
        let number = |name: &str| {
            told.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        assert_eq!(number("oom_kill "), Some(0), "the kernel has ended a process: {told}");
        assert!(
            number("nr_throttled ").is_some_and(|times| times > 0),
            "the limit of the processor was never felt: {told}"
        );
        told.replace('\n', " ")
    }
}

/// A key and a certificate that the relay uses, and that its clients trust.
struct Pair {
    directory: tempfile::TempDir,
    certificate: rcgen::Certificate,
}

impl Pair {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["mta.example.org".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        for (name, content) in
            [("server.key", key.serialize_pem()), ("server.pem", certificate.pem())]
        {
            std::fs::write(directory.path().join(name), content).unwrap();
        }
        // The relay runs as the image's user and not as root.
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { directory, certificate }
    }

    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// The address where sessions begin.
struct Door {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// One SMTP session.
struct Session {
    reader: BufReader<Box<dyn Stream>>,
}

impl Session {
    fn open(door: &Door) -> Self {
        let stream = TcpStream::connect_timeout(&door.address, ANSWER).unwrap();
        stream.set_read_timeout(Some(ANSWER)).unwrap();
        stream.set_write_timeout(Some(ANSWER)).unwrap();
        let stream: Box<dyn Stream> = match &door.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = "mta.example.org".try_into().unwrap();
                let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
                Box::new(StreamOwned::new(connection, stream))
            }
        };
        Self { reader: BufReader::new(stream) }
    }

    fn greet(&mut self) {
        self.hear("220 ");
        self.say(b"EHLO client.example\r\n");
        self.hear("250 ");
    }

    /// A whole mail in one piece, as PIPELINING allows, except its content.
    fn send_mail(&mut self, octets: usize) {
        self.say(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n");
        ["250 ", "250 ", "354 "].into_iter().for_each(|code| self.hear(code));
        let line = [b"x".repeat(76), b"\r\n".to_vec()].concat();
        self.say(b"Subject: the least\r\n\r\n");
        self.say(&line.repeat(octets / line.len()));
        self.say(b".\r\n");
    }

    fn is_accepted(&mut self) {
        self.hear("250 ");
        self.say(b"QUIT\r\n");
    }

    fn say(&mut self, octets: &[u8]) {
        let stream = self.reader.get_mut();
        stream.write_all(octets).and_then(|()| stream.flush()).unwrap();
    }

    /// The last line of the next reply.
    fn hear(&mut self, code: &str) {
        loop {
            let mut line = String::new();
            assert_ne!(
                self.reader.read_line(&mut line).unwrap(),
                0,
                "the relay hung up before {code}"
            );
            if line.as_bytes().get(3) != Some(&b'-') {
                assert!(line.starts_with(code), "{line}");
                return;
            }
        }
    }
}
