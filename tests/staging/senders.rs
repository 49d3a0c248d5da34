//! `rewrite_from` and `sender_rewrites`: who mail is from, at the next hop.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::postfix::Postfix;
use crate::support::program::{find, run};
use crate::{post, send, swaks};
use std::process::Command;

/// The value of a field, unfolded.
fn field(content: &str, name: &str) -> Option<String> {
    let head = content.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
    let head = head.split("\n\n").next().unwrap().to_owned();
    let is = |line: &&str| line.to_lowercase().starts_with(&format!("{}:", name.to_lowercase()));
    head.lines().find(is).map(|line| line[name.len() + 1..].trim().to_owned())
}

#[test]
fn one_address_for_all_mail_of_swaks_python_and_http() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_REWRITE_FROM", "no-reply@ours.example"),
    ]);
    swaks(
        &appliance,
        &[
            "--from",
            "root@db1.lan",
            "--h-From",
            "\"Backup, daily\" <root@db1.lan>",
            "--to",
            "a@b.example",
        ],
    );
    post(&appliance, "web@here.example", "a@b.example");
    let script = format!(
        "import smtplib, email.message\n\
        m = email.message.EmailMessage()\n\
        m['From'] = 'J\u{fc}rgen M\u{fc}ller <jm@db1.lan>'\n\
        m['Reply-To'] = 'desk@db1.lan'\n\
        m['Subject'] = 'python'\n\
        m.set_content('x')\n\
        smtplib.SMTP('127.0.0.1', {}).send_message(m, 'jm@db1.lan', ['a@b.example'])\n",
        appliance.smtp.port()
    );
    run(Command::new(find("python3")).args(["-c", &script]));
    let mails = sink.mails(3);
    assert!(mails.iter().all(|mail| mail.from == "no-reply@ours.example"), "{mails:?}");
    let with = |words: &str| {
        let found = mails.iter().find(|mail| mail.text().contains(words));
        found.unwrap_or_else(|| panic!("{words}")).text()
    };
    let text = with("Backup, daily");
    let from = field(&text, "From").unwrap();
    assert_eq!(from, "\"Backup, daily\" <no-reply@ours.example>");
    assert_eq!(field(&text, "Reply-To").unwrap(), "\"Backup, daily\" <root@db1.lan>");
    let text = with("by HTTP");
    assert_eq!(field(&text, "From").unwrap(), "no-reply@ours.example");
    assert_eq!(field(&text, "Reply-To").unwrap(), "web@here.example");
    let text = with("Subject: python");
    let from = field(&text, "From").unwrap();
    assert!(from.starts_with("=?utf-8?") && from.ends_with(" <no-reply@ours.example>"), "{from}");
    assert_eq!(field(&text, "Reply-To").unwrap(), "desk@db1.lan");
    let log = appliance.log();
    assert!(
        log.iter().any(|line| line.contains("sender rewritten") && line.contains("root@db1.lan"))
    );
}

#[test]
fn the_null_sender_stays_and_what_cannot_be_read_is_left() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_REWRITE_FROM", "no-reply@ours.example"),
    ]);
    let content = b"From: <@route.example:a@db1.lan>\r\nSubject: left\r\n\r\nx\r\n";
    Client::hello(appliance.smtp).mail("", &["a@b.example"], content);
    let mail = &sink.mails(1)[0];
    assert_eq!((mail.from.as_str(), mail.text().as_bytes()), ("", &content[..]));
    let log = appliance.log();
    let words = "From or Sender could not be read, and is not rewritten";
    assert!(log.iter().any(|line| line.contains(words)), "{log:#?}");
}

#[test]
fn bounces_go_to_the_rewritten_sender_and_strangers_stay_as_they_are() {
    let postfix = Postfix::next_hop();
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &postfix.address.to_string()),
        ("MTA_SENDER_REWRITES", "@old.example=@here.example, root@db1.lan=box@there.example"),
    ]);
    send(&appliance, "sender@old.example", &["nobody@there.example"], "bounces");
    let report = crate::stored(&postfix.mailbox("sender"), 1).remove(0);
    assert!(report.contains("nobody@there.example"), "{report}");
    let content = b"From: Root <root@db1.lan>, X <x@old.example>, y@else.example\r\n\
        Sender: root@db1.lan\r\nReply-To: root@db1.lan\r\nSubject: listed\r\n\r\nx\r\n";
    Client::hello(appliance.smtp).mail("root@db1.lan", &["box@there.example"], content);
    let mail = crate::stored(&postfix.mailbox("box"), 1).remove(0);
    assert!(mail.starts_with("Return-Path: <box@there.example>\n"), "{mail}");
    let from = "Root <box@there.example>, X <x@here.example>, y@else.example";
    assert_eq!(field(&mail, "From").unwrap(), from);
    assert_eq!(field(&mail, "Sender").unwrap(), "box@there.example");
    assert_eq!(field(&mail, "Reply-To").unwrap(), "root@db1.lan");
    appliance.until_empty();
}

#[test]
fn a_large_mail_is_the_same_below_its_header_section() {
    let sink = Sink::start("");
    let appliance = Appliance::start(&[
        ("MTA_SMART_RELAY", &sink.relay()),
        ("MTA_REWRITE_FROM", "no-reply@ours.example"),
    ]);
    let body = "From: a@db1.lan\r\n".repeat(100_000);
    let content = format!("Subject: large\r\nFrom: a@db1.lan\r\n\r\n{body}");
    Client::hello(appliance.smtp).mail("a@db1.lan", &["a@b.example"], content.as_bytes());
    let text = sink.mails(1)[0].text();
    let head = "Subject: large\r\nFrom: no-reply@ours.example\r\nReply-To: a@db1.lan\r\n\r\n";
    assert!(text == format!("{head}{body}"), "{}", &text[..300]);
}

#[test]
fn wrong_entries_stop_the_start() {
    let appliance = Appliance::start(&[]);
    for (name, value, words) in [
        ("MTA_SENDER_REWRITES", "@a.example", "which is not old=new"),
        ("MTA_REWRITE_FROM", "team", "which is not an address"),
    ] {
        let output = appliance.command(&["check"]).env(name, value).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(64) && said.contains(words), "{name}: {said}");
    }
}
