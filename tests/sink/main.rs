//! The sink accepts, stores and fails as configured, and ends on a signal.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postern::sink::{SinkArgs, run};
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread::{self, JoinHandle};
use support::client::Client;
use support::eventually;

/// A sink in this process. Signals reach all sinks of a process, so one test starts them all, one
/// after the other.
struct Sink {
    address: SocketAddr,
    running: JoinHandle<ExitCode>,
}

impl Sink {
    fn start(fail: &str, maildir: Option<&std::path::Path>) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let fail = fail
            .split(',')
            .filter(|wish| !wish.is_empty())
            .map(|wish| wish.parse().unwrap())
            .collect();
        let args = SinkArgs { listen: address, maildir: maildir.map(Into::into), fail };
        let running = thread::spawn(move || run(args));
        eventually("the sink listens", || TcpStream::connect(address).is_ok());
        Self { address, running }
    }

    fn stop(self) {
        kill(Pid::this(), Signal::SIGTERM).unwrap();
        assert_eq!(self.running.join().unwrap(), ExitCode::SUCCESS);
    }
}

#[test]
fn takes_keeps_and_fails_as_told() {
    keeps_mail_octet_by_octet();
    says_what_fail_asks();
    hangs_and_drops();
    assert_eq!(
        run(SinkArgs { listen: "192.0.2.1:1".parse().unwrap(), maildir: None, fail: Vec::new() }),
        ExitCode::from(69)
    );
}

fn keeps_mail_octet_by_octet() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::start("", Some(folder.path()));
    let mut client = Client::hello(sink.address);
    client.begin();
    client.send(b"Subject: \xff\r\n\r\n..\r\n.\r\n");
    client.expect("250 2.0.0 ");
    client.begin();
    client.send("half of a second mail");
    client.finish();
    client.expect_close();
    sink.stop();
    let kept: Vec<_> = fs::read_dir(folder.path().join("new"))
        .unwrap()
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    let expected = [
        &b"Return-Path: <sender@client.example>\r\nX-Original-To: recipient@there.example\r\n"[..],
        b"Subject: \xff\r\n\r\n.\r\n",
    ];
    assert_eq!(kept, [expected.concat()]);
    assert_eq!(
        fs::read_dir(folder.path().join("tmp")).unwrap().count(),
        0,
        "nothing is left of the half one"
    );
}

fn says_what_fail_asks() {
    for (wish, words) in [
        ("greeting=554", ""),
        ("ehlo=451", "EHLO x\r\n"),
        ("mail=452", "EHLO x\r\nMAIL FROM:<>\r\n"),
        ("rcpt=450", "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\n"),
        ("data=421", "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n"),
        ("dot=552", "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\n.\r\n"),
    ] {
        let sink = Sink::start(wish, None);
        let mut client = Client::connect(sink.address);
        client.send(words);
        client.finish();
        let said = client.rest();
        let code = &wish[wish.len() - 3..];
        let last = said.lines().last().unwrap();
        assert!(last.starts_with(code) && last.ends_with("As --fail asks"), "{wish}: {said}");
        sink.stop();
    }
}

fn hangs_and_drops() {
    let sink = Sink::start("greeting=554", None);
    let mut client = Client::connect(sink.address);
    client.expect("554 ");
    client.ask("EHLO x", "503 5.5.1 ");
    client.send("QUIT\r\n");
    client.expect_close();
    sink.stop();
    let sink = Sink::start("connect=drop", None);
    Client::connect(sink.address).expect_close();
    sink.stop();
    let sink = Sink::start("rcpt=hang", None);
    let mut client = Client::hello(sink.address);
    client.ask("MAIL FROM:<>", "250 ");
    client.send("RCPT TO:<a@b.example>\r\nQUIT\r\n");
    client.finish();
    client.expect_close();
    sink.stop();
    let sink = Sink::start("dot=drop", None);
    let mut client = Client::hello(sink.address);
    client.begin();
    client.send("x\r\n.\r\n");
    client.expect_close();
    sink.stop();
}
