//! What the relay says, to the letter: before, in and after a login.

use crate::support::client::Client;
use crate::support::patience::until;
use crate::{Submission, USERS, coded, plain};
use std::time::{Duration, Instant};

#[test]
fn each_port_offers_logins_where_a_password_is_safe() {
    let relay = Submission::start(USERS, &[]);
    let mechanisms = "AUTH SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN";
    for port in [relay.appliance.smtp, relay.submission] {
        let mut client = Client::hello(port);
        client.ask(&plain("anna", "s3cret-of-anna"), "538 5.7.11 Encryption required");
        client.finish();
        let mut client = Client::hello(port);
        client.send("EHLO client.example\r\n");
        while let Some(line) = client.line() {
            assert!(!line.contains("AUTH"), "{line}");
            if line.starts_with("250 ") {
                break;
            }
        }
    }
    let mut smtps = Client::connect_inside_tls(relay.appliance.smtps, &relay.believing);
    smtps.expect("220 ");
    for client in [&mut smtps, &mut relay.hello()] {
        client.send("EHLO client.example\r\n");
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.starts_with("250 ")) {
            lines.push(client.line().unwrap());
        }
        assert!(lines.iter().any(|line| line.contains(mechanisms)), "{lines:?}");
        client.ask("MAIL FROM:<a@b.example>", "530 5.7.0 Authentication required");
        client.ask(&plain("anna", "s3cret-of-anna"), "235 2.7.0");
        client.ask("AUTH PLAIN", "503 5.5.1");
        client.ask("MAIL FROM:<a@b.example> AUTH=<>", "250 2.1.0");
        client.ask("RCPT TO:<c@d.example>", "250 2.1.5");
    }
    // Port 25 is for strangers, too.
    let mut client = Client::hello_inside_tls(relay.appliance.smtp, &relay.believing);
    client.ask("MAIL FROM:<a@b.example>", "250 2.1.0");
    client.ask("RCPT TO:<c@d.example>", "554 5.7.1");
}

#[test]
fn a_login_in_several_lines_can_go_wrong_in_many_ways() {
    let relay = Submission::start(USERS, &[]);
    let mut client = relay.hello();
    client.ask("AUTH LOGIN", "334 VXNlcm5hbWU6");
    client.ask(&coded("anna"), "334 UGFzc3dvcmQ6");
    client.ask("*", "501 5.7.0");
    client.ask("AUTH PLAIN", "334 ");
    client.ask("not base 64", "501 5.5.2");
    client.ask("AUTH GSSAPI", "504 5.5.4");
    client.ask(&format!("AUTH PLAIN {}", coded("ben\0anna\0s3cret-of-anna")), "535 5.7.8");
    client.ask("AUTH PLAIN", "334 ");
    client.ask(&"A".repeat(13_000), "500 5.5.6");
    client.ask("AUTH LOGIN !", "421 4.7.0 Too many failed logins");
    client.expect_close();
    // A long line is read where it is allowed.
    let mut client = relay.hello();
    client.ask("AUTH PLAIN", "334 ");
    client.ask(&coded(&format!("\0anna\0{}", "x".repeat(6000))), "501 5.5.2");
    client.ask("AUTH PLAIN", "334 ");
    client.ask(&coded("\0anna\0s3cret-of-anna"), "235 2.7.0");
    client.finish();
}

/// Five wrong logins end a session; neither words nor time tell whether a name exists.
#[test]
fn names_cannot_be_probed_and_guesses_become_slow() {
    let relay = Submission::start(USERS, &[]);
    let mut answers = Vec::new();
    for name in ["ben", "nobody-of-this-name"] {
        let mut client = relay.hello();
        for _ in 0..4 {
            answers.push(client.ask(&plain(name, "wrong"), "535 5.7.8"));
        }
        client.ask(&plain(name, "wrong"), "421 4.7.0 Too many failed logins");
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // The next guess for the same name waits; another name does not, and the account is not
    // locked for those who were right before.
    relay.logged_in("anna", "s3cret-of-anna").finish();
    let mut guesser = relay.hello();
    let begin = Instant::now();
    guesser.send(plain("ben", "wrong") + "\r\n");
    let answer = guesser.line().unwrap();
    assert!(begin.elapsed() > Duration::from_millis(500), "{:?}: {answer}", begin.elapsed());
    relay.logged_in("anna", "s3cret-of-anna").finish();
    assert!(relay.has_logged(&["login", "user=ben", "status=failed"]));
}

#[test]
fn without_users_there_is_no_login_and_no_port() {
    let appliance = crate::support::appliance::Appliance::start(&[]);
    let mut client = Client::hello(appliance.smtp);
    client.ask(&plain("anna", "x"), "502 5.5.1");
}

#[test]
fn printers_log_in_without_tls_where_they_may() {
    let networks = [("MTA_PLAINTEXT_AUTH_NETWORKS", "127.0.0.0/8")];
    let relay = Submission::start(USERS, &networks);
    let mut client = Client::hello(relay.submission);
    client.ask(&plain("anna", "s3cret-of-anna"), "235 2.7.0");
    client.mail("anna@here.example", &["box@there.example"], b"Subject: x\r\n\r\nHello\r\n");
    let mails = relay.received(1);
    assert!(mails[0].contains("with ESMTPA id"), "{mails:?}");
    assert!(relay.has_logged(&["WARN", "passwords without TLS"]), "{:?}", relay.appliance.log());
}

#[test]
fn the_page_of_sessions_names_the_user() {
    let relay = Submission::start(USERS, &[]);
    let _client = relay.logged_in("anna", "s3cret-of-anna");
    until("the session has its user", || {
        let sessions = relay.appliance.api("sessions");
        match sessions["sessions"][0]["user"] == "anna" {
            true => Ok(()),
            false => Err(sessions.to_string()),
        }
    });
    assert!(relay.appliance.get("/sessions").contains("user anna"));
}
