//! Untrusted clients in a loop, with the whole program: how fast its log grows.

use crate::connect_from;
use crate::support::appliance::Appliance;
use crate::support::client::Client;
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long the clients loop.
const FLOOD: Duration = Duration::from_secs(8);

/// MAIL, RCPT, RSET as fast as replies come, in one session after the other. Gives back the
/// rejections.
fn loop_from(last: u8, to: std::net::SocketAddr, end: &AtomicBool) -> u32 {
    let mut refused = 0;
    while !end.load(Ordering::Relaxed) {
        let mut client = BufReader::new(connect_from(last, to));
        let mut line = String::new();
        let mut ask = |client: &mut BufReader<std::net::TcpStream>, words: &str| {
            let _ = client.get_mut().write_all(words.as_bytes());
            line.clear();
            let read = client.read_line(&mut line).is_ok_and(|octets| octets > 0)
                && !line.starts_with("421");
            refused += u32::from(line.starts_with("554"));
            read
        };
        let mut goes_on = ask(&mut client, "") && ask(&mut client, "HELO x\r\n");
        while goes_on && !end.load(Ordering::Relaxed) {
            goes_on = ["MAIL FROM:<a@b.example>\r\n", "RCPT TO:<c@d.example>\r\n", "RSET\r\n"]
                .iter()
                .all(|words| ask(&mut client, words));
        }
    }
    refused
}

#[test]
fn costs_below_a_megabyte_of_log_a_minute_and_hides_no_mail() {
    let mut appliance = Appliance::start(&[
        ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.1/32"),
        ("MTA_SMART_RELAY", "127.0.0.1:9"),
    ]);
    let (ended, address) = (AtomicBool::new(false), appliance.smtp);
    let end = &ended;
    let (refused, sent) = thread::scope(|scope| {
        let crowd: Vec<_> = (0..50u8)
            .map(|number| scope.spawn(move || loop_from(2 + number, address, end)))
            .collect();
        let (start, mut sent) = (Instant::now(), 0);
        while start.elapsed() < FLOOD {
            let mut client = Client::hello(address);
            client.begin();
            client.send("Subject: x\r\n\r\n.\r\n");
            client.expect("250 2.0.0 ");
            sent += 1;
            thread::sleep(Duration::from_millis(200));
        }
        end.store(true, Ordering::Relaxed);
        (crowd.into_iter().map(|looping| looping.join().unwrap()).sum::<u32>(), sent)
    });
    appliance.stop();
    let log = appliance.log();
    let lines = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    assert_eq!(lines("status=accepted"), sent, "a line of mail is missing");
    let refusals = lines("status=refused");
    assert!(refused > 300 && refusals <= 50 * 5, "{refused} refusals, {refusals} lines");
    assert!(lines("more refusals in the last minute") >= 1, "{}", log.join("\n"));
    let octets: usize = log.iter().map(|line| line.len() + 1).sum();
    assert!(octets < 200_000, "{octets} octets of log in {FLOOD:?}");
}
