//! Postfix on both sides.

use crate::support::appliance::{Appliance, HOSTNAME, Sink};
use crate::support::client::Client;
use crate::support::letter::{assert_same, assert_shapes_came, shapes};
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use std::fs;
use std::path::Path;

/// Waits for so many files of a maildir, and reads them.
pub(crate) fn stored(maildir: &Path, count: usize) -> Vec<Vec<u8>> {
    until(&format!("{count} mails in {}", maildir.display()), || {
        let found = fs::read_dir(maildir).map_or(0, Iterator::count);
        if found < count { Err(format!("{found} mails")) } else { Ok(()) }
    });
    fs::read_dir(maildir).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect()
}

/// Asserts that another server stored every form, exactly once, below the fields that servers add;
/// it stores LF.
pub(crate) fn assert_shapes_stored(stored: &[Vec<u8>]) {
    let expected = shapes();
    assert_eq!(stored.len(), expected.len());
    for (name, content) in expected {
        let content = String::from_utf8(content).unwrap().replace("\r\n", "\n");
        let id = content.lines().find(|line| line.starts_with("Message-ID:")).unwrap();
        let with_id: Vec<_> =
            stored.iter().filter(|mail| String::from_utf8_lossy(mail).contains(id)).collect();
        let [mail] = with_id[..] else { panic!("{name}: {} times", with_id.len()) };
        let mail = String::from_utf8(mail.clone()).unwrap();
        let start = mail.find("From: sender@here.example\n").unwrap();
        assert_eq!(
            mail[..start].matches(&format!("by {HOSTNAME} (Postern) with ESMTP id ")).count(),
            1,
            "{}",
            &mail[..start]
        );
        assert_same(name, content.as_bytes(), &mail.as_bytes()[start..]);
    }
}

/// Sends every form to the appliance.
pub(crate) fn send_shapes(appliance: &Appliance) {
    let mut client = Client::hello(appliance.smtp);
    for (_, content) in shapes() {
        client.mail("sender@here.example", &["box@there.example"], &content);
    }
    client.ask("QUIT", "221 ");
}

#[test]
fn postfix_is_the_next_hop() {
    let postfix = Postfix::next_hop();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &postfix.address.to_string())]);
    send_shapes(&appliance);
    assert_shapes_stored(&stored(&postfix.mailbox("box"), shapes().len()));
    appliance.until_empty();
    assert_eq!(appliance.counter("mta_delivered_total"), shapes().len() as u64);
    let sent: Vec<String> =
        appliance.log().into_iter().filter(|line| line.contains("status=sent")).collect();
    assert!(
        sent.iter().all(|line| line.contains("tls=true")),
        "Postfix offers STARTTLS: {sent:#?}"
    );
}

#[test]
fn what_postfix_refuses_comes_back_as_a_report() {
    let postfix = Postfix::next_hop();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &postfix.address.to_string())]);
    let to = ["nobody@there.example", "box@there.example"];
    Client::hello(appliance.smtp).mail(
        "sender@here.example",
        &to,
        b"Subject: to whom\r\n\r\nprivate words\r\n",
    );
    // One of the two exists.
    let came = String::from_utf8(stored(&postfix.mailbox("box"), 1).remove(0)).unwrap();
    assert!(
        came.contains("\nSubject: to whom\n") && came.ends_with("\n\nprivate words\n"),
        "{came}"
    );
    let report = String::from_utf8(stored(&postfix.mailbox("sender"), 1).remove(0)).unwrap();
    assert!(report.starts_with("Return-Path: <>\n"), "{report}");
    for line in [
        "Final-Recipient: rfc822; nobody@there.example",
        "Action: failed",
        "Status: 5.1.1",
        "Subject: to whom",
    ] {
        assert!(report.lines().any(|found| found == line), "{line} is not in {report}");
    }
    assert!(!report.contains("box@there.example") && !report.contains("private words"), "{report}");
    appliance.until_empty();
}

#[test]
fn postfix_is_the_sender() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &sink.relay())]);
    let postfix = Postfix::sender(appliance.smtp);
    for (_, content) in shapes() {
        postfix.sendmail("sender@here.example", "box@there.example", &content);
    }
    assert_shapes_came(&sink.mails(shapes().len()));
    until("Postfix knows that all was taken", || {
        let taken = postfix.log().matches("status=sent (250 2.0.0 Ok: queued as ").count();
        if taken == shapes().len() { Ok(()) } else { Err(format!("{taken} mails")) }
    });
    appliance.until_empty();
}
