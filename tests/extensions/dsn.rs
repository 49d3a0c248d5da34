//! DSN: what a client asks about notifications, with Exim (which has no DSN unless told) and with
//! Postfix (which has).

use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::exim::Exim;
use crate::support::patience::until;
use crate::support::postfix::Postfix;
use crate::support::program::free_port;
use std::fs;
use std::path::Path;

/// The mails of a maildir, once there are so many.
fn mails(maildir: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} mails in {}", maildir.display()), || {
        let files: Vec<_> = fs::read_dir(maildir).into_iter().flatten().flatten().collect();
        if files.len() < count {
            return Err(format!("{} mails", files.len()));
        }
        Ok(files.iter().map(|file| fs::read_to_string(file.path()).unwrap()).collect())
    })
}

fn send(appliance: &Appliance, mail: &str, rcpt: &str) {
    let mut client = Client::hello(appliance.smtp);
    client.ask(&format!("MAIL FROM:<sender@here.example> {mail}"), "250 ");
    client.ask(&format!("RCPT TO:<{rcpt}"), "250 ");
    client.ask("DATA", "354 ");
    client.send("Subject: asked\r\n\r\nwords\r\n.\r\n");
    client.expect("250 ");
}

fn says(report: &str, lines: &[&str]) {
    for line in lines {
        assert!(report.lines().any(|found| found == *line), "{line} is not in {report}");
    }
}

#[test]
fn a_hop_without_dsn_gets_no_parameters_and_the_sender_a_report() {
    let exim = Exim::next_hop();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &exim.address.to_string())]);
    send(
        &appliance,
        "RET=HDRS ENVID=QQ+2B31",
        "box@there.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;list+2Bbox@there.example",
    );
    let report = mails(&exim.mailbox("sender"), 1).remove(0);
    says(
        &report,
        &[
            "Original-Envelope-Id: QQ+31",
            "Original-Recipient: rfc822;list+box@there.example",
            "Final-Recipient: rfc822; box@there.example",
            "Action: relayed",
        ],
    );
    assert!(!report.contains("words\n"), "only the header section is returned: {report}");
    // Who wants to hear nothing hears nothing; the second shows that there is something to hear.
    send(&appliance, "", "nobody@there.example> NOTIFY=NEVER");
    send(&appliance, "ENVID=second", "nobody@there.example> NOTIFY=FAILURE");
    appliance.until_empty();
    let reports = mails(&exim.mailbox("sender"), 2);
    assert_eq!(reports.len(), 2);
    let failed = reports.iter().find(|report| report.contains("Action: failed")).unwrap();
    says(failed, &["Original-Envelope-Id: second", "Diagnostic-Code: smtp; 550 unknown here"]);
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"relayed\"}"), 1);
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"failed\"}"), 1);
}

#[test]
fn a_hop_with_dsn_gets_what_was_asked_also_after_a_restart() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let mut appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &nowhere),
        ("MTA_MINIMAL_BACKOFF_TIME", "1s"),
        ("MTA_MAXIMAL_BACKOFF_TIME", "1s"),
    ]);
    send(
        &appliance,
        "RET=HDRS ENVID=QQ31",
        "box@there.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;list+2Bbox@there.example",
    );
    appliance.stop();
    let postfix = Postfix::next_hop();
    appliance.set(&[("MTA_SMART_RELAY", &postfix.address.to_string())]);
    appliance.boot();
    appliance.until_empty();
    // Postfix has delivered it, and says so; the relay does not.
    let reports = mails(&postfix.mailbox("sender"), 1);
    says(
        &reports[0],
        &[
            "Action: delivered",
            "Original-Envelope-Id: QQ31",
            "Original-Recipient: rfc822;list+box@there.example",
        ],
    );
    assert_eq!(appliance.counter("mta_notifications_total{kind=\"relayed\"}"), 0);
}

#[test]
fn the_whole_mail_comes_back_to_who_asks_for_it() {
    let exim = Exim::next_hop();
    let appliance = Appliance::start(&[("MTA_SMART_RELAY", &exim.address.to_string())]);
    for (mail, returned) in [("RET=FULL BODY=8BITMIME", true), ("RET=HDRS", false), ("", false)] {
        let mut client = Client::hello(appliance.smtp);
        client.ask(&format!("MAIL FROM:<sender@here.example> {mail}"), "250 ");
        client.ask("RCPT TO:<nobody@there.example>", "250 ");
        client.ask("DATA", "354 ");
        client.send("Subject: asked\r\n\r\nw\u{f6}rds of the body\r\n.\r\n");
        client.expect("250 ");
        let report = mails(&exim.mailbox("sender"), 1).remove(0);
        assert_eq!(report.contains("w\u{f6}rds of the body"), returned, "{mail}: {report}");
        assert_eq!(report.contains("Content-Type: message/rfc822\n"), returned, "{mail}: {report}");
        assert!(report.contains("Action: failed"), "{report}");
        for file in fs::read_dir(exim.mailbox("sender")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}
