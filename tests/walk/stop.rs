//! SIGTERM under load: all mail answered with 250 arrives, before or after the restart, and once.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::stuffed;
use crate::support::patience::until;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Sends numbered mails until the appliance rejects them or has ended. Those answered 250 go to
/// `taken`, with their queue ids.
fn send_until_refused(
    address: SocketAddr,
    next: &AtomicUsize,
    taken: &Mutex<BTreeMap<usize, String>>,
) {
    let Ok(stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut ask = |words: &[u8], code: &str| {
        reader.get_mut().write_all(words).ok()?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|octets| *octets > 0)?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.starts_with(code).then_some(line);
            }
        }
    };
    let mut session = || {
        ask(b"", "220")?;
        ask(b"EHLO client.example\r\n", "250")?;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            ask(b"MAIL FROM:<sender@here.example>\r\n", "250")?;
            ask(format!("RCPT TO:<box{number}@there.example>\r\n").as_bytes(), "250")?;
            ask(b"DATA\r\n", "354")?;
            let said =
                ask(&stuffed(format!("Subject: {number}\r\n\r\nwords\r\n").as_bytes()), "250")?;
            taken
                .lock()
                .unwrap()
                .insert(number, said.trim().rsplit(' ').next().unwrap().to_owned());
        }
    };
    let over: Option<()> = session();
    assert_eq!(over, None, "a session ends by a refusal");
}

fn stopped_under_load(fail: &str, drain: &str) {
    let sink = Sink::start(fail);
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_DRAIN_TIME", drain),
        ("MTA_MINIMAL_BACKOFF_TIME", "1s"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1s"),
    ]);
    let (next, taken) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| send_until_refused(appliance.smtp, &next, &taken));
        }
        until("the load is on", || match taken.lock().unwrap().len() {
            many if many >= 500 => Ok(()),
            few => Err(format!("{few} mails")),
        });
        appliance.begin_stop();
    });
    assert_eq!(appliance.finish_stop(), 143);
    let taken = taken.into_inner().unwrap();
    let gone = sink.mails(sink.count());
    eprintln!("{} answered 250, {} delivered before the end", taken.len(), gone.len());

    // The rest is in the queue of the next start, whose next hop works.
    let address = sink.address;
    sink.stop("mails");
    let sink = Sink::at(address, "");
    appliance.boot();
    appliance.until_empty();
    let mut came: BTreeMap<String, usize> = BTreeMap::new();
    let rest = sink.mails(sink.count());
    gone.iter()
        .chain(&rest)
        .flat_map(|mail| &mail.to)
        .for_each(|to| *came.entry(to.clone()).or_default() += 1);
    for (number, id) in &taken {
        let times = came.get(&format!("box{number}@there.example")).copied().unwrap_or(0);
        assert_eq!(times, 1, "mail {number}, queue id {id}");
    }
    assert!(
        came.values().all(|times| *times == 1),
        "also what was not answered any more comes at most once: {came:?}"
    );
    assert_eq!(appliance.stop(), 143);
}

#[test]
fn a_stop_under_load_loses_nothing() {
    stopped_under_load("", "30s");
}

#[test]
fn a_stop_with_a_full_queue_loses_nothing() {
    stopped_under_load("rcpt=451:70", "30s");
}

/// The order in which an operator sees it: the queue, the stop, the same queue.
#[test]
fn the_queue_is_the_same_after_a_restart() {
    let sink = Sink::start("rcpt=451");
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    for number in 0..20 {
        crate::mx::send(&appliance, "sender@here.example", &format!("box{number}@there.example"));
    }
    until("all were tried", || match appliance.counter("mta_deferred_total") {
        20 => Ok(()),
        tried => Err(format!("{tried} tries")),
    });
    let what_stays = |appliance: &Appliance| -> Vec<String> {
        let still = |message: &serde_json::Value| {
            let recipient = &message["recipients"][0];
            format!(
                "{} {} {} {}",
                message["id"], message["arrived"], recipient["attempts"], recipient["last_reply"]
            )
        };
        appliance.queue(&["list"]).iter().map(still).collect()
    };
    let before = what_stays(&appliance);
    assert_eq!(before.len(), 20);
    assert_eq!(appliance.stop(), 143);
    appliance.boot();
    assert_eq!(what_stays(&appliance), before);
    // Not due yet: nothing was attempted again.
    assert_eq!(appliance.counter("mta_deferred_total"), 0);
    let address = sink.address;
    sink.stop("mails");
    let sink = Sink::at(address, "");
    appliance.queue(&["retry", "--domain", "there.example", "--yes"]);
    sink.mails(20);
    appliance.until_empty();
}

/// A connection to a next hop on which every reply is slow.
fn slow_way_to(next_hop: SocketAddr) -> SocketAddr {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = door.local_addr().unwrap();
    std::thread::spawn(move || {
        for near in door.incoming().map_while(Result::ok) {
            let Ok(far) = TcpStream::connect(next_hop) else { continue };
            let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_near, &mut to_far);
                let _ = to_far.shutdown(Shutdown::Write);
            });
            std::thread::spawn(move || pass_slowly(far, near));
        }
    });
    address
}

fn pass_slowly(mut from: TcpStream, mut to: TcpStream) {
    let mut octets = [0; 4096];
    while let Ok(got @ 1..) = from.read(&mut octets) {
        std::thread::sleep(Duration::from_millis(50));
        if to.write_all(&octets[..got]).is_err() {
            return;
        }
    }
}

/// Delivery agents with open connections and mail to deliver must obey the stop all the same.
#[test]
fn a_stop_with_more_mail_than_time_ends_in_time() {
    let sink = Sink::start("");
    let slow = slow_way_to(sink.address).to_string();
    let mut appliance = Appliance::start(&[("MTA_SMART_RELAY", &slow), ("MTA_DRAIN_TIME", "1s")]);
    let mails = 1000;
    // All of it waits first: on a busy machine sending takes longer than delivering.
    appliance.queue(&["pause", &slow]);
    for number in 0..mails {
        crate::mx::send(&appliance, "sender@here.example", &format!("box{number}@there.example"));
    }
    appliance.queue(&["resume", &slow]);
    until("the first arrive", || {
        if sink.count() > 20 { Ok(()) } else { Err(sink.count().to_string()) }
    });
    let begun = Instant::now();
    assert_eq!(appliance.stop(), 143);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(sink.count() < mails, "there was more mail than time");
    assert!(
        !appliance.log().iter().any(|line| line.contains("did not stop in time")),
        "it was killed"
    );

    appliance.set(&[("MTA_SMART_RELAY", &sink.relay())]);
    appliance.boot();
    appliance.until_empty();
    assert_eq!(sink.count(), mails);
}
