//! Changes of header sections, end to end: from clients that may relay by SMTP and by HTTP, from an
//! import, and with the properties off.

use crate::hop::{GOOD, Mail, MailHost};
use crate::support::appliance::Appliance;
use crate::support::client::Client;
use crate::support::patience::until;
use crate::support::program::run;
use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

/// A mail as applications send it: an mbox line, Bcc, and none of the fields that a server might
/// add.
const CONTENT: &str = "From shop Thu Nov 26 12:00:00 2026\r\nSubject: x\r\nBcc: \
secret@there.example,\r\n other@there.example\r\n\
                       Return-Path: <x@y>\r\nContent-Length: 4\r\n\r\nBcc: of the body\r\n";

struct Relay {
    appliance: Appliance,
    hop: MailHost,
}

impl Relay {
    fn start(properties: &[(&str, &str)]) -> Self {
        let hop = MailHost::start(SocketAddr::from(([127, 0, 0, 1], 0)), GOOD);
        let relay = hop.address.to_string();
        let usual = [
            ("MTA_SMART_RELAY", relay.as_str()),
            ("MTA_ALWAYS_ADD_MISSING_HEADERS", "yes"),
            ("MTA_ORIGIN_DOMAIN", "here.example"),
        ];
        Self { appliance: Appliance::start(&[&usual, properties].concat()), hop }
    }

    /// The mails that the next hop has got, once there are so many.
    fn mails(&self, count: usize) -> Vec<Mail> {
        until(&format!("{count} mails"), || match self.hop.mails() {
            mails if mails.len() == count => Ok(mails),
            mails => Err(format!("{} mails", mails.len())),
        })
    }

    fn send(&self) {
        Client::hello(self.appliance.smtp).mail(
            "shop@here.example",
            &["box@there.example"],
            CONTENT.as_bytes(),
        );
    }

    fn post(&self, query: &str) {
        let path = format!("/api/v1/messages?{query}");
        let (status, body) =
            self.appliance.post(&path, "Content-Type: message/rfc822\r\n", CONTENT.as_bytes());
        assert_eq!(status, "201", "{body}");
    }
}

/// The header section without the trace, and the body.
fn parted(mail: &Mail) -> (String, String) {
    let text = String::from_utf8(mail.content.clone()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let fields = head.replace("\r\n\t", " ").replace("\r\n ", " ");
    let kept: Vec<&str> = fields.lines().filter(|field| !field.starts_with("Received:")).collect();
    (kept.join("\n"), body.to_owned())
}

/// The name and the start of the value of each field.
fn assert_fields(fields: &str, expected: &[&str]) {
    let found: Vec<&str> = fields.lines().collect();
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(field, start)| field.starts_with(start));
    assert!(fits, "{found:#?} instead of {expected:#?}");
}

const MBOX: &str = "X-Mailbox-Line: From shop Thu Nov 26 12:00:00 2026";

#[test]
fn mail_of_those_who_may_relay_loses_bcc_and_gets_what_is_missing() {
    let relay = Relay::start(&[]);
    relay.send();
    relay.post("from=shop%40here.example&to=box%40there.example");
    // As from an SMTP client: a bare name, brackets, a dot after the domain.
    relay.post("from=shop&to=%3Cbox%40there.example.%3E");
    for mail in relay.mails(3) {
        assert!(mail.mail.starts_with("MAIL FROM:<shop@here.example>"), "{}", mail.mail);
        assert_eq!(mail.recipients, ["RCPT TO:<box@there.example>"]);
        let (fields, body) = parted(&mail);
        assert_fields(
            &fields,
            &[MBOX, "Subject: x", "Message-ID: <", "Date: ", "From: shop@here.example"],
        );
        assert_eq!(body, "Bcc: of the body\r\n");
    }
}

#[test]
fn with_the_properties_off_mail_passes_as_it_is() {
    let relay = Relay::start(&[
        ("MTA_ALWAYS_ADD_MISSING_HEADERS", "no"),
        ("MTA_MESSAGE_DROP_HEADERS", "no"),
    ]);
    relay.send();
    relay.post("from=shop%40here.example&to=box%40there.example");
    for mail in relay.mails(2) {
        let (fields, _) = parted(&mail);
        let bcc = "Bcc: secret@there.example, other@there.example";
        assert_fields(
            &fields,
            &[MBOX, "Subject: x", bcc, "Return-Path: <x@y>", "Content-Length: 4"],
        );
    }
}

/// Clients without permission to relay cannot send here, so their mail cannot be changed. Imported
/// mail is not a submission either.
#[test]
fn mail_of_others_passes_as_it_is() {
    let relay = Relay::start(&[("MTA_SMTPD_TRUSTED_NETWORKS", "192.0.2.0/24")]);
    let mut stranger = Client::hello(relay.appliance.smtp);
    stranger.ask("MAIL FROM:<shop@here.example>", "250 ");
    stranger.ask("RCPT TO:<box@there.example>", "554 5.7.1");
    stranger.ask("MAIL FROM:shop", "50");
    let pairs = relay.appliance.path("pairs");
    fs::create_dir(&pairs).unwrap();
    fs::set_permissions(&pairs, Permissions::from_mode(0o777)).unwrap();
    fs::write(pairs.join("one.eml"), CONTENT).unwrap();
    let envelope = ["--from", "shop@here.example", "--to", "box@there.example"];
    run(relay.appliance.command(&["queue", "import", pairs.to_str().unwrap()]).args(envelope));
    let (fields, _) = parted(&relay.mails(1)[0]);
    let bcc = "Bcc: secret@there.example, other@there.example";
    assert_fields(&fields, &[MBOX, "Subject: x", bcc, "Return-Path: <x@y>", "Content-Length: 4"]);
}
