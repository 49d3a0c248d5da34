//! A failing monitor does not affect mail: mail flows and counters are scraped as before, and
//! pushes resume by themselves when the monitor works again.

use crate::mx::send;
use crate::support::appliance::{Appliance, Sink};
use crate::support::patience::until;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the monitor does with a push.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Hangs,
    Resets,
    Redirects,
    Garbage,
    Endless,
}

/// A monitor whose behaviour changes.
pub(crate) struct Monitor {
    pub(crate) address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
}

impl Monitor {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(Mood::Well));
        let present = Arc::clone(&mood);
        // Both kinds of thread end with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, mood) = (stream.unwrap(), *present.lock().unwrap());
                std::thread::spawn(move || answer(stream, mood));
            }
        });
        Self { address, mood }
    }
}

fn answer(mut stream: TcpStream, mood: Mood) {
    let mut request = [0; 256];
    let _ = stream.read(&mut request);
    let words: &[u8] = match mood {
        Mood::Well => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        Mood::Redirects => {
            b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        }
        Mood::Garbage => b"\xff\x00\x01garbage\r\n\r\n",
        // Unread octets of the request make the kernel reset the connection at the close.
        Mood::Resets => return,
        Mood::Hangs => b"",
        Mood::Endless => b"HTTP/1.1 500 No\r\n\r\n",
    };
    let _ = stream.write_all(words);
    match mood {
        Mood::Endless => while stream.write_all(&[b'x'; 4096]).is_ok() {},
        _ => while matches!(stream.read(&mut request), Ok(1..)) {},
    }
}

#[test]
fn mail_and_counters_do_not_mind_a_monitor_in_trouble() {
    let (monitor, sink) = (Monitor::start(), Sink::start(""));
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_TERMINAL_MON", &format!("http://{}", monitor.address)),
        ("MTA_MON_INTERVAL", "1s"),
    ]);
    let pushed = || appliance.counter("mta_push_total");
    until("a push", || if pushed() > 0 { Ok(()) } else { Err(String::new()) });
    let moods = [Mood::Resets, Mood::Redirects, Mood::Garbage, Mood::Endless, Mood::Hangs];
    for (round, mood) in moods.into_iter().enumerate() {
        let failures = appliance.counter("mta_push_failures_total");
        *monitor.mood.lock().unwrap() = mood;
        let begin = Instant::now();
        for number in 0..20 {
            send(&appliance, "sender@here.example", &format!("{mood:?}-{number}@there.example"));
        }
        sink.mails((round + 1) * 20);
        appliance.until_empty();
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{mood:?}: 20 mails took {:?}",
            begin.elapsed()
        );
        until(&format!("{mood:?} is counted"), || {
            match appliance.counter("mta_push_failures_total") {
                now if now > failures => Ok(()),
                now => Err(now.to_string()),
            }
        });
        let before = pushed();
        *monitor.mood.lock().unwrap() = Mood::Well;
        until(&format!("pushes resume after {mood:?}"), || {
            if pushed() > before { Ok(()) } else { Err(String::new()) }
        });
    }
    assert_eq!(appliance.stop(), 143);
    let log = appliance.log();
    let told = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(
        told("pushes to terminal mon fail"),
        moods.len(),
        "one line when trouble begins: {log:#?}"
    );
    assert_eq!(
        told("pushes to terminal mon succeed again"),
        moods.len(),
        "one line when it ends: {log:#?}"
    );
}
