//! Many untrusted clients, which must not affect trusted ones.
//!
//! Untrusted clients have addresses from 127.0.0.2 on; only 127.0.0.1 is trusted.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

#[path = "../support/mod.rs"]
mod support;

mod flood;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
use postern::ground::memory::Pressure;
use postern::ground::net::ConnectionLimits;
use postern::mail::accept::Limits;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};
use support::client::Client;
use support::eventually;
use support::receiver::{Receiver, Setup};
use support::spool::Trouble;

/// Connects from an address of this machine's own network, 127.0.0.`last`.
fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    let SocketAddr::V4(to) = to else { panic!("the tests speak IPv4") };
    let stream: OwnedFd =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let from = SocketAddrV4::new([127, 0, 0, last].into(), 0);
    bind(stream.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
    connect(stream.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    let stream = TcpStream::from(stream);
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn receiver(limits: ConnectionLimits) -> Receiver {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(4096.min(hard)), hard).unwrap();
    let trusted = vec!["127.0.0.1/32".to_owned()];
    Receiver::start(Setup { trusted, limits: limits.into(), ..Setup::default() })
}

/// All replies that a silent client got.
fn told(mut stream: TcpStream) -> String {
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn a_trusted_client_is_greeted_within_a_second_among_a_thousand_silent_strangers() {
    let receiver = receiver(ConnectionLimits {
        sessions: 1000,
        reserve: 200,
        sessions_per_address: 200,
        ..Limits::default().connection
    });
    let crowd: Vec<_> =
        (0..1000).map(|number| connect_from(2 + (number % 5) as u8, receiver.address)).collect();
    let refused =
        || receiver.counters.sessions_refused_total.with_label_values(&["strangers"]).get();
    eventually("those beyond their places are turned away", || {
        refused() == 200 && receiver.sessions() == 800
    });
    for _ in 0..20 {
        let start = Instant::now();
        let mut client = Client::hello(receiver.address);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        client.begin();
        client.send("Subject: x\r\n\r\n.\r\n");
        client.expect("250 2.0.0 ");
    }
    assert_eq!(
        receiver.counters.sessions_displaced_total.get(),
        0,
        "there was room in the reserve"
    );
    drop(crowd);
}

#[test]
fn the_stranger_that_did_nothing_for_longest_gives_way_and_hears_why() {
    let receiver =
        receiver(ConnectionLimits { sessions: 20, reserve: 0, ..Limits::default().connection });
    let mut crowd: Vec<_> = (0..20)
        .map(|number| {
            let stream = connect_from(2 + number, receiver.address);
            eventually("it has a place", || receiver.sessions() == i64::from(number) + 1);
            std::thread::sleep(Duration::from_millis(2));
            stream
        })
        .collect();
    let mut trusted = Client::hello(receiver.address);
    let gone = crowd.remove(0);
    let text = told(gone);
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("421 4.7.0 mta.example needs this session"), "{text}");
    trusted.ask("NOOP", "250 ");
    assert_eq!(receiver.counters.sessions_displaced_total.get(), 1);
    for stream in crowd {
        let mut client = BufReader::new(stream);
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        client.get_mut().write_all(b"NOOP\r\n").unwrap();
        line.clear();
        client.read_line(&mut line).unwrap();
        assert!(line.starts_with("250 "), "{line}");
    }
}

#[test]
fn dripping_octets_keep_no_place() {
    let receiver =
        receiver(ConnectionLimits { sessions: 2, reserve: 0, ..Limits::default().connection });
    let mut dripping = connect_from(2, receiver.address);
    eventually("it has a place", || receiver.sessions() == 1);
    std::thread::sleep(Duration::from_millis(5));
    let silent = connect_from(3, receiver.address);
    for octet in b"NOOP\r\nNOOP\r\nNO" {
        dripping.write_all(&[*octet]).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let _trusted = Client::hello(receiver.address);
    assert!(told(dripping).contains("421 4.7.0 "));
    drop(silent);
}

#[test]
fn a_crowd_from_one_address_leaves_places_to_other_strangers() {
    let receiver = receiver(ConnectionLimits {
        sessions: 30,
        reserve: 10,
        sessions_per_address: 20,
        ..Limits::default().connection
    });
    let crowd: Vec<_> = (0..20).map(|_| connect_from(2, receiver.address)).collect();
    eventually("they have all places", || receiver.sessions() == 20);
    let mut other = BufReader::new(connect_from(3, receiver.address));
    let mut line = String::new();
    other.read_line(&mut line).unwrap();
    assert!(line.starts_with("220 "), "{line}");
    eventually("one gave way", || receiver.counters.sessions_displaced_total.get() == 1);
    drop(crowd);
}

#[test]
fn a_stranger_that_says_nothing_is_ended_soon() {
    let receiver = receiver(ConnectionLimits {
        stranger: Duration::from_millis(300),
        ..Limits::default().connection
    });
    let (start, silent) = (Instant::now(), connect_from(2, receiver.address));
    let mut trusted = Client::hello(receiver.address);
    assert!(told(silent).contains("421 4.4.2 "));
    assert!(start.elapsed() < Duration::from_secs(5));
    trusted.ask("NOOP", "250 ");
}

/// Free memory is of no use to a mail that the queue cannot accept.
#[test]
fn while_the_volume_is_full_nobody_gives_way_for_memory() {
    let limits = Limits::default().connection;
    let memory = limits.memory.clone();
    let trusted = vec!["127.0.0.1/32".to_owned()];
    let receiver = Receiver::start(Setup {
        trusted,
        limits: limits.into(),
        trouble: Some(Trouble::Full),
        ..Setup::default()
    });
    let mut client = Client::hello(receiver.address);
    let mut stranger = Client::of(connect_from(2, receiver.address));
    eventually("a stranger is there", || receiver.sessions() == 2);
    memory.set(Pressure::Critical);
    client.ask("MAIL FROM:<a@client.example>", "452 4.3.1 The queue cannot accept mail");
    stranger.expect("220 ");
    stranger.ask("NOOP", "250 ");
    assert_eq!(receiver.counters.sessions_displaced_total.get(), 0);
}

#[test]
fn while_memory_is_short_strangers_hear_so_and_trusted_clients_send() {
    let limits = Limits::default().connection;
    let memory = limits.memory.clone();
    let receiver = receiver(limits);
    let refused = || receiver.counters.sessions_refused_total.with_label_values(&["memory"]).get();
    memory.set(Pressure::Short);
    assert!(
        told(connect_from(2, receiver.address))
            .starts_with("421 4.3.2 mta.example Too little memory")
    );
    let mut client = Client::hello(receiver.address);
    client.begin();
    client.send("Subject: x\r\n\r\n.\r\n");
    client.expect("250 2.0.0 ");
    assert_eq!(refused(), 1);
    memory.set(Pressure::Ample);
    let stranger = Client::of(connect_from(2, receiver.address));
    eventually("a stranger is there", || receiver.sessions() == 2);
    memory.set(Pressure::Critical);
    client.ask("MAIL FROM:<a@client.example>", "250 ");
    client.ask("RSET", "250 ");
    eventually("the stranger has given way", || receiver.sessions() == 1);
    assert_eq!(receiver.counters.sessions_displaced_total.get(), 1);
    drop(stranger);
    client.ask("MAIL FROM:<a@client.example>", "452 4.3.1 There is too little memory");
    assert!(told(connect_from(1, receiver.address)).starts_with("421 4.3.2 "));
    memory.set(Pressure::Ample);
    client.ask("MAIL FROM:<a@client.example>", "250 ");
    assert_eq!(
        (refused(), receiver.counters.refused_total.with_label_values(&["memory"]).get()),
        (2, 1)
    );
}
