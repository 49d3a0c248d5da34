//! XCLIENT: nginx' mail module in front, and proxies by hand.

use crate::support::appliance::{Appliance, Sink};
use crate::support::client::Client;
use crate::support::nginx::MailNginx;
use crate::support::patience::until;
use crate::support::program::free_port;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fs;
use std::process::Command;

const PROXY: (&str, &str) = ("MTA_XCLIENT_NETWORKS", "127.0.0.1");
const TRUSTED: (&str, &str) = ("MTA_SMTPD_TRUSTED_NETWORKS", "127.0.0.5, 10.0.0.0/8");
const TO: &[&str] = &["box@there.example"];
const MAIL: &[u8] = b"Subject: x\r\n\r\nx\r\n";

/// A relay behind a proxy on this machine, and its next hop.
fn start(properties: &[(&str, &str)]) -> (Appliance, Sink) {
    let sink = Sink::start("");
    let relay = sink.relay();
    let usual = [("MTA_SMART_RELAY", relay.as_str()), PROXY, TRUSTED];
    let all: Vec<_> = usual.iter().chain(properties).copied().collect();
    (Appliance::start(&all), sink)
}

/// The Received fields of the mails at `sink`.
fn received(sink: &Sink, count: usize) -> String {
    sink.mails(count);
    let files = fs::read_dir(sink.maildir()).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

fn denied(client: &mut Client) -> String {
    client.ask("MAIL FROM:<sender@here.example>", "250 ");
    client.ask("RCPT TO:<box@there.example>", "554 5.7.1")
}

/// nginx answers MAIL in words of its own where it asks for no login.
fn send(client: &mut Client, from: &str) {
    client.ask(&format!("MAIL FROM:<{from}>"), "250 ");
    client.ask("RCPT TO:<box@there.example>", "250 ");
    client.ask("DATA", "354 ");
    client.send([MAIL, b".\r\n"].concat());
    client.expect("250 2.0.0 Ok: queued");
}

/// A session of the proxy in which it has named this client.
fn named(appliance: &Appliance, attributes: &str) -> Client {
    let mut client = Client::hello(appliance.smtp);
    client.ask(&format!("XCLIENT {attributes}"), "220 ");
    client
}

#[test]
fn the_client_that_nginx_names_is_the_client() {
    let (appliance, sink) = start(&[]);
    let nginx = MailNginx::before(appliance.smtp, "smtp_auth none");
    let mut client = Client::hello_from("127.0.0.5", nginx.address);
    send(&mut client, "sender@here.example");
    let field = received(&sink, 1);
    assert!(field.contains("[127.0.0.5]"), "{field}");
    let log = appliance.log().join("\n");
    assert!(log.contains("client=127.0.0.5"), "{log}");
    let mut stranger = Client::hello_from("127.0.0.6", nginx.address);
    stranger.ask("MAIL FROM:<sender@here.example>", "250 ");
    let refusal = stranger.ask("RCPT TO:<box@there.example>", "554 5.7.1");
    assert!(refusal.contains("[127.0.0.6] is not in smtpd_trusted_networks"), "{refusal}");
}

/// nginx has checked the password; the relay knows the user, or does not.
#[test]
fn a_login_at_nginx_counts_for_users_of_the_relay() {
    let users = ("MTA_SMTP_USERS", "anna:{PLAIN}s3cret;senders=a@here.example");
    let plaintext = ("MTA_PLAINTEXT_AUTH_NETWORKS", "192.0.2.1");
    let port = free_port().to_string();
    let (appliance, sink) = start(&[users, plaintext, ("MTA_SUBMISSION_PORT", &port)]);
    let nginx = MailNginx::before(appliance.smtp, "smtp_auth plain");
    let login = |name: &str| {
        let mut client = Client::hello_from("127.0.0.6", nginx.address);
        let message = BASE64_STANDARD.encode(format!("\0{name}\0anything"));
        client.ask(&format!("AUTH PLAIN {message}"), "235 ");
        client
    };
    send(&mut login("anna"), "a@here.example");
    let field = received(&sink, 1);
    assert!(field.contains("[127.0.0.6]") && field.contains("with ESMTPA id"), "{field}");
    let log = appliance.log().join("\n");
    assert!(log.contains("user=anna mechanism=XCLIENT"), "{log}");
    login("anna").ask("MAIL FROM:<b@here.example>", "550 5.7.1 <b@here.example>: user 'anna'");
    denied(&mut login("nobody"));
}

#[test]
fn the_named_client_is_judged_as_if_it_had_connected() {
    let (appliance, sink) = start(&[("MTA_SESSION_LIMIT_PER_ADDRESS", "2")]);
    let mut own = named(&appliance, "ADDR=10.1.2.3 PORT=4711 HELO=spike.example PROTO=ESMTP");
    // What it has said to the proxy counts.
    own.mail("sender@here.example", TO, MAIL);
    let field = received(&sink, 1);
    assert!(field.contains("from spike.example ([10.1.2.3])"), "{field}");
    let mut strange = named(&appliance, "ADDR=192.0.2.7");
    strange.ask("EHLO client.example", "250 ");
    assert!(denied(&mut strange).contains("[192.0.2.7]"));
    let mut unknown = named(&appliance, "ADDR=[TEMPUNAVAIL] HELO=a");
    assert!(denied(&mut unknown).contains("[0.0.0.0]"));
    unknown.finish();
    // Each client has its own limit of sessions, and the proxy has none.
    let _two = [(); 2].map(|()| named(&appliance, "ADDR=192.0.2.8"));
    let mut third = Client::hello(appliance.smtp);
    third.ask("XCLIENT ADDR=192.0.2.8", "421 4.7.0 postern.example Too many sessions");
    third.expect_close();
    drop(named(&appliance, "ADDR=192.0.2.9"));
    until("every session has ended", || {
        let open = appliance.counter("mta_smtp_active_sessions");
        if open <= 4 { Ok(()) } else { Err(format!("{open}")) }
    });
    // Slots are given back: of these the limit would be reached else.
    for _ in 0..10 {
        named(&appliance, "ADDR=192.0.2.9").finish();
    }
}

/// nginx passes on all that its client says once a recipient is named, or the login is right.
#[test]
fn the_client_behind_nginx_cannot_name_another_one() {
    let users = ("MTA_SMTP_USERS", "anna:{PLAIN}s3cret");
    let plaintext = ("MTA_PLAINTEXT_AUTH_NETWORKS", "192.0.2.1");
    let port = free_port().to_string();
    let (appliance, _sink) = start(&[users, plaintext, ("MTA_SUBMISSION_PORT", &port)]);
    let relays = |client: &mut Client| {
        client.ask("EHLO client.example", "250 ");
        for attributes in ["ADDR=127.0.0.5", "ADDR=127.0.0.6 LOGIN=anna", "HELO=other.example"] {
            client.ask(&format!("XCLIENT {attributes}"), "500 5.5.2 Command not known");
        }
        assert!(denied(client).contains("[127.0.0.6]"));
    };
    let nginx = MailNginx::before(appliance.smtp, "smtp_auth none");
    let mut client = Client::hello_from("127.0.0.6", nginx.address);
    denied(&mut client);
    client.ask("RSET", "250 ");
    client.ask("XCLIENT ADDR=127.0.0.5 LOGIN=anna", "500 5.5.2 Command not known");
    relays(&mut client);
    // From a client that has said no EHLO before its login nginx passes on the very next octet.
    let nginx = MailNginx::before(appliance.smtp, "smtp_auth plain");
    let mut client = Client::connect_from("127.0.0.6", nginx.address);
    client.expect("220 ");
    let message = BASE64_STANDARD.encode("\0nobody\0anything");
    client.ask(&format!("AUTH PLAIN {message}"), "235 ");
    for attributes in ["ADDR=127.0.0.5", "LOGIN=anna"] {
        client.ask(&format!("XCLIENT {attributes}"), "503 5.5.1 ADDR and LOGIN belong into");
    }
    relays(&mut client);
    let log = appliance.log().join("\n");
    assert!(!log.contains("user=anna") && !log.contains("client=127.0.0.5"), "{log}");
}

/// A login that the proxy has named in the first of several commands.
#[test]
fn an_override_in_several_commands_keeps_what_was_said() {
    let users = ("MTA_SMTP_USERS", "anna:{PLAIN}s3cret;senders=a@here.example");
    let plaintext = ("MTA_PLAINTEXT_AUTH_NETWORKS", "192.0.2.1");
    let port = free_port().to_string();
    let (appliance, sink) = start(&[users, plaintext, ("MTA_SUBMISSION_PORT", &port)]);
    let mut client = named(&appliance, "ADDR=192.0.2.7 LOGIN=anna");
    client.ask("XCLIENT PROTO=ESMTP", "220 ");
    client.ask("XCLIENT HELO=spike.example", "220 ");
    client.mail("a@here.example", TO, MAIL);
    let field = received(&sink, 1);
    let (from, with) = ("from spike.example ([192.0.2.7])", "with ESMTPA id");
    assert!(field.contains(from) && field.contains(with), "{field}");
}

/// Whom a header of the PROXY protocol names is no proxy with XCLIENT, even if the address that the
/// header comes from is one.
#[test]
fn a_client_behind_a_proxy_with_headers_cannot_name_another_one() {
    let (appliance, _sink) = start(&[("MTA_PROXY_NETWORKS", "127.0.0.1")]);
    let mut client = Client::connect_from("127.0.0.1", appliance.smtp);
    client.send(b"PROXY TCP4 127.0.0.6 127.0.0.1 4711 25\r\n");
    client.expect("220 ");
    client.ask("EHLO client.example", "250 ");
    client.ask("XCLIENT ADDR=127.0.0.5", "500 5.5.2 Command not known");
    assert!(denied(&mut client).contains("[127.0.0.6]"));
}

#[test]
fn from_everybody_else_it_is_an_unknown_command() {
    let (appliance, _sink) = start(&[]);
    let mut client = Client::hello_from("127.0.0.5", appliance.smtp);
    for line in ["XCLIENT ADDR=10.0.0.1", "XCLIENT", "XCLIENT x"] {
        client.ask(line, "500 5.5.2 Command not known");
    }
    client.mail("sender@here.example", TO, MAIL);
    let mut stranger = Client::hello_from("127.0.0.6", appliance.smtp);
    stranger.ask("XCLIENT ADDR=10.0.0.1", "500 5.5.2 Command not known");
    denied(&mut stranger);
}

#[test]
fn check_warns_of_proxies_that_are_trusted_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let check = |trusted: &str, proxies: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.arg("check").env_clear().env("MTA_VOLUME_DATA", directory.path());
        command.env("MTA_SMTPD_TRUSTED_NETWORKS", trusted).env("MTA_XCLIENT_NETWORKS", proxies);
        let output = command.output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let text = check("10.0.0.0/8", "10.0.0.9");
    let words = "WARNING: 10.0.0.9 of xclient_networks is in smtpd_trusted_networks, too";
    assert!(text.contains(words), "{text}");
    let text = check("10.0.0.0/8", "0.0.0.0/0");
    assert!(text.contains("WARNING: xclient_networks names everybody"), "{text}");
    assert!(!check("10.0.0.0/8", "192.0.2.9").contains("xclient_networks na"));
}
