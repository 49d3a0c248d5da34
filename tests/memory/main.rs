//! The minimum memory of the class, and more clients than would fit if each used all that it can.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use rustls::ClientConfig;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::appliance::{Appliance, Sink};
use support::cgroup::Group;
use support::client::Client;
use support::patience::until;
use support::program::{open_directory, raise_descriptors};
use support::tls::{believing, self_signed};

/// Argon2 with 64 MiB.
const HASH_OF_64_MB: &str =
    "$argon2id$v=19$m=65536,t=1,p=1$c2FsdHNhbHRzYWx0$/e3GcjItmBpwkaDcmKKe9jJxL2dVDYkrKlSB+bgh9Gw";

const KIND: &str = "Content-Type: message/rfc822\r\n";

const MEGABYTES: u64 = 96;
/// With those that send and a few in reserve: as many as `session_limit`.
const ADDRESSES: usize = 5;
const SESSIONS_EACH: usize = 188;
/// So many of these finish their mail in the end.
const STRANGERS: usize = 800;
const FINISH: usize = 40;
const LARGE: usize = 40;
const LARGE_OCTETS: usize = 10_000_000;
const VIEWERS: usize = 200;

/// The last octet of the address of a client, such that each has as many as the others.
fn address(number: usize) -> u8 {
    2 + u8::try_from(number % ADDRESSES).unwrap()
}

/// Connects from 127.0.0.`last`: no address has more than `session_limit_per_address`.
fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let SocketAddr::V4(to) = to else { panic!("the tests speak IPv4") };
    let stream: OwnedFd =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(stream.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new([127, 0, 0, last].into(), 0)))
        .unwrap();
    connect(stream.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    let stream = TcpStream::from(stream);
    for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        set(&stream, Some(Duration::from_secs(90))).unwrap();
    }
    stream
}

fn hello(last: u8, to: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let mut client = Client::of(connect_from(last, to)).secure(config);
    client.expect("220 ");
    client.ask("EHLO client.example", "250 ");
    client
}

#[test]
fn a_thousand_sessions_within_data_large_mails_and_viewers_fit_the_least_memory() {
    raise_descriptors();
    let (volume, sink) = (open_directory(), Sink::start(""));
    let (key, certificate) = self_signed();
    for (name, text) in [("server.key", key), ("server.pem", certificate.clone())] {
        fs::write(volume.path().join(name), text).unwrap();
        fs::set_permissions(volume.path().join(name), Permissions::from_mode(0o644)).unwrap();
    }
    let config = believing(certificate.as_bytes());
    let group = Group::new(MEGABYTES);
    let key = volume.path().display().to_string();
    let relay = sink.relay();
    let mut appliance = group.inside(|| {
        Appliance::start(&[
            ("MTA_SMART_RELAY", &relay),
            ("MTA_SSL_DISABLED", "no"),
            ("MTA_VOLUME_KEY", &key),
            ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.0/8"),
        ])
    });
    let core = appliance.child("core").unwrap();

    let start = Instant::now();
    let mut crowd: Vec<Client> = Vec::new();
    for number in 0..ADDRESSES * SESSIONS_EACH {
        let mut client = hello(address(number), appliance.smtps, &config);
        client.begin();
        client.send("Subject: in the middle\r\n\r\n");
        client
            .send("0123456789abcdef 0123456789abcdef 0123456789abcdef 0123456789\r\n".repeat(480));
        if number >= FINISH {
            // The start of the longest possible record: it must be kept until its end comes.
            let record = [&[23, 3, 3, 0x40, 0][..], &[0; 16_000]].concat();
            client.tcp().write_all(&record).unwrap();
        }
        crowd.push(client);
    }
    eprintln!(
        "{} sessions within DATA after {:?}: {} MB",
        crowd.len(),
        start.elapsed(),
        group.used()
    );

    let (smtps, ui) = (appliance.smtps, appliance.ui);
    let large: Vec<_> = (0..LARGE)
        .map(|number| {
            let config = config.clone();
            std::thread::spawn(move || {
                let mut client = hello(address(number), smtps, &config);
                client.begin();
                client.send("Subject: large\r\n\r\n");
                let piece = "0123456789abcdef 0123456789abcdef 0123456789abcdef 0123456789\r\n"
                    .repeat(1000);
                (0..LARGE_OCTETS / piece.len()).for_each(|_| client.send(&piece));
                client.send(".\r\n");
                client.expect("250 ");
            })
        })
        .collect();
    let viewers: Vec<_> = (0..VIEWERS)
        .map(|number| {
            let pages = ["/", "/queue", "/sessions", "/log", "/api/v1/sessions", "/api/v1/stream"];
            let request =
                format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", pages[number % pages.len()]);
            let mut stream = connect_from(address(number), ui);
            // Some are rejected, and none of them reads.
            let _ = stream.write_all(request.as_bytes());
            stream
        })
        .collect();
    let asked = Instant::now();
    let mut trusted = hello(9, smtps, &config);
    trusted.mail("sender@here.example", &["box@there.example"], b"Subject: one of ours\r\n\r\n");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "one more was served after {:?}",
        asked.elapsed()
    );
    large.into_iter().for_each(|sender| sender.join().expect("a large mail was answered 250"));
    eprintln!("all large mails were accepted after {:?}: {} MB", asked.elapsed(), group.used());
    for client in &mut crowd[..FINISH] {
        client.send(".\r\n");
        client.expect("250 ");
    }
    assert!(until("the health page answers", || health(ui)).contains(" 200 "));
    drop((crowd, viewers));
    let all = LARGE + FINISH + 1;
    until("every mail that was answered 250 is at the next hop", || match sink.count() {
        found if found < all => Err(format!("{found} of {all}")),
        _ => Ok(()),
    });
    assert_eq!((sink.count(), group.killed()), (all, 0));
    assert_eq!(appliance.child("core"), Some(core), "the core is the one that was started");
    let told = appliance
        .log()
        .iter()
        .any(|line| line.contains("memory: the limit is 96 MB; room for 1000 SMTP sessions"));
    assert!(told, "{:#?}", appliance.log());
    appliance.stop();
}

