//! A relay that accepts connections and then sends nothing, at any stage: the alert comes before
//! any attempt has failed, and the waiting mail is sent at full rate soon after the relay works
//! again.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::patience::{until, until_within};
use std::time::{Duration, Instant};

const MAILS: usize = 300;

/// The first alert about a next hop, and the age of its beginning in the words of the API.
fn alert(appliance: &Appliance) -> Result<String, String> {
    let status = appliance.api("status");
    let alerts = status["alerts"].as_array().unwrap();
    let down =
        alerts.iter().find(|alert| alert["text"].as_str().unwrap().contains("Cannot deliver to"));
    down.map(|alert| alert["text"].as_str().unwrap().to_owned())
        .ok_or_else(|| format!("{alerts:?}"))
}

fn a_relay_hangs(fail: &str, words: &str, patience: Duration) {
    let silent = Sink::start(fail);
    let address = silent.address;
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &silent.relay())]);
    let begin = Instant::now();
    let mut client = Client::hello(appliance.smtp);
    for number in 0..MAILS {
        client.mail(
            "sender@here.example",
            &[&format!("box{number}@there.example")],
            b"Subject: wait\r\n\r\n",
        );
    }
    let said = until_within(patience, &format!("{fail}: the alert"), || alert(&appliance));
    assert!(
        said.contains(&format!("Cannot deliver to {address}")) && said.contains(words),
        "{fail}: {said}"
    );
    assert_eq!(appliance.counter("mta_destinations_unreachable"), 1);
    eprintln!("{fail}: the alert after {:?}: {said}", begin.elapsed());
    // Most of the mail was not attempted, and has the reason why it waits.
    let waits = appliance.messages();
    let reasons = waits.iter().filter(|mail| mail.to_string().contains(words)).count();
    assert!(reasons > MAILS / 2, "{fail}: {reasons} say so, such as {}", waits[MAILS - 1]);

    drop(silent);
    let well = Sink::at(address, "");
    let begin = Instant::now();
    // Those that were attempted have their own due time.
    let most = MAILS - 30;
    until_within(Duration::from_secs(45), &format!("{fail}: the mail goes"), || {
        match well.count() {
            count if count >= most => Ok(()),
            count => Err(format!("{count} of {MAILS}")),
        }
    });
    eprintln!("{fail}: {} mails within {:?} of recovery", well.count(), begin.elapsed());
    until(&format!("{fail}: the alert is over"), || match alert(&appliance) {
        Ok(text) => Err(text),
        Err(_) => Ok(()),
    });
}

#[test]
fn a_silent_relay_is_told_soon_and_waiting_mail_goes_soon_after_it_speaks() {
    let stages = [
        ("connect=hang", "was not ready for mail within", 40),
        ("mail=hang", "in the middle of a message", 40),
        ("dot=hang", "at the end of a message", 75),
    ];
    let hang = |(fail, words, seconds)| {
        std::thread::spawn(move || a_relay_hangs(fail, words, Duration::from_secs(seconds)))
    };
    let threads = stages.map(hang);
    let failed = threads.map(|thread| thread.join().is_err());
    assert_eq!(failed, [false; 3]);
}
