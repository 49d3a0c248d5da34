//! Not misbehaviour but load: what many clients send at once arrives complete, each mail once.

use crate::support::client::Client;
use crate::support::receiver::{Receiver, Setup};
use std::collections::BTreeSet;
use std::thread;

#[test]
fn every_mail_arrives_once() {
    let receiver = Receiver::start(Setup::default());
    let address = receiver.address;
    let crowd: Vec<_> = (0..20)
        .map(|who| {
            thread::spawn(move || {
                let mut client = Client::hello(address);
                for which in 0..25 {
                    client.begin();
                    client.send(format!(
                        "Subject: {who}/{which}\r\n\r\n{}\r\n.\r\n",
                        "..text\r\n".repeat(which * 50)
                    ));
                    client.expect("250 2.0.0 ");
                }
            })
        })
        .collect();
    for client in crowd {
        client.join().unwrap();
    }
    let messages = receiver.spool.messages();
    let subjects: BTreeSet<String> = messages
        .iter()
        .map(|(_, content)| {
            String::from_utf8_lossy(content)
                .lines()
                .find(|line| line.starts_with("Subject: "))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!((messages.len(), subjects.len()), (500, 500));
    assert_eq!(receiver.counters.accepted_total.get(), 500);
    crate::is_well(&receiver);
}