#[test]
fn strangers_that_pour_what_nobody_reads_leave_memory_to_trusted_clients() {
    raise_descriptors();
    let (group, sink) = (Group::new(MEGABYTES), Sink::start(""));
    let mut appliance = group.inside(|| {
        Appliance::start(&[
            ("MTA_SMART_RELAY", &sink.relay()),
            ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1"),
        ])
    });
    // Each of them waits for the answers to its junk from the first commands on, and continues to
    // send. In pieces as over a network: one piece of the loopback device is larger than all that
    // the kernel buffers.
    let noops = "NOOP\r\n".repeat(230);
    let pour = |stream: &TcpStream| {
        let _ = (0..100).try_for_each(|_| (&mut &*stream).write(noops.as_bytes()).map(drop));
    };
    let crowd: Vec<_> = (0..STRANGERS)
        .map(|number| {
            let mut stream = connect_from(address(number), appliance.smtp);
            stream.set_nodelay(true).unwrap();
            // Some of them wait for the greeting.
            if number % 4 > 0 {
                stream.read_exact(&mut [0; 4]).unwrap();
            }
            stream.set_nonblocking(true).unwrap();
            pour(&stream);
            stream
        })
        .collect();
    let poured = Instant::now();
    let mut most = 0;
    while poured.elapsed() < Duration::from_secs(3) {
        crowd.iter().for_each(pour);
        most = most.max(group.sockets());
    }
    eprintln!("{STRANGERS} strangers: {most} MB in the kernel, {} MB in the program", group.used());
    assert!(most < 24, "the kernel keeps {most} MB for {STRANGERS} strangers");
    for _ in 0..10 {
        let asked = Instant::now();
        let mut trusted = Client::of(connect_from(1, appliance.smtp));
        trusted.expect("220 ");
        trusted.ask("EHLO client.example", "250 ");
        trusted.mail(
            "sender@here.example",
            &["box@there.example"],
            b"Subject: one of ours\r\n\r\n",
        );
        assert!(asked.elapsed() < Duration::from_secs(5), "after {:?}", asked.elapsed());
    }
    drop(crowd);
    until("all are at the next hop", || {
        if sink.count() == 10 { Ok(()) } else { Err(sink.count().to_string()) }
    });
    assert_eq!(group.killed(), 0);
    appliance.stop();
}

