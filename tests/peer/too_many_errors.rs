//! A client that guesses addresses and commands.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use postern::mail::accept::Limits;
use postern::mail::model::Refusal;
use std::time::{Duration, Instant};

#[test]
fn is_closed_after_twenty() {
    let receiver = Receiver::start(Setup::default());
    let mut client = Client::hello(receiver.address);
    for _ in 0..19 {
        client.ask("PASS guess", "500 5.5.2 ");
    }
    client.ask("PASS guess", "421 4.7.0 Too many errors");
    client.expect_close();
    crate::is_well(&receiver);
}

#[test]
fn relay_attempts_count() {
    let receiver = strangers(Duration::from_millis(1));
    let mut client = Client::hello(receiver.address);
    client.ask("MAIL FROM:<a@client.example>", "250 ");
    for number in 0..19 {
        client.ask(&format!("RCPT TO:<guess{number}@there.example>"), "554 5.7.1 ");
    }
    client.ask("RCPT TO:<last@there.example>", "421 4.7.0 ");
    client.expect_close();
    assert_eq!(receiver.refused(Refusal::Relay), 20);
}

/// A receiver that does not trust this machine, with this delay for each error.
fn strangers(tarpit_step: Duration) -> Receiver {
    let limits = Limits { tarpit_step, ..Limits::default() };
    Receiver::start(Setup { trusted: vec!["192.0.2.0/24".to_owned()], limits, ..Setup::default() })
}

#[test]
fn a_stranger_waits_longer_for_each_error_also_after_it_has_connected_again() {
    let receiver = strangers(Duration::from_millis(20));
    let guess = |count: usize| {
        let mut client = Client::hello(receiver.address);
        client.ask("MAIL FROM:<a@client.example>", "250 ");
        let start = Instant::now();
        for number in 0..count {
            client.ask(&format!("RCPT TO:<guess{number}@there.example>"), "554 5.7.1 ");
        }
        start.elapsed()
    };
    // 20 ms for the sixth error, 40 for the seventh, and so on.
    let (first, second) = (guess(15), guess(5));
    assert!(first >= Duration::from_millis(20 * 55) && first < Duration::from_secs(5), "{first:?}");
    assert!(second >= Duration::from_millis(20 * (11 + 12 + 13 + 14 + 15)), "{second:?}");
    assert_eq!(receiver.counters.clients_slowed_total.get(), 2);
}

#[test]
fn a_strangers_loop_without_a_mail_is_slowed_and_ended() {
    for commands in
        [&["NOOP"][..], &["RSET"], &["VRFY x"], &["EHLO x"], &["MAIL FROM:<a@b.example>", "RSET"]]
    {
        let receiver = strangers(Duration::from_millis(1));
        let mut client = Client::hello(receiver.address);
        let mut said = 1;
        let end = commands.iter().cycle().find_map(|command| {
            said += 1;
            client.send(format!("{command}\r\n"));
            loop {
                let line = client.line().expect("a reply");
                if line.as_bytes()[3] == b' ' {
                    break line.starts_with('4').then_some(line);
                }
            }
        });
        assert!(
            end.as_deref()
                .is_some_and(|line| line.starts_with("421 4.7.0 Too many commands without a mail")),
            "{end:?}"
        );
        assert_eq!(said, 100, "{commands:?}");
        client.expect_close();
        assert_eq!(receiver.counters.clients_slowed_total.get(), 1);
    }
}

#[test]
fn a_trusted_client_is_not_slowed() {
    let receiver = Receiver::start(Setup::default());
    let start = Instant::now();
    let mut client = Client::hello(receiver.address);
    for _ in 0..300 {
        client.ask("RSET", "250 ");
    }
    for _ in 0..19 {
        client.ask("nonsense", "500 ");
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(receiver.counters.clients_slowed_total.get(), 0);
}
