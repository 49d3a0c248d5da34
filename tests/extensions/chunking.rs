//! CHUNKING: content in the chunks of BDAT, from Exim and by hand.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::exim::Exim;
use crate::support::letter::{assert_shapes_came, shapes};
use crate::support::patience::until;
use crate::support::tap::Tap;
use std::collections::BTreeSet;

#[test]
fn exim_sends_in_chunks() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let tap = Tap::before(appliance.smtp);
    let exim = Exim::sender(tap.address);
    for (_, content) in shapes() {
        exim.sendmail("sender@here.example", "box@there.example", &content);
    }
    assert_shapes_came(&sink.mails(shapes().len()));
    appliance.until_empty();
    until("Exim knows that all was taken", || match exim.queued() {
        0 => Ok(()),
        left => Err(format!("{left} mails in its queue")),
    });
    let said = tap.said();
    let lines = said.lines().filter(|line| line.starts_with("BDAT ") && line.ends_with(" LAST"));
    assert_eq!((lines.count(), said.contains("\r\nDATA\r\n")), (shapes().len(), false), "{said}");
}

#[test]
fn chunks_of_all_sizes_are_one_mail_to_the_octet() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let lines = "0123456789\r\n.\r\nQUIT\r\n..dots\r\n".repeat(60_000);
    let content = format!("Subject: chunks\r\n\r\n{lines}").into_bytes();
    let mut client = Client::hello(appliance.smtp);
    let mut sent = BTreeSet::new();
    for sizes in [&[1_000_000][..], &[1, 0, 70_000, 3], &[32_768], &[8_191, 8_193, 65_537]] {
        client.ask("MAIL FROM:<sender@here.example>", "250 ");
        client.ask("RCPT TO:<box@there.example>", "250 ");
        let (mut rest, mut chunks) = (&content[..], 0);
        for size in sizes.iter().cycle() {
            let (chunk, later) = rest.split_at((*size).min(rest.len()));
            rest = later;
            let last = if rest.is_empty() { " LAST" } else { "" };
            client.send(format!("BDAT {}{last}\r\n", chunk.len()));
            client.send(chunk);
            chunks += 1;
            if rest.is_empty() {
                break;
            }
        }
        for _ in 1..chunks {
            client.expect("250 2.0.0 Ok: ");
        }
        sent.insert(client.expect("250 2.0.0 Ok: queued as "));
    }
    assert_eq!(sent.len(), 4, "four mails");
    for letter in sink.mails(4) {
        assert!(letter.content == content, "{} octets", letter.content.len());
    }
}
