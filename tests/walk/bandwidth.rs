//! The minimum bandwidth of the class, 1 Mbps, on both sides of the relay.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// 1 Mbps in octets, for each direction.
const OCTETS_PER_SECOND: usize = 125_000;
const TICK: Duration = Duration::from_millis(50);
/// What passes in a tick.
const PIECE: usize = OCTETS_PER_SECOND / 20;

/// Large enough to take seconds on such a line, whatever the buffers at its ends contain.
const CONTENT: usize = 1_000_000;

/// A slow line to `there`; its threads end with the test's process.
fn thin_line(there: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(there).unwrap());
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || trickle(near, far));
            std::thread::spawn(move || trickle(far_too, near_too));
        }
    });
    here
}

fn trickle(mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; PIECE];
    while let Ok(octets @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..octets]).is_err() {
            break;
        }
        if octets == piece.len() {
            std::thread::sleep(TICK);
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}

#[test]
fn a_megabit_on_both_sides_is_enough() {
    let sink = Sink::start("");
    let relay = thin_line(sink.address).to_string();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &relay)]);
    let mut client = Client::hello(thin_line(appliance.smtp));
    let line = format!("{}\r\n", "0123456789".repeat(7));
    let content = format!("Subject: a large one\r\n\r\n{}", line.repeat(CONTENT / line.len()));
    let begin = Instant::now();
    client.ask("MAIL FROM:<sender@here.example>", "250 ");
    client.ask("RCPT TO:<box@there.example>", "250 ");
    client.ask("DATA", "354 ");
    // In pieces, because each write of the client has a time limit of its own.
    for piece in content.as_bytes().chunks(OCTETS_PER_SECOND) {
        client.send(piece);
    }
    client.send(".\r\n");
    client.expect("250 ");
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(4), "the line is not thin: {took:?}");
    let mail = sink.mails(1).remove(0);
    assert_eq!(mail.content, content.as_bytes());
    assert!(
        begin.elapsed() > took + Duration::from_secs(4),
        "the line to the next hop is not thin: {:?}",
        begin.elapsed()
    );
    appliance.until_empty();
}