#[test]
fn while_memory_is_used_up_no_way_takes_mail_and_the_page_says_so() {
    let group = Group::new(MEGABYTES);
    let appliance = group.inside(|| Appliance::start(&[("MTA_SMART_RELAY", "127.0.0.1:9")]));
    let post = || {
        appliance.post(
            "/api/v1/messages?from=a%40here.example&to=b%40there.example",
            KIND,
            b"Subject: x\n\nx\n",
        )
    };
    assert_eq!(post().0, "201");
    let tool = |words: &[&str]| {
        let output = appliance.command(&[&["queue"], words].concat()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let pairs = appliance.path("run").join("pairs");
    let directory = pairs.to_str().unwrap();
    let export = || match tool(&["export", directory, "--all", "--move"]) {
        (true, _) => Ok(()),
        (false, said) => Err(said),
    };
    until("a mail moves out", export);
    let alert = || {
        let status = appliance.api("status");
        status["alerts"]
            .as_array()
            .unwrap()
            .iter()
            .find(|alert| alert["text"].as_str().unwrap().contains("Memory"))
            .cloned()
    };
    assert_eq!(alert(), None);
    let mut client = Client::hello(appliance.smtp);
    // Other processes in the same group use the rest.
    let ballast =
        group.inside(|| vec![1_u8; usize::try_from((MEGABYTES - 5 - group.used()) << 20).unwrap()]);
    until("memory is used up", || {
        alert().filter(|alert| alert["grave"] == true).ok_or("no alert".to_owned())
    });
    client.ask("MAIL FROM:<a@here.example>", "452 4.3.1 There is too little memory");
    let (status, body) = post();
    assert!(
        status == "503" && body.contains("452 4.3.1 There is too little memory"),
        "{status} {body}"
    );
    let (imported, said) = tool(&["import", directory]);
    assert!(!imported && said.contains("too little memory"), "{said}");
    drop(ballast);
    until("there is memory again", || alert().map_or(Ok(()), |alert| Err(alert.to_string())));
    client.ask("MAIL FROM:<a@here.example>", "250 ");
    assert_eq!(post().0, "201");
    assert!(tool(&["import", directory]).0);
    assert_eq!((appliance.counter("mta_mqueue_messages"), group.killed()), (2, 0));
}

#[test]
fn a_hash_that_does_not_fit_the_memory_stops_the_start_and_says_what_to_do() {
    let mut appliance =
        Appliance::start(&[("MTA_USERNAME", "anna"), ("MTA_PASSWORD", HASH_OF_64_MB)]);
    assert_eq!(appliance.stop(), 143);
    let group = Group::new(MEGABYTES - 8);
    for (command, code) in [("check", 1), ("init", 64)] {
        let output = group.inside(|| appliance.command(&[command]).output().unwrap());
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(code), "{said}");
        let cause = "password is an Argon2 hash that takes 64 MB of memory for each login, and the \
        limit is 88 MB: make one that takes less";
        assert!(
            said.contains("Error: failed to preconfigure the MTA") && said.contains(cause),
            "{said}"
        );
        assert!(said.contains("give the container at least 92 MB"), "{said}");
    }
}

#[test]
fn sessions_that_there_are_no_descriptors_for_are_told_at_the_start() {
    let mut appliance = Appliance::start(&[]);
    appliance.stop();
    let output = limited(&appliance.command(&["check"]), 1024).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("session_limit=1000, and 1024 open files are enough for 240 SMTP sessions"),
        "{said}"
    );
    // Logged if this machine has a default gateway.
    assert!(
        !said.contains("all 800 sessions")
            && (!said.contains(" sessions of unknown") || said.contains("all 192 sessions")),
        "{said}"
    );
    appliance.set(&[("MTA_SESSION_LIMIT", "240")]);
    let output = limited(&appliance.command(&["check"]), 1024).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        !said.contains("open files are enough") && said.contains("room for 240 SMTP sessions"),
        "{said}"
    );
}

/// The same command with so many descriptors and no more.
fn limited(command: &Command, files: u32) -> Command {
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    limited.env_clear().current_dir("/");
    limited.envs(command.get_envs().map(|(name, value)| (name, value.unwrap_or_default())));
    limited
}

fn health(ui: SocketAddr) -> Result<String, String> {
    let mut stream = connect_from(1, ui);
    let mut answer = String::new();
    let asked = stream
        .write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_to_string(&mut answer).map(drop));
    asked.map(|()| answer).map_err(|error| error.to_string())
}
