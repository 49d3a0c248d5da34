//! Compose files of appliance/examples: the program with their environment does what they say.
//! Ports, paths and networks are those of the test; all else is as it stands there.

use crate::support::appliance::{Appliance, HOSTNAME, Sink};
use crate::support::client::Client;
use crate::support::haproxy::Haproxy;
use crate::support::program::free_port;
use crate::{Submission, coded};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

const TO: &[&str] = &["box@there.example"];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("appliance/examples").join(name)
}

/// The environment of the relay in a compose file, with these values in place of its variables and
/// of its properties.
fn environment(name: &str, instead: &[(&str, &str)]) -> Vec<(String, String)> {
    let text = fs::read_to_string(path(name)).unwrap();
    let entries = text.lines().filter_map(|line| line.strip_prefix("      MTA_")?.split_once(": "));
    let found = entries.map(|(name, value)| {
        let name = format!("MTA_{name}");
        let host = ("MTA_HOSTNAME", HOSTNAME);
        let given = |wanted: &str| instead.iter().chain([&host]).find(|(name, _)| *name == wanted);
        let value = match given(&name) {
            Some((_, value)) => (*value).to_owned(),
            None => expanded(value.trim_matches('"'), instead),
        };
        (name, value)
    });
    let found: Vec<_> = found.collect();
    assert!(found.len() >= 3, "{name}: {found:?}");
    found
}

/// `${NAME:-default}` is the value of NAME, or the default.
fn expanded(value: &str, instead: &[(&str, &str)]) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (variable, after) = rest.split_once('}').unwrap();
    let (name, default) = variable.split_once(":-").unwrap();
    let given = instead.iter().find(|(known, _)| *known == name);
    format!("{before}{}{after}", given.map_or(default, |(_, value)| value))
}

fn start(environment: &[(String, String)], more: &[(&str, &str)]) -> Appliance {
    let own = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Appliance::start(&own.chain(more.iter().copied()).collect::<Vec<_>>())
}

#[test]
fn submission_from_outside() {
    let example = environment("submission.yaml", &[]);
    let value = |wanted: &str| {
        let found = example.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).unwrap()
    };
    assert_eq!(
        (value("MTA_SSL_DISABLED"), value("MTA_SMTP_USERS_FILE")),
        ("no", "/run/secrets/smtp_users")
    );
    let domains = ("MTA_ALLOWED_SENDER_DOMAINS", value("MTA_ALLOWED_SENDER_DOMAINS"));
    // The line that the file shows, with the hash of another test.
    let text = fs::read_to_string(path("submission.yaml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("#   ")).unwrap();
    let hash = "$2y$08$CZM96xlIpNfntPgNwuzarOpLYAyZ6cu6cpTY13vi6HW.96Y68EfDS";
    let relay = Submission::start(&line.replace("$2y$10$...", hash), &[domains]);
    let mut client = relay.logged_in("shop", "s3cret");
    client.mail("shop@example.com", TO, b"From: shop@example.com\r\n\r\nHello\r\n");
    client.ask("MAIL FROM:<other@example.com>", "550 5.7.1");
    client.ask("MAIL FROM:<shop@elsewhere.example>", "550 5.7.1");
    relay.hello().ask(&format!("AUTH PLAIN {}", coded("\0shop\0wrong")), "535 5.7.8");
    relay.hello().ask("MAIL FROM:<shop@example.com>", "530 5.7.0");
    assert_eq!(relay.sink.mails(1).len(), 1);
}

#[test]
fn haproxy_in_front() {
    let sink = Sink::start("");
    // Where HAProxy of the test connects from, and one of its clients.
    let places = [("POSTERN_PROXY", "127.0.0.9"), ("POSTERN_CLIENTS", "127.0.0.5")];
    let example = environment("haproxy.yaml", &places);
    let relay = start(&example, &[("MTA_SMART_RELAY", &sink.relay())]);
    let text = fs::read_to_string(path("haproxy.cfg")).unwrap();
    let server = text.lines().find_map(|line| line.trim().strip_prefix("server mta mta:25 "));
    let server = server.unwrap().strip_suffix(" check").unwrap();
    let haproxy = Haproxy::before(relay.smtp, server);
    let mut own = Client::hello_from("127.0.0.5", haproxy.address);
    own.mail("a@b.example", TO, b"Subject: x\r\n\r\nx\r\n");
    sink.mails(1);
    let mut stranger = Client::hello_from("127.0.0.6", haproxy.address);
    stranger.ask("MAIL FROM:<a@b.example>", "250 ");
    stranger.ask("RCPT TO:<box@there.example>", "554 5.7.1");
    Client::connect_from("127.0.0.9", relay.smtp).ask("EHLO x", "421 4.7.0");
}

#[test]
fn printers_without_a_login() {
    let (sink, port) = (Sink::start(""), free_port());
    let next = sink.relay();
    let port_text = port.to_string();
    let places =
        [("POSTERN_DEVICES", "127.0.0.5"), ("SMART_RELAY", &next), ("MTA_DEVICE_PORT", &port_text)];
    let relay = start(&environment("printer.yaml", &places), &[]);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut printer = Client::hello_from("127.0.0.5", address);
    printer.mail("mfp@lan", TO, b"From: mfp@lan\r\nSubject: scan\r\n\r\nx\r\n");
    sink.mails(1);
    let file = fs::read_dir(sink.maildir()).unwrap().next().unwrap().unwrap();
    let mail = fs::read_to_string(file.path()).unwrap();
    assert!(mail.contains("From: scanner@example.com\r\n"), "{mail}");
    Client::connect_from("127.0.0.6", address).expect("554 5.7.1");
    assert_eq!(relay.counter("mta_device_accepted_total"), 1);
}
